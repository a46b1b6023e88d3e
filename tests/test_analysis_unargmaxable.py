"""Classes that cannot be the largest: against convex hulls, known shapes, and with biases by lifting them."""

import importlib

import keras
import numpy as np
import pytest
from scipy.spatial import ConvexHull
from support import tiny_models

import zoo
from zoo.analysis import unargmaxable

pytestmark = pytest.mark.neutral


def wins(kernel, bias, report):
    """Every class that is called argmaxable is the largest at its input."""
    inputs = report.inputs
    named = {*report.unargmaxable, *report.tied, *report.undecided}
    for k in set(range(report.classes)) - named:
        scores = inputs[k] @ kernel + bias
        assert scores.argmax() == k and np.sort(scores)[-1] > np.sort(scores)[-2]
    for k in report.unargmaxable:
        assert np.isnan(inputs[k]).all()


def hull_vertices(points):
    return set(ConvexHull(points).vertices)


@pytest.mark.parametrize(
    "seed, sets", [(10, 20), *(pytest.param(seed, 100, marks=pytest.mark.slow) for seed in range(10))]
)
def test_planar_sets_without_bias(seed, sets):
    """A thousand sets with the slow ones: inside the hull is exactly what cannot win; some points are doubled."""
    rng = np.random.default_rng(seed)
    for _ in range(sets):
        points = rng.normal(size=(rng.integers(4, 25), 2))
        copies = rng.integers(0, len(points), rng.integers(0, 3))
        everything = np.concatenate([points, points[copies]])
        report = unargmaxable(everything.T)
        vertices = hull_vertices(points)
        source = [*range(len(points)), *copies]
        inside = [i for i, s in enumerate(source) if s not in vertices]
        doubled = [i for i, s in enumerate(source) if s in vertices and source.count(s) > 1]
        assert report.unargmaxable.tolist() == inside
        assert report.tied.tolist() == doubled and not len(report.undecided)
        assert sorted(map(len, report.duplicates)) == sorted(source.count(s) for s in set(copies))
        wins(everything.T, 0, report)


@pytest.mark.parametrize(
    "seed, sets", [(103, 8), *(pytest.param(100 + i, 60, marks=pytest.mark.slow) for i in range(3))]
)
def test_lines_with_bias(seed, sets):
    """One number in, w x + b: classes on the upper hull of (w, b) win, those under it never."""
    rng = np.random.default_rng(seed)
    for _ in range(sets):
        points = rng.normal(size=(rng.integers(4, 15), 2)) * [1, 10.0 ** rng.integers(-3, 4)]
        hull = ConvexHull(points)
        upper = {v for simplex, (_, up, _) in zip(hull.simplices, hull.equations) if up > 0 for v in simplex}
        report = unargmaxable(points[:, :1].T, points[:, 1])
        assert report.unargmaxable.tolist() == [i for i in range(len(points)) if i not in upper]
        wins(points[:, :1].T, points[:, 1], report)


@pytest.mark.parametrize("bias", [False, True])
def test_five_dimensions(bias):
    """Hulls of higher dimension, by Qhull as well."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(150, 4))
    if bias:
        hull = ConvexHull(points)
        upper = {v for simplex, plane in zip(hull.simplices, hull.equations) if plane[3] > 0 for v in simplex}
        report = unargmaxable(points[:, :3].T, points[:, 3])
    else:
        upper = hull_vertices(points)
        report = unargmaxable(points.T)
    assert report.unargmaxable.tolist() == [i for i in range(150) if i not in upper]
    wins(points[:, :3].T if bias else points.T, points[:, 3] if bias else 0, report)


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_none_where_there_are_few_classes(classes):
    kernel = np.random.default_rng(6).normal(size=(classes - 1, classes))
    report = unargmaxable(kernel, np.random.default_rng(7).normal(size=classes))
    assert not len(report.unargmaxable) + len(report.tied) + len(report.undecided)


def test_a_square_with_points_inside_and_on_its_border():
    corners = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    report = unargmaxable(np.array([*corners, [0, 0], [1, 0.5], [0.2, 0.3]], float).T)
    assert report.unargmaxable.tolist() == [4, 6] and report.tied.tolist() == [5]
    assert str(report) == "7 classes: 2 cannot be the largest, 1 only tie, 0 undecided, 0 groups of equal ones"


def test_shifts_and_scales_do_not_matter():
    points = np.random.default_rng(8).normal(size=(40, 3))
    expected = unargmaxable(points.T).unargmaxable.tolist()
    assert expected
    for changed in (points * 1e-12, points * 1e12, points + 1000):
        assert unargmaxable(changed.T).unargmaxable.tolist() == expected


def test_equal_biases_are_no_biases():
    points = np.random.default_rng(9).normal(size=(30, 2))
    with_bias, without = unargmaxable(points.T, np.full(30, 3.0)), unargmaxable(points.T)
    assert with_bias.unargmaxable.tolist() == without.unargmaxable.tolist()
    wins(points.T, 3.0, with_bias)


def test_one_class_and_equal_classes():
    assert not len(unargmaxable(np.ones((3, 1))).unargmaxable)
    report = unargmaxable(np.ones((3, 4)))
    assert report.tied.tolist() == [0, 1, 2, 3] and report.duplicates == [[0, 1, 2, 3]]


def test_takes_layers_and_heads():
    layer = keras.layers.Dense(9)
    layer.build((2,))
    points = np.random.default_rng(10).normal(size=(9, 2)).astype("float32")
    layer.kernel.assign(points.T)
    assert unargmaxable(layer).unargmaxable.tolist() == unargmaxable(points.T).unargmaxable.tolist()
    for family in ("BERT", "RoFormerV2"):  # with and without a bias
        head = zoo.MaskedLM(tiny_models.backbone(family))
        biases = [w for w in head.weights if w.path.endswith("mlm_bias/bias")]
        bias = np.random.default_rng(11).normal(size=120).astype("float32") * 5
        table = np.asarray(keras.ops.convert_to_numpy(head.backbone.token_embedding.embeddings))
        if biases:
            biases[0].assign(bias)
        report = unargmaxable(head)
        assert report.classes == 120
        expected = unargmaxable(table.T, bias if biases else None)
        assert report.unargmaxable.tolist() == expected.unargmaxable.tolist()
        assert bool(biases) == (family == "BERT")
        wins(table.T, bias if biases else 0, report)


def test_goes_on_after_an_interruption(monkeypatch):
    problem = importlib.import_module("zoo.analysis.unargmaxable")._Problem
    points, solved, results = np.random.default_rng(12).normal(size=(40, 2)), [], {}
    whole = unargmaxable(points.T)
    plain = problem.solved

    def interrupted(self, k):
        if len(solved) == 5:
            raise KeyboardInterrupt
        solved.append(k)
        return plain(self, k)

    monkeypatch.setattr(problem, "solved", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unargmaxable(points.T, results=results)
    solved.append("again")
    report = unargmaxable(points.T, results=results)
    assert report.unargmaxable.tolist() == whole.unargmaxable.tolist()
    assert not set(solved[:5]) & set(solved[6:])
    with pytest.raises(ValueError, match="another kernel"):
        unargmaxable(points.T * 2, results=results)


def test_shows_progress(capsys):
    points = np.random.default_rng(13).normal(size=(30, 2))
    unargmaxable(points.T)
    assert capsys.readouterr().out == ""
    unargmaxable(points.T, verbose=1)
    assert "/" in capsys.readouterr().out


def test_refuses_what_is_no_output():
    with pytest.raises(ValueError, match=r"kernel of shape \(3,\)"):
        unargmaxable(np.ones(3))
    with pytest.raises(ValueError, match=r"bias of shape \(3,\); expected \(4,\)"):
        unargmaxable(np.ones((2, 4)), np.ones(3))
    with pytest.raises(ValueError, match="NaN or infinity"):
        unargmaxable(np.full((2, 4), np.nan))
