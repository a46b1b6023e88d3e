"""Train text matchers on pairs, fit their thresholds on dev, report on test: the main job.

    python examples/text_matching.py                              # bundled FAQ pairs, both matchers, offline
    KERAS_BACKEND=jax python examples/text_matching.py --matcher=representation --dtype=mixed_bfloat16
    python examples/text_matching.py --preset=FOLDER --train=train.tsv.gz --test=dev.tsv.gz --label=score

Files hold text_a, text_b and a label (.tsv .csv .jsonl, plain, .gz or .xz). What is missing of dev and test is cut off
train, without shared texts. --output gets a preset of each matcher, metrics.json and plots.
"""

import json
import os
import sys
import time

import keras
import numpy as np
from absl import app, flags
from scipy.optimize import minimize

import zoo
from zoo.decision import fit_decision
from zoo.pair_metrics import pair_metrics

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
LOSSES = {"cosent": "CoSENT", "cosine": "CosineRegression", "contrastive": "Contrastive", "circle": "Circle",
          "angle": "AnglE", "info_nce": "InfoNCE"}  # fmt: skip
KINDS = {"both": ["representation", "interaction"], "all": ["representation", "sbert", "interaction"]}
flags.DEFINE_string("preset", "roformer_v2_tiny_zh", "Name or folder of a pretrained backbone or matcher.")
flags.DEFINE_enum("matcher", "both", [*KINDS["all"], *KINDS], "What to train.")
flags.DEFINE_string("train", None, "Training pairs; default: the bundled FAQ.")
flags.DEFINE_string("dev", None, "Pairs that choose the epoch and the threshold.")
flags.DEFINE_string("test", None, "Pairs that are reported.")
flags.DEFINE_string("label", "binary", "binary, int, score, or names of classes, lowest first: no,maybe,yes.")
flags.DEFINE_list("columns", "text_a,text_b,label", "Names of the columns.")
flags.DEFINE_enum("loss", "default", ["default", *LOSSES], "Of the representation matcher; cosent: of both.")
flags.DEFINE_string("pooling", "mean", "cls, mean, max, first_last_mean or attention.")
flags.DEFINE_integer("epochs", 8, "Epochs; the best on dev is kept.")
flags.DEFINE_integer("batch_size", 64, "Pairs a step.")
flags.DEFINE_integer("micro_batch_size", None, "Computes the same big batches in parts of this size.")
flags.DEFINE_float("learning_rate", 5e-4, "Peak, after a warm-up of 10 %; 2e-5 suits base-size models.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_enum("jit_compile", "auto", ["auto", "true", "false"], "XLA.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text; a packed pair has twice as many.")
flags.DEFINE_integer("seed", 0, "Seed of everything.")
flags.DEFINE_string("output", "matchers", "Folder of the results.")


def read():
    """Train, dev and test pairs."""
    names, label = ("train", "dev", "test"), F.label.split(",") if "," in F.label else F.label
    paths = {name: F[name].value or (F.train is None and os.path.join(FAQ, name + ".tsv")) for name in names}
    data = {name: zoo.data.read_pairs(path, F.columns, label) for name, path in paths.items() if path}
    if missing := [name for name in names if name not in data]:
        parts = (1 - 0.05 * len(missing), *[0.05] * len(missing))
        data.update(zip(["train", *missing], zoo.data.split(data["train"], parts, seed=F.seed, groups="texts")))
    leaked = zoo.data.leakage_report(data["train"], data["dev"], data["test"]).leaked
    print(*(f"{name} {len(data[name]):,} pairs," for name in names), f"{leaked} of them leaked between the three")
    return data


def train(kind, data):
    """A matcher with the weights of its best epoch, its threshold fitted on dev, and its history."""
    keras.utils.set_random_seed(F.seed)
    classes = F.label.count(",") + 1 if "," in F.label else 2
    options = {"dtype": F.dtype, "pooling": F.pooling, "max_length": F.max_length * (1 + (kind == "interaction"))}
    if kind == "interaction" and classes > 2:
        model = zoo.TextClassifier.from_preset(F.preset, num_classes=classes, class_names=F.label.split(","), **options)
    elif kind == "interaction":
        model = zoo.InteractionMatcher.from_preset(F.preset, **options)
    else:
        head = {"num_classes": classes} if kind == "sbert" else {}
        model = zoo.RepresentationMatcher.from_preset(F.preset, **head, **options)
    loss, pairs = None, data["train"]
    if isinstance(model, zoo.InteractionMatcher) and (F.loss == "cosent" or F.label in ("score", "int")):
        loss = zoo.losses.CoSENT(scale=1.0)
    elif kind == "representation" and F.loss != "default":
        loss = getattr(zoo.losses, LOSSES[F.loss])()
        pairs = pairs.take(np.flatnonzero(pairs.labels == 1)) if F.loss == "info_nce" else pairs
    steps = F.epochs * -(-len(pairs) // F.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, alpha=0.02, warmup_target=F.learning_rate, warmup_steps=steps // 10
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
    model.compile(optimizer, loss, jit_compile={"true": True, "false": False}.get(F.jit_compile, "auto"))
    metric = "val_accuracy" if isinstance(model, zoo.TextClassifier) and classes > 2 else "val_spearman"
    best = keras.callbacks.EarlyStopping(metric, mode="max", patience=F.epochs, restore_best_weights=True)
    history = model.fit(
        pairs, validation_data=data["dev"], epochs=F.epochs, batch_size=F.batch_size, seed=F.seed, callbacks=[best],
        micro_batch_size=None if kind == "sbert" else F.micro_batch_size, verbose=2,
    )  # fmt: skip
    return model, history.history


def overlap(pairs):
    """Jaccard similarity of character bigrams: what no training at all achieves."""
    grams = ({text[i : i + 2] for i in range(max(1, len(text) - 1))} for pair in zip(*pairs.columns) for text in pair)
    return np.array([len(a & b) / len(a | b) for a, b in zip(grams, grams)])


def probabilities(scores, dev_scores, dev_labels):
    """Scores as probabilities: the sigmoid of a line fitted on dev (Platt scaling)."""
    loss = lambda line: np.logaddexp(0, (1 - 2 * dev_labels) * (line[0] * dev_scores + line[1])).mean()
    slope, shift = minimize(loss, (1.0, 0.0)).x
    return 1 / (1 + np.exp(-slope * scores - shift))


def draw(matchers, histories, data):
    """All plots."""
    from zoo import plots

    def save(figure, name):
        figure.savefig(os.path.join(F.output, name + ".png"))

    for metric in ("spearman", "accuracy"):
        if chosen := {kind: history for kind, history in histories.items() if f"val_{metric}" in history}:
            save(plots.training_curves(chosen, f"val_{metric}", f"{metric} on dev"), f"training_{metric}")
    labels, binary = data["test"].labels, F.label == "binary"
    scores = {kind: matcher.score(data["test"]) for kind, matcher in matchers.items() if hasattr(matcher, "score")}
    thresholds = {kind: matchers[kind].decision["threshold"] for kind in scores} if binary else {}
    for kind, values in scores.items():
        name = "score" if kind == "interaction" else "cosine"
        title = f"{kind} matcher, test pairs"
        save(plots.score_histogram(np.round(labels), values, thresholds.get(kind), name, title), f"{kind}_scores")
    if binary:
        dev = {kind: matchers[kind].score(data["dev"]) for kind in scores}
        fitted = {kind: probabilities(scores[kind], dev[kind], data["dev"].labels) for kind in scores}
        save(plots.reliability_diagram(labels, fitted, title="test pairs, probabilities fitted on dev"), "reliability")
        save(plots.precision_recall(labels, scores, thresholds, "test pairs"), "precision_recall")


def main(_):
    data, matchers, histories, report = read(), {}, {}, {}
    decision = fit_decision(data["dev"].labels, overlap(data["dev"]), "accuracy", "") if F.label == "binary" else None
    report["shared characters"] = pair_metrics(data["test"].labels, overlap(data["test"]), decision)
    for kind in KINDS.get(F.matcher, [F.matcher]):
        start = time.time()
        matchers[kind], histories[kind] = model, _ = train(kind, data)
        report[kind] = model.evaluate(data["test"]) | {"seconds": time.time() - start}
        if kind == "sbert":
            a, b = (model.encode(texts, normalize=False) for texts in data["test"].columns)
            chosen = keras.ops.argmax(model.class_logits(keras.ops.stack([a, b], axis=1)), axis=-1)
            right = keras.ops.convert_to_numpy(chosen) == data["test"].labels
            report[kind]["head_accuracy"] = float(right.mean())
        model.save_to_preset(os.path.join(F.output, kind))
    with open(os.path.join(F.output, "metrics.json"), "w", encoding="utf-8") as file:
        used = {flag.name: flag.value for flag in F.get_key_flags_for_module(sys.argv[0])}
        used |= {"backend": keras.backend.backend(), "keras": keras.__version__, "zoo": zoo.__version__}
        json.dump({"test": report, "history": histories, "flags": used}, file, indent=1, ensure_ascii=False)
    shown = ["spearman", "auc", "accuracy", "f1", "macro_f1", "head_accuracy", "seconds"]
    shown = [name for name in shown if any(name in row for row in report.values())]
    print("\ntest".ljust(21) + "".join(f"{name:>15}" for name in shown))
    for kind, row in report.items():
        print(kind.ljust(20) + "".join((f"{row[name]:.4f}" if name in row else "").rjust(15) for name in shown))
    try:
        draw(matchers, histories, data)
    except ImportError as error:
        print(f"\nno plots: {error}")
    print(f"\nPresets, metrics.json and plots are in {F.output}.")


if __name__ == "__main__":
    app.run(main)
