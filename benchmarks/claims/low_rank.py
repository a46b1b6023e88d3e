"""Claims row: fine-tuning of all weights against LoRA as an optimizer (`zoo.optimizers.LowRank`).

KERAS_BACKEND=torch python benchmarks/claims/low_rank.py --data=matching --preset=roformer_v2_mini_zh

What rank 8 has to reach is stated as a share of what fine-tuning gains over the encoder as it is: points of ρ alone say
little where fine-tuning itself gains few.
"""

import numpy as np
from absl import flags
from claim import Claim, run
from training import SCORES, of_each_set, optimizer, percent, representation, trained

import zoo

F = flags.FLAGS
flags.DEFINE_float("faster", 4.0, "Learning rate of the factors over that of whole kernels.")
flags.register_validator("sets", lambda sets: "lcqmc" in sets, "the criterion is on lcqmc")
STATE = "optimizer state / weights"


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
            return {**scores(name, matcher, dev), STATE: state / matcher.count_params()}

        return of_each_set(report)

    return numbers


def share_of_gain(summary):
    """Of fine-tuning's gain in accuracy over the frozen encoder, what rank 8 gains."""
    gained = summary.gain("fine-tuned", "frozen", "lcqmc accuracy")
    return summary.gain("rank-8", "frozen", "lcqmc accuracy") / gained if gained > 0 else float("nan")


def share_of_state(summary):
    """Of the numbers that fine-tuning's optimizer keeps, what rank 8 keeps."""
    kept = f"lcqmc {STATE}"
    return summary.mean("rank-8", kept) / summary.mean("fine-tuned", kept)


if __name__ == "__main__":
    run(
        Claim(
            text="LoRA is a change of the optimizer, needs far less of its memory, and rank 8, typically, is enough.",
            url="https://kexue.fm/archives/9590",
            criterion="with rank 8 accuracy on LCQMC gains at least 98 % of what fine-tuning gains over the frozen encoder, "
            "and the optimizer's state is at most 5 % of fine-tuning's.",
            holds=lambda s: share_of_gain(s) >= 0.98 and share_of_state(s) <= 0.05,
            says=lambda s: (
                f"Of fine-tuning, with rank 8: {share_of_gain(s):.1%} of the gain in accuracy on LCQMC, "
                f"{share_of_state(s):.1%} of the optimizer's state."
            ),
            variants={"frozen": frozen, "fine-tuned": tuned(None), "rank-1": tuned(1), "rank-8": tuned(8)},
            unit="Spearman · 100, dev",
            pictured=["lcqmc ρ", "lcqmc accuracy", "stsb-zh ρ"],
        )
    )
