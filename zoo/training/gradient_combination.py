"""One direction from the gradients of several tasks: weights of the gradients, from their Gram matrix alone.

Of gradients g_1 ... g_n, rows of G, the Gram matrix is M = G Gᵀ `[n, n]`, and a combination Σ w_i g_i changes task i, to first
order, by −(M w)_i times the learning rate.
"""

import numpy as np


def min_norm_weights(gram):
    """Weights on the simplex that make the combined gradient shortest: the direction in which every task gets better.

    For the combined gradient u, ⟨g_i, u⟩ >= |u|² for every task, with equality where its weight is above 0. u = 0 where no
    direction improves all tasks.

    Args:
        gram: `[n, n]`, Gram matrix of the tasks' gradients.

    Returns:
        float64 `[n]`, >= 0, of sum 1.

    Raises:
        ValueError: gram is no finite, symmetric matrix with a diagonal of at least 0.

    Source: Sener and Koltun, arXiv 1810.04650; Su, kexue.fm/archives/8896.
    """
    gram, scale = _checked(gram)
    if scale == 0:
        return np.full(len(gram), 1 / len(gram))
    gram = gram / scale
    if len(gram) == 2:
        apart = gram[0, 0] - 2 * gram[0, 1] + gram[1, 1]  # |g_1 - g_2|²
        first = 0.5 if apart <= 0 else np.clip((gram[1, 1] - gram[0, 1]) / apart, 0.0, 1.0)
        return np.array([first, 1 - first])
    # On the simplex means: of non-negative weights w, those of min |G w|² + (1 - Σw)², brought to the sum 1.
    weights = _non_negative(gram + 1.0, np.ones(len(gram)))
    return weights / weights.sum()


def primary_task_weights(gram, primary=0):
    """Weights that follow one task as far as no other gets worse: 1 for the primary, at least 0 for the others.

    The combined gradient u is the one nearest to the primary's with ⟨g_i, u⟩ >= 0 for all others, which are weighed only
    where they would get worse.

    Args:
        gram: `[n, n]`, Gram matrix of the tasks' gradients.
        primary: int, the place of the primary task.

    Returns:
        float64 `[n]`.

    Raises:
        ValueError: see `min_norm_weights`; there is no such task.

    Source: Su, kexue.fm/archives/8907.
    """
    gram, _ = _checked(gram)
    if not 0 <= primary < len(gram):
        raise ValueError(f"primary={primary}; expected a task from 0 to {len(gram) - 1}")
    others = np.delete(np.arange(len(gram)), primary)
    lengths = np.sqrt(np.diag(gram))
    used = others[lengths[others] > 0]  # a gradient of 0 can neither get worse nor help
    weights = np.zeros(len(gram))
    weights[primary] = 1.0
    if len(used) and lengths[primary] > 0:
        # In units of the gradients' own lengths: tasks of very different scales are equally well solved for.
        unit = gram[np.ix_(used, used)] / np.outer(lengths[used], lengths[used])
        pull = -gram[used, primary] / (lengths[used] * lengths[primary])
        weights[used] = _non_negative(unit, pull) * lengths[primary] / lengths[used]
    return weights


def _checked(gram):
    """A Gram matrix as float64, and its largest element on the diagonal."""
    gram = np.asarray(gram, "float64")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not len(gram) or not np.isfinite(gram).all():
        raise ValueError(f"gram has shape {gram.shape}; expected a finite matrix (n, n), n > 0")
    scale = np.diag(gram).max()
    if np.diag(gram).min() < 0 or np.abs(gram - gram.T).max() > 1e-4 * scale:
        raise ValueError("gram is no Gram matrix: expected G Gᵀ, symmetric, with squared lengths on the diagonal")
    return (gram + gram.T) / 2, scale


def _non_negative(matrix, vector, tolerance=1e-12):
    """x >= 0 that minimises x·(A x)/2 - b·x, for A `[n, n]` positive semi-definite and b `[n]` in its range.

    The method of Lawson and Hanson (Solving Least Squares Problems, 1974) on normal equations: one element after the other
    leaves 0, the one that gains most; elements that the solution for those would make negative go back.
    """
    x, free = np.zeros(len(vector)), np.zeros(len(vector), bool)
    for _ in range(10 * len(vector)):
        slope = np.where(free, -np.inf, vector - matrix @ x)
        if slope.max() <= tolerance:
            break
        free[np.argmax(slope)] = True
        while free.any():
            wanted = np.zeros_like(x)
            wanted[free] = np.linalg.lstsq(matrix[np.ix_(free, free)], vector[free], rcond=1e-13)[0]
            falling = free & (wanted <= 0)
            if not falling.any():
                x = wanted
                break
            part = np.min(x[falling] / np.maximum(x[falling] - wanted[falling], 1e-300))
            x = x + part * (wanted - x)
            gone = falling & (x <= tolerance)
            gone[np.flatnonzero(falling)[np.argmin(x[falling])]] = True
            x[gone], free = 0.0, free & ~gone
    return x
