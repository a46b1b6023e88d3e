"""Cross entropy of one class a place: language models over tokens."""

import keras
from keras import ops

from zoo.backend import row_cross_entropy
from zoo.backend.arguments import PlainNumbers


@keras.saving.register_keras_serializable(package="zoo")
class TokenCrossEntropy(PlainNumbers, keras.losses.Loss):
    """−log softmax(logits)[label] of each place: the numbers of Keras' `SparseCategoricalCrossentropy`, sooner.

    On torch Keras moves the classes before the places, so that a softmax strides through memory, and keeps three arrays
    of the size of the logits; here a place is a row, and one array is kept (`benchmarks/token_cross_entropy.py`).

    Args:
        reduction: as of any Keras loss. The default divides by the sum of `sample_weight`, where given: the mean over
            predicted tokens. "sum_over_batch_size" divides by all places.

    Inputs: y_true int `[...]`; y_pred float `[..., V]`, logits; sample_weight `[...]`. Computed in float32.
    """

    def __init__(self, reduction="mean_with_sample_weight", name="token_cross_entropy", dtype="float32"):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        places = ops.shape(y_pred)[:-1]
        losses = row_cross_entropy(ops.reshape(y_true, (-1,)), ops.reshape(y_pred, (-1, y_pred.shape[-1])))
        return ops.reshape(losses, places)
