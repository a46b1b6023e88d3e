"""One backbone, three tasks, trained together: matching, the standard question of a text, pairs that only look alike.

    python examples/multi_task.py                             # the bundled FAQ, offline
    python examples/multi_task.py --combine=min_norm          # another way to make one update of three gradients

Trains each task alone, then all together, from the same preset, and compares them on the test texts. --output
gets the preset of the three (backbone once), metrics.json and multi_task.png.
"""

import json
import os
import time

import keras
import numpy as np
from absl import flags
from matplotlib.figure import Figure

import zoo

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
WAYS = {
    "sum": lambda: zoo.training.WeightedSum(),
    "initial": lambda: zoo.training.InitialLoss(),
    "prior": lambda: zoo.training.PriorLoss(),
    "real_time": lambda: zoo.training.RealTimeLoss(),
    "normalization": lambda: zoo.training.GradientNormalization(),
    "min_norm": lambda: zoo.training.MinNorm(),
    "primary": lambda: zoo.training.PrimaryTask("match"),
}
flags.DEFINE_string("preset", "roformer_v2_mini_zh", "Name or folder of a pretrained backbone.")
flags.DEFINE_enum("combine", "real_time", list(WAYS), "How the gradients of the tasks become one update.")
flags.DEFINE_integer("epochs", 4, "Epochs: passes over the largest of the three sets.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Rows of each task in a step.", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-4, "Peak learning rate of AdamW; 2e-5 suits base-size models.")
flags.DEFINE_integer("max_length", 48, "Tokens of a text; a packed pair has twice as many.", lower_bound=1)
flags.DEFINE_integer("limit", None, "Only so many rows of each set, to try things out.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("output", "multi_task", "Folder of the results.")
SCORES = {"match": "auc", "question": "accuracy", "lookalike": "accuracy"}


def read():
    """Records by part and task, and the number of standard questions."""
    rows = lambda name, *columns: zoo.data.read_pairs(os.path.join(FAQ, name + ".tsv"), columns, label=None)
    pairs = {part: zoo.data.read_pairs(os.path.join(FAQ, part + ".tsv")) for part in ("train", "dev", "test")}
    ids = [id for id, _ in rows("questions", "id", "question")]
    wordings = [*rows("paraphrases", "id", "text"), *rows("questions", "id", "question")]
    owner = {text: ids.index(id) for id, text in wordings}
    alike = dict.fromkeys(rows("hard_positives", "text_a", "text_b"), 1)
    alike |= dict.fromkeys(rows("hard_negatives", "text_a", "text_b"), 0)
    texts = {part: {text for a, b, _ in pairs[part] for text in (a, b)} for part in pairs}
    known = {owner[text] for text in texts["train"] if text in owner}
    parts = {}
    for part, here in texts.items():
        # 27 questions are in no training text, so that no classifier can know them
        asked = [(text, owner[text]) for text in sorted(here & owner.keys()) if owner[text] in known]
        lookalike = [(a, b, label) for (a, b), label in sorted(alike.items()) if {a, b} <= here]
        records = {"match": list(pairs[part]), "question": asked, "lookalike": lookalike}
        parts[part] = {name: rows[: F.limit] for name, rows in records.items()}
    return parts, len(ids)


def train(names, data, classes):
    """`zoo.MultiTask` of some of the tasks, trained; and its seconds."""
    keras.utils.set_random_seed(F.seed)
    backbone = zoo.Backbone.from_preset(F.preset)
    make = {
        "match": lambda: zoo.RepresentationMatcher(backbone, max_length=F.max_length),
        "question": lambda: zoo.TextClassifier(backbone, classes, pooling="mean", max_length=F.max_length),
        "lookalike": lambda: zoo.InteractionMatcher(backbone, pooling="comparison", max_length=2 * F.max_length),
    }
    model = zoo.MultiTask({name: make[name]() for name in names}, WAYS[F.combine]() if len(names) > 1 else None)
    steps = F.epochs * max(-(-len(data["train"][name]) // F.batch_size) for name in names)
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, steps)
    model.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01))
    start = time.time()
    records, dev = ({name: data[part][name] for name in names} for part in ("train", "dev"))
    model.fit(records, validation_data=dev, batch_size=F.batch_size, epochs=F.epochs, seed=F.seed, verbose=2)
    return model, time.time() - start


def draw(report):
    """Bars of the test scores, alone and together."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for shift, (way, colour) in enumerate((("alone", "#56B4E9"), ("together", "#0072B2"))):
        values = [report[way][name] for name in SCORES]
        bars = axes.bar(np.arange(len(SCORES)) + 0.36 * shift, values, 0.34, color=colour, label=way)
        axes.bar_label(bars, fmt="%.3f", fontsize=9)
    ticks = [f"{name}\n({score})" for name, score in SCORES.items()]
    axes.set(xticks=np.arange(len(SCORES)) + 0.18, xticklabels=ticks, ylabel="score on test texts", ylim=(0, 1.12))
    axes.legend(ncols=2, loc="upper center")
    return figure


def main(_):
    data, classes = read()
    report, seconds = {"alone": {}, "together": {}}, 0.0
    for name, score in SCORES.items():
        model, took = train([name], data, classes)
        report["alone"][name] = model.evaluate({name: data["test"][name]}, verbose=0)[name][score]
        seconds += took
    model, together = train(list(SCORES), data, classes)
    found = model.evaluate(data["test"], verbose=0)
    report["together"] = {name: found[name][score] for name, score in SCORES.items()}
    print(f"\n{'test':12}{'rows':>6}{'alone':>9}{'together':>10}")
    for name, score in SCORES.items():
        values = f"{report['alone'][name]:9.3f}{report['together'][name]:10.3f}"
        print(f"{name:12}{len(data['test'][name]):6}{values}  {score}")
    print(f"three models in {seconds:.0f} s, one model for all three in {together:.0f} s, combine={F.combine}")
    model.save_to_preset(F.output)
    with open(os.path.join(F.output, "metrics.json"), "w", encoding="utf-8") as file:
        json.dump({**report, "combine": F.combine, "seconds": [seconds, together]}, file, indent=1)
    draw(report).savefig(os.path.join(F.output, "multi_task.png"), dpi=150)


if __name__ == "__main__":
    zoo.command_line.run(main)
