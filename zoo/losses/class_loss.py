"""What losses over classes share: float32, class ids, labels to ignore."""

import keras
from keras import ops

from zoo.backend.arguments import Configured


class ClassLoss(Configured, keras.losses.Loss):
    """Base of losses for class ids `[...]` and logits `[..., C]`; a subclass writes `class_losses`.

    Args:
        ignore_class: int or None, a label whose places count in no sum, such as -1 for padding.
        reduction: as of any Keras loss. The default divides by the sum of `sample_weight`, where ignored places have 0.
        name: str.
    """

    def __init__(self, ignore_class=None, reduction="mean_with_sample_weight", name=None):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.ignore_class = ignore_class

    def class_losses(self, labels, logits):
        """Losses `[...]` from int32 labels `[...]` and float32 logits `[..., C]`."""
        raise NotImplementedError(f"{type(self).__name__}.class_losses")

    def target_losses(self, targets, logits):
        """Losses `[...]` from probabilities of the classes, `[..., C]`, where the loss has a meaning for them."""
        raise ValueError(
            f"{type(self).__name__}: y_true has the shape {tuple(targets.shape)} of the logits; expected class ids, one "
            "number a place: this loss is not defined for soft or smoothed labels"
        )

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Loss of a batch.

        Args:
            y_true: `[...]` or `[..., 1]`, class ids.
            y_pred: `[..., C]`, logits of any float dtype.
            sample_weight: `[...]` or fewer leading axes of it, optional.
        """
        y_true = ops.convert_to_tensor(y_true)  # Keras would take a list for several labels
        if self.ignore_class is not None:
            labels = ops.squeeze(y_true, -1) if self._is_column(y_true, ops.shape(y_pred)) else y_true
            counted = ops.cast(labels != self.ignore_class, "float32")
            y_true = ops.where(labels != self.ignore_class, labels, ops.zeros_like(labels))
            if sample_weight is None:
                sample_weight = counted
            else:
                weights = ops.convert_to_tensor(sample_weight, dtype="float32")
                while len(weights.shape) < len(counted.shape):
                    weights = ops.expand_dims(weights, -1)
                sample_weight = weights * counted
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == y_pred.shape[-1] != 1:
            return self.target_losses(y_true, y_pred)
        if self._is_column(y_true, y_pred.shape):
            y_true = ops.squeeze(y_true, -1)
        if len(y_true.shape) + 1 != len(y_pred.shape):
            raise ValueError(
                f"{type(self).__name__}: y_true has shape {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; expected "
                "class ids (...) and logits (..., C)"
            )
        return self.class_losses(ops.cast(y_true, "int32"), y_pred)

    @staticmethod
    def _is_column(labels, logits_shape):
        return len(labels.shape) == len(logits_shape) and labels.shape[-1] == 1
