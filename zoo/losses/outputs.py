"""Losses and metrics of `compile` held against what a task gives: a loss of probabilities over logits trains to nothing.

Three kinds of outputs:

    "classes"   logits `[..., C]`, one a class
    "score"     one logit a row, `[B]`
    "cosine"    one cosine a row, `[B]`, from -1 to 1

Refused is what takes probabilities (Keras' cross entropies without `from_logits=True`, KLDivergence, ...), what cuts
logits at 0.5 (accuracy of one number a row, Precision, ...), and what chooses among classes where there is one number. A
loss or metric of your own is taken as it is, unless it has an attribute `from_logits` that is False.
"""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from keras import losses, metrics

_BINARY = (losses.binary_crossentropy, losses.binary_focal_crossentropy)
_OF_CLASSES = (
    losses.sparse_categorical_crossentropy,
    losses.categorical_crossentropy,
    losses.categorical_focal_crossentropy,
)
_PROBABILITIES_ALONE = (
    losses.kl_divergence,
    losses.poisson,
    losses.dice,
    losses.tversky,
    losses.categorical_generalized_cross_entropy,
)
_CHOICES = (
    metrics.sparse_categorical_accuracy,
    metrics.categorical_accuracy,
    metrics.sparse_top_k_categorical_accuracy,
    metrics.top_k_categorical_accuracy,
)
_GIVES = {
    "classes": "logits, one a class",
    "score": "one logit a row",
    "cosine": "one cosine a row, from -1 to 1",
}
_LOSSES = {
    "classes": "keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
    "score": "keras.losses.BinaryCrossentropy(from_logits=True)",
    "cosine": "zoo.losses.CoSENT()",
}
_EQUALITY = metrics.Accuracy()._fn  # keras.metrics has no name for the function


def check_loss(loss: Any, outputs: str, task: str) -> None:
    """Refuse a loss that means nothing for what a task gives.

    Args:
        loss: as `compile` takes it: name, class, object or function, or several of them in a list or dict.
        outputs: kind of outputs, see above.
        task: str, name of the task's class.

    Raises:
        ValueError: with the loss that is meant.
    """
    for one in _several(loss):
        what, meant = f"compile: loss={_shown(one)}", f"loss={_LOSSES[outputs]}"
        try:
            found = losses.get(_chosen_by_keras(one, outputs, ("crossentropy", "ce")))
        except ValueError:
            raise ValueError(f"{what} is no loss of Keras, and losses of zoo are objects: {meant}") from None
        _refuse(what, _takes_probabilities(found, outputs), outputs, task, meant)


def made(loss: Any) -> Any:
    """A loss; of a class the object that it makes without arguments.

    Raises:
        ValueError: a class that needs arguments, with the line that is meant.
    """
    if not isinstance(loss, type) or not issubclass(loss, losses.Loss):
        return loss
    parameters = list(inspect.signature(loss).parameters.values())
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if needed:
        place = "zoo.losses." if loss.__module__.startswith("zoo.") else ""
        raise ValueError(
            f"compile: loss={loss.__name__} is a class that needs {', '.join(needed)}: "
            f"loss={place}{loss.__name__}({', '.join(f'{name}=...' for name in needed)})"
        )
    return loss()


def check_metrics(given: Any, outputs: str, task: str, instead: str) -> None:
    """Refuse metrics that mean nothing for what a task gives.

    Args:
        given: metrics as `compile` takes them.
        outputs, task: as of `check_loss`.
        instead: str, what to do for numbers of this task.

    Raises:
        ValueError: with what is meant.
    """
    for one in _several(given):
        what = f"compile: metrics={_shown(one)}"
        try:
            found = metrics.get(_chosen_by_keras(one, outputs, ("crossentropy", "ce", "accuracy", "acc")))
        except ValueError:
            raise ValueError(f"{what} is no metric of Keras: {instead}") from None
        _refuse(what, _takes_probabilities(found, outputs) or _cuts(found, outputs), outputs, task, instead)


def _refuse(what, problem, outputs, task, meant):
    if problem is not None:
        reason, line = problem
        raise ValueError(f"{what} {reason}, {task} gives {_GIVES[outputs]}: {line or meant}")


def _takes_probabilities(found, outputs):
    """(reason, line that is meant or None) where a loss or metric takes something else than logits or a cosine."""
    function, options = _function_of(found)
    if function in _OF_CLASSES + _CHOICES and outputs != "classes":
        return "is for one number a class", None
    if function in _PROBABILITIES_ALONE:
        return "takes probabilities", None
    from_logits = getattr(found, "from_logits", getattr(found, "_from_logits", options.get("from_logits")))
    if from_logits or (from_logits is None and function not in _BINARY + _OF_CLASSES):
        return None
    if outputs == "cosine" and isinstance(found, losses.Loss) | (function in _BINARY):
        return "takes probabilities", None
    name = type(found).__name__
    if function in _BINARY + _OF_CLASSES:  # also given as a function, or as Keras' wrapper of one
        words = function.__name__.split("_")
        name = f"keras.{'metrics' if isinstance(found, metrics.Metric) else 'losses'}.{''.join(map(str.title, words))}"
    return "takes probabilities", f"{name}(from_logits=True)"


def _cuts(metric, outputs):
    """(reason, None) where a metric asks whether a number is above 0.5, or the label itself."""
    function, options = _function_of(metric)
    if function is _EQUALITY:
        return "counts outputs that equal the label", None
    if function is metrics.binary_accuracy:
        return ("cuts at 0.5", None) if options.get("threshold", 0.5) == 0.5 else None
    if isinstance(metric, metrics.FBetaScore) and metric.threshold is None:
        return None if outputs == "classes" else ("chooses among classes", None)
    cuts = getattr(metric, "thresholds", getattr(metric, "threshold", None))
    if cuts is None or getattr(metric, "top_k", None) is not None or getattr(metric, "_from_logits", False):
        return None
    cuts = list(cuts) if isinstance(cuts, list | tuple) else [cuts]
    # Keras allows cuts from 0 to 1 alone. That may be meant of cosines, never of logits.
    return (
        ("cuts between 0 and 1" if len(cuts) > 1 else f"cuts at {cuts[0]:g}", None)
        if outputs != "cosine" or cuts == [0.5]
        else None
    )


def _function_of(found):
    """(function of Keras, its options) behind a loss or metric; itself and {} where there is none."""
    if isinstance(found, functools.partial):
        return found.func, found.keywords
    function = getattr(found, "fn", getattr(found, "_fn", None))
    return (found, {}) if function is None else (function, getattr(found, "_fn_kwargs", {}))


def _chosen_by_keras(one, outputs, names):
    """Names that mean one function for a number a row, and another for classes."""
    if not isinstance(one, str) or one.lower() not in names:
        return one
    kind = "accuracy" if one.lower().startswith("acc") else "crossentropy"
    return f"sparse_categorical_{kind}" if outputs == "classes" else f"binary_{kind}"


def _several(given):
    """Losses or metrics one by one."""
    if isinstance(given, Mapping) and "class_name" not in given:
        given = list(given.values())
    if isinstance(given, list | tuple):
        return [one for part in given for one in _several(part)]
    return [] if given is None else [given]


def _shown(one):
    return repr(one) if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)
