"""What several tasks in `zoo.MultiTask` cost beside the same tasks trained one after another.

    KERAS_BACKEND=torch python benchmarks/multi_task.py --store

A matcher and a classifier over `roformer_v2_mini_zh`, 32 rows of each a step, texts of the bundled FAQ, one epoch of `fit` in
turns, the median of the ratios. Processor time, so that neighbours disturb little; set one thread for the same reason
(OMP_NUM_THREADS=1). A way that asks for the gradients of each task may take n + 0.2 backward passes for n tasks: what it
takes beyond the weighted sum, in backward passes of one task, a backward pass being two thirds of a training step.
"""

import os
import statistics
import time

import keras
from absl import app, flags
from records import made_on, merge, write

import zoo
from zoo import training

F = flags.FLAGS
flags.DEFINE_integer("turns", 5, "Turns.")
flags.DEFINE_integer("rows", 256, "Rows of each task in an epoch.")
flags.DEFINE_bool("store", False, "Write multi_task.json and multi_task.md.")
HERE = os.path.dirname(os.path.abspath(__file__))
FAQ = os.path.join(os.path.dirname(HERE), "examples", "data", "faq_zh")
WAYS = {
    "weighted sum": training.WeightedSum,
    "real time": training.RealTimeLoss,
    "gradient normalization": training.GradientNormalization,
    "min norm": training.MinNorm,
}


def seconds(run):
    start = time.process_time()
    run()
    return time.process_time() - start


def fit(model, records):
    """A function that trains one more epoch."""
    model.compile(zoo.optimizers.FusedAdamW(1e-5))
    return lambda: model.fit(records, batch_size=32, epochs=1, verbose=0)


def tasks():
    backbone = zoo.Backbone.from_preset("roformer_v2_mini_zh")
    return {
        "match": zoo.RepresentationMatcher(backbone, max_length=48),
        "topic": zoo.TextClassifier(backbone, 2, pooling="mean", max_length=48),
    }


def measure():
    """Rows of the table."""
    pairs = list(zoo.data.read_pairs(os.path.join(FAQ, "train.tsv")))[: F.rows]
    records = {"match": pairs, "topic": [(a, label) for a, _, label in pairs]}
    alone = [fit(model, records[name]) for name, model in tasks().items()]
    together = {way: fit(zoo.MultiTask(tasks(), make()), records) for way, make in WAYS.items()}
    turns = {way: [] for way in ("apart", *together)}
    for turn in range(F.turns + 2):  # the first two compile
        found = {"apart": sum(map(seconds, alone))} | {way: seconds(run) for way, run in together.items()}
        for way, value in found.items() if turn > 1 else ():
            turns[way].append(value)
    apart = turns.pop("apart")
    plain = turns["weighted sum"]
    for way, values in turns.items():
        extra = statistics.median((one - sum_) / (2 / 3 * both / 2) for one, sum_, both in zip(values, plain, apart))
        ratios = [one / both for one, both in zip(values, apart)]
        yield {
            "backend": keras.backend.backend(), "way": way, "apart": round(statistics.median(apart), 3),
            "ratio": round(statistics.median(ratios), 3), "least": round(min(ratios), 3), "most": round(max(ratios), 3),
            "backward": round(2 + extra, 2), **made_on(),
        }  # fmt: skip


def table(rows):
    lines = [
        "`OMP_NUM_THREADS=1 python benchmarks/multi_task.py`: two tasks in `zoo.MultiTask` over the two trained apart,",
        "processor time of an epoch, median of the turns (least and most); and backward passes a step, two at least.",
        "",
        "| processor | backend | apart, s | way | together / apart | backward passes |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: (row["processor"], row["backend"])):
        place = f"{row['cores']} × {row['processor']}, {row['date']}"
        ratio = f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
        cells = (place, row["backend"], f"{row['apart']:.2f}", row["way"], ratio, f"{row['backward']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(_):
    rows = list(measure())
    print(table(rows))
    if F.store:
        path = os.path.join(HERE, "multi_task")
        write(f"{path}.md", table(merge(f"{path}.json", rows, ("backend", "way", "processor"))))


if __name__ == "__main__":
    app.run(main)
