"""What softmax can say, and how little noise on its scores matters (kexue.fm/archives/9593)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def softmax_information(scale: float = 20.0, count: int | None = None) -> float:
    """By how many nats the entropy of softmax(scale · cosines) can fall below that of uniform weights, ln count.

    Cosines lie in [−1, 1], so a small scale leaves training little to say: at scale 1 no more than 0.474475 nats, however
    many scores there are. The most is reached with a part p of the cosines at 1 and the others at −1; for very many of
    them it is D − 1 − ln D with D = 2 scale / (1 − exp(−2 scale)), at p = (D − 1) / (exp(2 scale) − 1). From about
    scale 10 on one of thousands can have all the weight: the reason for CoSENT's and InfoNCE's scale of 20.

    Args:
        scale: float > 0, what cosines are multiplied by; 1 / temperature.
        count: int >= 2, number of scores, or None for the limit of infinitely many.

    Returns:
        float, nats; at most ln count.

    Raises:
        ValueError: scale or count out of range.
    """
    if not scale > 0 or (count is not None and count < 2):
        raise ValueError(f"scale={scale}, count={count}; expected a scale above 0 and at least two scores")
    s = 2 * float(scale)
    d = s / -math.expm1(-s)
    if count is None:
        return d - 1 - math.log(d)
    best = count * (d - 1) * math.exp(-s) / -math.expm1(-s)  # the best p; with whole numbers one of its neighbours
    tops = {min(max(math.floor(best) + step, 1), count - 1) for step in (0, 1)}
    return max(_fall(s, top / count) for top in tops)


def _fall(s, p):
    """ln n − H of weights of which a part p is e^s times as large as the others."""
    # H = ln Σ − Σ w ln w / Σ with the large weights at 1 and the small ones at e^−s.
    low = (1 - p) * math.exp(-s)
    return -math.log(p + low) - s * low / (p + low)


def softmax_robustness(weights: ArrayLike, noise: float = 1.0, axis: int = -1) -> np.ndarray:
    """How much attention's output moves if noise is added to its scores, in units of the values' standard deviation.

    Independent N(0, noise²) on the scores multiplies the weights by factors whose common mean cancels; what is left is
    of size sqrt((exp(noise²) − 1) Σ a²): small where many keys share the weight, the reason why attention survives
    low precision and rough approximations of its scores. A first-order result for many keys and values that do not
    depend on the weights.

    Args:
        weights: float `[..., m]`, attention weights; normalised here.
        noise: float >= 0, standard deviation of the noise.
        axis: int, of the keys.

    Returns:
        float64 `[...]`, root mean square error of the output; NaN for weights of zeros.

    Raises:
        ValueError: negative noise.
    """
    if not noise >= 0:
        raise ValueError(f"noise={noise}; expected a standard deviation >= 0")
    weights = np.asarray(weights, "float64")
    with np.errstate(invalid="ignore"):
        shares = weights / weights.sum(axis, keepdims=True)
    return np.sqrt(np.expm1(float(noise) ** 2) * np.square(shares).sum(axis))


def softmax_information_figure(
    counts: Sequence[int] = (16, 256, 4096, 65536), scales: ArrayLike | None = None, title: str | None = None
) -> Any:
    """Share of ln n that training can take away from the entropy, against the scale; a line at the usual 20.

    Args:
        counts: ints, numbers of scores, at most 8.
        scales: floats or None for 0.25 to 64.
        title: str or None.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'keras-zoo[plots]'") from error
    scales = np.geomspace(0.25, 64, 200) if scales is None else np.asarray(scales, "float64")
    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
    for colour, count in zip(colours, counts):
        share = [softmax_information(scale, count) / math.log(count) for scale in scales]
        axes.plot(scales, share, color=colour, linewidth=1.5, label=f"{count:,} scores")
    axes.axvline(20, color="black", linestyle="--", linewidth=1.2, label="scale 20")
    axes.set(xlabel="scale of the cosines", ylabel="reachable fall of the entropy / ln n", ylim=(0, 1.02))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.7)
    if title:
        figure.suptitle(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
