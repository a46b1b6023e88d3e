"""Score scales against the entropy of sampled attention."""

import math

import numpy as np
import pytest

from zoo.layers import log_length_scale, scale_for_entropy

pytestmark = pytest.mark.neutral


def entropy(scale, key_dim, length, rows=80):
    """Mean entropy of softmax(scale · q·k) for independent standard normal q and k."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(rows):
        scores = scale * rng.standard_normal((length, key_dim)) @ rng.standard_normal(key_dim)
        log_weights = scores - np.logaddexp.reduce(scores)
        found.append(-(np.exp(log_weights) * log_weights).sum())
    return np.mean(found)


@pytest.mark.parametrize("length", [256, 1024])
@pytest.mark.parametrize("drop", [0.1, 1.0])
def test_attention_starts_with_the_entropy_asked_for(length, drop):
    target = math.log(length) - drop
    assert entropy(scale_for_entropy(64, length, target), 64, length) == pytest.approx(target, abs=0.1 * drop + 0.02)


def test_the_usual_scale_is_half_a_nat_below_uniform():
    assert scale_for_entropy(64, 999, math.log(999) - 0.5) == pytest.approx(1 / 8)
    assert scale_for_entropy(64, 999, math.log(999)) == 0


def test_log_length_scale_is_that_of_softmax_plus():
    assert log_length_scale(64, 512) == pytest.approx(1 / 8)
    ratios = [8 * log_length_scale(64, length) for length in (64, 128, 256, 1024, 4096)]
    assert ratios == pytest.approx([0.6667, 0.7778, 0.8889, 1.1111, 1.3333], abs=5e-5)


def test_log_length_scale_holds_the_entropy_back():
    """From 128 to 2,048 keys entropy grows by ln 16 = 2.77 under a fixed scale, by less under this one."""
    fixed, scaled = (
        entropy(large, 64, 2048) - entropy(small, 64, 128)
        for large, small in ((0.25, 0.25), (2 * log_length_scale(64, 2048), 2 * log_length_scale(64, 128)))
    )
    assert scaled < fixed - 0.5


def test_errors():
    for entropy_asked in (0.0, 10.0):
        with pytest.raises(ValueError, match="entropy="):
            scale_for_entropy(64, 128, entropy_asked)
    with pytest.raises(ValueError, match="ln 1 is 0"):
        log_length_scale(64, 1)
