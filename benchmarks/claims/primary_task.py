"""Claims row: auxiliary tasks that may not raise the primary's loss, against the primary alone and the plain sum.

KERAS_BACKEND=torch python benchmarks/claims/primary_task.py --data=FOLDER
"""

from claim import Claim, run
from tasks import scores

from zoo.training import PrimaryTask, WeightedSum

if __name__ == "__main__":
    run(
        Claim(
            text="Auxiliary tasks help the primary one when the update follows its gradient as far as no auxiliary loss rises: "
            "they regularize, and cannot lead it astray.",
            url="https://kexue.fm/archives/8907",
            criterion="the AUC of matching under PrimaryTask, with inference and topics as auxiliaries, is above that of "
            "matching alone and that of the plain sum by more than the joint standard deviation.",
            holds=lambda s: all(s.beats("primary task", other, "match") for other in ("alone", "sum")),
            variants={
                "alone": lambda seed: scores(seed, names=("match",)),
                "sum": lambda seed: scores(seed, WeightedSum()),
                "primary task": lambda seed: scores(seed, PrimaryTask("match")),
            },
            unit="score · 100, dev",
            pictured=["match"],
        )
    )
