"""The variables of a model by path, and their values: what presets and formats write and read."""

import re

from keras import ops

_WITHIN_NUMBER = r"(?!(?<=\d)\d)"  # not between two digits


def backbone_of(model):
    """The backbone of a task, or the model itself."""
    return getattr(model, "backbone", model)


def weights_of(model):
    """Variables of a model by path, e.g. `layer_0/attention/query/kernel`; not those of random seeds and metrics.

    A model with a method `weights_by_path` says them itself.
    """
    if hasattr(model, "weights_by_path"):
        return model.weights_by_path()
    by_path = {v.path: v for v in model.weights}
    if len(by_path) != len(model.weights):
        raise ValueError(f"{type(model).__name__}: two variables share one path; give its layers different names")
    return by_path


def named_by(pattern, path):
    """Whether a regular expression is found in a path, numbers being whole: "layer_1" is no part of "layer_10/kernel".

    Args:
        pattern: str, such as `"embedding|layer_[0-3]/"`, searched anywhere in the path. path: str.
    """
    if not isinstance(pattern, str):
        raise TypeError(
            f"{pattern!r:.60} as the pattern of paths; expected a regular expression, a str: 'layer_0|layer_1'"
        )
    flags = re.match(r"(\(\?[aiLmsux]+\))*", pattern)[0]
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r:.60} is no regular expression: {error}") from None
    return re.search(f"{flags}{_WITHIN_NUMBER}(?:{pattern[len(flags) :]}){_WITHIN_NUMBER}", path) is not None


def to_numpy(variable):
    """Value of a variable as float32, whatever its type."""
    return ops.convert_to_numpy(ops.cast(variable.value, "float32"))
