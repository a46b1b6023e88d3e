"""Padding of real text pairs under several choices of length buckets, and how many shapes each compiles.

    KERAS_BACKEND=torch python benchmarks/length_buckets.py --data=FOLDER

FOLDER holds NAME/dev.tsv.gz of each set. A cell is the share of computed tokens that are padding in training (batches of
64, an epoch) / in prediction, and the number of lengths that training compiled.
"""

import os

from absl import app, flags

import zoo
from zoo.data import BUCKETS, BatchPlan, PredictionPlan, length_buckets
from zoo.text.token_rows import TokenRows

F = flags.FLAGS
flags.DEFINE_string("data", None, "Folder of the sets; without it nothing is measured.")
flags.DEFINE_list("sets", "lcqmc,stsb-zh,afqmc,ocnli,pawsx-zh,sohu-ss-a,stsb-en", "Folders in --data.")
flags.DEFINE_string("preset", "roformer_v2_tiny_zh", "Whose tokenizer counts.")
flags.DEFINE_integer("max_length", 128, "Tokens a row is cut to.")
flags.DEFINE_integer("batch_size", 64, "Rows of a batch.")
CHOICES = {
    "doubling": BUCKETS,
    "doubling from 8": (8, *BUCKETS),
    "half steps": (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    "half steps from 8": (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    "steps of 8": tuple(range(8, 513, 8)),
    "longest row": None,
}


def main(_):
    if F.data is None:
        return print("length_buckets: no --data, nothing is measured")
    tokenizer = zoo.Backbone.from_preset(F.preset).tokenizer
    print(
        "| set | rows of | mean tokens | " + " | ".join(CHOICES) + " |\n| --- | --- | ---: |" + " ---: |" * len(CHOICES)
    )
    for name in F.sets:
        label = "score" if name.startswith("stsb") else None
        names = ("text_a", "text_b", *([label] if label else ()))
        pairs = zoo.data.read_pairs(os.path.join(F.data, name, "dev.tsv.gz"), names, label, header=True)
        both = TokenRows(tokenizer, pairs.text_a + pairs.text_b, max_length=F.max_length).lengths
        packed = TokenRows(tokenizer, pairs.text_a, pairs.text_b, max_length=F.max_length).lengths
        for rows, lengths in (("two texts", both.reshape(2, -1).T), ("packed", packed)):
            cells = []
            for buckets in CHOICES.values():
                buckets = None if buckets is None else length_buckets(F.max_length, buckets)
                plan = BatchPlan(lengths, F.batch_size, buckets, last="pad")
                prediction = PredictionPlan(both if rows == "two texts" else lengths, F.batch_size, buckets)
                shapes = len({batch.length for batch in plan(0)})
                cells.append(f"{plan.padding_fraction():.0%} / {prediction.padding_fraction:.0%}, {shapes}")
            print(f"| {name} | {rows} | {lengths.mean():.1f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    app.run(main)
