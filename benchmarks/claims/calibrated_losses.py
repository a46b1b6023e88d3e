"""Claims row: losses between cross entropy and accuracy on dirty labels, and EMO for a language model.

KERAS_BACKEND=torch python benchmarks/claims/calibrated_losses.py --data=FOLDER

Classifiers are trained for three times --epochs, since few labels are enough to learn wrong ones by heart only then. The
criterion is about them; the numbers of the language model are stated beside.
"""

import lzma
import os

import keras
import numpy as np
from absl import flags
from claim import Claim, run
from tasks import TOPICS, F, read

import zoo
from zoo import metrics

flags.DEFINE_float("wrong", 0.2, "Share of training labels that are made wrong.")
flags.DEFINE_float("gamma", 0.1, "Of TaiLr.")
flags.DEFINE_string("matcher", "roformer_v2_mini_zh_matching", "Encodes the names of the classes for EMO.")
flags.DEFINE_integer("lines", 4000, "Lines of the corpus for the language model, half of them for each loss.")
flags.DEFINE_integer("prompts", 100, "Held-out lines whose beginnings are continued.")


def classification(kind, seed):
    """Accuracy and calibration on clean dev labels after training on dirty ones."""
    keras.utils.set_random_seed(seed)
    train, dev = read("train")["topic"], read("dev")["topic"]
    random = np.random.default_rng(seed)
    wrong, shift = random.random(len(train)) < F.wrong, random.integers(1, len(TOPICS), len(train))
    dirty = [(text, int((label + w * s) % len(TOPICS))) for (text, label), w, s in zip(train, wrong, shift)]
    loss = None
    if kind == "TaiLr":
        loss = zoo.losses.TaiLr(F.gamma, min_weight=0.1)
    elif kind == "EMO":
        loss = zoo.losses.EMO(zoo.RepresentationMatcher.from_preset(F.matcher).encode(TOPICS, verbose=0), mode="mean")
    model = zoo.TextClassifier.from_preset(F.preset, num_classes=len(TOPICS), pooling="mean", max_length=F.max_length)
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, 3 * F.epochs * -(-len(dirty) // F.batch_size))
    model.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01), loss)
    model.fit(dirty, epochs=3 * F.epochs, batch_size=F.batch_size, seed=seed, verbose=0)
    p, labels = model.predict(list(dev.text), verbose=0), np.asarray(dev.labels)
    keras.backend.clear_session()
    return {
        "accuracy": 100 * np.mean(p.argmax(axis=1) == labels),
        "ECE": 100 * metrics.expected_calibration_error(labels, p),
    }


def lines(name, count):
    """Beginnings of lines of a file of the corpus."""
    with lzma.open(os.path.join(F.data, "corpus", name), "rt", encoding="utf-8") as file:
        return [line.strip()[: F.max_length] for line, _ in zip(file, range(count))]


def language_model(kind, seed):
    """Perplexity on held-out lines and distinct pairs of tokens in what is drawn, after going on by a loss from CE."""
    keras.utils.set_random_seed(seed)
    text, held_out = lines("zh-00.txt.xz", F.lines), lines("heldout.txt.xz", F.dev_limit)
    model = zoo.CausalLM.from_preset(F.preset, attention_mask="causal", max_length=F.max_length + 2)
    half = len(text) // 2
    for stage, (part, rate) in enumerate(((text[:half], F.learning_rate), (text[half:], F.learning_rate / 5))):
        loss = None
        if stage and kind == "EMO":
            loss = zoo.losses.EMO(model.backbone.token_embedding.embeddings, mode="mean")
        schedule = zoo.optimizers.WarmupDecay(rate, F.epochs * -(-len(part) // F.batch_size))
        model.compile(zoo.optimizers.FusedAdamW(schedule, weight_decay=0.01), loss)
        model.fit(part, epochs=F.epochs, batch_size=F.batch_size, seed=seed, verbose=0)
    prompts = [model.tokenizer.encode(line[:6])[0][:-1] for line in held_out[: F.prompts]]
    drawn = model.generate(prompts, 24, zoo.samplers.TopP(1.0), end=(), seed=seed)
    pairs = [pair for row in drawn for pair in zip(row, row[1:])]
    numbers = {
        "perplexity": model.evaluate(held_out, verbose=0)["perplexity"],
        "distinct-2": 100 * len(set(pairs)) / len(pairs),
    }
    keras.backend.clear_session()
    return numbers


def variant(kind):
    tells = kind != "TaiLr"
    return lambda seed: classification(kind, seed) | (language_model(kind, seed) if tells else {})


if __name__ == "__main__":
    run(
        Claim(
            text="Losses between cross entropy and accuracy are not misled by labels that are wrong: TaiLr and EMO are more "
            "accurate than cross entropy on dirty labels, and a language model that goes on by EMO writes more like people.",
            url="https://kexue.fm/archives/9526, https://kexue.fm/archives/9797",
            criterion="with 20 % of the training labels wrong, the accuracy of TaiLr and of EMO on clean labels is above that "
            "of cross entropy by more than the joint standard deviation, and their calibration error is not above its by as "
            "much.",
            holds=lambda s: all(
                s.beats(kind, "cross entropy", "accuracy") and not s.beats(kind, "cross entropy", "ECE")
                for kind in ("TaiLr", "EMO")
            ),
            variants={kind: variant(kind) for kind in ("cross entropy", "TaiLr", "EMO")},
            unit="· 100, dev; perplexity",
        )
    )
