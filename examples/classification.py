"""Classify texts, or pairs of texts: which domain of everyday life is a question about?

    python examples/classification.py --query=手机号怎么过户         # the nine domains of the bundled FAQ, offline
    python examples/classification.py --train=train.tsv --dev=dev.tsv --test=test.tsv --classes=negative,positive
    python examples/classification.py --train=nli.tsv --columns=text_a,text_b,label ... --query=他在睡觉 --query=他醒着

Files hold text and label (.tsv .csv .jsonl, plain, .gz or .xz), or two texts and a label: then both are read in one
input, as an inference model does. --output gets the preset and metrics.json.
Reached on the bundled test texts: accuracy 0.78, macro F1 0.77 (torch, float32, seed 0; half a minute on two cores).
"""

import json
import os
import time

import keras
import numpy as np
from absl import app, flags

import zoo

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
flags.DEFINE_string("preset", "roformer_v2_mini_zh", "Name or folder of a pretrained backbone or classifier.")
flags.DEFINE_string("train", None, "Labelled texts; default: the bundled FAQ. With it --dev, --test and --classes.")
flags.DEFINE_string("dev", None, "Labelled texts that choose the epoch.")
flags.DEFINE_string("test", None, "Labelled texts that are reported.")
flags.DEFINE_list("classes", None, "Names of the classes as they stand in the files.")
flags.DEFINE_list("columns", "text,label", "Names of the columns; three for pairs.")
flags.DEFINE_string("pooling", "mean", "cls, mean, max, first_last_mean, attention or (pairs) comparison.")
flags.DEFINE_integer("epochs", 10, "Epochs; the best on dev is kept.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Texts a step.", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-4, "Of AdamW; 2e-5 suits base-size models.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text; a packed pair has twice as many.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of everything.")
flags.DEFINE_multi_string("query", [], "A text to classify at the end, may be repeated; of pairs, the two texts.")
flags.DEFINE_string("output", "classifier", "Folder of the results.")


def read_faq():
    """Classes, and wordings labelled with the domain of their question: train, dev, test."""
    read = lambda name, *columns: zoo.data.read_pairs(os.path.join(FAQ, name + ".tsv"), columns, label=None)
    domain = dict(read("questions", "id", "domain"))
    owner = {text: id for id, text in [*read("questions", "id", "question"), *read("paraphrases", "id", "text")]}
    # 9 and 18 of the 119 questions are in dev and in test alone; no text is in two of the parts.
    parts = [{text for pair in read(name, "text_a", "text_b") for text in pair} for name in ("train", "dev")]
    parts.append({text for text, _ in read("queries", "text", "id")})
    classes = sorted(set(domain.values()))
    labelled = [(text, classes.index(domain[id])) for text, id in owner.items()]
    return classes, *([row for row in labelled if row[0] in part] for part in parts)


def main(_):
    paired = F.train is not None and len(F.columns) == 3
    if paired and len(F.query) not in (0, 2):
        raise app.UsageError(f"--query was given {len(F.query)} times; a pair is two texts")
    queries = [tuple(F.query)] if paired and F.query else F.query
    if F.train is None:
        classes, *data = read_faq()
    elif not (F.dev and F.test and F.classes):
        raise app.UsageError("--train needs --dev, --test and --classes")
    else:
        classes = F.classes
        read = zoo.data.read_pairs if paired else zoo.data.read_texts
        data = [read(path, F.columns, classes) for path in (F.train, F.dev, F.test)]
    train, dev, test = map(zoo.data.as_pairs if paired else zoo.data.as_texts, data)
    keras.utils.set_random_seed(F.seed)
    model = zoo.TextClassifier.from_preset(
        F.preset,
        dtype=F.dtype,
        num_classes=len(classes),
        class_names=classes,
        pooling=F.pooling,
        max_length=F.max_length * (1 + paired),
    )
    steps = F.epochs * -(-len(train) // F.batch_size)
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, steps, warmup_steps=0, end=0.02 * F.learning_rate)
    model.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, global_clipnorm=1.0))
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=F.epochs, restore_best_weights=True)
    start = time.time()
    fit = {"epochs": F.epochs, "batch_size": F.batch_size, "seed": F.seed, "verbose": 2}
    history = model.fit(train, validation_data=dev, callbacks=[best], **fit).history
    report = {**model.evaluate(test), "seconds": time.time() - start}

    found = model.predict(test).argmax(axis=-1)
    print("\n   texts   found   right  class")
    for index, name in enumerate(classes):
        right = int(np.sum((found == index) & (test.labels == index)))
        print(f"{np.sum(test.labels == index):8}{np.sum(found == index):8}{right:8}  {name}")
    most = np.bincount(train.labels).argmax()
    print(f"\ntest, {len(test):,} texts:", ", ".join(f"{name} {value:.4f}" for name, value in report.items()))
    print(f"always the class most frequent in train: accuracy {np.mean(test.labels == most):.4f}")
    model.save_to_preset(F.output)
    with open(os.path.join(F.output, "metrics.json"), "w", encoding="utf-8") as file:
        json.dump({"test": report, "dev": history, "classes": classes}, file, indent=1, ensure_ascii=False)
    for query in queries:
        print(f"\n{' | '.join(query) if paired else query}")
        chances = model.predict([query])[0]
        for index in np.argsort(-chances)[:3]:
            print(f"{chances[index]:8.3f}  {classes[index]}")


if __name__ == "__main__":
    zoo.command_line.run(main)
