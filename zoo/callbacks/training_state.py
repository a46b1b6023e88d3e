"""The whole state of a training as arrays and JSON, written and read through the store.

`state.safetensors`: every variable of the model and its optimizer under a running number, `random/...` generators that
are no variables, `metric/...` running means inside an epoch, `callback/...` arrays that callbacks keep. `state.json`:
the place in the data and what callbacks remember. Format 1 (no field `format`) had whole epochs and the first two
kinds of arrays alone; it is read as a state at the beginning of an epoch.
"""

import json
import os

import keras
import numpy as np
from keras import ops

from zoo.callbacks.best_preset import BestPreset
from zoo.optimizers.wrapper import chain
from zoo.store import Folder, PresetError, safetensors_writer, write_folder

FORMAT = 2
_ARRAYS, _JSON = "state.safetensors", "state.json"


class TrainingState:
    """A state as it is on the disk.

    Args:
        epoch, position: int: batches of the epoch that are done.
        arrays: dict of arrays by name.
        fields: dict of JSON values.
    """

    def __init__(self, epoch, position, arrays, fields):
        self.epoch, self.position, self.arrays, self.fields = epoch, position, arrays, fields

    def group(self, prefix):
        """Arrays under `prefix/`, by the rest of their names."""
        return {name[len(prefix) + 1 :]: a for name, a in self.arrays.items() if name.startswith(f"{prefix}/")}


def save_state(folder, state, model):
    """Write a state with the variables of the model as they are now; the earlier one stays whole until then."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    variables = _variables(model)
    arrays = state.arrays | {name: _stored(variable) for name, variable in variables.items()}
    if state.position:
        arrays |= {f"metric/{i:05d}": _stored(metric) for i, metric in enumerate(model.metrics_variables)}
    fields = {
        "format": FORMAT,
        "epoch": state.epoch,
        "position": state.position,
        **_kind(model),
        "variables": [variable.path for variable in variables.values()],
        **state.fields,
    }
    write_folder(folder, {_ARRAYS: safetensors_writer(arrays), _JSON: json.dumps(fields).encode("ascii")})


def load_state(folder):
    """The `TrainingState` in a folder, or None where there is none.

    Raises:
        PresetError: damaged, or of a newer zoo.
    """
    if not os.path.isdir(folder):
        return None
    files = Folder(folder)
    if not files.sealed:  # killed before the first state was whole
        return None
    files.verify()
    fields = files.json(_JSON)
    found = fields.get("format", 1)
    if not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise PresetError(f"{folder}/{_JSON}: format {found!r}, this zoo reads up to {FORMAT}: use a newer zoo")
    epoch, position = fields.get("epoch"), fields.get("position", 0)
    if not all(type(number) is int and number >= 0 for number in (epoch, position)):
        raise PresetError(f"{folder}/{_JSON}: epoch {epoch!r}, position {position!r}; expected integers from 0")
    return TrainingState(epoch, position, dict(files.safetensors(_ARRAYS)), fields)


def put_back(state, model, folder):
    """Assign the saved values to the variables of a model and its optimizer: all of them, or none.

    Raises:
        PresetError: the state is of another model or optimizer.
    """
    variables = _variables(model)
    saved = {name: array for name, array in state.arrays.items() if "/" not in name}
    paths = dict(zip(saved, state.fields.get("variables", ())))
    here = f"{_kind(model)['model']} with {_kind(model)['optimizer']}, {len(variables)} variables"
    there = ""
    if "model" in state.fields:
        there = f"{state.fields['model']} with {state.fields['optimizer']}, "
    both = f"the state is of {there}{len(saved)} variables, this training of {here}: of another model or optimizer"
    for name in sorted(saved.keys() & variables.keys()):
        shape, variable = tuple(saved[name].shape), variables[name]
        if shape != tuple(variable.shape):
            raise PresetError(
                f"{folder}/{_ARRAYS}: {name} {paths.get(name, '')} has shape {shape}, {variable.path} here has "
                f"{tuple(variable.shape)}; {both}"
            )
    if saved.keys() != variables.keys():
        raise PresetError(f"{folder}/{_ARRAYS}: {both}. Start in another folder, or with what it was saved with")
    for name, variable in variables.items():
        _assign(variable, saved[name])
    if hasattr(model, "weights_changed"):  # a threshold of a matcher is of other weights than these
        model.weights_changed()


def put_back_metrics(state, model):
    """Running means of the epoch, where the state is inside one.

    Returns:
        bool: False if the model has not made all its metrics yet, as TensorFlow's at its first step.
    """
    saved, metrics = state.group("metric"), model.metrics_variables
    if len(saved) > len(metrics):
        return False
    for name, metric in zip(sorted(saved), metrics):
        if tuple(saved[name].shape) != tuple(metric.shape):
            raise PresetError(
                f"the saved metric {name} has shape {tuple(saved[name].shape)}, {metric.path} has {tuple(metric.shape)}; "
                "compile with the metrics that the training began with"
            )
        _assign(metric, saved[name])
    return True


def history_of(state):
    """(epochs, values by metric) of the epochs that are done."""
    return list(state.fields.get("epochs", ())), dict(state.fields.get("logs", {}))


def appended(history, epoch, logs):
    """A history with one epoch more, in JSON values."""
    epochs, values = history
    new = {name: [*values.get(name, ()), to_json(value)] for name, value in logs.items()}
    return [*epochs, epoch], {**values, **new}


def _kind(model):
    """What a state tells of the model, for errors."""
    names = [type(optimizer).__name__ for optimizer in chain(model.optimizer)]
    return {"model": type(model).__name__, "optimizer": " of ".join(names)}


def _variables(model):
    """Every variable that training changes, by a name that is the same in the next process."""
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    metrics = {id(variable) for variable in model.metrics_variables}
    own = [variable for variable in model.variables if id(variable) not in metrics]
    known = {id(variable) for variable in own}
    own += [variable for variable in optimizer.variables if id(variable) not in known]
    return {f"v{index:05d}": variable for index, variable in enumerate(own)}


def _stored(variable):
    array = np.asarray(ops.convert_to_numpy(variable.value))
    # safetensors readers know no uint32 everywhere; its bits are kept as int32
    return array.view("int32") if array.dtype == np.uint32 else array


def _assign(variable, array):
    array = np.array(array)
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if dtype == "uint32":
        array = array.view("uint32")
    elif dtype == "bfloat16":  # through float32, which holds it exactly and which every backend takes
        array = array.astype("float32")
    variable.assign(array)


# What callbacks keep from one epoch to the next: a closed list.
# Class -> attributes that are numbers or None, attributes that are lists of arrays or None.
_REMEMBERED = {
    keras.callbacks.EarlyStopping: (("wait", "stopped_epoch", "best", "best_epoch"), ("best_weights",)),
    keras.callbacks.ModelCheckpoint: (("best", "_batches_seen_since_last_saving", "_last_batch_seen"), ()),
    keras.callbacks.ReduceLROnPlateau: (("best", "wait", "cooldown_counter"), ()),
    BestPreset: (("best", "best_epoch"), ()),
}


def callback_states(callbacks):
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


def restore_callback_states(callbacks, records, arrays):
    """Give callbacks back what `callback_states` took; each goes by its class, the n-th of a class to the n-th.

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


def stopped_early(callbacks):
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
        for known, (numbers, lists) in _REMEMBERED.items():
            if isinstance(callback, known):
                yield callback, numbers, lists
