"""Cosine regression: the similarity should be the label."""

import keras
from keras import ops

from zoo.losses.matching_loss import MatchingLoss, weighted_mean


@keras.saving.register_keras_serializable(package="zoo")
class CosineRegression(MatchingLoss):
    """(similarity - target)^2, mean over pairs, where the target is the label brought to [0, 1].

    Args:
        lowest, highest: floats, the labels that mean similarity 0 and 1: 0 and 5 for STS-B.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B]` |
        | --- | --- |
        | score from `lowest` to `highest` | cosine of the pair |

    Requirements:
        Labels whose distances mean something; for mere orders see `CoSENT`.

    Source:
        Reimers and Gurevych, Sentence-BERT (regression objective), arXiv 1908.10084.

    Relations:
        `CoSENT` asks for the order of the labels alone and reaches higher rank correlations.

    Raises:
        ValueError: highest is not above lowest.
    """

    def __init__(self, lowest=0.0, highest=1.0, name="cosine_regression"):
        super().__init__(name)
        if not highest > lowest:
            raise ValueError(f"CosineRegression: highest is {highest!r}, expected a number above lowest = {lowest!r}.")
        self.lowest = float(lowest)
        self.highest = float(highest)

    @property
    def label_range(self):
        return self.lowest, self.highest

    def batch_loss(self, y_true, y_pred, weights):
        target = (ops.cast(y_true, "float32") - self.lowest) / (self.highest - self.lowest)
        return weighted_mean(ops.square(y_pred - target), weights)
