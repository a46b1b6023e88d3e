"""The variables of a model by path, and their values: what presets and formats write and read."""

from keras import ops


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


def to_numpy(variable):
    """Value of a variable as float32, whatever its type."""
    return ops.convert_to_numpy(ops.cast(variable.value, "float32"))
