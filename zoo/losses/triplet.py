"""Triplet loss: a match nearer than a negative, by a margin."""

import keras
from keras import ops

from zoo.losses.matching_loss import MatchingLoss, weighted_mean
from zoo.losses.similarity import cosine_similarity


@keras.saving.register_keras_serializable(package="zoo")
class Triplet(MatchingLoss):
    """max(0, margin + D(text, match) - D(text, negative)), mean over negatives and rows.

    Args:
        margin: float > 0.
        distance: `"cosine"` (1 - cosine, in [0, 2]) or `"euclidean"`; the margin is in its units.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B, k, d]`, k >= 3 |
        | --- | --- |
        | not read | text, its match, k - 2 negatives |

    Requirements:
        Negatives that are hard: an easy one gives exactly 0 and teaches nothing.

    Source:
        Schroff et al., FaceNet, arXiv 1503.03832.

    Relations:
        `InfoNCE` with explicit negatives compares with all rows' candidates and needs no margin.

    Raises:
        ValueError: margin is not positive; distance is another word; k < 3.
    """

    inputs = "embeddings"
    labels = "matches"
    texts = 3

    def __init__(self, margin=0.5, distance="cosine", name="triplet"):
        super().__init__(name)
        if not margin > 0:
            raise ValueError(f"Triplet: margin is {margin!r}, expected a number > 0.")
        if distance not in ("cosine", "euclidean"):
            raise ValueError(f"Triplet: distance is {distance!r}, expected 'cosine' or 'euclidean'.")
        self.margin = float(margin)
        self.distance = distance

    def batch_loss(self, y_true, y_pred, weights):
        apart = distances(y_pred[:, :1], y_pred[:, 1:], self.distance)  # [B, k-1]
        losses = ops.mean(ops.relu(self.margin + apart[:, :1] - apart[:, 1:]), axis=1)
        return weighted_mean(losses, weights)


def distances(u, v, distance):
    if distance == "cosine":
        return 1.0 - cosine_similarity(u, v)
    # The root's slope at 0 is infinite; equal texts must not make a NaN.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(u - v), axis=-1), 1e-12))
