"""Random positions on toy tasks: an encoder trained on up to 40 tokens, tested on longer ones (kexue.fm/archives/9444).

    KERAS_BACKEND=torch python benchmarks/length/toy_positions.py       # about half an hour on one core

Tasks of arXiv 2207.02098 on words of two letters: "even pairs", whether a word has an even number of places where the
letter changes (its first and last letters are then equal; read at [CLS]), and "reverse", the word backwards, letter by
letter. Variants: positions counted; random subsets of 0 .. 2,047, tested evenly spaced; equal-mean positions. --out gets
the shares of right answers, of letters in "reverse", by length; chance is one half.
"""

import json

import keras
import numpy as np
from absl import flags

import zoo
from zoo.data.positions import equal_mean_position_ids, random_position_ids

F = flags.FLAGS
flags.DEFINE_string("out", "toy_positions.json", "Where the numbers go.")
flags.DEFINE_integer("steps", 1500, "Batches of 64 words.")
flags.DEFINE_integer("seeds", 3, "Trainings of each variant.")
flags.DEFINE_list("lengths", "20,40,80,160,320", "Letters of a word in test.")
TRAIN_LENGTH, LIMIT, CLS, LETTERS = 40, 2048, 2, (5, 6)


def counted(lengths, rng, width):
    return np.broadcast_to(np.arange(width, dtype="float32"), (len(lengths), width))


def scattered(lengths, rng, width):
    return random_position_ids(lengths, rng, LIMIT, width).astype("float32")


def equal_mean(lengths, rng, width):
    return equal_mean_position_ids(lengths, rng, width=width)


VARIANTS = {"counted": counted, "random": scattered, "equal mean": equal_mean}
TASKS = ("even pairs", "reverse")


def words(task, lengths, positions, rng, train):
    """Inputs, labels and weights `[B, n]` of words of these lengths after a [CLS]."""
    width = lengths.max() + 1
    real = np.arange(width) <= lengths[:, None]
    bits = rng.integers(0, 2, (len(lengths), width))
    ids = np.where(real, np.array(LETTERS)[bits], 0)
    ids[:, 0] = CLS
    labels, weights = np.zeros_like(ids), np.zeros(ids.shape, "float32")
    if task == "even pairs":
        labels[:, 0] = bits[:, 1] == bits[np.arange(len(ids)), lengths]
        weights[:, 0] = 1
    else:
        mirrored = np.clip(lengths[:, None] + 1 - np.arange(width), 0, lengths[:, None])
        labels, weights[:, 1:] = np.take_along_axis(bits, mirrored, 1), real[:, 1:]
    places = positions(lengths + 1, rng if train else None, width)
    return {"token_ids": ids.astype("int32"), "padding_mask": real, "position_ids": places}, labels, weights


def accuracies(task, variant, seed):
    """Length -> percent right, after a training."""
    keras.utils.set_random_seed(seed)
    rng, positions = np.random.default_rng(seed), VARIANTS[variant]
    backbone = zoo.RoFormerV2(
        vocabulary_size=8, num_layers=3, num_heads=4, hidden_dim=64, intermediate_dim=128, num_segments=0,
        custom_position_ids=True, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    model = keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output))
    warm = F.steps // 10
    rate = zoo.optimizers.WarmupDecay(1e-3, F.steps + warm, warmup_steps=warm, shape="cosine")
    model.compile(
        zoo.optimizers.FusedAdam(rate, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True), weighted_metrics=["accuracy"],
    )  # fmt: skip
    batch = lambda lengths, train: words(task, lengths, positions, rng, train)
    complete = lambda inputs: {name: inputs.get(name) for name in backbone.input}
    for _ in range(F.steps):
        inputs, labels, weights = batch(rng.integers(2, TRAIN_LENGTH + 1, 64), True)
        model.train_on_batch(complete(inputs), labels, weights)
    found = {}
    for length in map(int, F.lengths):
        inputs, labels, weights = batch(np.full(256, length), False)
        right = model.predict(complete(inputs), batch_size=64, verbose=0).argmax(-1) == labels
        found[length] = 100 * float((right * weights).sum() / weights.sum())
    return found


def main(_):
    rows = []
    for task in TASKS:
        for variant in VARIANTS:
            runs = [accuracies(task, variant, seed) for seed in range(F.seeds)]
            rows.append({"task": task, "positions": variant, "runs": runs})
            means = {length: np.mean([run[length] for run in runs]) for length in runs[0]}
            print(
                f"{task:>10}, {variant:>10}: " + ", ".join(f"{n} {mean:5.1f}" for n, mean in means.items()), flush=True
            )
    with open(F.out, "w", encoding="utf-8") as file:
        json.dump({"backend": keras.backend.backend(), "steps": F.steps, "rows": rows}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    zoo.command_line.run(main)
