"""Claims row: the vector of [CLS] against the mean of all tokens, under both losses.

KERAS_BACKEND=torch python benchmarks/claims/pooling.py --data=matching --preset=roformer_v2_mini_zh
"""

from claim import Claim, run
from training import SCORES, of_each_set, percent, representation, trained

import zoo


def pooled(kind, pooling):
    def numbers(seed):
        def report(name, train, dev):
            classes = None
            if kind == "sbert":
                classes = SCORES.get(name, 1) + 1
                train = zoo.data.as_pairs([(a, b, int(label)) for a, b, label in train])
            matcher = representation(num_classes=classes, pooling=pooling)
            return {"ρ": percent(trained(matcher, train, seed).evaluate(dev, verbose=0), "spearman")}

        return of_each_set(report)

    return numbers


if __name__ == "__main__":
    run(
        Claim(
            text="For Sentence-BERT mean pooling works better than the first token.",
            url="https://kexue.fm/archives/8860",
            criterion="under the Sentence-BERT head the mean ρ of mean pooling is above that of [CLS] by more than the joint "
            "standard deviation.",
            holds=lambda s: s.beats("sbert-mean", "sbert-cls", "mean ρ"),
            variants={
                f"{kind}-{pooling}": pooled(kind, pooling)
                for kind in ("cosent", "sbert")
                for pooling in ("cls", "mean")
            },
            unit="Spearman · 100, dev",
        )
    )
