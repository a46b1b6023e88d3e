"""What fit, evaluate and predict of every task take for raw records, and what they leave to Keras."""

from collections.abc import Sequence

from zoo.data import Records

# Options of Keras' verbs that say nothing about records: refused, not passed over.
NOT_WITH_RECORDS = {
    "shuffle": "rows are shuffled by `seed`",
    "sample_weight": "every record counts once; repeat those that count more",
    "class_weight": "every record counts once; repeat those that count more",
    "validation_split": "cut them by zoo.data.split, which keeps shared texts on one side",
    "validation_freq": "validation comes after each epoch",
    "steps_per_epoch": "an epoch is every record once",
}


def is_records(x):
    """Whether x is raw records: a `zoo.data` type, or a list or other sequence of str or tuples.

    Anything else is left to Keras: arrays, dicts of arrays, `tf.data.Dataset`, torch `DataLoader`,
    `keras.utils.PyDataset`, generators. None, a set and a DataFrame count as records, so that they are refused by name.
    """
    if x is None or isinstance(x, Records | set | frozenset) or hasattr(x, "iloc"):
        return True
    return isinstance(x, Sequence) and (not len(x) or x[0] is None or isinstance(x[0], str | tuple | list))


def refuse_with_records(verb, y, options):
    """Refuse what Keras would apply to arrays, and what would be passed over here."""
    if y is not None:
        raise ValueError(f"labels belong into the records: {verb}([(text_a, text_b, label), ...])")
    for name in options:
        reason = NOT_WITH_RECORDS.get(name, "it is an option for arrays and datasets")
        raise TypeError(f"{verb} takes no {name} with records: {reason}")
