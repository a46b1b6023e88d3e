"""EMO: how far the predicted classes lie from the label, by the similarity of class embeddings."""

import base64

import keras
import numpy as np
from keras import ops

from zoo.losses.class_loss import ClassLoss

MODES = ("plain", "mean", "sum")
EPSILON = 1e-10  # the authors'


@keras.saving.register_keras_serializable(package="zoo")
class EMO(ClassLoss):
    """Earth mover's distance from predicted probabilities p to the label t: Σ_i p_i c_it, c_ij = 1 − cos(e_i, e_j).

    A wrong class near the label costs less than one far away. The gradient by logit j is p_j (c_jt − EMO).

    Args:
        cost_embedding: `[C, d]`, a vector for each class, not trained here: `matcher.encode(class_names)`, the token
            embedding of a pretrained model. A row of zeros is at distance 1 from all others.
        mode: `"plain"` is the distance alone. The authors' two mixtures with cross entropy CE, in which sg(·) is a
            constant for the gradient: `"mean"` is (CE + sg(CE / EMO) EMO) / 2, `"sum"` is EMO + sg(EMO / CE) CE.
        ignore_class, reduction, name: see `ClassLoss`.

    Inputs:
        | y_true `[...]` or `[..., C]` | y_pred `[..., C]` | sample_weight `[...]` |
        | --- | --- | --- |
        | class ids, or probabilities τ | logits | optional |

        For probabilities, such as smoothed labels, the distance is its upper bound Σ_ij p_i τ_j c_ij.

    Requirements:
        Class embeddings that mean something, and a model that is trained already: the distance is at most 2, so
        that its gradients are small where nearly all is wrong. Takes memory C · d beside the probabilities.

    Source:
        Ren et al., EMO: Earth Mover Distance Optimization for Auto-Regressive Language Modeling, arXiv 2310.04691; Su,
        kexue.fm/archives/9797. Their released code takes the label's own probability out of the value as well.

    Relations:
        Embeddings at right angles to each other make it 1 − p_t, which is `TaiLr(gamma=1)`.

    Raises:
        ValueError: cost_embedding is no finite matrix, or has another number of rows than there are logits; another mode.
    """

    def __init__(
        self, cost_embedding, mode="plain", ignore_class=None, reduction="mean_with_sample_weight", name="emo"
    ):
        super().__init__(ignore_class, reduction, name)
        if isinstance(cost_embedding, dict):  # of a config
            vectors = np.frombuffer(base64.b64decode(cost_embedding["float32"]), "<f4")
            cost_embedding = vectors.reshape(cost_embedding["shape"])
        elif not isinstance(cost_embedding, np.ndarray | list | tuple):  # a variable or tensor, maybe in half precision
            cost_embedding = ops.convert_to_numpy(ops.cast(cost_embedding, "float32"))
        self.cost_embedding = np.asarray(cost_embedding, "float32")
        if self.cost_embedding.ndim != 2 or not np.isfinite(self.cost_embedding).all():
            raise ValueError(
                f"EMO: cost_embedding has shape {self.cost_embedding.shape}; expected (C, d), finite: a vector for each class"
            )
        if mode not in MODES:
            raise ValueError(f"EMO: mode={mode!r}; expected one of {', '.join(MODES)}")
        self.mode = mode
        wide = self.cost_embedding.astype("float64")
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        self._directions = (wide / np.where(lengths > 0, lengths, 1.0)).astype("float32")

    def class_losses(self, labels, logits):
        directions, log_p = self._prepared(logits)
        is_label = ops.expand_dims(labels, -1) == ops.arange(logits.shape[-1], dtype="int32")
        # Without the label's own probability, which costs nothing: exact where it is nearly all there is.
        others = ops.where(is_label, 0.0, ops.exp(log_p))
        target = ops.take(directions, labels, axis=0)  # [..., d]
        distance = ops.sum(others, axis=-1) - ops.sum(ops.matmul(others, directions) * target, axis=-1)
        if self.mode == "plain":
            return distance
        return self._mixed(distance, -ops.sum(ops.where(is_label, log_p, 0.0), axis=-1))

    def target_losses(self, targets, logits):
        directions, log_p = self._prepared(logits)
        moved = ops.sum(ops.matmul(ops.exp(log_p), directions) * ops.matmul(targets, directions), axis=-1)
        distance = ops.sum(targets, axis=-1) - moved
        if self.mode == "plain":
            return distance
        return self._mixed(distance, -ops.sum(targets * log_p, axis=-1))

    def _prepared(self, logits):
        """Unit vectors of the classes `[C, d]` and logarithms of the probabilities `[..., C]`."""
        if logits.shape[-1] != len(self._directions):
            raise ValueError(
                f"EMO: y_pred has shape {tuple(logits.shape)}, cost_embedding {self.cost_embedding.shape}; expected as "
                "many logits as class embeddings, in the same order"
            )
        return ops.convert_to_tensor(self._directions), ops.log_softmax(logits, axis=-1)

    def _mixed(self, distance, cross_entropy):
        # Roundings can make a distance of 0 slightly negative, which would turn the gradient around.
        size, other = ops.stop_gradient(ops.relu(distance)), ops.stop_gradient(cross_entropy)
        if self.mode == "mean":
            return 0.5 * (cross_entropy + other / (size + EPSILON) * distance)
        return distance + size / (other + EPSILON) * cross_entropy

    def get_config(self):
        vectors = base64.b64encode(self.cost_embedding.astype("<f4").tobytes()).decode("ascii")
        cost_embedding = {"shape": list(self.cost_embedding.shape), "float32": vectors}
        return {**super().get_config(), "cost_embedding": cost_embedding}
