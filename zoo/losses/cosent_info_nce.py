"""CoSENT with in-batch negatives: rank labelled pairs, and tell matches from all other texts."""

import keras
import numpy as np

from zoo.losses.cosent import CoSENT
from zoo.losses.info_nce import InfoNCE
from zoo.losses.matching_loss import MatchingLoss
from zoo.losses.similarity import cosine_similarity


@keras.saving.register_keras_serializable(package="zoo")
class CoSENTInfoNCE(MatchingLoss):
    """CoSENT(y, cos(u, v)) + weight · InfoNCE of the pairs with y >= positive, symmetric.

    Args:
        weight: float >= 0, of InfoNCE.
        positive: float, the least label that means "the same".
        scale: float > 0, of both.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B, 2, d]` |
        | --- | --- |
        | any ordered labels: 0/1, grades, scores | text, text |

    Requirements:
        Those of `CoSENT` and `InfoNCE`. Only the texts of positive pairs are negatives of each other.

    Source:
        kexue.fm/archives/8847; arXiv 1705.00652.

    Relations:
        With weight 0 this is `CoSENT`. Labelled pairs say little of unrelated texts, since annotators are shown similar
        ones; a search among many texts needs them told apart.

    Raises:
        ValueError: weight is negative; scale is not positive.
    """

    inputs = "embeddings"

    def __init__(self, weight=0.1, positive=1.0, scale=20.0, name="cosent_info_nce"):
        super().__init__(name)
        if not weight >= 0:
            raise ValueError(f"CoSENTInfoNCE: weight is {weight!r}, expected a number >= 0.")
        self.weight, self.positive, self.scale = float(weight), float(positive), float(scale)
        self.ranking, self.contrast = CoSENT(scale), InfoNCE(scale, symmetric=True)

    def distinct_texts(self, rows, labels):
        if not self.weight:
            return None
        matches = np.asarray(labels, "float32") >= self.positive  # others are nobody's negatives
        return [row if match else () for row, match in zip(rows, matches)]

    def batch_loss(self, y_true, y_pred, weights):
        matches = weights * keras.ops.cast(keras.ops.cast(y_true, "float32") >= self.positive, "float32")
        ranking = self.ranking.batch_loss(y_true, cosine_similarity(y_pred[:, 0], y_pred[:, 1]), weights)
        return ranking + self.weight * self.contrast.batch_loss(y_true, y_pred, matches)
