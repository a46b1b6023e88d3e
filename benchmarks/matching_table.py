"""Representation, SBERT head and interaction from the same start, on public matching sets: one table from files alone.

    KERAS_BACKEND=torch python benchmarks/matching_table.py --data=FOLDER --preset=roformer_v2_tiny_zh --limit=4000

FOLDER holds NAME/train.tsv.gz, dev.tsv.gz, test.tsv.gz of each set, as far as they exist: the first is trained on, the
last reported, and a tenth of the first chooses epoch and threshold, sharing no text with the rest. Training is that of
examples/text_matching.py. Each finished cell goes to OUTPUT.json, so that a run that was stopped goes on where it was;
OUTPUT.md holds the tables of all runs in OUTPUT.json.
"""

import datetime
import json
import os
import sys
import time

import keras
import numpy as np
from absl import app, flags
from recipe import optimizer
from records import processor, write

import zoo
from zoo.formats.catalogue import bundled_folder

F = flags.FLAGS
flags.DEFINE_string("data", None, "Folder of the sets; without it nothing is measured.")
flags.DEFINE_string("preset", "roformer_v2_tiny_zh", "Name or folder of a pretrained backbone.")
flags.DEFINE_list("sets", "lcqmc,stsb-zh,afqmc,ocnli,pawsx-zh", "Folders in --data.")
flags.DEFINE_list("kinds", "start,representation,sbert,interaction", "Columns; start is the preset without training.")
flags.DEFINE_integer("limit", 4000, "Training pairs, the tenth for dev included; 0: all.")
flags.DEFINE_integer("epochs", 3, "Epochs; the best on dev is kept.")
flags.DEFINE_list("seeds", "0", "Runs of each cell; which pairs are used does not depend on them.")
flags.DEFINE_integer("batch_size", 64, "Pairs a step.")
flags.DEFINE_float("learning_rate", 5e-4, "Peak; 2e-5 suits base-size models.")
flags.DEFINE_string("dtype", "float32", "Dtype policy.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text; a packed pair has twice as many.")
flags.DEFINE_string("output", os.path.splitext(os.path.abspath(__file__))[0], "Path of the results, without extension.")
CLASSES = {"ocnli": ["contradiction", "neutral", "entailment"]}  # lowest first; the other sets have numbers
SCORES = {"stsb-zh": "score", "stsb-en": "score"}
NAMES = {
    "start": "no training", "representation": "representation, CoSENT", "sbert": "representation, SBERT head",
    "interaction": "interaction",
}  # fmt: skip


def read(name):
    """Train, dev and test pairs of a set, and the names of the first and last file."""
    files = [os.path.join(F.data, name, f"{split}.tsv.gz") for split in ("train", "dev", "test")]
    files = [file for file in files if os.path.exists(file)]
    column = SCORES.get(name, "label")
    label = CLASSES.get(name, "score" if name in SCORES else "binary")
    first, last = (zoo.data.read_pairs(file, ("text_a", "text_b", column), label) for file in (files[0], files[-1]))
    if 0 < F.limit < len(first):
        first = first.take(np.sort(np.random.default_rng(0).permutation(len(first))[: F.limit]))
    return *zoo.data.split(first, (0.9, 0.1), seed=0, groups="texts"), last, [os.path.basename(f)[:-7] for f in files]


def matcher(name, kind, labels):
    """An untrained head on the preset, its loss, and what chooses the epoch."""
    long = kind == "interaction"
    options = {"dtype": F.dtype, "max_length": F.max_length * (2 if long else 1)}
    if not long:
        classes = int(labels.max()) + 1 if kind == "sbert" else None
        return zoo.RepresentationMatcher.from_preset(F.preset, num_classes=classes, **options), None, "val_spearman"
    if name in CLASSES:
        names = {"num_classes": len(CLASSES[name]), "class_names": CLASSES[name]}
        return zoo.TextClassifier.from_preset(F.preset, **names, **options), None, "val_accuracy"
    loss = zoo.losses.CoSENT(scale=1.0) if name in SCORES else None
    return zoo.InteractionMatcher.from_preset(F.preset, **options), loss, "val_spearman"


def cell(name, kind, seed):
    """Metrics of one cell on the reported pairs."""
    keras.utils.set_random_seed(seed)
    train, dev, test, _ = read(name)
    start = time.perf_counter()
    model, loss, monitor = matcher(name, kind, np.concatenate([train.labels, dev.labels]))
    if kind == "start":
        if name not in SCORES and name not in CLASSES:
            model.fit_threshold(dev)
        return {**model.evaluate(test, verbose=0), "seconds": time.perf_counter() - start}
    model.compile(optimizer(F.epochs * -(-len(train) // F.batch_size), F.learning_rate), loss)
    best = keras.callbacks.EarlyStopping(monitor, mode="max", patience=F.epochs, restore_best_weights=True)
    model.fit(
        train, epochs=F.epochs, batch_size=F.batch_size, validation_data=dev, seed=seed, callbacks=[best], verbose=0
    )
    seconds = time.perf_counter() - start
    result = model.evaluate(test, verbose=0)
    if monitor == "val_accuracy":  # the mean of the ordered classes under its probabilities is its score
        scores = model.predict(test.take(range(len(test))), verbose=0) @ np.arange(len(CLASSES[name]))
        result["spearman"] = zoo.metrics.spearman(test.labels, scores)
    return {**result, "seconds": seconds}


def machine():
    """What ran: processor, backend, versions."""
    return f"{os.cpu_count()} × {processor()}, {keras.backend.backend()}, Keras {keras.__version__}"


def settings():
    """Everything that decides the numbers; runs with other settings get tables of their own."""
    manifest = os.path.join(bundled_folder(F.preset) or F.preset, "manifest.json")
    weights = None
    if os.path.exists(manifest):
        with open(manifest, encoding="utf-8") as file:
            weights = json.load(file)["files"]["model.safetensors"]["sha256"]
    names = ("limit", "epochs", "batch_size", "learning_rate", "dtype", "max_length")
    preset = os.path.basename(os.path.normpath(F.preset))
    return {"preset": preset, "weights": weights, "backend": keras.backend.backend()} | {n: F[n].value for n in names}


def shown(cells, name, kind, metric):
    """Mean of a metric over seeds in per cent, with its deviation where there are several."""
    values = [v[metric] for k, v in cells.items() if k.rsplit("/", 1)[0] == f"{name}/{kind}" and metric in v]
    if not values:
        return ""
    return f"{100 * np.mean(values):.1f}" + (f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def accuracy(kind):
    """The SBERT head decides by its classes, the others by the stored threshold."""
    return "head_accuracy" if kind == "sbert" else "accuracy"


def markdown(runs):
    """The tables of all runs."""
    lines = [
        "# Matchers side by side", "",
        "Written by `benchmarks/matching_table.py`: representation with CoSENT, the SBERT head and interaction, each from "
        "the same pretrained start with the same pairs, steps and learning rate. Spearman's ρ × 100 of the score "
        "(the cosine; for OCNLI's interaction the mean of the ordered classes), and accuracy in per cent: of the class "
        "where a head of classes decides, else at the threshold fitted on the held-out tenth of the training pairs.",
    ]  # fmt: skip
    for run in runs:
        made, cells = run["settings"], run["cells"]
        kinds = [kind for kind in NAMES if any(key.split("/")[1] == kind for key in cells)]
        names = list(dict.fromkeys(key.split("/")[0] for key in cells))
        seeds = {key.split("/")[2] for key in cells}
        lines += ["", f"## {made['preset']}", "", f"    {run['command']}", ""]
        several = f"; mean ± deviation of {len(seeds)} seeds" if len(seeds) > 1 else ""
        lines += [f"{run['date']}, {run['machine']}{several}."]
        for title, metric in (("Spearman's ρ × 100", lambda kind: "spearman"), ("Accuracy, %", accuracy)):
            lines += ["", f"| {title} | trained on | reported on | " + " | ".join(NAMES[kind] for kind in kinds) + " |"]
            lines += ["| --- | --- | --- |" + " ---: |" * len(kinds)]
            for name in names:
                row = [shown(cells, name, kind, metric(kind)) for kind in kinds]
                if any(row):
                    first, last = run["pairs"][name]
                    lines += [f"| {name} | {first} | {last} | " + " | ".join(row) + " |"]
    return "\n".join(lines) + "\n"


def main(_):
    if F.data is None:
        return print("matching_table: no --data, nothing is measured")
    runs = []
    if os.path.exists(F.output + ".json"):
        with open(F.output + ".json", encoding="utf-8") as file:
            runs = json.load(file)
    run = next((run for run in runs if run["settings"] == settings()), None)
    if run is None:
        given = " ".join(arg for arg in sys.argv[1:] if not arg.startswith(("--output", "--data")))
        command = f"KERAS_BACKEND={keras.backend.backend()} python benchmarks/matching_table.py --data=FOLDER {given}"
        run = {"settings": settings(), "command": command.strip(), "pairs": {}, "cells": {}}
        runs.append(run)
    for seed, name, kind in ((s, n, k) for s in F.seeds for n in F.sets for k in F.kinds):
        key = f"{name}/{kind}/{seed}"
        if key in run["cells"] or (kind == "start" and f"{name}/start/{F.seeds[0]}" in run["cells"]):
            continue
        train, dev, test, splits = read(name)
        run["pairs"][name] = [f"{len(train):,} of {splits[0]}", f"{len(test):,} of {splits[-1]}"]
        run["cells"][key] = cell(name, kind, int(seed))
        run |= {"date": datetime.date.today().isoformat(), "machine": machine()}
        write(F.output + ".json", json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
        write(F.output + ".md", markdown(runs))
        print(key, {name: round(value, 4) for name, value in run["cells"][key].items()}, flush=True)
    print(markdown([run]))


if __name__ == "__main__":
    app.run(main)
