"""Scaling laws from measured losses, and the quanta that explain them (kexue.fm/archives/9607; arXiv 2303.13506).

A loss falls as E + A x^−α with a resource x: parameters, tokens or steps. In the quanta model a task consists of skills
that are learnt one after the other, the k-th in a share p_k = k^(−γ−1) / Z of all cases. Who has learnt n of them has the
loss a + (b − a) Σ_{k>n} p_k, about a + (b − a) n^−γ / (γ Z). With parameters n grows in proportion, so α = γ; with data or
steps a skill is learnt once it has been met often enough, so n ~ x^(1/(γ+1)) and α = γ/(γ+1).
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

EXPONENTS = (0.01, 4.0)  # where α is looked for
RESOURCES = ("parameters", "data", "steps")


@dataclasses.dataclass(frozen=True)
class ScalingLaw:
    """What `fit_scaling_law` found: loss = offset + amplitude · x^−exponent.

    Attributes:
        exponent, amplitude, offset: float.
        intervals: dict from these names to (low, high), by the bootstrap.
        samples: float64 `[bootstrap, 3]`, exponent, amplitude and offset of each resample.
        error: float, root mean square of the relative residuals.
        confidence: float.
        at_border: bool, whether the exponent lies at the border of the search, 0.01 or 4: then the losses show no power
            law, or too little of it.
    """

    exponent: float
    amplitude: float
    offset: float
    intervals: dict
    samples: np.ndarray
    error: float
    confidence: float
    at_border: bool

    def __str__(self) -> str:
        lines = [f"loss = {self.offset:.4g} + {self.amplitude:.4g} x^-{self.exponent:.4g}, {self.error:.2%} off"]
        for name, (low, high) in self.intervals.items():
            lines.append(f"{name}: {low:.4g} to {high:.4g} ({self.confidence:.0%})")
        return "\n".join(lines)

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Loss at x, float64."""
        return self.offset + self.amplitude * np.asarray(x, "float64") ** -self.exponent

    def interval(self, x: ArrayLike) -> Any:
        """(low, high) of the loss at x `[...]`, float64: how far one may extrapolate."""
        x = np.asarray(x, "float64")[..., None]
        exponent, amplitude, offset = self.samples.T
        return _between(offset + amplitude * x**-exponent, self.confidence)

    def quanta_exponent(self, resource: str) -> float:
        """γ of the quanta model, which explains the exponent of x.

        Args:
            resource: what x is, `"parameters"`, `"data"` or `"steps"`.

        Raises:
            ValueError: another resource; an exponent of 1 or more in data or steps, which no γ explains.
        """
        if resource not in RESOURCES:
            raise ValueError(f"resource={resource!r}; expected one of {', '.join(RESOURCES)}")
        if resource == "parameters":
            return self.exponent
        if self.exponent >= 1:
            raise ValueError(f"an exponent of {self.exponent:.4g} in {resource}; the quanta model has one below 1")
        return self.exponent / (1 - self.exponent)

    def figure(self, x: ArrayLike, losses: ArrayLike, ahead: float = 10.0, title: str | None = None) -> Any:
        """The losses, the law and its interval, up to `ahead` times the largest x: a `matplotlib.figure.Figure`."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("figures need matplotlib: pip install 'keras-zoo[plots]'") from error
        figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
        axes = figure.subplots()
        grid = np.geomspace(np.min(x), np.max(x) * ahead, 200)
        axes.fill_between(grid, *self.interval(grid), color="#0072B2", alpha=0.2, linewidth=0)
        axes.plot(grid, self(grid), color="#0072B2", linewidth=1.5, label=f"law, exponent {self.exponent:.3f}")
        axes.plot(x, losses, "o", color="#D55E00", markersize=4, label="measured")
        axes.axhline(self.offset, color="black", linestyle="--", linewidth=1, label=f"offset {self.offset:.3f}")
        axes.set(xlabel="x", ylabel="loss", xscale="log")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E5E5", linewidth=0.7)
        if title:
            figure.suptitle(title, fontsize=11)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        return figure


def fit_scaling_law(
    x: ArrayLike, losses: ArrayLike, bootstrap: int = 500, confidence: float = 0.95, seed: int = 0
) -> ScalingLaw:
    """Fit loss = E + A x^−α, E >= 0, A >= 0, by least squares of the relative errors.

    For given α the best E and A are known in closed form, so that only α is searched: on a grid, then by golden sections.
    The intervals are those of a bootstrap of the residuals, widened for the three fitted numbers: they say what
    scatter does to the fit, not whether the law goes on beyond the data.

    Args:
        x: float `[n]`, n >= 4, positive: parameters, tokens, steps.
        losses: float `[n]`, positive.
        bootstrap: int >= 1, resamples. confidence: float in (0, 1). seed: int.

    Returns:
        ScalingLaw.

    Raises:
        ValueError: shapes that do not fit, numbers out of range, fewer than 4 different x.
    """
    x, losses = np.asarray(x, "float64"), np.asarray(losses, "float64")
    if x.ndim != 1 or x.shape != losses.shape or len(np.unique(x)) < 4:
        raise ValueError(
            f"x of shape {x.shape}, losses of shape {losses.shape}; expected (n,) twice, 4 different x or more"
        )
    if not (np.all(np.isfinite(x) & np.isfinite(losses)) and x.min() > 0 and losses.min() > 0):
        raise ValueError("x or losses hold numbers that are not positive and finite")
    if bootstrap < 1 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap={bootstrap}, confidence={confidence}; expected at least 1, and between 0 and 1")
    unit = np.exp(np.mean(np.log(x)))  # x^−α of millions to the fourth would underflow
    scaled = x / unit
    exponent, amplitude, offset = (part[0] for part in _fit(scaled, losses[None]))
    fitted = offset + amplitude * scaled**-exponent
    residuals = (losses - fitted) / fitted
    error = float(np.sqrt(np.mean(residuals**2)))
    rng = np.random.default_rng(seed)
    drawn = residuals[rng.integers(0, len(x), (bootstrap, len(x)))] * np.sqrt(len(x) / max(1, len(x) - 3))
    exponents, amplitudes, offsets = _fit(scaled, np.maximum(fitted * (1 + drawn), 1e-12))
    samples = np.stack([exponents, amplitudes * unit**exponents, offsets], axis=1)
    intervals = {
        name: tuple(map(float, _between(column, confidence)))
        for name, column in zip(("exponent", "amplitude", "offset"), samples.T)
    }
    at_border = not EXPONENTS[0] * 1.01 < exponent < EXPONENTS[1] * 0.99
    return ScalingLaw(
        float(exponent),
        float(amplitude * unit**exponent),
        float(offset),
        intervals,
        samples,
        error,
        confidence,
        at_border,
    )


def quanta_loss(learnt: ArrayLike, gamma: float, floor: float = 0.0, start: float = 1.0) -> np.ndarray:
    """Loss of the quanta model once the n most frequent skills are learnt, exactly.

    Args:
        learnt: int >= 0 `[...]`, n.
        gamma: float > 0; skill k is needed in a share k^(−γ−1) / Z of all cases.
        floor, start: float, loss of cases whose skill is learnt, and of those whose is not.

    Returns:
        float64 `[...]`, floor + (start − floor) Σ_{k>n} p_k.

    Raises:
        ValueError: γ <= 0, a negative n.
    """
    learnt = np.asarray(learnt)
    if not gamma > 0 or learnt.min(initial=0) < 0:
        raise ValueError(f"gamma={gamma}, learnt from {learnt.min(initial=0)}; expected gamma > 0 and numbers >= 0")
    tails = _zeta_tail(learnt + 1.0, gamma + 1.0)
    return floor + (start - floor) * tails / _zeta_tail(np.array(1.0), gamma + 1.0)


def _zeta_tail(first, s):
    """Σ_{k >= first} k^−s: thirty terms, then Euler and Maclaurin's formula."""
    first = np.asarray(first, "float64")
    head = ((first[..., None] + np.arange(30.0)) ** -s).sum(-1)
    a = first + 30
    rest = a ** (1 - s) / (s - 1) + a**-s / 2 + s * a ** (-s - 1) / 12 - s * (s + 1) * (s + 2) * a ** (-s - 3) / 720
    return head + rest


def _fit(x, losses):
    """Exponents, amplitudes and offsets `[R]` of rows of losses `[R, n]`."""
    grid = np.geomspace(*EXPONENTS, 121)
    errors = np.stack([_given(x, losses, np.full(len(losses), alpha))[0] for alpha in grid])  # [G, R]
    best = errors.argmin(axis=0)
    low, high = np.log(grid[np.maximum(best - 1, 0)]), np.log(grid[np.minimum(best + 1, len(grid) - 1)])
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(45):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        down = _given(x, losses, np.exp(left))[0] <= _given(x, losses, np.exp(right))[0]
        low, high = np.where(down, low, left), np.where(down, right, high)
    alpha = np.exp((low + high) / 2)
    _, amplitude, offset = _given(x, losses, alpha)
    return alpha, amplitude, offset


def _given(x, losses, alpha):
    """Squared relative error, amplitude and offset that are best for exponents `[R]`, none of them negative."""
    basis = x ** -alpha[:, None] / losses  # [R, n]; relative: everything is divided by the loss
    one = 1 / losses
    aa, ab, bb = (basis**2).sum(1), (basis * one).sum(1), (one**2).sum(1)
    a, b = basis.sum(1), one.sum(1)
    determinant = np.maximum(aa * bb - ab**2, 1e-300)
    amplitude, offset = (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant
    alone = offset < 0
    amplitude, offset = np.where(alone, a / aa, amplitude), np.where(alone, 0.0, offset)
    flat = amplitude < 0
    amplitude, offset = np.where(flat, 0.0, amplitude), np.where(flat, b / bb, offset)
    error = np.square(amplitude[:, None] * basis + offset[:, None] * one - 1).sum(1)
    return error, amplitude, offset


def _between(values, confidence):
    """Low and high quantiles over the last axis."""
    rest = (1 - confidence) / 2
    return np.quantile(values, rest, axis=-1), np.quantile(values, 1 - rest, axis=-1)
