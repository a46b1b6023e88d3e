"""Matchers as they are, on public matching sets, beside what counting characters achieves: no training here.

    KERAS_BACKEND=torch python benchmarks/preset_scores.py --data=FOLDER --presets=roformer_v2_mini_zh

FOLDER holds NAME/dev.tsv.gz and test.tsv.gz; every one of `SETS` that is there is scored. The floor is the TF-IDF cosine
of characters and their bigrams, document frequencies from the scored texts themselves. Accuracy is that of the best
threshold on the scored pairs, for the floor as well; at the preset's own threshold in brackets. Results are kept in
OUTPUT.json by the weights' SHA-256, OUTPUT.md has them all.
"""

import datetime
import hashlib
import json
import os

import keras
import numpy as np
from absl import app, flags
from recipe import matcher_of
from records import processor, write
from scipy import sparse

from zoo.data import read_graded
from zoo.metrics import pair_metrics
from zoo.models.preset import resolve

F = flags.FLAGS
flags.DEFINE_string("data", None, "Folder of the sets; without it nothing is measured.")
flags.DEFINE_list("presets", ["roformer_v2_mini_zh"], "Names or folders of matchers.")
flags.DEFINE_string("dtype", "float32", "Dtype policy.")
flags.DEFINE_string("output", os.path.splitext(os.path.abspath(__file__))[0], "Path of the results, without extension.")
SETS = {
    "lcqmc": "pair", "stsb-zh": "sts", "afqmc": "pair", "atec": "pair", "bq": "pair", "pawsx-zh": "pair",
    "oppo-xiaobu": "pair", "covid-questions": "pair", "ocnli": "nli", "cnsd-snli": "nli", "sohu-ss-a": "pair",
    "qbqtc": "rel",
}  # fmt: skip
FLOOR = "TF-IDF of characters"


def tf_idf(pairs):
    """Cosines of the pairs' TF-IDF vectors over characters and bigrams."""
    texts = [*pairs.text_a, *pairs.text_b]
    grams = [[text[i : i + n] for n in (1, 2) for i in range(len(text) - n + 1)] for text in texts]
    column = {gram: place for place, gram in enumerate(dict.fromkeys(gram for row in grams for gram in row))}
    rows = np.repeat(np.arange(len(texts)), [len(row) for row in grams])
    columns = np.array([column[gram] for row in grams for gram in row])
    counts = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(column)))  # repeats add up
    documents = np.bincount(counts.indices, minlength=len(column))
    weighted = counts * (np.log(len(texts) / documents) + 1)
    weighted = weighted / np.maximum(sparse.linalg.norm(weighted, axis=1), 1e-12)[:, None]
    return np.asarray((weighted[: len(pairs)] * weighted[len(pairs) :]).sum(axis=1)).ravel()


def read_sets():
    for name, kind in SETS.items():
        for split in ("dev", "test"):
            path = os.path.join(F.data, name, f"{split}.tsv.gz")
            if os.path.exists(path):
                yield f"{name} {split}", read_graded(path, kind)


def markdown(results):
    names = list(results["scores"])
    lines = [
        "# Matchers as they are", "",
        "Written by `benchmarks/preset_scores.py`: no training here. ρ × 100, AUC × 100 and accuracy in per cent at the best "
        "threshold of the scored pairs, in brackets at the preset's own. What a preset was trained on, its card says.", "",
        f"    {results['command']}", "", results["machine"], "",
        "| set | pairs | " + " | ".join(names) + " |", "| --- | ---: |" + " ---: |" * len(names),
    ]  # fmt: skip
    for key, count in results["sets"].items():
        cells = []
        for name in names:
            row = results["scores"][name]["sets"].get(key, {})
            cell = " / ".join(f"{100 * row[n]:.1f}" for n in ("spearman", "auc", "best_accuracy") if n in row)
            cells.append(cell + (f" ({100 * row['accuracy']:.1f})" if "accuracy" in row else ""))
        lines.append(f"| {key} | {count:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(_):
    if F.data is None:  # `make bench` runs every file here
        return print("preset_scores: no --data, nothing is measured")
    results = {"scores": {}}
    if os.path.exists(F.output + ".json"):
        with open(F.output + ".json", encoding="utf-8") as file:
            results = json.load(file)
    data = dict(read_sets())
    models = {}
    for preset in F.presets:
        name = os.path.basename(os.path.normpath(preset))
        weights = hashlib.sha256(resolve(preset).memory_map("model.safetensors")).hexdigest()
        if results["scores"].get(name, {}).get("weights") != weights:
            models[name] = matcher_of(preset, dtype=F.dtype)
            results["scores"][name] = {"weights": weights, "sets": {}}
    scores = results["scores"] = {FLOOR: {"sets": {}}, **results["scores"]}
    for key, pairs in data.items():
        if key not in scores[FLOOR]["sets"]:
            scores[FLOOR]["sets"][key] = pair_metrics(pairs.labels, tf_idf(pairs))
        for name, model in models.items():
            found = model.score(list(zip(*pairs.columns)), verbose=0)
            scores[name]["sets"][key] = pair_metrics(pairs.labels, found, model.decision)
            print(name, key, {n: round(100 * value, 1) for n, value in scores[name]["sets"][key].items()}, flush=True)
    backend, named = keras.backend.backend(), ",".join(name for name in scores if name != FLOOR)
    machine = f"{datetime.date.today()}, {os.cpu_count()} × {processor()}, {backend}, Keras {keras.__version__}."
    command = (
        f"KERAS_BACKEND={backend} python benchmarks/preset_scores.py --data=FOLDER --presets={named} --dtype={F.dtype}"
    )
    results |= {"machine": machine, "command": command, "sets": {key: len(pairs) for key, pairs in data.items()}}
    write(F.output + ".json", json.dumps(results, indent=1, ensure_ascii=False))
    write(F.output + ".md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    app.run(main)
