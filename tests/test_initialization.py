"""The initialisation report: closed forms against samples, numbers of the post, and what depth does."""

import math

import keras
import numpy as np
import pytest

import zoo
from zoo.analysis.initialization import activated_moment, second_moment
from zoo.layers import NTKDense
from zoo.layers.residuals import ScaledInitializer


@pytest.mark.parametrize(
    "initializer",
    [
        "glorot_uniform",
        "he_normal",
        "lecun_uniform",
        keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        keras.initializers.RandomNormal(0.5, 2.0),
        keras.initializers.TruncatedNormal(stddev=0.02),
        keras.initializers.RandomUniform(-1.0, 3.0),
        keras.initializers.Orthogonal(1.5),
        "zeros",
        ScaledInitializer("glorot_normal", 0.3),
    ],
)
def test_second_moments_of_initializers(initializer):
    initializer = keras.initializers.get(initializer)
    drawn = keras.ops.convert_to_numpy(initializer((300, 200), dtype="float32"))
    assert np.mean(drawn**2) == pytest.approx(second_moment(initializer, (300, 200)), rel=0.02)


def test_initializer_without_a_closed_form():
    assert math.isnan(second_moment(keras.initializers.Identity(), (3, 3)))


@pytest.mark.parametrize(
    "activation, moment, expected",
    [
        ("linear", 2.0, 2.0),
        ("relu", 2.0, 1.0),
        ("sigmoid", 1.0, 0.2933790),  # kexue.fm/archives/8620
        ("selu", 1.0, 1.0),
    ],
)
def test_second_moments_after_activations(activation, moment, expected):
    assert activated_moment(keras.activations.get(activation), moment) == pytest.approx(expected, rel=2e-4)


@pytest.fixture(scope="module")
def report():
    model = zoo.RoFormerV2(300, 3, num_heads=2, hidden_dim=64, intermediate_dim=128, dropout=0.0)
    return zoo.initialization_report(model)


def test_of_a_backbone(report):
    """Every dense layer and both embeddings, each as its initializer promises: gain² = 1/L over the fan."""
    rows = {row["layer"]: row for row in report.layers}
    assert len(rows) == 3 * 6 + 2
    assert rows["layer_2/feedforward/outer"]["weights_expected"] == pytest.approx(1 / 3 / 128)
    assert rows["token_embedding"]["weights_expected"] == pytest.approx(1 / 3 / 64)
    assert rows["layer_0/attention/query"]["output_expected"] == pytest.approx(1 / 3, rel=1e-3)
    assert rows["layer_0/feedforward/inner"]["output_expected"] == pytest.approx(1 / 6, rel=1e-3)  # ReLU
    for row in report.layers:
        if row["layer"] != "segment_embedding":  # two rows are no sample
            assert row["weights"] == pytest.approx(row["weights_expected"], rel=0.1)
            assert row["output"] == pytest.approx(row["output_expected"], rel=0.15)


def test_of_hidden_states(report):
    """RMS norm: 1 everywhere; every layer adds directions of its own, so that the cosines multiply."""
    states = report.hidden_states
    assert [row["hidden_state"] for row in states] == [0, 1, 2, 3]
    assert [row["second_moment"] for row in states] == pytest.approx([1] * 4, rel=1e-3)
    assert states[0]["to_embedding"] == pytest.approx(1)
    assert np.all(np.diff([row["to_embedding"] for row in states]) < 0)
    for row in states:
        assert row["to_embedding"] == pytest.approx(row["to_embedding_expected"], abs=0.06)


def test_as_text(report):
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "shape", "weights", "weights_expected", "output", "output_expected"]
    assert len(lines) == 1 + 20 + 1 + 1 + 4


def test_of_any_model():
    """NTK layers have weights of size 1 and the output of a dense layer; no backbone, no hidden states."""
    model = keras.Sequential([keras.Input((64,)), NTKDense(128, 2**0.5, activation="relu"), keras.layers.Dense(32)])
    report = zoo.initialization_report(model)
    assert report.hidden_states == []
    assert report.layers[0]["weights"] == pytest.approx(1, rel=0.05)
    assert report.layers[0]["output_expected"] == pytest.approx(1, rel=1e-3)
    assert report.layers[0]["output"] == pytest.approx(1, rel=0.1)


def test_prints_nothing_and_changes_nothing(capsys):
    model = zoo.GAUAlpha(50, 1, hidden_dim=16, key_dim=8, dropout=0.0, custom_position_ids=True)
    before = [keras.ops.convert_to_numpy(w) for w in model.weights]
    report = zoo.initialization_report(model)
    assert capsys.readouterr().out == ""
    assert all((old == keras.ops.convert_to_numpy(new)).all() for old, new in zip(before, model.weights))
    assert [row["layer"] for row in report.layers if "gau" in row["layer"]] == [
        "layer_0/gau/input",
        "layer_0/gau/output",
    ]
