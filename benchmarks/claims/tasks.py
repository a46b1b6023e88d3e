"""What the rows on several tasks share: matching, inference and topics over one backbone, the last epoch reported."""

import os

import keras
from absl import flags

import zoo
from zoo.data import read_graded, read_pairs
from zoo.data.shuffling import SPLITS, permutation

F = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with matching/lcqmc, matching/ocnli, classification/csl-category.")
flags.DEFINE_string("preset", "roformer_v2_tiny_zh", "Name or folder of a pretrained backbone.")
flags.DEFINE_integer("limit", 1500, "Training rows of each task, the same for every seed.")
flags.DEFINE_integer("dev_limit", 1000, "Reported rows of each task.")
flags.DEFINE_integer("epochs", 3, "Epochs; no epoch is selected.")
flags.DEFINE_integer("batch_size", 32, "Rows of each task in a step.")
flags.DEFINE_float("learning_rate", 1e-3, "Peak, after a warm-up of 10 %.")
flags.DEFINE_integer("max_length", 48, "Tokens of a text; a packed pair has twice as many.")
TOPICS = "工学 农学 理学 医学 管理学 法学 教育学 经济学 文学 哲学 历史学 艺术学 军事学".split()
SCORES = {"match": "auc", "nli": "accuracy", "topic": "accuracy"}


def part(records, split):
    """Some rows of a split, drawn once for all seeds."""
    limit = F.limit if split == "train" else F.dev_limit
    return records.take(permutation(len(records), 0, SPLITS)[:limit])


def read(split):
    """Records of each task."""
    path = lambda *parts: os.path.join(F.data, *parts, f"{split}.tsv.gz")
    topics = [
        (a, TOPICS.index(b)) for a, b in read_pairs(path("classification", "csl-category"), ("text", "label"), None)
    ]
    inference = [(a, b, int(2 * label)) for a, b, label in read_graded(path("matching", "ocnli"), "nli")]
    records = {
        "match": read_pairs(path("matching", "lcqmc")),
        "nli": zoo.data.as_pairs(inference),
        "topic": zoo.data.as_texts(topics),
    }
    return {name: part(rows, split) for name, rows in records.items()}


class Times(keras.losses.Loss):
    """A task's own loss, many times as large."""

    def __init__(self, loss, factor):
        super().__init__()
        self.loss, self.factor, self.labels = loss, factor, getattr(loss, "labels", None)

    def call(self, y_true, y_pred):
        return self.factor * self.loss(y_true, y_pred)


def scores(seed, combine=None, names=tuple(SCORES), factor=1):
    """100 × the score of each task on its dev rows, and their mean, after training together.

    Args:
        combine: of `zoo.MultiTask`. names: tasks. factor: of the loss of the topics.
    """
    keras.utils.set_random_seed(seed)
    backbone = zoo.Backbone.from_preset(F.preset)
    make = {
        "match": lambda: zoo.RepresentationMatcher(backbone, max_length=F.max_length),
        "nli": lambda: zoo.TextClassifier(backbone, 3, pooling="mean", max_length=2 * F.max_length),
        "topic": lambda: zoo.TextClassifier(backbone, len(TOPICS), pooling="mean", max_length=F.max_length),
    }
    tasks = {name: make[name]() for name in names}
    train, dev = ({name: read(split)[name] for name in names} for split in ("train", "dev"))
    model = zoo.MultiTask(tasks, combine if len(names) > 1 else None)
    steps = F.epochs * max(-(-len(rows) // F.batch_size) for rows in train.values())
    loss = {"topic": Times(tasks["topic"].default_loss(), factor)} if factor != 1 else None
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, steps)
    model.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01), loss)
    model.fit(train, batch_size=F.batch_size, epochs=F.epochs, seed=seed, verbose=0)
    found = model.evaluate(dev, verbose=0)
    numbers = {name: 100 * found[name][SCORES[name]] for name in names}
    keras.backend.clear_session()
    return numbers | {"mean": sum(numbers.values()) / len(numbers)}
