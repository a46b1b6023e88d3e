"""One contender in a process of its own: gets ready, then does its job once for every line `run` on its input.

Prints JSON lines: facts when ready, seconds of each run, peak memory at the end. Started by run.py.
"""

import importlib
import json
import resource
import sys
import time


def main():
    side, job, options, workdir = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
    out = sys.stdout
    sys.stdout = sys.stderr  # libraries print
    run, facts = getattr(importlib.import_module(side), job)(workdir, **options)
    for _ in range(2):
        run()
    print(json.dumps(facts), file=out, flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        start = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - start}), file=out, flush=True)
    print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), file=out, flush=True)


if __name__ == "__main__":
    main()
