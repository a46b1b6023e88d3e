"""Options of Keras' fit, evaluate and predict that say nothing about records: refused, not passed over."""

NOT_WITH_RECORDS = {
    "shuffle": "rows are shuffled by `seed`",
    "sample_weight": "every record counts once; repeat those that count more",
    "class_weight": "every record counts once; repeat those that count more",
    "validation_split": "cut them by zoo.data.split, which keeps shared texts on one side",
    "validation_freq": "validation comes after each epoch",
    "steps_per_epoch": "an epoch is every record once",
}


def refuse_with_records(verb, y, options):
    """Refuse what Keras would apply to arrays, and what would be passed over here."""
    if y is not None:
        raise ValueError(f"labels belong into the records: {verb}([(text_a, text_b, label), ...])")
    for name in options:
        reason = NOT_WITH_RECORDS.get(name, "it is an option for arrays and datasets")
        raise TypeError(f"{verb} takes no {name} with records: {reason}")
