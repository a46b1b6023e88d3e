"""Train text matchers on pairs, fit their thresholds on dev, report on test: the main job.

    python examples/text_matching.py                              # bundled FAQ pairs, both matchers, offline
    KERAS_BACKEND=jax python examples/text_matching.py --matcher=representation --dtype=mixed_bfloat16
    python examples/text_matching.py --preset=FOLDER --train=train.tsv.gz --test=dev.tsv.gz --epochs=3

Files hold text_a, text_b, label (.tsv .csv .jsonl, plain, .gz or .xz); dev and test, if missing, are cut off train without
shared texts. --output gets presets, metrics.json, plots. Bundled test pairs: ρ 0.41 and 0.42 (torch, 75 s each on two cores).
"""

import json
import os
import time

import keras
import numpy as np
from absl import app, flags

import zoo.plots
from zoo.metrics import fit_decision, pair_metrics

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
LOSSES = ["CoSENT", "AnglE", "Circle", "Contrastive", "CosineRegression", "InfoNCE"]
KINDS = {"both": ["representation", "interaction"], "all": ["representation", "sbert", "interaction"]}
flags.DEFINE_string("preset", None, "Name or folder of a backbone or matcher; default: zoo's own matcher of each kind.")
flags.DEFINE_enum("matcher", "both", [*KINDS["all"], *KINDS], "What to train.")
flags.DEFINE_string("train", None, "Training pairs; default: the bundled FAQ.")
flags.DEFINE_string("dev", None, "Pairs that choose the epoch and the threshold.")
flags.DEFINE_string("test", None, "Pairs that are reported.")
flags.DEFINE_string("label", "binary", "binary, int, score, or names of classes, lowest first: no,maybe,yes.")
flags.DEFINE_list("columns", "text_a,text_b,label", "Names of the columns.")
flags.DEFINE_enum("loss", None, LOSSES, "Of the representation matcher; others have one.", case_sensitive=False)
flags.DEFINE_string("pooling", None, "See zoo.layers.Pooling; default: as the preset has it; else mean, comparison.")
flags.DEFINE_integer("epochs", 3, "Epochs; the best on dev is kept.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Pairs a step.", lower_bound=1)
flags.DEFINE_integer("micro_batch_size", None, "Compute batches in parts of this size (not sbert).", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-4, "Peak, after a warm-up of 10 %; 2e-5 suits base-size models.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_enum("jit_compile", "auto", ["auto", "true", "false"], "XLA.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text; a packed pair has twice as many.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of everything.")
flags.DEFINE_string("output", "matchers", "Folder of the results.")


def read(names):
    """Every class's name or None, and train, dev and test pairs."""
    classes = F.label.split(",") if "," in F.label else None
    paths = {name: F[name].value or (F.train is None and os.path.join(FAQ, name + ".tsv")) for name in names}
    data = {name: zoo.data.read_pairs(path, F.columns, classes or F.label) for name, path in paths.items() if path}
    if missing := [name for name in names if name not in data]:
        shares = (1 - 0.05 * len(missing), *[0.05] * len(missing))
        data.update(zip(["train", *missing], zoo.data.split(data["train"], shares, seed=F.seed, groups="texts")))
    small = [f"; {n} is too small to judge by" for n in names[1:] if len(data[n]) < 50 or len(set(data[n].labels)) < 2]
    leaked = zoo.data.leakage_report(*(data[name] for name in names)).leaked
    print(*(f"{name}: {len(data[name]):,} pairs;" for name in names), f"{leaked} leaked between them", *small)
    return classes, *(data[name] for name in names)


def train(kind, classes, pairs, dev):
    """A matcher at its best epoch, the threshold fitted on dev, and the history."""
    keras.utils.set_random_seed(F.seed)
    preset = F.preset or "roformer_v2_mini_zh_" + ("interaction" if kind == "interaction" else "matching")
    pooling = F.pooling or (kind == "interaction" and zoo.models.preset.read(preset).task is None and "comparison")
    options = {"dtype": F.dtype, "max_length": F.max_length * (1 + (kind == "interaction"))}
    options |= {"pooling": pooling} if pooling else {}
    loss, monitor, part = None, "val_spearman", F.micro_batch_size if kind != "sbert" else None
    if kind == "sbert":
        grades = len(classes) if classes else int(pairs.labels.max()) + 1
        model = zoo.RepresentationMatcher.from_preset(preset, num_classes=grades, **options)
    elif kind == "representation":
        model = zoo.RepresentationMatcher.from_preset(preset, **options)
        loss = F.loss and getattr(zoo.losses, F.loss)()
        pairs = pairs.take(np.flatnonzero(pairs.labels == 1)) if F.loss == "InfoNCE" else pairs
    elif classes and len(classes) > 2:
        model = zoo.TextClassifier.from_preset(preset, num_classes=len(classes), class_names=classes, **options)
        monitor = "val_accuracy"
    else:
        model = zoo.InteractionMatcher.from_preset(preset, **options)
        loss = zoo.losses.CoSENT(scale=1.0)
    steps = F.epochs * -(-len(pairs) // F.batch_size)
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, steps, end=0.02 * F.learning_rate, shape="cosine")
    optimizer = zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
    model.compile(optimizer, loss, jit_compile={"true": True, "false": False}.get(F.jit_compile, "auto"))
    best = keras.callbacks.EarlyStopping(monitor, mode="max", patience=F.epochs, restore_best_weights=True)
    fit = {"epochs": F.epochs, "batch_size": F.batch_size, "micro_batch_size": part, "seed": F.seed, "verbose": 2}
    return model, model.fit(pairs, validation_data=dev, callbacks=[best], **fit).history


def overlap(pairs):
    """Jaccard similarity of character bigrams: what no training at all achieves."""
    grams = ({text[i : i + 2] for i in range(max(1, len(text) - 1))} for pair in zip(*pairs.columns) for text in pair)
    return np.array([len(a & b) / len(a | b) for a, b in zip(grams, grams)])


def main(_):
    if F.loss == "InfoNCE" and F.label != "binary":
        raise app.UsageError("--loss=InfoNCE trains on the pairs labelled 1 as matches; it takes --label=binary")
    classes, pairs, dev, test = read(("train", "dev", "test"))
    decision = fit_decision(dev.labels, overlap(dev), "accuracy", dev.sha256) if set(dev.labels) == {0, 1} else None
    report, models, histories = {"shared characters": pair_metrics(test.labels, overlap(test), decision)}, {}, {}
    for kind in KINDS.get(F.matcher, [F.matcher]):
        start, (models[kind], histories[kind]) = time.time(), train(kind, classes, pairs, dev)
        report[kind] = {**models[kind].evaluate(test, verbose=0), "seconds": time.time() - start}
        models[kind].save_to_preset(os.path.join(F.output, kind))
    with open(os.path.join(F.output, "metrics.json"), "w", encoding="utf-8") as file:
        run = {flag.name: flag.value for flag in F.get_key_flags_for_module(F.find_module_defining_flag("train"))}
        run |= {"backend": keras.backend.backend(), "keras": keras.__version__, "zoo": zoo.__version__}
        json.dump({"test": report, "dev": histories, "run": run}, file, indent=1, ensure_ascii=False)
    shown = [n for n in "spearman auc accuracy f1 macro_f1 seconds".split() if any(n in row for row in report.values())]
    print("\ntest".ljust(20), *(f"{name:>12}" for name in shown))
    for kind, row in report.items():
        print(kind.ljust(19), *(f"{row[name]:12.4f}" if name in row else " " * 12 for name in shown))
    for name, figure in zoo.plots.matching_figures(models, histories, dev, test).items():
        figure.savefig(os.path.join(F.output, name + ".png"))
    print(f"\nPresets, metrics.json and plots are in {F.output}.")


if __name__ == "__main__":
    zoo.command_line.run(main)
