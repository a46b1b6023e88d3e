"""Contrastive loss: matches together, the others apart up to a margin."""

import keras
from keras import ops

from zoo.losses.matching_loss import MatchingLoss, weighted_mean


@keras.saving.register_keras_serializable(package="zoo")
class Contrastive(MatchingLoss):
    """(y D^2 + (1 - y) max(0, margin - D)^2) / 2 with the distance D = 1 - similarity, mean over pairs.

    Args:
        margin: float > 0. Pairs that do not match are pushed to similarity 1 - margin and no further.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B]` |
        | --- | --- |
        | 1 match, 0 no match | similarity of the pair, 1 at most |

    Requirements:
        Labels 0/1.

    Source:
        Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping (CVPR 2006).

    Relations:
        `CoSENT` needs no margin and no scale of distances; it only orders.

    Raises:
        ValueError: margin is not positive.
    """

    labels = "binary"

    def __init__(self, margin=0.5, name="contrastive"):
        super().__init__(name)
        if not margin > 0:
            raise ValueError(f"Contrastive: margin is {margin!r}, expected a number > 0.")
        self.margin = float(margin)

    def batch_loss(self, y_true, y_pred, weights):
        match = ops.cast(y_true, "float32")
        apart = 1.0 - y_pred
        losses = match * ops.square(apart) + (1.0 - match) * ops.square(ops.relu(self.margin - apart))
        return weighted_mean(0.5 * losses, weights)
