"""From scores to probabilities, and whether probabilities come true."""

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics.checks import finite, labels_and_scores, same_length
from zoo.metrics.correlation import ranks


class PlattScaling:
    """Probabilities of scores: the sigmoid of a line, fitted to labelled scores by Newton's method.

    Targets are Platt's, (P + 1) / (P + 2) and 1 / (N + 2) for P positives and N negatives, so that the line stays
    finite on scores that part the classes perfectly. Source: Platt, Probabilistic Outputs for Support Vector Machines
    (1999), with the numerics of Lin, Lin and Weng (Machine Learning 68, 2007).

    Args:
        y_true: `[n]`, 0/1.
        scores: `[n]`, finite, unbounded.

    Attributes:
        slope, intercept: floats; the probability of a score s is sigmoid(slope · s + intercept).

    Raises:
        ValueError: empty, of different lengths, labels other than 0/1, scores not finite.
    """

    def __init__(self, y_true: ArrayLike, scores: ArrayLike) -> None:
        y_true, scores = labels_and_scores(y_true, scores)
        positives = int(np.sum(y_true))
        targets = np.where(y_true, (positives + 1) / (positives + 2), 1 / (len(y_true) - positives + 2))
        # In units of their spread, or a step in the slope and one in the intercept differ by orders of magnitude.
        middle, spread = np.mean(scores), np.std(scores)
        x = (scores - middle) / spread if spread > 0 else np.zeros_like(scores)
        line = _fitted_line(x, targets)
        self.slope = float(line[0] / spread) if spread > 0 else 0.0
        self.intercept = float(line[1] - self.slope * middle)

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Probabilities, float64 `[n]`, of scores `[n]`."""
        return sigmoid(self.slope * np.asarray(scores, "float64") + self.intercept)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))  # exact at both ends: neither exponential overflows


def _fitted_line(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Slope and intercept that minimise the cross entropy of `targets` `[n]` and sigmoid(slope · x + intercept)."""
    design = np.stack([x, np.ones_like(x)], axis=1)  # [n, 2]

    def loss(line: np.ndarray) -> np.floating:
        z = design @ line
        return np.mean(np.logaddexp(0, z) - targets * z)

    line = np.array([0.0, np.log(np.mean(targets) / (1 - np.mean(targets)))])
    for _ in range(100):
        p = sigmoid(design @ line)
        gradient = design.T @ (p - targets) / len(x)
        # A little on the diagonal: constant scores leave the slope undetermined.
        hessian = (design.T * (p * (1 - p))) @ design / len(x) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        if gradient @ step < 1e-20:  # twice what this step can still gain
            break
        size = 1.0
        while size > 1e-10 and not loss(line - size * step) <= loss(line) - 1e-4 * size * (gradient @ step):
            size /= 2
        line = line - size * step
    return line


def reliability_curve(
    y_true: ArrayLike, probabilities: ArrayLike, bins: int = 10, equal_mass: bool = False
) -> dict[str, np.ndarray]:
    """Mean probability and share of positives in bins of probability, for a reliability plot.

    Args:
        y_true: `[n]`, 0/1; with probabilities `[n, C]` class ids.
        probabilities: `[n]`, of class 1, in [0, 1]; or `[n, C]`, of all classes: then the probability is that of the
            likeliest class, and a row is positive where that is the label.
        bins: int >= 1.
        equal_mass: bool. False: bins of equal width in [0, 1], closed below, the last one also above. True: bins of
            equally many rows, as far as equal probabilities, which stay together, allow it.

    Returns:
        dict of arrays `[m]` over the m <= bins that are not empty: lower, upper (edges; with equal_mass the least and
        greatest probability), probability, positives (means), count.

    Raises:
        ValueError: labels or shapes other than these, probabilities outside [0, 1] or not finite, rows of `[n, C]` that
            do not sum to 1, bins < 1.
    """
    y_true, probabilities = _confidence(y_true, probabilities)
    if bins != int(bins) or bins < 1:
        raise ValueError(f"bins is {bins!r}, expected an integer >= 1.")
    bins = int(bins)
    if equal_mass:
        # By the mean rank, which is the same for equal probabilities: the order of rows decides nothing.
        member = np.floor((ranks(probabilities) - 0.5) / len(probabilities) * bins).astype("int64")
        lower, upper = np.full(bins, np.inf), np.full(bins, -np.inf)
        np.minimum.at(lower, member, probabilities)
        np.maximum.at(upper, member, probabilities)
    else:
        edges = np.linspace(0.0, 1.0, bins + 1)
        lower, upper = edges[:-1], edges[1:]
        member = np.minimum(np.searchsorted(edges, probabilities, side="right") - 1, bins - 1)
    count = np.bincount(member, minlength=bins)
    kept = count > 0
    return {
        "lower": lower[kept],
        "upper": upper[kept],
        "probability": np.bincount(member, probabilities, bins)[kept] / count[kept],
        "positives": np.bincount(member, y_true, bins)[kept] / count[kept],
        "count": count[kept],
    }


def expected_calibration_error(
    y_true: ArrayLike, probabilities: ArrayLike, bins: int = 10, equal_mass: bool = False
) -> float:
    """Mean distance of probability and share of positives over the bins of `reliability_curve`, weighted by count.

    Args, Raises: see `reliability_curve`.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015); bins of equal mass,
    Nguyen and O'Connor, arXiv 1508.05154.
    """
    curve = reliability_curve(y_true, probabilities, bins, equal_mass)
    return float(np.average(np.abs(curve["probability"] - curve["positives"]), weights=curve["count"]))


def brier_score(y_true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of probabilities and labels; 0 is perfect.

    Args:
        y_true: `[n]`, 0/1; with probabilities `[n, C]` class ids.
        probabilities: `[n]`, of class 1: mean of (p - y)², at most 1. `[n, C]`, of all classes: mean of the sum over the
            classes, at most 2, and twice the former for two classes.

    Raises:
        ValueError: see `reliability_curve`.
    """
    y_true, probabilities = _classes(y_true, probabilities)
    if probabilities.ndim == 1:
        return float(np.mean(np.square(probabilities - y_true)))
    one_hot = np.arange(probabilities.shape[1]) == y_true[:, None]
    return float(np.mean(np.sum(np.square(probabilities - one_hot), axis=1)))


def negative_log_likelihood(y_true: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of -ln p over the rows, p the probability of the label; infinite where a label has probability 0.

    Args:
        y_true: `[n]`, 0/1; with probabilities `[n, C]` class ids.
        probabilities: `[n]`, of class 1, or `[n, C]`, of all classes.

    Raises:
        ValueError: see `reliability_curve`.
    """
    y_true, probabilities = _classes(y_true, probabilities)
    if probabilities.ndim == 1:
        of_label = np.where(y_true, probabilities, 1 - probabilities)
    else:
        of_label = np.take_along_axis(probabilities, y_true[:, None], axis=1)[:, 0]
    with np.errstate(divide="ignore"):
        return float(np.mean(-np.log(of_label)))


def _classes(y_true: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Checked labels `[n]` (bool, or int64 class ids) and probabilities `[n]` or `[n, C]`, float64."""
    if np.ndim(probabilities) != 2:
        y_true, probabilities = labels_and_scores(y_true, probabilities, "probabilities")
    else:
        y_true, probabilities = finite(y_true, "y_true"), finite(probabilities, "probabilities", ndim=2)
        same_length(y_true, probabilities, ("y_true", "probabilities"))
        wrong = np.flatnonzero(~np.isin(y_true, np.arange(probabilities.shape[1])))
        if len(wrong):
            raise ValueError(
                f"y_true[{wrong[0]}] is {y_true[wrong[0]]:g}, expected a class id from 0 to {probabilities.shape[1] - 1}."
            )
        y_true = y_true.astype("int64")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"probabilities lie in [{probabilities.min():g}, {probabilities.max():g}], expected [0, 1]: "
            f"map scores to probabilities first, e.g. by a sigmoid."
        )
    if probabilities.ndim == 2 and np.abs(probabilities.sum(axis=1) - 1).max() > 1e-2:
        row = int(np.argmax(np.abs(probabilities.sum(axis=1) - 1)))
        raise ValueError(
            f"probabilities[{row}] sums to {probabilities[row].sum():g}, expected 1: take the softmax of logits first."
        )
    return y_true, probabilities


def _confidence(y_true: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Positives, bool `[n]`, and probabilities `[n]`: of class 1, or of the likeliest class."""
    y_true, probabilities = _classes(y_true, probabilities)
    if probabilities.ndim == 1:
        return y_true, probabilities
    return probabilities.argmax(axis=1) == y_true, probabilities.max(axis=1)
