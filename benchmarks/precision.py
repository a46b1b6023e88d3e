"""The same score under every precision, eager and compiled, on every backend: the table that says so.

    python benchmarks/precision.py                                   # all backends; resumes where it was stopped
    python benchmarks/precision.py --backends=torch --seeds=1 --output=precision.json

Two questions, each on the bundled FAQ pairs with the bundled preset. Evaluation: one matcher, trained once in float32
(torch, eager), scores the test pairs under every combination; what differs is rounding alone. Training: the matcher is
trained anew under every combination on the same batches, of one order per seed (JAX op by op: one), padded to few lengths
everywhere: left to itself `fit` pads to them only where each shape compiles, and sorts other rows together. From rounding of
1e-7 on trainings drift apart, so their differences are held against how much training in float32 scatters between backends.
Scores are Spearman's correlation on the test pairs, times 100. Writes a JSON file, a cell at a time, and a table beside
it (.md). Cells made elsewhere, with other versions, epochs or another trained matcher are not mixed with new ones: that is
refused.
"""

import importlib.metadata as metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import time

import numpy as np
from absl import app, flags
from records import made_on, write

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16")
TRAINED = DTYPES[:3]  # weights in half precision are for use, not for training
SLOW = ("eager", "jax")  # 12 minutes a training, where others take one or two: one seed, last
BAR = 0.2  # points
REFERENCE = "torch/reference/float32/eager/0"  # the cell that trains the matcher of all evaluations
MARK = "result: "  # before lines of a child process that hold one

F = flags.FLAGS
flags.DEFINE_list("backends", "torch,jax,tensorflow", "Which to run.")
flags.DEFINE_integer("seeds", 3, "Trainings of each combination.")
flags.DEFINE_integer("epochs", 4, "Epochs of a training.")
flags.DEFINE_string("output", os.path.join(HERE, "precision.json"), "Results; cells that it holds are not run again.")
flags.DEFINE_string("folder", "build/precision", "Where the trained matcher is kept.")
flags.DEFINE_list("cells", None, "Run these cells in this process: kind/dtype/mode/seed.")


def compiled(matcher, mode, steps):
    """The matcher with the optimizer of examples/text_matching.py."""
    from recipe import optimizer

    matcher.compile(optimizer(steps, 5e-4), jit_compile=mode == "compiled")
    return matcher


def run(kind, dtype, mode, seed):
    """One cell: test score, and for an evaluation all scores of test pairs."""
    import keras
    from recipe import FAQ

    import zoo

    train, test = (zoo.data.read_pairs(os.path.join(FAQ, name + ".tsv")) for name in ("train", "test"))
    steps, start = F.epochs * -(-len(train) // 64), time.perf_counter()
    if kind == "evaluation":
        matcher = zoo.RepresentationMatcher.from_preset(F.folder, dtype=dtype)
        compiled(matcher, mode, steps)
        scores = matcher.score(list(zip(test.text_a, test.text_b)), verbose=0)
        result = {"scores": [round(float(score), 7) for score in scores]}
    else:
        keras.utils.set_random_seed(int(seed))

        class FewLengths(zoo.RepresentationMatcher):
            buckets = zoo.data.length_buckets(64)  # under every combination, not only where each shape compiles

        matcher = FewLengths.from_preset("roformer_v2_tiny_zh", dtype=dtype, max_length=64)
        compiled(matcher, mode, steps).fit(train, batch_size=64, epochs=F.epochs, seed=int(seed), verbose=0)
        result = {}
        if kind == "reference":
            matcher.save_to_preset(F.folder)
            result = {"weights": weights(F.folder)}
    spearman = 100 * matcher.evaluate(test, verbose=0)["spearman"]
    return {"spearman": float(spearman), **result, "seconds": round(time.perf_counter() - start, 1)}


def weights(folder):
    """Hash of the weights of a preset; None where there is none."""
    path = os.path.join(folder, "manifest.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)["files"]["model.safetensors"]["sha256"]


def settings():
    """What all cells of a file have in common."""
    packages = ("keras", "torch", "jax", "tensorflow")
    versions = {name: metadata.version(name) for name in packages} | {"python": platform.python_version()}
    machine = {key: value for key, value in made_on().items() if key != "date"}  # cells of several days go together
    return {"machine": machine, "versions": versions, "epochs": F.epochs}


def opened():
    """The results there are, if they may be continued."""
    made = settings()
    if not os.path.exists(F.output):
        return {"cells": {}, **made}
    with open(F.output, encoding="utf-8") as file:
        results = json.load(file)
    differing = {key: (results.get(key), value) for key, value in made.items() if results.get(key) != value}
    if differing:
        raise app.UsageError(f"{F.output} was made with other settings, {differing}; take another --output")
    return results


def check_reference(cells):
    """Refuse to evaluate another matcher than that of the results."""
    of_then, of_now = cells[REFERENCE].get("weights"), weights(F.folder)
    if of_now is None or of_then != of_now:
        raise app.UsageError(
            f"the matcher of {F.output} has weights {of_then}, that in {F.folder} {of_now}; take the --folder of then or "
            "another --output"
        )


def measured(backend, cells):
    """(cell, result) pairs, run one after the other in a process of their own, since a process has one backend."""
    command = [sys.executable, os.path.abspath(__file__), f"--cells={','.join(cells)}"]
    command += [f"--folder={F.folder}", f"--epochs={F.epochs}"]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(MARK):
                yield json.loads(line[len(MARK) :])
    if process.returncode:
        raise SystemExit(f"{backend}: exit status {process.returncode}; what was finished is in {F.output}")


def tables(cells):
    """Markdown of what there is so far."""
    lines = [
        "Spearman x 100 on the test pairs of the bundled FAQ. Compiled: `jit_compile=True`; eager: `False`, on TensorFlow a"
    ]
    lines += ["graph without XLA.", "", "**Evaluation** of one trained matcher", ""]
    lines += ["| backend, mode | " + " | ".join(DTYPES) + " |", "| --- |" + " --- |" * len(DTYPES)]
    evaluated = {name: cell for name, cell in cells.items() if "/evaluation/" in name}
    modes = sorted({(name.split("/")[0], name.split("/")[3]) for name in cells if "/reference/" not in name})
    for backend, mode in modes:
        row = [evaluated.get(f"{backend}/evaluation/{dtype}/{mode}/0") for dtype in DTYPES]
        shown = [f"{cell['spearman']:.3f}" if cell else "-" for cell in row]
        lines.append(f"| {backend}, {mode} | " + " | ".join(shown) + " |")
    first = evaluated.get("torch/evaluation/float32/eager/0")
    if first:
        points = max(abs(cell["spearman"] - first["spearman"]) for cell in evaluated.values())
        cosines = max(np.abs(np.subtract(cell["scores"], first["scores"])).max() for cell in evaluated.values())
        verdict = "held" if points <= BAR else "NOT held"
        lines += [
            "",
            f"Largest difference from torch, eager, float32: {points:.3f} points (bar {BAR}: {verdict}); of a",
        ]
        lines += [f"cosine {cosines:.1e}.", ""]
    lines += ["**Training**: mean over seeds; in brackets mean and largest difference from torch, eager, float32", ""]
    lines += ["| backend, mode | " + " | ".join(TRAINED) + " |", "| --- |" + " --- |" * len(TRAINED)]
    for backend, mode in modes:
        row = []
        for dtype in TRAINED:
            pairs = []
            for seed in range(F.seeds):
                cell = cells.get(f"{backend}/training/{dtype}/{mode}/{seed}", {})
                base = cells.get(f"torch/training/float32/eager/{seed}", {})
                if cell and base:
                    pairs.append((cell["spearman"], cell["spearman"] - base["spearman"]))
            score, apart = np.array(pairs).T if pairs else (None, None)
            row.append(f"{score.mean():.2f} ({apart.mean():+.2f}, {np.abs(apart).max():.2f})" if pairs else "-")
        lines.append(f"| {backend}, {mode} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def main(_):
    if F.cells:
        for cell in F.cells:
            print(MARK + json.dumps([cell, run(*cell.split("/"))]), flush=True)
        return
    results = opened()
    cells, modes = results["cells"], ("eager", "compiled")
    plan = [("torch", [REFERENCE.split("/", 1)[1]])]
    for backend in F.backends:
        plan.append((backend, [f"evaluation/{dtype}/{mode}/0" for mode in modes for dtype in DTYPES]))
    trainings = [case for case in itertools.product(range(F.seeds), modes, F.backends) if case[1:] != SLOW]
    if SLOW[1] in F.backends:
        trainings.append((0, *SLOW))
    for seed, mode, backend in trainings:
        plan.append((backend, [f"training/{dtype}/{mode}/{seed}" for dtype in TRAINED]))
    for backend, wanted in plan:
        missing = [cell for cell in wanted if f"{backend}/{cell}" not in cells]
        if "evaluation" in wanted[0] and missing:
            check_reference(cells)
        for cell, result in measured(backend, missing) if missing else ():
            cells[f"{backend}/{cell}"] = result
            print(backend, cell, {key: value for key, value in result.items() if key != "scores"}, flush=True)
            write(F.output, json.dumps(results, indent=0, ensure_ascii=False))
    table = tables(cells)
    write(os.path.splitext(F.output)[0] + ".md", table)
    print(table)


if __name__ == "__main__":
    app.run(main)
