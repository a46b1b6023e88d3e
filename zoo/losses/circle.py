"""Circle loss: every match above every other pair, by a margin, the hard ones first."""

import keras
from keras import ops

from zoo.losses.matching_loss import MatchingLoss
from zoo.losses.ordering import FLOOR


@keras.saving.register_keras_serializable(package="zoo")
class Circle(MatchingLoss):
    """ln(1 + sum over non-matches of exp(scale (s_n + margin)) * sum over matches of exp(-scale s_p)).

    With `self_paced` the exponents become scale a_n (s_n - m) and -scale a_p (s_p - 1 + m) with the
    weights a_n = max(0, s_n + m), a_p = max(0, 1 + m - s_p), which are constants for the gradient: pairs far
    from their goal pull more. One scalar a batch; 0 where matches or non-matches are missing.

    Args:
        scale: float > 0.
        margin: float >= 0, m.
        self_paced: bool, the weights of Circle Loss; False is the form that softmax and multi-label cross
            entropy share.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B]` |
        | --- | --- |
        | 1 match, 0 no match | similarity of the pair; a cosine if `self_paced` |

    Requirements:
        Labels 0/1. A batch must hold both. Weights multiply the terms, as in `CoSENT`.

    Source:
        Sun et al., Circle Loss, arXiv 2002.10857 (scale 80 to 256, margin 0.25 to 0.4); the plain form after
        Su, kexue.fm/archives/7359.

    Relations:
        Plain and without margin it equals `CoSENT` for labels 0/1; CoSENT goes on to any number of levels.

    Raises:
        ValueError: scale is not positive; margin is negative.
    """

    labels = "binary"
    compares_labels = True

    def __init__(self, scale=20.0, margin=0.0, self_paced=False, name="circle"):
        super().__init__(name)
        if not scale > 0:
            raise ValueError(f"Circle: scale is {scale!r}, expected a number > 0, e.g. 20.")
        if not margin >= 0:
            raise ValueError(f"Circle: margin is {margin!r}, expected a number >= 0.")
        self.scale = float(scale)
        self.margin = float(margin)
        self.self_paced = bool(self_paced)

    def batch_loss(self, y_true, y_pred, weights):
        match = y_true > 0
        if self.self_paced:
            pull_down = ops.stop_gradient(ops.relu(y_pred + self.margin)) * (y_pred - self.margin)
            pull_up = -ops.stop_gradient(ops.relu(1.0 + self.margin - y_pred)) * (y_pred - 1.0 + self.margin)
        else:
            pull_down, pull_up = y_pred + self.margin, -y_pred
        down = log_sum(self.scale * pull_down, ~match, weights)
        return ops.softplus(down + log_sum(self.scale * pull_up, match, weights))


def log_sum(x, members, weights):
    """ln of the sum of w exp(x) over `members`; about FLOOR / 4 without, so that two still add up."""
    members = members & (weights > 0)
    terms = x + ops.log(ops.where(members, weights, 1.0))
    return ops.logsumexp(ops.where(members, terms, FLOOR / 4))
