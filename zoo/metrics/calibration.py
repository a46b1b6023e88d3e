"""From scores to probabilities, and whether probabilities come true."""

import numpy as np

from zoo.metrics.checks import labels_and_scores


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

    def __init__(self, y_true, scores):
        y_true, scores = labels_and_scores(y_true, scores)
        positives = int(np.sum(y_true))
        targets = np.where(y_true, (positives + 1) / (positives + 2), 1 / (len(y_true) - positives + 2))
        # In units of their spread, or a step in the slope and one in the intercept differ by orders of magnitude.
        middle, spread = np.mean(scores), np.std(scores)
        x = (scores - middle) / spread if spread > 0 else np.zeros_like(scores)
        line = _fitted_line(x, targets)
        self.slope = float(line[0] / spread) if spread > 0 else 0.0
        self.intercept = float(line[1] - self.slope * middle)

    def __call__(self, scores):
        """Probabilities, float64 `[n]`, of scores `[n]`."""
        return sigmoid(self.slope * np.asarray(scores, "float64") + self.intercept)


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))  # exact at both ends: neither exponential overflows


def _fitted_line(x, targets):
    """Slope and intercept that minimise the cross entropy of `targets` `[n]` and sigmoid(slope · x + intercept)."""
    design = np.stack([x, np.ones_like(x)], axis=1)  # [n, 2]

    def loss(line):
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


def reliability_curve(y_true, probabilities, bins=10):
    """Mean probability and share of positives in equal bins of [0, 1], for a reliability plot.

    Args:
        y_true: `[n]`, 0/1.
        probabilities: `[n]`, in [0, 1].
        bins: int >= 1. Bins are closed below; the last one also above.

    Returns:
        dict of arrays `[m]` over the m <= bins that are not empty: lower, upper (edges), probability,
        positives (means), count.

    Raises:
        ValueError: labels other than 0/1, probabilities outside [0, 1] or not finite, bins < 1.
    """
    y_true, probabilities = labels_and_scores(y_true, probabilities, "probabilities")
    if bins != int(bins) or bins < 1:
        raise ValueError(f"bins is {bins!r}, expected an integer >= 1.")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"probabilities lie in [{probabilities.min():g}, {probabilities.max():g}], expected [0, 1]: "
            f"map scores to probabilities first, e.g. by a sigmoid."
        )
    edges = np.linspace(0.0, 1.0, int(bins) + 1)
    member = np.minimum(np.searchsorted(edges, probabilities, side="right") - 1, int(bins) - 1)
    count = np.bincount(member, minlength=int(bins))
    kept = count > 0
    return {
        "lower": edges[:-1][kept],
        "upper": edges[1:][kept],
        "probability": np.bincount(member, probabilities, int(bins))[kept] / count[kept],
        "positives": np.bincount(member, y_true, int(bins))[kept] / count[kept],
        "count": count[kept],
    }


def expected_calibration_error(y_true, probabilities, bins=10):
    """Mean distance of probability and share of positives over the bins of `reliability_curve`, weighted by
    count.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015).
    """
    curve = reliability_curve(y_true, probabilities, bins)
    return float(np.average(np.abs(curve["probability"] - curve["positives"]), weights=curve["count"]))
