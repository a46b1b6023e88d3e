"""CoSENT: rank the pairs of a batch as their labels do."""

import keras

from zoo.losses.matching_loss import MatchingLoss
from zoo.losses.ordering import ordering_loss


@keras.saving.register_keras_serializable(package="zoo")
class CoSENT(MatchingLoss):
    """ln(1 + sum of exp(scale (s_r - s_p)) over all p, r of the batch with y_p > y_r).

    One scalar a batch, not a mean over pairs: every pair with the higher label should have the higher score.
    Pairs with equal labels are not compared. 0 for batches of one pair or one label.

    Args:
        scale: float > 0. 20 for cosines, which are bounded; 1 for the free scores of an interaction model.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B]` |
        | --- | --- |
        | any ordered labels: 0/1, grades, scores | similarity of the pair, or a free score |

    Requirements:
        A batch must hold different labels to teach anything. The larger the batch, the more pairs are
        compared. O(B log B) time, O(B) memory, so batches of 10^5 pairs are no problem. Scores may be as
        large as 1e30. Weights w multiply the terms (w_p w_r): a pair of weight 2 counts as if it stood there
        twice.

    Source:
        Su, "CoSENT (1)", kexue.fm/archives/8847, and for interaction models "CoSENT (3)",
        kexue.fm/archives/9341; journal version doi 10.1109/TASLP.2024.3402087. Values and gradients are those
        of bojone/CoSENT.

    Relations:
        `AnglE` is this loss on another similarity. `Circle` without self-pacing is this loss for labels 0/1.
        `CosineRegression` fits the numbers y themselves, this loss only their order, as Spearman's
        correlation does.

    Raises:
        ValueError: scale is not positive.
    """

    compares_labels = True

    def __init__(self, scale=20.0, name="cosent"):
        super().__init__(name)
        if not scale > 0:
            raise ValueError(f"CoSENT: scale is {scale!r}, expected a number > 0, e.g. 20 for cosines.")
        self.scale = float(scale)

    def batch_loss(self, y_true, y_pred, weights):
        return ordering_loss(y_true, self.scale * y_pred, weights)
