"""What all matching losses share: shapes, float32, weights of rows, one scalar a batch."""

import keras
from keras import ops

from zoo.backend.arguments import Configured


class MatchingLoss(Configured, keras.losses.Loss):
    """Base of losses that look at a whole batch of pairs at once and give one scalar.

    Keras multiplies `sample_weight` onto what a loss returns; that has no meaning where terms couple the rows
    of a batch, so weights are handed to `batch_loss` instead, which a subclass writes.

    Args:
        name: str or None, name of the loss; None for one made of the class'.

    Attributes:
        inputs, labels, label_range, compares_labels, repeats_hint: what the loss needs, see `zoo.losses.needs`.
        texts: int, the least k of embeddings.
    """

    inputs = "similarity"
    labels = "ordered"
    label_range = None
    compares_labels = False
    repeats_hint = ""
    texts = 2

    def __init__(self, name=None):
        super().__init__(name=name, reduction="sum_over_batch_size", dtype="float32")

    def batch_loss(self, y_true, y_pred, weights):
        """Scalar from labels `[B]`, float32 scores `[B]` or embeddings `[B, k, d]`, float32 weights `[B]`."""
        raise NotImplementedError(f"{type(self).__name__} must define batch_loss(y_true, y_pred, weights).")

    def distinct_texts(self, rows, labels):
        """Of each row the texts that no other row of its batch may have, or None where texts may repeat.

        Args:
            rows: list of tuples of str. labels: numbers `[N]` or None.
        """
        return None

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Loss of one batch.

        Args:
            y_true: `[B]` or `[B, 1]`, numbers or booleans.
            y_pred: `[B]`, `[B, 1]` (similarities) or `[B, k, d]` (embeddings), any float dtype.
            sample_weight: `[B]` or `[B, 1]`, >= 0, optional. Rows of weight 0 are absent.

        Returns:
            float32 scalar.

        Raises:
            ValueError: the shapes are none of these.
        """
        with keras.name_scope(self.name):
            y_pred = ops.convert_to_tensor(y_pred, dtype="float32")
            if self.inputs == "embeddings":
                self.check_embeddings(y_pred)
            else:
                y_pred = self.rows(y_pred, "y_pred")
            # Labels keep their dtype: as bfloat16 close grades would fall together, as float32 large ids.
            y_true = self.rows(ops.convert_to_tensor(y_true), "y_true")
            if keras.backend.standardize_dtype(y_true.dtype) == "bool":
                y_true = ops.cast(y_true, "int32")
            self.check_lengths(y_true, y_pred, "y_true")
            if sample_weight is None:
                return ops.cast(self.batch_loss(y_true, y_pred, ops.ones_like(y_true, dtype="float32")), "float32")
            weights = self.rows(ops.convert_to_tensor(sample_weight, dtype="float32"), "sample_weight")
            self.check_lengths(weights, y_pred, "sample_weight")
            # Whatever stands in an absent row, even NaN, must not reach a sum: 0 * NaN is NaN.
            present = ops.reshape(weights > 0, (-1,) + (1,) * (len(y_pred.shape) - 1))
            return ops.cast(self.batch_loss(y_true, ops.where(present, y_pred, 0.0), weights), "float32")

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def rows(self, x, what):
        """`[B]` of `[B]` or `[B, 1]`."""
        if len(x.shape) == 1:
            return x
        if len(x.shape) == 2 and x.shape[1] == 1:
            return ops.reshape(x, (-1,))
        raise ValueError(
            f"{self.name}: {what} has shape {tuple(x.shape)}, expected (B,) or (B, 1): one number for each "
            f"{'pair' if self.inputs == 'similarity' else 'row of embeddings'}."
        )

    def check_embeddings(self, y_pred):
        if len(y_pred.shape) != 3 or y_pred.shape[1] is None or y_pred.shape[1] < self.texts:
            raise ValueError(
                f"{self.name}: y_pred has shape {tuple(y_pred.shape)}, expected (B, k, d) with k >= "
                f"{self.texts}: the embeddings of the k texts of a row, e.g. ops.stack([u, v], axis=1)."
            )

    def check_lengths(self, x, y_pred, what):
        if x.shape[0] is not None and y_pred.shape[0] is not None and x.shape[0] != y_pred.shape[0]:
            raise ValueError(
                f"{self.name}: {what} has {x.shape[0]} rows, y_pred has {y_pred.shape[0]}; expected as many."
            )

    def get_config(self):
        return self.described_arguments()  # no reduction: it has but one


def weighted_mean(losses, weights):
    """Mean of `losses` `[B]` under `weights` `[B]`; 0 where every weight is 0."""
    total = ops.sum(weights)
    return ops.sum(weights * losses) / ops.where(total > 0, total, 1.0)
