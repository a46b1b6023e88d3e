"""Figures: what they draw is what the metrics say, legends stay off the data, wrong input is refused."""

import sys

import numpy as np
import pytest

from zoo import metrics
from zoo.data import as_pairs

pytestmark = pytest.mark.neutral
matplotlib = pytest.importorskip("matplotlib")

from zoo import plots  # noqa: E402

RNG = np.random.default_rng(7)
LABELS = RNG.integers(0, 2, 300)
SCORES = np.round(RNG.normal(size=300) + LABELS, 1)  # with ties
PROBABILITIES = 1 / (1 + np.exp(-SCORES))
HISTORY = {"loss": [2.0, 1.0, 0.5], "val_spearman": [0.2, 0.6, 0.4]}


def figures():
    yield plots.score_histogram(LABELS, SCORES, 0.5, "cosine", "a title")
    yield plots.score_histogram(RNG.integers(0, 6, 300), SCORES, 0.5)
    yield plots.training_curves({"one": HISTORY, "two": HISTORY}, "val_spearman", "Spearman on dev")
    yield plots.reliability_diagram(LABELS, {"one": PROBABILITIES, "two": PROBABILITIES**2}, title="a title")
    yield plots.precision_recall(LABELS, {"one": SCORES, "two": -SCORES}, {"one": 0.5, "two": -0.5})


@pytest.mark.parametrize("figure", figures())
def test_legend_lies_beside_the_data_and_everything_inside_the_picture(figure, tmp_path):
    figure.savefig(tmp_path / "figure.png")
    whole = figure.bbox
    (legend,) = (box.get_window_extent() for box in figure.legends)
    assert len(figure.legends[0].get_texts()) >= 2
    for axes in figure.axes:
        drawn = axes.get_tightbbox()
        assert not legend.overlaps(drawn)
        assert whole.x0 <= drawn.x0 and drawn.x1 <= whole.x1 and whole.y0 <= drawn.y0 and drawn.y1 <= whole.y1
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert any(axes.get_ylabel() for axes in figure.axes) or figure.get_supylabel()


def test_figures_are_made_without_pyplot():
    """No window and no global list of figures that grows."""
    if "matplotlib.pyplot" not in sys.modules:
        list(figures())
        assert "matplotlib.pyplot" not in sys.modules


def lines(axes):
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.lines if len(line.get_xydata())}


def test_histogram_counts_every_pair_of_each_label():
    figure = plots.score_histogram(LABELS, SCORES, 0.5)
    counts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"label 0 ({(LABELS == 0).sum()} pairs)" in counts
    assert f"label 1 ({(LABELS == 1).sum()} pairs)" in counts
    assert "threshold 0.500" in counts


def test_training_curves_mark_the_best_epoch():
    figure = plots.training_curves({"one": HISTORY}, "val_spearman")
    marked = [line.get_xydata().tolist() for line in figure.axes[1].lines if line.get_markersize() > 10]
    assert [[2.0, 0.6]] in marked


def test_one_epoch_has_no_fractions_on_its_axis():
    figure = plots.training_curves({"one": {"loss": [2.0], "val": [0.4]}}, "val")
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1.0]


def test_training_curves_bear_a_metric_that_was_undefined_at_first():
    """Spearman of constant scores is nan."""
    figure = plots.training_curves({"one": {"loss": [1, 1], "val": [np.nan, 0.3]}}, "val")
    marked = [line.get_xydata().tolist() for line in figure.axes[1].lines if line.get_markersize() > 10]
    assert [[2.0, 0.3]] in marked
    plots.training_curves({"one": {"loss": [1], "val": [np.nan]}}, "val")


def test_reliability_points_are_those_of_the_metric():
    figure = plots.reliability_diagram(LABELS, {"one": PROBABILITIES}, bins=7)
    error = metrics.expected_calibration_error(LABELS, PROBABILITIES, 7)
    drawn = lines(figure.axes[0])[f"one, ECE {error:.3f}"]
    curve = metrics.reliability_curve(LABELS, PROBABILITIES, 7)
    np.testing.assert_array_equal(drawn, np.stack([curve["probability"], curve["positives"]], axis=1))
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(LABELS)


def test_area_under_the_drawn_steps_is_average_precision():
    value = metrics.average_precision(LABELS, SCORES)
    drawn = lines(plots.precision_recall(LABELS, {"one": SCORES}).axes[0])
    recall, precision = drawn[f"one, average precision {value:.3f}"].T
    # where="pre": a step has the height of its right end.
    assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(value, abs=1e-12)


def test_point_at_the_threshold_is_what_the_threshold_gives():
    report = metrics.classification_report(LABELS, SCORES, 0.5)
    figure = plots.precision_recall(LABELS, {"one": SCORES}, {"one": 0.5})
    points = [line.get_xydata().tolist() for line in figure.axes[0].lines if len(line.get_xydata()) == 1]
    assert points == [[[report["recall"], report["precision"]]]]


def test_threshold_above_every_score_has_no_point():
    figure = plots.precision_recall(LABELS, {"one": SCORES}, {"one": 99.0})
    assert all(len(line.get_xydata()) != 1 for line in figure.axes[0].lines)


def test_constant_scores_are_drawn():
    plots.score_histogram(LABELS, np.zeros(300), 0.0)
    plots.precision_recall(LABELS, {"one": np.zeros(300)}, {"one": 0.0})
    plots.reliability_diagram(LABELS, {"one": np.full(300, 0.5)})


class Scorer:
    """A matcher as far as figures need one."""

    def __init__(self, sign=1.0):
        self.sign, self.decision = sign, {"threshold": 0.3}

    def score(self, pairs, verbose="auto"):
        return self.sign * np.array([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(*pairs.columns)])


def pairs_with(labels):
    letters = RNG.choice(list("abcdefgh"), (len(labels), 2, 6))
    return as_pairs([("".join(a), "".join(b), label) for (a, b), label in zip(letters, labels)])


def test_all_figures_of_a_run():
    data = pairs_with(RNG.integers(0, 2, 60).tolist())
    matchers = {"one": Scorer(), "two": Scorer(-1.0), "classes": object()}
    histories = dict.fromkeys(matchers, HISTORY)
    found = plots.matching_figures(matchers, histories, data, data)
    assert set(found) == {"training", "one_scores", "two_scores", "reliability", "precision_recall"}
    graded = pairs_with(np.round(RNG.uniform(0, 5, 60), 1).tolist())
    matchers["one"].decision = None
    assert set(plots.matching_figures({"one": Scorer()}, histories, graded, graded)) == {"training", "one_scores"}
    assert set(plots.matching_figures({"one": matchers["one"]}, histories, data, data)) == {"training", "one_scores"}
    assert plots.matching_figures({"classes": object()}, {"classes": {"loss": [1]}}, data, data) == {}


def test_refusals():
    with pytest.raises(ValueError, match="300 different labels, expected at most 8: round them"):
        plots.score_histogram(np.arange(300), SCORES)
    with pytest.raises(ValueError, match="finite"):
        plots.score_histogram(LABELS, np.full(300, np.nan))
    with pytest.raises(ValueError, match=r"expected \(n,\) twice"):
        plots.score_histogram(LABELS[1:], SCORES)
    with pytest.raises(ValueError, match=r"history of one lacks \['val_auc'\]"):
        plots.training_curves({"one": HISTORY}, "val_auc")
    with pytest.raises(ValueError, match="sigmoid"):
        plots.reliability_diagram(LABELS, {"one": SCORES})


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-zoo\[plots\]'"):
        plots.score_histogram(LABELS, SCORES)
