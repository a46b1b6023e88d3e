"""Freezing weights by name."""

from zoo.backend.variables import named_by


def freeze(model, pattern, frozen=True):
    """Set the weights whose path matches a pattern untrainable (or trainable again).

    Call it before `compile`, or compile again: optimizers look at what is trainable when they are built.

    Args:
        model: keras.Model. Paths look like `layer_0/attention/query/kernel`.
        pattern: regular expression, searched in the path: `"embedding|layer_[0-3]"`. Numbers in a path are whole:
            `"layer_1"` is layer 1 alone, and not 10 or 11.
        frozen: bool, False to thaw.

    Returns:
        list of the paths that matched.

    Raises:
        ValueError: nothing matches.
    """
    matched = [variable for variable in model.weights if named_by(pattern, variable.path)]
    if not matched:
        some = ", ".join(variable.path for variable in model.weights[:3])
        raise ValueError(f"no weight of {type(model).__name__} matches {pattern!r}; paths look like {some}, ...")
    for variable in matched:
        variable.trainable = not frozen
    return [variable.path for variable in matched]
