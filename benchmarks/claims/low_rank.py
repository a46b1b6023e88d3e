"""Claims row: fine-tuning of all weights against LoRA as an optimizer (`zoo.optimizers.LowRank`).

KERAS_BACKEND=torch python benchmarks/claims/low_rank.py --data=matching --preset=roformer_v2_mini_zh
"""

import numpy as np
from absl import flags
from claim import Claim, run
from training import SCORES, of_each_set, optimizer, percent, representation, trained

import zoo

F = flags.FLAGS
flags.DEFINE_float("faster", 4.0, "Learning rate of the factors over that of whole kernels.")


def scores(name, matcher, dev):
    """ρ, and where labels are 0 and 1 the accuracy at the best threshold."""
    metrics = matcher.evaluate(dev, verbose=0)
    accuracy = {} if name in SCORES else {"accuracy": percent(metrics, "best_accuracy")}
    return {"ρ": percent(metrics, "spearman"), **accuracy}


def frozen(seed):
    """The encoder without training."""
    return of_each_set(lambda name, train, dev: scores(name, representation(), dev))


def tuned(rank):
    def optimizer_of(steps):
        if rank is None:
            return optimizer(steps)
        return zoo.optimizers.LowRank(optimizer(steps, F.faster * F.learning_rate), rank=rank)

    def numbers(seed):
        def report(name, train, dev):
            matcher = trained(representation(), train, seed, optimizer_of=optimizer_of)
            state = sum(np.prod(variable.shape) for variable in matcher.optimizer.variables)
            return {**scores(name, matcher, dev), "optimizer state / weights": state / matcher.count_params()}

        return of_each_set(report)

    return numbers


if __name__ == "__main__":
    run(
        Claim(
            text="LoRA is a change of the optimizer, needs far less of its memory, and rank 8, typically, is enough.",
            url="https://kexue.fm/archives/9590",
            criterion="with rank 8 the mean ρ is within 2 points of fine-tuning's, and the optimizer's state is at most a "
            "quarter of fine-tuning's.",
            holds=lambda s: (
                s.gain("rank-8", "fine-tuned", "mean ρ") >= -2
                and s.mean("rank-8", "mean optimizer state / weights")
                <= 0.25 * s.mean("fine-tuned", "mean optimizer state / weights")
            ),
            variants={"frozen": frozen, "fine-tuned": tuned(None), "rank-1": tuned(1), "rank-8": tuned(8)},
            unit="Spearman · 100, dev",
            pictured=["lcqmc ρ", "lcqmc accuracy", "stsb-zh ρ"],
        )
    )
