"""S(a), the concentration of attention: closed forms of kexue.fm/archives/9889 against sampled scores."""

import math

import numpy as np
import pytest
from scipy.special import erf

from zoo.metrics import attention_concentration

pytestmark = pytest.mark.neutral


def test_one_hot_and_uniform():
    assert attention_concentration(np.full((3, 7), 0.2)) == pytest.approx(np.ones(3))
    assert attention_concentration(np.eye(9)) == pytest.approx(np.full(9, 1 / 3))


def test_two_levels():
    """k of n weights are 1, the others 0: sqrt(k / n)."""
    assert attention_concentration([1.0, 1, 0, 0, 0, 0, 0, 0]) == pytest.approx(0.5)


def test_scale_and_sign_do_not_matter():
    a = np.random.default_rng(0).standard_normal((4, 20))
    expected = attention_concentration(a)
    for factor in (-3.0, 1e-200, 1e200):
        assert attention_concentration(factor * a) == pytest.approx(expected)


def test_repetition_does_not_matter():
    a = np.random.default_rng(0).random(20)
    assert attention_concentration(np.tile(a, 5)) == pytest.approx(attention_concentration(a))


def test_only_visible_keys_count():
    a = np.random.default_rng(0).random((3, 2, 8))
    visible = np.arange(8) < np.array([[[8]], [[5]], [[0]]])
    measured = attention_concentration(a, visible)
    assert measured[0] == pytest.approx(attention_concentration(a[0]))
    assert measured[1] == pytest.approx(attention_concentration(a[1, :, :5]))
    assert np.isnan(measured[2]).all()
    assert np.isnan(attention_concentration(np.zeros(4)))


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).standard_normal(1_000_000)


@pytest.mark.parametrize("gamma, expected", [(0.5, 0.8825), (1.0, 0.6065), (2.0, 0.1353)])
def test_softmax_can_concentrate(normal, gamma, expected):
    """exp(−γ²/2) for scores N(β, γ²), whatever β."""
    assert math.exp(-(gamma**2) / 2) == pytest.approx(expected, abs=5e-5)
    # at γ = 2 a mean of squares hangs on few samples of 1,000,000
    measured = attention_concentration(np.exp(gamma * normal - 3))
    assert measured == pytest.approx(expected, rel=0.1 if gamma == 2 else 0.01)


@pytest.mark.parametrize("beta", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_linear_attention_cannot(normal, beta, gamma):
    ratio = beta / (math.sqrt(2) * gamma)
    expected = math.sqrt(2 / math.pi) * gamma * math.exp(-(ratio**2)) + beta * erf(ratio)
    expected /= math.hypot(beta, gamma)
    assert expected >= math.sqrt(2 / math.pi) - 1e-12
    assert attention_concentration(beta + gamma * normal) == pytest.approx(expected, rel=2e-3)


def test_squared_relu_needs_a_bias(normal):
    """0.5 / sqrt(1.5) at β = 0, towards 0 as β falls."""
    falling = [attention_concentration(np.maximum(normal + beta, 0) ** 2) for beta in (0, -1, -2, -3)]
    assert falling[0] == pytest.approx(0.5 / math.sqrt(1.5), rel=3e-3)
    assert np.all(np.diff(falling) < 0) and falling[-1] < 0.06


@pytest.mark.parametrize("ratio", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("n", [2, 50])
def test_exponential_decay(ratio, n):
    """S² = (1 − λⁿ)(1 + λ) / (n (1 − λ)(1 + λⁿ)) exactly."""
    expected = (1 - ratio**n) * (1 + ratio) / (n * (1 - ratio) * (1 + ratio**n))
    assert attention_concentration(ratio ** np.arange(n)) == pytest.approx(math.sqrt(expected))


def test_linear_attention_with_positive_features():
    """S² = 1 / (1 + qᵀ Σ q / (q·μ)²) with the keys' own mean and covariance."""
    rng = np.random.default_rng(0)
    q, k = rng.random(8), rng.random((500, 8))
    covariance = np.cov(k.T, bias=True)
    expected = 1 / (1 + q @ covariance @ q / (q @ k.mean(0)) ** 2)
    assert attention_concentration(k @ q) == pytest.approx(math.sqrt(expected))
