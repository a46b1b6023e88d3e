"""Frequency scalings: the posts' numbers, their limits, and the rotation that they make."""

import json
import math

import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.attention_oracle import divisors, product
from support.layer_checks import numpy

from zoo.backend.arguments import described
from zoo.layers import (
    NTKAware,
    NTKAwareOld,
    NTKFixed,
    NTKMixed,
    Position,
    PositionInterpolation,
    RotaryEmbedding,
    YaRN,
    options,
)

SCALINGS = [
    PositionInterpolation(8),
    NTKAware(8),
    NTKAwareOld(8),
    NTKFixed(8),
    NTKMixed(8),
    NTKMixed(12, exponent=0.75),
    YaRN(8, 512),
]
every = pytest.mark.parametrize("scaling", SCALINGS, ids=repr)


def test_numbers_of_the_posts():
    """s = 128, k = 8, m counted from 1."""
    fixed, aware = NTKFixed(8).divisors(128, 10000), NTKAware(8).divisors(128, 10000)
    mixed, flat = (NTKMixed(8, b).divisors(128, 10000) for b in (0.625, 0.75))
    assert fixed[0] == pytest.approx(1.0330248790, abs=1e-10)
    assert aware[1] == pytest.approx(1.0335577830, abs=1e-10)
    assert mixed[[0, 31, 63]] == pytest.approx([1.16713896, 3.85106996, 8], abs=1e-8)
    assert flat[0] == pytest.approx(1.09625432, abs=1e-8)


@pytest.mark.parametrize(
    "scaling, first, last",
    [
        (PositionInterpolation(8), 8, 8),
        (NTKAware(8), 1, 8),
        (NTKAwareOld(8), 1, 8 ** (1 - 2 / 64)),
        (NTKFixed(8), 8 ** (2 / 64), 8),
        (NTKMixed(8), math.exp(math.log(8) / 32**0.625), 8),
        (YaRN(8, 512), 1, 8),
    ],
)
def test_first_and_last_digit(scaling, first, last):
    assert_close(scaling.divisors(64, 10000)[[0, -1]], [first, last], atol=1e-12)


@every
def test_equals_the_digits_one_by_one(scaling):
    for size, base in ((64, 10000.0), (10, 500.0)):
        assert_close(scaling.divisors(size, base), divisors(scaling, size, base), atol=1e-9)


def test_limits():
    """k = 1 changes nothing; mixed is interpolation at b = 0 and fixed at b = 1, and its digits shrink in between."""
    for scaling in SCALINGS:
        assert_close(type(scaling)(**{**scaling.get_config(), "factor": 1}).divisors(64, 10000), np.ones(32), atol=0)
    assert_close(NTKMixed(8, 0).divisors(64, 1e4), PositionInterpolation(8).divisors(64, 1e4), atol=1e-12)
    assert_close(NTKMixed(8, 1).divisors(64, 1e4), NTKFixed(8).divisors(64, 1e4), atol=1e-12)
    digits = np.diff(np.log(NTKMixed(8).divisors(64, 1e4)), prepend=0)  # ln λ_m
    assert (np.diff(digits) <= 0).all()
    assert (digits >= 0).all()


def test_aware_is_a_larger_base():
    x = np.random.default_rng(0).standard_normal((1, 40, 16)).astype("float32")
    scaled = RotaryEmbedding(scaling=NTKAware(4))
    assert_close(scaled(x), RotaryEmbedding(base=10000 * 4 ** (16 / 14))(x), atol=1e-5)


def test_interpolation_is_a_shorter_step():
    x = np.random.default_rng(0).standard_normal((1, 40, 16)).astype("float32")
    scaled = RotaryEmbedding(scaling=PositionInterpolation(8))
    assert_close(scaled(x), RotaryEmbedding()(x, np.arange(40) / 8), atol=1e-5)


@every
@pytest.mark.parametrize("pairing", ["interleaved", "half_split"])
def test_scores_equal_the_loop(scaling, pairing):
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((1, n, 8)).astype("float32") for n in (3, 5))
    here, there = np.array([0, 700.5, 33]), np.array([0, 1, 12, 300, 2000])
    rotary = RotaryEmbedding(pairing=pairing, scaling=scaling)
    expected = [
        [product(rotary, a.astype("float64"), b, i, j) for b, j in zip(k[0], there)] for a, i in zip(q[0], here)
    ]
    scores = rotary.scores(ops.convert_to_tensor(q), ops.convert_to_tensor(k), here, there)
    assert_close(numpy(scores)[0] * rotary.logit_factor, np.array(expected), atol=2e-3)


def test_yarn_stretches_slow_frequencies_only():
    """Pairs that turn 32 times within the training length stay, those that turn less than once are interpolated."""
    scaling = YaRN(8, 512)
    turns = 10000.0 ** (-np.arange(64) / 64) * 512 / (2 * math.pi)
    found = scaling.divisors(128, 10000.0)
    assert (found[turns > 32] == 1).all()
    assert_close(found[turns < 1], np.full((turns < 1).sum(), 8), atol=1e-12)
    assert (turns > 32).any() and (turns < 1).any()
    assert (np.diff(found) >= 0).all()
    unit, rotary = np.eye(4, dtype="float32")[None], RotaryEmbedding(scaling=scaling)
    factor = (1 + 0.1 * math.log(8)) ** 2
    assert_close(rotary(unit)[0, 0, 0] ** 2, factor, atol=1e-6)  # a call's queries and keys have a root of it each
    assert rotary.logit_factor == factor
    assert_close(rotary.rotate(unit)[0, 0, 0], 1, atol=1e-6)


@every
def test_config_comes_back(scaling):
    rotary = RotaryEmbedding(scaling=scaling)
    twin = options.get(json.loads(json.dumps(described(rotary))), Position)
    assert twin.scaling == scaling
    assert RotaryEmbedding.from_config(json.loads(json.dumps(rotary.get_config()))).scaling == scaling
    assert (
        "scaling" not in RotaryEmbedding().described_arguments()
    )  # configs written before there were scalings stay as they were


def test_errors():
    for make in (lambda: NTKAware(0.5), lambda: PositionInterpolation(float("nan"))):
        with pytest.raises(ValueError, match="factor=.*; expected a number >= 1"):
            make()
    with pytest.raises(ValueError, match=r"exponent=1.5; expected a number in \[0, 1\]"):
        NTKMixed(8, 1.5)
    with pytest.raises(ValueError, match="train_length=0"):
        YaRN(8, 0)
    with pytest.raises(ValueError, match="unknown attention option 'rotary' for scaling"):
        RotaryEmbedding(scaling="rotary")
