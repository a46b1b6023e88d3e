"""What callbacks remember from one epoch to the next: a closed list, as JSON values and arrays."""

import keras
import numpy as np

from zoo.callbacks.best_preset import BestPreset

# Class -> attributes that are numbers or None, attributes that are lists of arrays or None.
_MEMORIES = {
    keras.callbacks.EarlyStopping: (("wait", "stopped_epoch", "best", "best_epoch"), ("best_weights",)),
    keras.callbacks.ModelCheckpoint: (("best", "_batches_seen_since_last_saving", "_last_batch_seen"), ()),
    keras.callbacks.ReduceLROnPlateau: (("best", "wait", "cooldown_counter"), ()),
    BestPreset: (("best", "best_epoch"), ()),
}


def remember(callbacks):
    """(list of JSON objects, dict of arrays by name) of the callbacks that are in the list."""
    records, arrays = [], {}
    for number, (callback, numbers, lists) in enumerate(_known(callbacks)):
        record = {"class": type(callback).__name__}
        record |= {name: to_json(getattr(callback, name)) for name in numbers}
        for name in lists:
            values = getattr(callback, name)
            record[name] = None if values is None else len(values)
            arrays |= {f"callback/{number}/{name}/{i:05d}": np.asarray(value) for i, value in enumerate(values or ())}
        records.append(record)
    return records, arrays


def remind(callbacks, records, arrays):
    """Give callbacks back what `remember` took; each goes by its class, the n-th of a class to the n-th.

    A callback that the saved training lacked begins anew, one that this training lacks is passed over.
    """
    left = list(enumerate(records))
    for callback, numbers, lists in _known(callbacks):
        place = next((place for place in left if place[1]["class"] == type(callback).__name__), None)
        if place is None:
            continue
        left.remove(place)
        number, record = place
        for name in numbers:
            setattr(callback, name, from_json(record[name]))
        for name in lists:
            count = record[name]
            keys = None if count is None else [f"callback/{number}/{name}/{i:05d}" for i in range(count)]
            setattr(callback, name, None if keys is None else [np.array(arrays[key]) for key in keys])


def over(callbacks):
    """Whether one of the callbacks has ended the training for good."""
    return any(isinstance(c, keras.callbacks.EarlyStopping) and c.stopped_epoch > 0 for c in callbacks)


def to_json(value):
    """A number or None; JSON has no NaN and no infinity, so that these go as words."""
    if value is None or isinstance(value, int):
        return value
    value = float(value)
    return value if np.isfinite(value) else str(value)


def from_json(value):
    return float(value) if isinstance(value, str) else value


def _known(callbacks):
    for callback in callbacks:
        for known, (numbers, lists) in _MEMORIES.items():
            if isinstance(callback, known):
                yield callback, numbers, lists
