"""How concentrated attention is: the ratio of its l1 to its l2 norm (kexue.fm/archives/9889, 9595)."""

import numpy as np
from numpy.typing import ArrayLike


def attention_concentration(weights: ArrayLike, visible: ArrayLike | None = None) -> np.ndarray:
    """S(a) = mean|a| / sqrt(mean a²) of every row: 1 for uniform weights, 1/sqrt(n) for one-hot ones.

    It is scale-free, so weights need not sum to 1. For scores t ~ N(0, γ²) softmax has S = exp(−γ²/2), which goes to 0:
    it can concentrate. Linear attention without a feature map cannot: its S is never below sqrt(2/π) = 0.798.

    Args:
        weights: float `[..., m]`, rows of attention weights.
        visible: bool, broadcastable to weights; keys that the row sees, None for all.

    Returns:
        float64 `[...]`, in (0, 1]; NaN for a row without a visible weight other than 0.
    """
    weights = np.abs(np.asarray(weights, "float64"))
    visible = np.broadcast_to(True if visible is None else np.asarray(visible, bool), weights.shape)
    count = visible.sum(-1)
    largest = np.max(weights, axis=-1, where=visible, initial=0.0, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = np.where(visible, weights, 0.0) / largest  # tiny weights would be 0 when squared
        return weights.sum(-1) / np.sqrt(count * np.square(weights).sum(-1))
