"""What a loss needs of the records it is trained on. Tasks ask here; a loss says it by attributes.

    inputs           "similarity": y_pred is a score a pair, `[B]` (where left out);
                     "embeddings": y_pred is `[B, k, d]`, k texts a row
    labels           "ordered": any numbers (where left out); "binary": 0 and 1; "probability": from 0 to 1, the chance of a
                     match; "groups": integers, one a meaning; "matches": every row is a match, labels left out or all 1
    label_range      None, or (lowest, highest) of ordered labels
    compares_labels  bool, whether rows are compared by their labels, so that one value of them alone teaches nothing
    distinct_texts   method (rows, labels): of each row a tuple of texts, those that no other row of its batch may have;
                     or None, where texts may repeat
    repeats_hint     str, what to do about rows that have to be left out for that

`zoo.losses.MatchingLoss` has all of them. A loss of your own, any `keras.losses.Loss`, states those that differ.
Losses of Keras are known by the table below.
"""

import keras
import numpy as np

_LABELS_OF_KERAS = {
    keras.losses.BinaryCrossentropy: "probability",
    keras.losses.BinaryFocalCrossentropy: "probability",
}


def inputs_of(loss):
    """`"similarity"` or `"embeddings"`: what a loss takes as y_pred."""
    return getattr(loss, "inputs", "similarity")


def labels_of(loss):
    """The kind of labels that a loss takes."""
    known = next((kind for cls, kind in _LABELS_OF_KERAS.items() if isinstance(loss, cls)), "ordered")
    return getattr(loss, "labels", known)


def check_labels(loss, labels):
    """Refuse labels that a loss would train towards all the same, though it cannot mean them.

    Args:
        labels: numbers `[N]`, or None for records without.

    Raises:
        ValueError.
    """
    name, kind = _name(loss), labels_of(loss)
    if labels is None:
        if kind != "matches":
            raise ValueError(f"{name} needs labelled pairs, (text_a, text_b, label)")
        return
    found = np.unique(labels)
    shown = found[:8].tolist()
    if kind == "matches" and set(found) != {1}:
        raise ValueError(
            f"{name} takes every row for a match, got labels {shown}; leave out the pairs that do not match, and the "
            "labels: fit([(text, its_match), ...])"
        )
    wrong = {
        "binary": ("0 and 1", np.setdiff1d(found, [0, 1])),
        "probability": ("from 0 to 1, the chance of a match", found[(found < 0) | (found > 1)]),
    }
    if kind in wrong and len(wrong[kind][1]):
        expected, others = wrong[kind]
        raise ValueError(
            f"{name} takes labels {expected}, got also {others[:8].tolist()}; for graded labels use zoo.losses.CoSENT() "
            "(scale=1.0 in an InteractionMatcher), for classes zoo.TextClassifier"
        )
    if getattr(loss, "compares_labels", False) and len(found) == 1:
        raise ValueError(
            f"{name} compares rows of different labels, and all {len(labels):,} are {found[0]:g}: there is no order to learn; "
            "add pairs of other labels, or train on matches alone by zoo.losses.InfoNCE()"
        )
    lowest, highest = getattr(loss, "label_range", None) or (-np.inf, np.inf)
    if found[0] < lowest or found[-1] > highest:
        raise ValueError(
            f"{name} takes labels from {lowest:g} to {highest:g}, got {found[0]:g} to {found[-1]:g}; say which mean "
            f"similarity 0 and 1, e.g. zoo.losses.CosineRegression({found[0]:g}, {found[-1]:g})"
        )


def distinct_texts(loss, rows, labels):
    """Per row the texts of which none may stand twice in a batch, or None.

    Args:
        rows: list of tuples of str. labels: numbers `[N]` or None.
    """
    ask = getattr(loss, "distinct_texts", None)
    return None if ask is None else ask(rows, labels)


def _name(loss):
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
