"""zoo beside its peers: every row of rows.py, contenders in turn, medians, one table, one picture, JSON.

    make bench-peers PEERS=--sentences=stsb-en/test.tsv.gz        # installs the peers apart, then runs this
    python benchmarks/peers/run.py --rows=train_small,infer_small --repeats=7

Each contender is a process that is ready and warm before any of a row is timed; they then run one after the other,
`--repeats` rounds, never at the same time. The machine should do nothing else. Rows that are not run keep their results,
each with the day and the machine it was measured on.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags
from report import known, markdown, picture, table
from rows import ROWS, Contender, missing_flags

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(HERE))

from records import made_on, write  # noqa: E402

F = flags.FLAGS
flags.DEFINE_list("rows", None, f"Which rows; default all of {', '.join(ROWS)}.")
flags.DEFINE_integer("repeats", 5, "Rounds.", lower_bound=1)
flags.DEFINE_string("sentences", None, "TSV file whose first two columns are English sentences, for encode_minilm.")
flags.DEFINE_string(
    "output", os.path.join(os.path.dirname(os.path.abspath(__file__)), "results"), "Folder of the results."
)


def environment(backend):
    """Variables of a contender's process."""
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([os.path.dirname(os.path.dirname(HERE)), HERE]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TOKENIZERS_PARALLELISM": "true",
    }


class Process:
    """A contender that waits for its turn."""

    def __init__(self, contender, row, workdir, flags_given):
        self.contender = contender
        job = row.split("_")[0] if row.split("_")[-1].isdigit() else row
        options = json.dumps({**contender.options, **flags_given})
        self.command = [sys.executable, os.path.join(HERE, "worker.py"), contender.side, job, options, workdir]
        self.log = open(os.path.join(workdir, "log"), "a")
        self.environment = environment(contender.backend)

    def ready(self):
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.log.flush()
            with open(self.log.name) as log:
                raise RuntimeError(f"{self.contender.name} ended:\n{log.read()[-3000:]}")
        return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.answer()

    def whole(self):
        """Seconds of a process that ends by itself."""
        start = time.perf_counter()
        subprocess.run(self.command, env=self.environment, stdout=self.log, stderr=self.log, check=True)
        return time.perf_counter() - start


def measure(name, row, workdir):
    given = {flag: getattr(F, flag) for flag in row.needs}
    processes = [Process(contender, name, workdir, given) for contender in row.contenders]
    results = [{"name": p.contender.name, "seconds": []} for p in processes]
    if name == "start":
        for _ in range(F.repeats + 1):  # the first round fills the disk's cache
            for process, result in zip(processes, results):
                result["seconds"].append(process.whole())
        for result in results:
            result |= {"seconds": result["seconds"][1:], "work": 1}
    else:
        for process, result in zip(processes, results):
            result |= process.ready()
        for _ in range(F.repeats):
            for process, result in zip(processes, results):
                result["seconds"].append(process.ask("run")["seconds"])
        for process, result in zip(processes, results):
            result |= process.ask("end")
            process.process.wait()
    compare(row, results)
    for result in results:
        result["median"] = statistics.median(result["seconds"])
    return results


def compare(row, results):
    """Hold the outputs of the contenders, or sums of their ids, against the first one's."""
    for result in results[1:]:
        if "sum" in result:
            result["same_ids"] = result["sum"] == results[0]["sum"]
    reference = results[0].get("output")
    expected = None if reference is None else np.load(reference)
    for contender, result in zip(row.contenders, results):
        path = result.pop("output", None)
        if expected is None or path is None or not contender.compare:
            continue
        got = np.load(path)
        norms = np.linalg.norm(got, axis=-1) * np.linalg.norm(expected, axis=-1)
        result["difference"] = float(np.abs(got - expected).max())
        result["least_cosine"] = float((np.sum(got * expected, -1) / norms).min())


def matmul_rates(workdir):
    """Operations a second of a 2048 x 2048 product, by backend and dtype: the floor that the rows are held against."""
    rates = {}
    for backend in ("torch", "jax", "tensorflow"):
        for dtype in ("float32", "bfloat16"):
            process = Process(Contender("matmul", "zoo_side", backend, {"dtype": dtype}), "matmul", workdir, {})
            work = process.ready()["work"]
            seconds = statistics.median(process.ask("run")["seconds"] for _ in range(max(5, F.repeats)))
            process.ask("end")
            rates[f"{backend} {dtype}"] = work / seconds
    return rates


def machine():
    return {**made_on(), "python": platform.python_version()}


def main(_):
    unknown = sorted(set(F.rows or []) - set(ROWS))
    if unknown:
        raise app.UsageError(f"no rows {unknown}; there are {sorted(ROWS)}")
    given = {flag for row in ROWS.values() for flag in row.needs if getattr(F, flag) is not None}
    missing = missing_flags(F.rows or ROWS, given)
    if missing and F.rows:
        raise app.UsageError(f"rows and the flags they need: {missing}")
    os.makedirs(F.output, exist_ok=True)
    path = os.path.join(F.output, "results.json")
    rows = known(path)
    with tempfile.TemporaryDirectory() as workdir:
        made = {"machine": machine(), "matmul": matmul_rates(workdir), "repeats": F.repeats}
        prepare = f"import zoo_side; zoo_side.checkpoint({workdir!r})"
        subprocess.run([sys.executable, "-c", prepare], env=environment("torch"), check=True)
        for name in F.rows or ROWS:
            if name in missing:
                continue
            print(name, flush=True)
            rows[name] = {**made, "contenders": measure(name, ROWS[name], workdir)}
            write(path, json.dumps({"rows": rows}, indent=1))
            print(table(name, rows[name]), flush=True)
    write(os.path.join(F.output, "README.md"), markdown(rows))
    picture(rows, os.path.join(F.output, "peers.png"))
    for name, needed in missing.items():
        print(f"NOT MEASURED: {name}, which needs {needed}", file=sys.stderr)


if __name__ == "__main__":
    app.run(main)
