"""Do probabilities come true?"""

import numpy as np

from zoo.metrics.checks import labels_and_scores


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
