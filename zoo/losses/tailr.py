"""TaiLr: between cross entropy and accuracy."""

import math

import keras
from keras import ops

from zoo.backend import row_cross_entropy
from zoo.losses.class_loss import ClassLoss

NEAR = -0.5  # logarithm of a probability that counts as near 1


@keras.saving.register_keras_serializable(package="zoo")
class TaiLr(ClassLoss):
    """−ln(γ + (1 − γ) p) / (1 − γ), where p is the probability of the label: a cross entropy that is bounded.

    Its gradient is that of cross entropy times w = p / (γ + (1 − γ) p), so that a label which the model holds for
    impossible, and which may well be wrong, pulls no harder than the others. γ = 0 is cross entropy, γ = 1 is 1 − p, the
    expected error. Below the p at which w is `min_weight`, the loss goes on as min_weight · −ln p.

    Args:
        gamma: float in [0, 1], γ. The authors train translation with 1e-1 and below, long texts with 1e-5 and below.
        min_weight: float in [0, 1], the least w. Something above 0 where training starts from an untrained head: there p
            is small everywhere, and so is every gradient.
        ignore_class, reduction, name: see `ClassLoss`.

    Inputs:
        | y_true `[...]` | y_pred `[..., C]` | sample_weight `[...]` |
        | --- | --- | --- |
        | class ids | logits | optional |

    Source:
        Ji et al., Tailoring Language Generation Models under Total Variation Distance, arXiv 2302.13344; the closed form
        after Su, kexue.fm/archives/9526.

    Relations:
        The authors' code reports −w ln p with a constant w: the same gradient, but no measure of how wrong a model is,
        since it is 0 at p = 0 too.

    Raises:
        ValueError: gamma or min_weight outside [0, 1]; soft or smoothed labels, for which the loss is not defined.
    """

    def __init__(self, gamma, min_weight=0.0, ignore_class=None, reduction="mean_with_sample_weight", name="tailr"):
        super().__init__(ignore_class, reduction, name)
        if not 0 <= gamma <= 1 or not 0 <= min_weight <= 1:
            raise ValueError(f"TaiLr: gamma={gamma!r}, min_weight={min_weight!r}; expected numbers from 0 to 1")
        self.gamma, self.min_weight = float(gamma), float(min_weight)

    def class_losses(self, labels, logits):
        rows = row_cross_entropy(ops.reshape(labels, (-1,)), ops.reshape(logits, (-1, logits.shape[-1])))
        log_p = ops.reshape(-rows, ops.shape(logits)[:-1])
        gamma, least = self.gamma, self.min_weight
        if gamma == 0 or least == 1:
            return -log_p
        if least == 0:
            return self._bounded(log_p)
        bend = math.log(least * gamma / (1 - least * (1 - gamma)))  # ln of the p where w is min_weight
        return self._bounded(ops.maximum(log_p, bend)) + least * (bend - ops.minimum(log_p, bend))

    def _bounded(self, log_p):
        gamma = self.gamma
        if gamma == 1:
            return -ops.expm1(log_p)
        # ln(γ + (1 − γ) p) = ln(1 + (1 − γ) (p − 1)): exact near p = 1, and for a γ near 1 everywhere.
        near = ops.log1p((1 - gamma) * ops.expm1(log_p if gamma > 0.5 else ops.maximum(log_p, NEAR)))
        if gamma > 0.5:
            return -near / (1 - gamma)
        far = ops.logaddexp(math.log(gamma), math.log1p(-gamma) + log_p)
        return -ops.where(log_p > NEAR, near, far) / (1 - gamma)
