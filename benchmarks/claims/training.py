"""What the rows on matching share: the same pairs, batches and schedule for every variant, the last epoch reported."""

import os
import sys

import keras
from absl import flags

import zoo
from zoo.data.shuffling import SPLITS, permutation

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import recipe  # noqa: E402

F = flags.FLAGS
flags.DEFINE_string("data", None, "Folder of the sets: NAME/train.tsv.gz to train on, NAME/dev.tsv.gz to report.")
flags.DEFINE_string("preset", "roformer_v2_tiny_zh", "Name or folder of a pretrained backbone.")
flags.DEFINE_list("sets", "lcqmc,stsb-zh", "Folders in --data.")
flags.DEFINE_integer("limit", 6000, "Training pairs of a set, the same for every seed; 0: all.")
flags.DEFINE_integer("dev_limit", 0, "Reported pairs of a set; 0: all.")
flags.DEFINE_integer("epochs", 3, "Epochs; no epoch is selected.")
flags.DEFINE_integer("batch_size", 64, "Pairs a step.")
flags.DEFINE_float("learning_rate", 5e-4, "Peak, after a warm-up of 10 %; 2e-5 suits base-size models.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text; a packed pair has twice as many.")
flags.DEFINE_string("dtype", "float32", "Dtype policy.")
SCORES = {"stsb-zh": 5}  # sets of similarity scores, and the highest; the others are of labels 0 and 1


def pairs(name, split):
    """Pairs of a set with its own labels, 0/1 or scores that are whole numbers."""
    column, label = ("score", "score") if name in SCORES else ("label", "binary")
    path = os.path.join(F.data, name, f"{split}.tsv.gz")
    found = zoo.data.read_pairs(path, ("text_a", "text_b", column), label)
    limit = F.limit if split == "train" else F.dev_limit
    return found.take(permutation(len(found), 0, SPLITS)[:limit]) if limit else found


def optimizer(steps, learning_rate=None):
    """That of all benchmarks, at the rate of the flag."""
    return recipe.optimizer(steps, learning_rate or F.learning_rate)


def trained(matcher, train, seed, loss=None, optimizer_of=optimizer):
    """The matcher after --epochs on the pairs."""
    matcher.compile(optimizer_of(F.epochs * -(-len(train) // F.batch_size)), loss)
    matcher.fit(train, epochs=F.epochs, batch_size=F.batch_size, seed=seed, verbose=0)
    return matcher


def representation(preset=None, **options):
    return zoo.RepresentationMatcher.from_preset(preset or F.preset, dtype=F.dtype, max_length=F.max_length, **options)


def of_each_set(report):
    """Numbers of `report(name, train, dev)`, a dict, for each set, and their means over the sets."""
    numbers = {}
    for name in F.sets:
        keras.backend.clear_session()
        for key, value in report(name, pairs(name, "train"), pairs(name, "dev")).items():
            numbers[f"{name} {key}"] = value
    for key in dict.fromkeys(number.split(" ", 1)[1] for number in numbers):
        values = [value for number, value in numbers.items() if number.split(" ", 1)[1] == key]
        numbers |= {f"mean {key}": sum(values) / len(values)} if len(values) > 1 else {}
    return numbers


def percent(metrics, name):
    return 100.0 * metrics[name]
