"""Records to batches, the one way that every task on raw texts goes: what are records, rows of tokens, order, collation."""

from collections.abc import Mapping, Sequence

import numpy as np

from zoo.data import BatchPlan, Records
from zoo.data.dataset import Batches
from zoo.training.mixture import Mixture

# Options of Keras' verbs that say nothing about records: refused, not passed over.
NOT_WITH_RECORDS = {
    "shuffle": "rows are shuffled by `seed`",
    "sample_weight": "every record counts once; repeat those that count more",
    "class_weight": "every record counts once; repeat those that count more",
    "validation_split": "cut them by zoo.data.split, which keeps shared texts on one side",
    "validation_freq": "validation comes after each epoch",
    "steps_per_epoch": "an epoch is every record once; several sets take mixture=zoo.training.Mixture(steps=...)",
}


def is_records(x):
    """Whether x is raw records: a `zoo.data` type, or a list or other sequence of str or tuples.

    Anything else is left to Keras: arrays, dicts of arrays, `tf.data.Dataset`, torch `DataLoader`,
    `keras.utils.PyDataset`, generators. None, a set and a DataFrame count as records, so that they are refused by name.
    """
    if x is None or isinstance(x, Records | set | frozenset) or hasattr(x, "iloc"):
        return True
    return isinstance(x, Sequence) and (not len(x) or x[0] is None or isinstance(x[0], str | tuple | list))


def named_records(x):
    """Raw records by the name of their set: {None: x} of a single one; None where x is left to Keras."""
    if isinstance(x, Mapping):
        several = x and all(isinstance(name, str) and is_records(part) for name, part in x.items())
        return dict(x) if several else None
    return {None: x} if is_records(x) else None


def refuse_with_records(verb, y, options):
    """Refuse what Keras would apply to arrays, and what would be passed over here."""
    if y is not None:
        raise ValueError(f"labels belong into the records: {verb}([(text_a, text_b, label), ...])")
    for name in options:
        reason = NOT_WITH_RECORDS.get(name, "it is an option for arrays and datasets")
        raise TypeError(f"{verb} takes no {name} with records: {reason}")


class Examples:
    """Tokenized records, from which batches are collated.

    Args:
        tokens: `zoo.text.token_rows.TokenRows`.
        rows: int `[N]` or `[N, k]`, which rows of tokens each record is made of.
        labels: array `[N]`, as the loss takes them.
        buckets: increasing ints or None, the lengths that rows are padded to, see `zoo.data.BatchPlan`.

    Attributes:
        lengths: int `[N]` or `[N, k]`, tokens of each row.
    """

    def __init__(self, tokens, rows, labels, buckets=None):
        self.tokens, self.rows, self.labels, self.buckets = tokens, rows, labels, buckets
        self.lengths = tokens.lengths[rows]

    def collate(self, batch):
        """(inputs, labels, weights) of a `zoo.data.Batch`."""
        return self.tokens.batch(self.rows[batch.indices], batch.length), self.labels[batch.indices], batch.weights


class RecordBatches(Batches):
    """The batches that `fit` reads of records: in the order of a plan, which (seed, epoch) alone decide.

    Args:
        examples: object with `lengths`, `buckets` and `collate`, see `Examples`.
        batch_size: int.
        seed: int. epoch: int, the first one to serve.
        distinct: per record the texts of which none may stand twice in a batch, or None.
        sizes: dict from name to int, where the examples are several sets, one behind the other: each batch is of one.
        mixture: `zoo.training.Mixture` of these sets, or None.
    """

    def __init__(self, examples, batch_size, seed=0, epoch=0, distinct=None, sizes=None, mixture=None):
        lengths, buckets = examples.lengths, examples.buckets
        if sizes is None:
            if mixture is not None:
                raise ValueError("mixture says how often each of several sets comes: fit({'name': records, ...})")
            plan = BatchPlan(lengths, batch_size, buckets, seed=seed, last="pad", no_duplicates=distinct)
        else:
            plan = (mixture or Mixture()).plan(lengths, sizes, batch_size, buckets, seed, distinct)
        self.examples, self.distinct = examples, distinct
        super().__init__(plan, examples.collate, epoch=epoch)

    def left_out(self):
        """Rows that are in no batch of the epoch, because their texts are in too many others; int64 array."""
        return np.zeros(0, "int64") if self.distinct is None else self.plan.left_out(self.epoch)
