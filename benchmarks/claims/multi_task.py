"""Claims row: ways to weigh the losses of several tasks, and to combine their gradients, against the plain sum.

KERAS_BACKEND=torch python benchmarks/claims/multi_task.py --data=FOLDER
"""

import math

from claim import Claim, run
from tasks import scores

from zoo import training

WAYS = {
    "sum": lambda: training.WeightedSum(),
    "initial loss": lambda: training.InitialLoss(),
    "prior loss": lambda: training.PriorLoss(),
    "real time": lambda: training.RealTimeLoss(),
    "generalized mean": lambda: training.GeneralizedMean(-1),
    "gradient normalization": lambda: training.GradientNormalization(),
    "min norm": lambda: training.MinNorm(),
}
INVARIANT = ["initial loss", "prior loss", "real time", "gradient normalization"]


def harm(summary, way):
    """How much of the mean score a topic loss x100 costs, and the joint standard deviation."""
    scaled = f"{way} x100"
    spread = math.hypot(summary.std(way, "mean"), summary.std(scaled, "mean"))
    return summary.gain(way, scaled, "mean"), spread


def holds(summary):
    harmless = all(cost <= spread for cost, spread in (harm(summary, way) for way in INVARIANT))
    return harmless and all(summary.beats(way, "sum", "mean") for way in WAYS if way != "sum")


def says(summary):
    above = [way for way in WAYS if way != "sum" and summary.beats(way, "sum", "mean")]
    costs = ", ".join("{} {:.2f} ± {:.2f}".format(way, *harm(summary, way)) for way in ["sum", *INVARIANT])
    moved = lambda task: [summary.gain(way, "sum", task) for way in WAYS if way != "sum"]
    trade = ", ".join(
        f"{task} {min(moved(task)):+.1f} to {max(moved(task)):+.1f}" for task in ("match", "nli", "topic")
    )
    return (
        f"A trade: against the plain sum the ways change {trade}; inference stays near the share of its largest class. "
        f"Above it in the mean by more than the joint standard deviation: {', '.join(above) or 'none'}. What a topic loss x100 "
        f"costs in the mean: {costs}."
    )


if __name__ == "__main__":
    run(
        Claim(
            text="Tasks whose losses are weighed by their first, prior or present values, or whose gradients are normalized or "
            "combined to a common descent, train better together than by the plain sum, whatever the scale of a loss.",
            url="https://kexue.fm/archives/8870, https://kexue.fm/archives/8896",
            criterion="the mean score (AUC of matching, accuracy of inference and of topics) of every way is above that of the "
            "plain sum by more than the joint standard deviation, and a topic loss x100 costs the ways that divide by "
            "a loss or a length at most that.",
            holds=holds,
            says=says,
            variants={way: lambda seed, make=make: scores(seed, make()) for way, make in WAYS.items()}
            | {
                f"{way} x100": lambda seed, way=way: scores(seed, WAYS[way](), factor=100)
                for way in ["sum", *INVARIANT]
            },
            unit="score · 100, dev",
        )
    )
