"""Figures of trained matchers: scores by class, training curves, reliability, precision and recall.

Each is a `matplotlib.figure.Figure`, to be shown by a notebook or saved by its `savefig`. Legends stand beside the
data, never on it. matplotlib comes with the extra `plots`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zoo.metrics import PlattScaling, average_precision, expected_calibration_error, reliability_curve
from zoo.metrics.checks import labels_and_scores
from zoo.metrics.ranking import cuts

# Okabe and Ito's colours, told apart by colour-blind readers and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
GREY = "#666666"


def matching_figures(matchers: Mapping[str, Any], histories: Mapping[str, Any], dev: Any, test: Any) -> dict[str, Any]:
    """Every figure of this module for matchers trained on the same pairs.

    Args:
        matchers: dict from a name to a matcher; classifiers, which have no `score`, are left out.
        histories: dict from the same names to `History.history`; those without `val_spearman` (a dev set of one label has
            none) are left out of the curves.
        dev, test: labelled `zoo.data.Pairs`. Probabilities for the reliability diagram are fitted on dev.

    Returns:
        dict from a file name without extension to a figure; where labels are not 0 and 1, or a matcher has no
        threshold, without reliability and precision-recall.
    """
    matchers = {name: matcher for name, matcher in matchers.items() if hasattr(matcher, "score")}
    if not matchers:
        return {}
    histories = {name: histories[name] for name in matchers if histories[name].get("val_spearman")}
    labels = np.round(test.labels)
    scores = {name: matcher.score(test, verbose=0) for name, matcher in matchers.items()}
    thresholds = {name: matcher.decision and matcher.decision["threshold"] for name, matcher in matchers.items()}
    figures = {"training": training_curves(histories, "val_spearman", "Spearman on dev")} if histories else {}
    for name, values in scores.items():
        kind = "cosine" if hasattr(matchers[name], "encode") else "score"
        figures[f"{name}_scores"] = score_histogram(labels, values, thresholds[name], kind, f"{name}, test pairs")
    if set(np.unique(labels)) == set(np.unique(dev.labels)) == {0, 1} and None not in thresholds.values():
        lines = {name: PlattScaling(dev.labels, matchers[name].score(dev, verbose=0)) for name in scores}
        fitted = {name: line(scores[name]) for name, line in lines.items()}
        title = "test pairs, probabilities fitted on dev"
        figures["reliability"] = reliability_diagram(labels, fitted, title=title)
        figures["precision_recall"] = precision_recall(labels, scores, thresholds, "test pairs")
    return figures


def score_histogram(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float | None = None,
    score_name: str = "score",
    title: str | None = None,
) -> Any:
    """How the scores of each label are spread, with the threshold that parts them.

    Args:
        labels: whole numbers `[n]`, at most 8 different ones.
        scores: float `[n]`, finite.
        threshold: float or None, drawn as a line.
        score_name: str, what the scores are ("cosine").
        title: str or None.

    Raises:
        ValueError: more than 8 different labels, lengths that differ, no pairs, scores not finite.
        ImportError: matplotlib is missing.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, "float64")
    if labels.shape != scores.shape or labels.ndim != 1 or not len(labels) or not np.isfinite(scores).all():
        raise ValueError(
            f"labels of shape {labels.shape}, scores of shape {scores.shape}; expected (n,) twice, n > 0, finite."
        )
    classes = np.unique(labels)
    if len(classes) > len(COLOURS):
        raise ValueError(f"{len(classes)} different labels, expected at most {len(COLOURS)}: round them.")
    # Two classes are compared best on top of each other, more below each other.
    rows = 1 if len(classes) <= 2 else len(classes)
    figure, panels = _figure(6.4, max(3.8, 1.5 + rows), title, rows)
    panels = np.atleast_1d(panels)
    low, high = scores.min(), scores.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = np.linspace(low, high, int(np.clip(1.2 * np.sqrt(len(scores)), 10, 40)) + 1)
    for index, (colour, label) in enumerate(zip(COLOURS, classes)):
        axes, chosen = panels[index % rows], scores[labels == label]
        name = f"label {label:g} ({len(chosen):,} pairs)"
        axes.hist(chosen, bins, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(chosen, bins, histtype="step", color=colour, linewidth=1.5, label=name)
    for axes in panels:
        if threshold is not None:
            name = f"threshold {threshold:.3f}".replace("-", "−") if axes is panels[0] else None  # as at the ticks
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label=name)
        axes.set(xlim=_with_room(low, high))
        axes.tick_params(labelbottom=axes is panels[-1])
    figure.supylabel("pairs per bin", fontsize=10)
    panels[-1].set(xlabel=score_name)
    return _finish(figure)


def training_curves(
    histories: Mapping[str, Any], metric: str, metric_name: str | None = None, title: str | None = None
) -> Any:
    """Training loss and a validation metric by epoch, the best epoch of each model marked.

    Args:
        histories: dict from a model's name to its `keras.callbacks.History.history`.
        metric: str, a key of the histories; larger is better.
        metric_name: str, what to call it; None means as it is.
        title: str or None.

    Raises:
        ValueError: a history lacks "loss" or the metric.
        ImportError: matplotlib is missing.
    """
    for name, history in histories.items():
        if lacking := [key for key in ("loss", metric) if not history.get(key)]:
            raise ValueError(f"the history of {name} lacks {lacking}, it has {sorted(history)}.")
    figure, (left, right) = _figure(7.2, 3.4, title, columns=2)
    for colour, (name, history) in zip(COLOURS, histories.items()):
        epochs = np.arange(1, len(history["loss"]) + 1)
        values = np.asarray(history[metric], "float64")
        # Losses of different kinds have different sizes; what can be compared is how they fall.
        left.plot(
            epochs,
            np.divide(history["loss"], history["loss"][0] or 1.0),
            "o-",
            color=colour,
            markersize=3.5,
            label=name,
        )
        right.plot(epochs, values, "o-", color=colour, markersize=3.5)
        if np.isfinite(values).any():
            best = int(np.nanargmax(values))
            right.plot(best + 1, values[best], "o", color=colour, markersize=11, markerfacecolor="none")
    right.plot([], [], "o", color=GREY, markersize=11, markerfacecolor="none", label="best epoch, kept")
    left.set(xlabel="epoch", ylabel="training loss, first epoch = 1", ylim=(0, None))
    right.set(xlabel="epoch", ylabel=metric_name or metric)
    longest = max((len(history["loss"]) for history in histories.values()), default=1)
    for axes in (left, right):
        axes.set_xlim(0.5, longest + 0.5)  # one epoch alone has no range of its own
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return _finish(figure)


def learning_curve(rows: Any, title: str | None = None) -> Any:
    """Training and held-out loss of a pretraining against the tokens it has seen.

    Args:
        rows: list of dicts with tokens, loss and val_loss (numbers, or str as a CSV file has them), one an epoch; rows
            without tokens are left out.
        title: str or None.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure, axes = _figure(6.4, 3.8, title)
    rows = [row for row in rows if row.get("tokens")]
    millions = [float(row["tokens"]) / 1e6 for row in rows]
    for colour, (key, name) in zip(COLOURS, {"loss": "training", "val_loss": "held-out"}.items()):
        values = [float(row.get(key) or "nan") for row in rows]
        last = f"{name}, {values[-1]:.3f} at the end" if rows else name
        axes.plot(millions, values, "o-", color=colour, markersize=3, linewidth=1.5, label=last)
    axes.set(xlabel="million tokens", ylabel="masked cross entropy, nats", xlim=(0, None))
    return _finish(figure)


def reliability_diagram(
    labels: ArrayLike, probabilities: Mapping[str, ArrayLike], bins: int = 10, title: str | None = None
) -> Any:
    """Do pairs given probability p match in p of all cases? Below it, how many pairs got which probability.

    Args:
        labels: 0/1 `[n]`.
        probabilities: dict from a model's name to its probabilities `[n]`, in [0, 1].
        bins: int, equal bins of [0, 1].
        title: str or None.

    Raises:
        ValueError: as `zoo.metrics.reliability_curve`.
        ImportError: matplotlib is missing.
    """
    figure, (axes, below) = _figure(5.2, 6.2, title, rows=2, heights=(3, 1))
    axes.plot([0, 1], [0, 1], linestyle="--", color=GREY, linewidth=1, label="perfect")
    width = 0.84 / bins / len(probabilities)  # of a bar; what is left of a bin parts it from the next
    for index, (colour, (name, p)) in enumerate(zip(COLOURS, probabilities.items())):
        curve = reliability_curve(labels, p, bins)
        error = expected_calibration_error(labels, p, bins)
        axes.plot(
            curve["probability"], curve["positives"], "o-", color=colour, markersize=5, label=f"{name}, ECE {error:.3f}"
        )
        below.bar(curve["lower"] + 0.08 / bins + (index + 0.5) * width, curve["count"], width, color=colour)
    axes.set(ylabel="share of pairs that match", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.set(xlabel="predicted probability", ylabel="pairs", xlim=(-0.02, 1.02))
    axes.tick_params(labelbottom=False)
    return _finish(figure, columns=1)


def precision_recall(
    labels: ArrayLike,
    scores: Mapping[str, ArrayLike],
    thresholds: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Any:
    """Precision against recall over all thresholds, with the stored thresholds marked.

    Args:
        labels: 0/1 `[n]`, with a positive.
        scores: dict from a model's name to its scores `[n]`.
        thresholds: dict from a model's name to its threshold, or None.
        title: str or None.

    Raises:
        ValueError: as `zoo.metrics.average_precision`.
        ImportError: matplotlib is missing.
    """
    figure, axes = _figure(5.4, 4.6, title)
    share = float(np.mean(labels))
    for colour, (name, values) in zip(COLOURS, scores.items()):
        precision_at = average_precision(labels, values)
        positive, values = labels_and_scores(labels, values)
        distinct, hits, predicted = cuts(positive, values)
        recall, precision = hits / hits[-1], hits / predicted
        # Steps, as average precision sums them: between two thresholds nothing can be reached.
        axes.step(
            np.append(0, recall), np.append(precision[0], precision), where="pre", color=colour, linewidth=1.5,
            label=f"{name}, average precision {precision_at:.3f}",
        )  # fmt: skip
        if thresholds and name in thresholds and (distinct >= thresholds[name]).any():
            last = int(np.flatnonzero(distinct >= thresholds[name])[-1])
            axes.plot(recall[last], precision[last], "o", color=colour, markersize=8, markeredgecolor="white")
    axes.axhline(share, linestyle="--", color=GREY, linewidth=1, label=f"guessing {share:.3f}")
    if thresholds:
        axes.plot([], [], "o", color=GREY, markersize=8, markeredgecolor="white", label="at the threshold of dev")
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return _finish(figure, columns=1)


def _figure(
    width: float, height: float, title: str, rows: Any = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Any, Any]:
    """An empty figure and its axes."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("zoo.plots needs matplotlib: pip install 'keras-zoo[plots]'") from error
    # Without pyplot: no window, no global state, the same picture on every machine.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, height_ratios=heights)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure, axes


def _finish(figure: Any, columns: int = 3) -> Any:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E5E5", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return figure


def _with_room(low: float, high: float) -> tuple[float, float]:
    return low - 0.03 * (high - low), high + 0.03 * (high - low)
