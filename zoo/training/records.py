"""Records to batches, the one way that every task on raw texts goes: what are records, rows of tokens, order, collation."""

from collections.abc import Mapping
from numbers import Integral
from os import PathLike

import numpy as np

from zoo.backend.near_names import did_you_mean
from zoo.data import BatchPlan
from zoo.data.dataset import Batches
from zoo.data.raw_rows import COLUMNS, Begun, begun, has_text, holds_texts
from zoo.training.mixture import Mixture

# Options of Keras' verbs that say nothing about records: refused, not passed over.
NOT_WITH_RECORDS = {
    "shuffle": "rows are shuffled by `seed`",
    "sample_weight": "every record counts once; repeat those that count more",
    "class_weight": "every record counts once; repeat those that count more",
    "validation_split": "cut them by zoo.data.split, which keeps shared texts on one side",
    "validation_freq": "validation comes after each epoch",
    "learning_rate": "it is of the optimizer, compile(keras.optimizers.AdamW(learning_rate))",
    "loss": "it belongs into compile(loss=...)",
    "metrics": "they belong into compile(metrics=[...])",
    "steps_per_epoch": "an epoch is every record once; several sets take mixture=zoo.training.Mixture(steps=...)",
}


# Options of the verbs on records
_SHARED = ("batch_size", "verbose")
_OF_FIT = ("epochs", "callbacks", "validation_data", "seed", "micro_batch_size", "initial_epoch", "mixture")


def named_records(x):
    """(x, its raw records by the name of their set): {None: x} of a single one; None where x is left to Keras.

    What counts as raw records is up to `zoo.data.raw_rows`. Left to Keras are arrays, dicts of arrays,
    `tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset`, generators, without strings in them.
    """
    if isinstance(x, Mapping):
        sets = {name: begun(part) for name, part in x.items()}
        others = [name for name in sets if not isinstance(name, str)]
        if not sets or others and any(map(holds_texts, sets.values())):
            got = f"the name {others[0]!r:.40} of type {type(others[0]).__name__}" if sets else "an empty dict"
            raise TypeError(
                f"got {got}; several sets of records are a dict from the name of each, a str, to its records"
            )
        if sets and all(isinstance(name, str) for name in sets) and any(map(holds_texts, sets.values())):
            if all(map(holds_texts, sets.values())) and not set(sets) <= set(COLUMNS):
                return x, sets
            return x, {None: x}  # columns, which are refused by name
        return x, None
    x = begun(x)
    if holds_texts(x):
        return x, {None: x}
    return (x.generator() if isinstance(x, Begun) else x), None


def refuse_with_records(verb, y, options):
    """Refuse what Keras would apply to arrays, and what would be passed over here."""
    if y is not None:
        raise ValueError(
            f"labels belong into the records: {verb}([(text_a, text_b, label), ...]); of two lists they are made by "
            f"{verb}(list(zip(texts, labels)))"
        )
    for name in options:
        near = did_you_mean(name, _SHARED + _OF_FIT * (verb == "fit"))
        reason = NOT_WITH_RECORDS.get(name, near or "it is an option for arrays and datasets")
        raise TypeError(f"{verb} takes no {name} with records: {reason}")


class TokensOnly:
    """A `keras.Model` whose Keras verbs take arrays of token ids; raw texts are refused by name, before Keras meets them."""

    texts_go = "texts become token ids by model.tokenizer(texts)"

    def refuse_texts(self, verb, x):
        """TypeError where x holds raw texts."""
        if isinstance(x, str | bytes | list | tuple | Mapping | np.ndarray) and has_text(x):
            raise TypeError(
                f"{type(self).__name__}{verb} takes arrays of token ids, got the {type(x).__name__} {x!r:.60} with texts "
                f"in it; {self.texts_go}"
            )

    def __call__(self, *args, **kwargs):
        self.refuse_texts("(...)", args[0] if args else None)
        return super().__call__(*args, **kwargs)

    def train_on_batch(self, x, *args, **kwargs):
        self.refuse_texts(".train_on_batch", x)
        return super().train_on_batch(x, *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        self.refuse_texts(".test_on_batch", x)
        return super().test_on_batch(x, *args, **kwargs)

    def predict_on_batch(self, x):
        self.refuse_texts(".predict_on_batch", x)
        return super().predict_on_batch(x)


def refuse_name(task, backbone):
    """TypeError where a task is made with a preset's name or folder in the place of a backbone."""
    if isinstance(backbone, str | PathLike):
        raise TypeError(
            f"{task.__name__} takes a backbone, got the {type(backbone).__name__} {str(backbone)!r:.80}; from a preset it is "
            f"made by {task.__name__}.from_preset({str(backbone)!r:.80})"
        )


def check_tokenizer(task, tokenizer, backbone):
    """Refuse what is no tokenizer, or one that gives ids for which the backbone has no rows.

    Args:
        task: class. tokenizer: object or None.
    """
    if tokenizer is None:
        return
    if isinstance(tokenizer, type) or not callable(tokenizer):
        raise TypeError(
            f"{task.__name__}: tokenizer is the {type(tokenizer).__name__} {tokenizer!r:.80}; expected an object such as "
            "zoo.Tokenizer.from_vocabulary_text(text of a vocab.txt), or the tokenizer of a backbone, "
            "zoo.Backbone.from_preset(...).tokenizer"
        )
    size, rows = getattr(tokenizer, "vocabulary_size", 0), getattr(backbone, "vocabulary_size", None)
    if rows is not None and isinstance(size, int) and size > rows:
        raise ValueError(
            f"{task.__name__}: the tokenizer has {size:,} tokens, the {type(backbone).__name__} rows for {rows:,}; is it the "
            "tokenizer of another model?"
        )


def check_numbers(verb, **numbers):
    """Refuse what is no whole number of at least 1 (`initial_epoch` and `seed`: of at least 0), before Keras trains by it."""
    for name, value in numbers.items():
        least = int(name not in ("initial_epoch", "seed"))
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{verb}({name}={value!r}): expected a whole number of at least {least}")


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
