"""One contender in a process of its own: gets ready, then takes a turn for every line `run` on its input.

A turn is the job once, or as often as fills a second after one run that is not timed: a shorter job would else be timed
with the caches and the clock of a process that has been waiting, and a training step is one of many.

Prints JSON lines: facts when ready, seconds a run of each turn, peak memory at the end. Started by run.py.
"""

import importlib
import json
import resource
import sys
import time

TURN = 1.0  # seconds


def turn(run, expected):
    """Seconds of one run, a mean of as many as fill a turn."""
    if expected < TURN:
        run()
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < TURN:
        run()
        count += 1
    return (time.perf_counter() - start) / count


def main():
    side, job, options, workdir = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
    out = sys.stdout
    sys.stdout = sys.stderr  # libraries print
    run, facts = getattr(importlib.import_module(side), job)(workdir, **options)
    run()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    print(json.dumps(facts), file=out, flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        seconds = turn(run, seconds)
        print(json.dumps({"seconds": seconds}), file=out, flush=True)
    print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), file=out, flush=True)


if __name__ == "__main__":
    main()
