"""AnglE: CoSENT on the angle of complex embeddings."""

import keras

from zoo.losses.matching_loss import MatchingLoss
from zoo.losses.ordering import ordering_loss
from zoo.losses.similarity import angle_similarity


@keras.saving.register_keras_serializable(package="zoo")
class AnglE(MatchingLoss):
    """`CoSENT` with `angle_similarity(u, v)` for the score, which does not saturate where cosines come near
    1.

    Args:
        scale: float > 0, 1/temperature.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B, 2, d]` |
        | --- | --- |
        | any ordered labels | embeddings of the two texts, d even |

    Requirements:
        As `CoSENT`. The authors train with a sum of this loss, CoSENT and an in-batch `InfoNCE`, and rank by
        cosine. Only the first two embeddings of a row are read.

    Source:
        Li and Li, AnglE-optimized Text Embeddings (2023), arXiv 2309.12871. The paper divides complex numbers
        coordinate by coordinate; the authors' code, followed here, divides by the whole vector's norms.

    Relations:
        `CoSENT` on cosines is symmetric in u and v, this loss is not.

    Raises:
        ValueError: scale is not positive; d is odd.
    """

    inputs = "embeddings"
    compares_labels = True

    def __init__(self, scale=20.0, name="angle"):
        super().__init__(name)
        if not scale > 0:
            raise ValueError(f"AnglE: scale is {scale!r}, expected a number > 0, e.g. 20.")
        self.scale = float(scale)

    def batch_loss(self, y_true, y_pred, weights):
        return ordering_loss(y_true, self.scale * angle_similarity(y_pred[:, 0], y_pred[:, 1]), weights)
