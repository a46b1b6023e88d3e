"""Ids held against the tables whose rows they name, before a model computes with them.

One rule on every backend. Wherever numbers are there to look at, which is in Keras' verbs on arrays and in calls with arrays,
an id beyond its table, or below 0, is a ValueError that names it. Inside a compiled function (a model of your own around a
backbone, data that come in batches under JAX and TensorFlow) nothing can be looked at: every output that such an id takes
part in is NaN, never what another row would have given. Torch compiles nothing of its own accord and raises there too.
"""

import functools

import keras
import numpy as np

from zoo.backend import looked_at, made_once
from zoo.backend.variables import backbone_of

# Layer -> (its input, attribute that says how many rows its table has)
_TABLES = {
    "token_embedding": ("token_ids", "input_dim"),
    "segment_embedding": ("segment_ids", "num_segments"),
    "position_embedding": ("position_ids", "max_sequence_length"),
}
_MENDS = {
    "token_ids": "make them by the tokenizer that belongs to the model, model.tokenizer(texts)",
    "segment_ids": "of a pair they are 0 and 1, as model.tokenizer(texts, text_pairs) gives them",
    "position_ids": "shorten the inputs",
}


def check_ids(model, inputs):
    """Refuse ids beyond the tables of a model's backbone, as far as their numbers are there to look at.

    Args:
        model: keras.Model over a backbone, or a backbone; one without such tables is left alone.
        inputs: what the model is called with: a dict, token_ids alone, or a list in the order of the model's inputs.

    Raises:
        ValueError: the ids, the table and its rows, and what to do.
    """
    if isinstance(inputs, dict):
        _check_places(inputs)
    for name, ids in _by_name(model, inputs).items():
        ids = None if ids is None else looked_at(ids)
        if ids is None or ids.dtype.kind not in "iuf" or not ids.size:
            continue
        rows = made_once(model, "_id_tables", lambda: _tables(model)).get(name)
        if rows is not None and not (ids.min() >= 0 and ids.max() < rows):
            wrong = np.unique(ids[~((ids >= 0) & (ids < rows))])
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise ValueError(
                f"{name} holds {', '.join(map(str, wrong[:5]))}{more}; the {type(backbone_of(model)).__name__} has a table of "
                f"{rows:,} rows for them, so they go from 0 to {rows - 1}: {_MENDS[name]}"
            )


def _check_places(inputs):
    """Refuse places of masked tokens that the rows have not."""
    places, ids = inputs.get("masked_positions"), inputs.get("token_ids")
    places = None if places is None else looked_at(places)
    length = (getattr(ids, "shape", None) or (None,))[-1]
    if places is None or length is None or not places.size or (places.min() >= 0 and places.max() < length):
        return
    raise ValueError(
        f"masked_positions go from {places.min()} to {places.max()} in rows of {length} tokens; expected places from 0 to "
        f"{length - 1}"
    )


def _by_name(model, inputs):
    if isinstance(inputs, dict):
        return {name: inputs.get(name) for name in _MENDS}
    if isinstance(inputs, list | tuple) and all(len(getattr(x, "shape", ())) == 2 for x in inputs):
        return dict(zip(backbone_of(model).input, inputs))
    return {"token_ids": inputs}


def _tables(model):
    """Rows of the table of each input that has one, dict from its name."""
    backbone = backbone_of(model)
    layers = {layer.name: layer for layer in getattr(backbone, "layers", ())}
    found = {name: getattr(layers.get(layer), size, None) for layer, (name, size) in _TABLES.items()}
    return {name: rows for name, rows in found.items() if rows}


class CheckedIds:
    """A `keras.Model` over a backbone whose ids are checked on the way in; mixed in before it."""

    def __call__(self, *args, **kwargs):
        if args:
            check_ids(self, args[0])
        return super().__call__(*args, **kwargs)


def _checking(verb):
    @functools.wraps(getattr(keras.Model, verb))
    def checked(self, x=None, *args, **kwargs):
        check_ids(self, x)
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple | list) and validation:
            check_ids(self, validation[0])
        return getattr(super(CheckedIds, self), verb)(x, *args, **kwargs)

    return checked


for _verb in ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
    setattr(CheckedIds, _verb, _checking(_verb))
