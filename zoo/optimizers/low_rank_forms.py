"""Forms of `LowRank`: what is trained in place of a kernel, and how gradients go there and steps come back.

A form trains few numbers for a kernel W `[n, m]` and its gradient G. With r the rank, primes after the inner optimizer's
step, and everything on the right-hand sides from before it:

    LoRA               g_A = s G Bᵀ,  g_B = s Aᵀ G      W <- W + s (A' B' - A B)
    AdditiveLoRA       g_A = G Vᵀ,    g_B = Uᵀ G        W <- W + (A' - A) V + U (B' - B),  U and V rows of identities
    RandomProjection   the same with U and V drawn from N(0, 1/r) again and again
    GaLore             g_B = Pᵀ G                       W <- W + s P (B' - B),  P the leading left singular vectors of G

Sources: "The gradient view of LoRA", kexue.fm/archives/9590 (the first three); LoRA, arXiv 2106.09685; rsLoRA, arXiv
2312.03732; LoRA+, arXiv 2402.12354; GaLore, arXiv 2403.03507.
"""

import keras
import numpy as np
from keras import ops

from zoo.backend.arguments import Configured


class Form(Configured):
    """What `LowRank` trains in place of a kernel.

    `trained` are tensors of the small variables that the inner optimizer is given, `kept` those of others that are
    stored beside them. All are float32, and so are gradients, `[n, m]`.

    Attributes:
        refresh_every: int or None, steps after which `kept` is made anew while `trained` starts again from zero.
        is_random: bool, whether it is made anew with random numbers.
        is_average: bool, whether a mean of `trained` over steps stands for a model.
    """

    refresh_every = None
    is_random = False
    is_average = True

    def trained_variables(self, n, m, rank):
        """List of (name, shape, initializer)."""
        raise NotImplementedError(f"{type(self).__name__}.trained_variables")

    def kept_variables(self, n, m, rank):
        """List of (name, shape, initializer)."""
        return []

    def project(self, gradient, trained, kept):
        """Gradients of `trained`."""
        raise NotImplementedError(f"{type(self).__name__}.project")

    def after_step(self, old, new):
        """The factors to keep after a step. old: before it; new: as the inner optimizer left them."""
        return new

    def change(self, old, new, kept):
        """The step of W as a product: left `[n, k]`, right `[k, m]`."""
        raise NotImplementedError(f"{type(self).__name__}.change")

    def total(self, trained, kept):
        """All steps together as a product: left `[n, k]`, right `[k, m]`."""
        raise ValueError(
            f"the steps of {type(self).__name__} add up to no matrix of low rank, so there is no small delta to extract; "
            "save the whole model instead"
        )

    def refreshed(self, due, gradient, kept, seed):
        """`kept`, made anew where the scalar bool `due` says so."""
        return kept


@keras.saving.register_keras_serializable(package="zoo")
class LoRA(Form):
    """W = W₀ + s (A B - A₀ B₀): what LoRA layers x (W₀ + s A B) are trained to, without the layers.

    Args:
        alpha: float or None. s = alpha / r; None means s = 1.
        rank_stabilized: bool. s = alpha / sqrt(r) instead (rsLoRA), so that steps do not shrink as the rank grows.
        a_initializer: initializer of A `[n, r]`.
        b_initializer: initializer of B `[r, m]`. W starts as it is whatever the two are; where neither is zero, A₀ and
            B₀ are stored too.
        learning_rate_ratio: float, learning rate of B over that of A (LoRA+ advises some 16). The inner optimizer's
            step of B, decay included, is multiplied by it.
    """

    def __init__(
        self,
        alpha=None,
        rank_stabilized=False,
        a_initializer="he_uniform",
        b_initializer="zeros",
        learning_rate_ratio=1.0,
    ):
        self.alpha, self.rank_stabilized, self.learning_rate_ratio = alpha, rank_stabilized, learning_rate_ratio
        self.a_initializer = keras.initializers.get(a_initializer)
        self.b_initializer = keras.initializers.get(b_initializer)
        zeros = [isinstance(i, keras.initializers.Zeros) for i in (self.a_initializer, self.b_initializer)]
        if all(zeros):
            raise ValueError(
                "LoRA got zeros for both A and B, where their gradients are zero for ever; leave one random"
            )
        self.starts_at_zero = any(zeros)
        self.is_average = learning_rate_ratio == 1  # an inner optimizer would average B before the ratio

    def scale(self, rank):
        """s."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (rank**0.5 if self.rank_stabilized else rank)

    def trained_variables(self, n, m, rank):
        return [("a", (n, rank), self.a_initializer), ("b", (rank, m), self.b_initializer)]

    def kept_variables(self, n, m, rank):
        start = self.trained_variables(n, m, rank)
        return [] if self.starts_at_zero else [(f"{name}_start", *rest) for name, *rest in start]

    def project(self, gradient, trained, kept):
        a, b = trained
        s = self.scale(a.shape[1])
        return [ops.matmul(gradient, ops.transpose(s * b)), ops.matmul(ops.transpose(s * a), gradient)]

    def after_step(self, old, new):
        if self.learning_rate_ratio == 1:
            return new
        return [new[0], old[1] + self.learning_rate_ratio * (new[1] - old[1])]

    def change(self, old, new, kept):
        # A'B' - AB = A'(B' - B) + (A' - A)B: exactly zero if nothing moved, and no difference of large numbers.
        (a, b), (new_a, new_b) = old, new
        s = self.scale(a.shape[1])
        return ops.concatenate([new_a, new_a - a], axis=1), s * ops.concatenate([new_b - b, b], axis=0)

    def total(self, trained, kept):
        a, b = trained
        s = self.scale(a.shape[1])
        if not kept:
            return a, s * b
        return ops.concatenate([a, -kept[0]], axis=1), s * ops.concatenate([b, kept[1]], axis=0)


class _TwoSided(Form):
    """Steps (A' - A) V + U (B' - B) with U `[n, r]` and V `[r, m]` that are not trained."""

    def trained_variables(self, n, m, rank):
        return [("a", (n, rank), "zeros"), ("b", (rank, m), "zeros")]

    def project(self, gradient, trained, kept):
        u, v = kept
        return [ops.matmul(gradient, ops.transpose(v)), ops.matmul(ops.transpose(u), gradient)]

    def change(self, old, new, kept):
        (a, b), (new_a, new_b), (u, v) = old, new, kept
        return ops.concatenate([new_a - a, u], axis=1), ops.concatenate([v, new_b - b], axis=0)


@keras.saving.register_keras_serializable(package="zoo")
class AdditiveLoRA(_TwoSided):
    """W = W₀ + A [I I ... I] + [I I ... I]ᵀ B: column j adds column j mod r of A, row i row i mod r of B.

    The gradients are sums of G's columns and rows; the change has rank up to 2 r, for as many numbers as LoRA's.
    """

    def kept_variables(self, n, m, rank):
        def identities(shape, dtype=None):
            rows, columns = np.indices(shape)
            return ops.convert_to_tensor(rows % rank == columns % rank, dtype)

        return [("u", (n, rank), identities), ("v", (rank, m), identities)]

    def total(self, trained, kept):
        (a, b), (u, v) = trained, kept
        return ops.concatenate([a, u], axis=1), ops.concatenate([v, b], axis=0)


@keras.saving.register_keras_serializable(package="zoo")
class RandomProjection(_TwoSided):
    """G becomes G Vᵀ V + U Uᵀ G, of mean 2 G, with fresh random U and V.

    What an inner optimizer remembers of earlier steps (momentum, Adam's moments) was measured along other directions;
    plain SGD remembers nothing. The change has full rank in the end.

    Args:
        refresh_every: int, steps for which U and V stay. The post has 1, which leaves moments of earlier steps without meaning.
    """

    is_random, is_average = True, False

    def __init__(self, refresh_every=1):
        self.refresh_every = _checked(refresh_every)

    def kept_variables(self, n, m, rank):
        return [("u", (n, rank), "zeros"), ("v", (rank, m), "zeros")]

    def refreshed(self, due, gradient, kept, seed):
        deviation = kept[0].shape[1] ** -0.5
        # Drawn whether due or not: a seed may not advance inside a branch on JAX.
        fresh = [keras.random.normal(x.shape, stddev=deviation, dtype="float32", seed=seed) for x in kept]
        return [ops.where(due, new, x) for new, x in zip(fresh, kept)]


@keras.saving.register_keras_serializable(package="zoo")
class GaLore(Form):
    """The inner optimizer runs on G projected to its r leading singular directions, on the shorter side of W.

    The directions are made anew from the gradient every so often, while moments stay, so that the change has full rank
    in the end. Unlike in the original, new directions get the signs of the old ones.

    Args:
        scale: float, s, factor of the steps.
        refresh_every: int, steps for which the directions stay.
    """

    is_average = False

    def __init__(self, scale=0.25, refresh_every=200):
        self.scale, self.refresh_every = scale, _checked(refresh_every)

    def trained_variables(self, n, m, rank):
        return [("b", (rank, m), "zeros")] if n <= m else [("a", (n, rank), "zeros")]

    def kept_variables(self, n, m, rank):
        return [("p", (min(n, m), rank), "zeros")]

    def project(self, gradient, trained, kept):
        if _is_wide(gradient):
            return [ops.matmul(ops.transpose(kept[0]), gradient)]
        return [ops.matmul(gradient, kept[0])]

    def change(self, old, new, kept):
        step, p = new[0] - old[0], self.scale * kept[0]
        return (p, step) if step.shape[0] == p.shape[1] else (step, ops.transpose(p))  # r is below both n and m

    def refreshed(self, due, gradient, kept, seed):
        rank = kept[0].shape[1]

        def directions():
            wide = gradient if _is_wide(gradient) else ops.transpose(gradient)
            # Eigenvectors of G Gᵀ, ascending: on the short side alone, which an SVD of G is not.
            _, vectors = ops.linalg.eigh(ops.matmul(wide, ops.transpose(wide)))
            vectors = ops.flip(vectors[:, -rank:], axis=1)
            # Signs are arbitrary: those of the directions before, which moments were measured along.
            return [ops.where(ops.sum(vectors * kept[0], axis=0) < 0, -vectors, vectors)]

        return ops.cond(due, directions, lambda: list(kept))


def _is_wide(matrix):
    return matrix.shape[0] <= matrix.shape[1]


def _checked(refresh_every):
    if not isinstance(refresh_every, int) or refresh_every < 1:
        raise ValueError(f"refresh_every={refresh_every!r}; expected a whole number of steps, at least 1")
    return refresh_every
