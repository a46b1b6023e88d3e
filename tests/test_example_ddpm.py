"""The sampler and the networks of examples/ddpm.py: closed forms on Gaussian data, the identities of DDIM."""

import keras
import numpy as np
import pytest
from absl import flags
from support.arrays import randomise
from support.arrays import to_numpy as numpy
from support.examples import imported_example


@pytest.fixture(scope="module")
def example():
    with imported_example("ddpm") as module:
        yield module


def best_guess(bar, deviation):
    """The best guess of the noise for data N(0, deviation²), which is linear."""
    return lambda x, t: np.sqrt(1 - bar[t] ** 2) * x / (bar[t] ** 2 * deviation**2 + 1 - bar[t] ** 2)


def test_schedule(example):
    bar = example.schedule(1000)
    assert bar[-1] == pytest.approx(0.0064820, abs=5e-8) and bar[-1] ** 2 == pytest.approx(4.20167e-5, rel=1e-5)
    assert bar[0] == pytest.approx(np.sqrt(1 - 0.02 / 1000))


def variance_after(bar, deviation, stride, eta):
    """Variance of the samples by itself: each step multiplies x by a number and adds independent noise."""
    noise_of, variance = best_guess(bar, deviation), 1.0
    times = np.arange(len(bar) - 1, -1, -stride)
    for t, earlier in zip(times, [*times[1:], None]):
        before = 1.0 if earlier is None else bar[earlier]
        alpha, beta_bar, beta_before = bar[t] / before, np.sqrt(1 - bar[t] ** 2), np.sqrt(max(0.0, 1 - before**2))
        sigma = eta * beta_before / beta_bar * np.sqrt(1 - alpha**2)
        factor = 1 - (beta_bar - alpha * np.sqrt(max(0.0, beta_before**2 - sigma**2))) * noise_of(1.0, t)
        variance = (factor / alpha) ** 2 * variance + sigma**2
    return variance


@pytest.mark.parametrize("stride, eta", [(1, 1.0), (1, 0.0), (10, 0.0), (4, 0.5)])
@pytest.mark.parametrize("deviation", [0.5, 2.0])
def test_variance_of_gaussian_data(example, stride, eta, deviation):
    """Samples have the variance that the steps give by themselves, and with finer steps that is the data's."""
    bar, rng = example.schedule(1000), np.random.default_rng(0)
    x = example.build(best_guess(bar, deviation), rng.normal(size=40_000), bar, stride, eta, rng)
    assert x.var() == pytest.approx(variance_after(bar, deviation, stride, eta), rel=0.02)
    assert abs(x.mean()) < 0.03 * deviation
    if stride == 1:
        fine = np.cumprod(np.sqrt(1 - 0.02 * np.arange(1, 8001) / 8000 / 8))  # the same tearing down in 8,000 steps
        assert variance_after(fine, deviation, 1, eta) == pytest.approx(deviation**2, rel=0.02)


def test_ddim_with_eta_one_is_ddpm(example):
    """Step by step the sampler of the post, with σ_t = β_t β̄_{t−1} / β̄_t."""
    bar = example.schedule(50)
    guess, start = best_guess(bar, 0.7), np.random.default_rng(1).normal(size=(4, 3))
    found = example.build(guess, start, bar, rng=np.random.default_rng(2))
    x, rng = start, np.random.default_rng(2)
    for t in range(50, 0, -1):
        alpha = np.sqrt(1 - 0.02 * t / 50)
        beta, beta_bar = np.sqrt(1 - alpha**2), np.sqrt(1 - bar[t - 1] ** 2)
        before = np.sqrt(1 - bar[t - 2] ** 2) if t > 1 else 0.0
        x = (x - beta**2 / beta_bar * guess(x, t - 1)) / alpha
        x = x + (beta * before / beta_bar * rng.normal(size=x.shape) if t > 1 else 0.0)
    np.testing.assert_allclose(found, x, rtol=1e-6)


def test_ddim_draws_no_noise(example):
    """One step with the true noise goes from x_t straight to x_0."""
    bar, rng = example.schedule(50), np.random.default_rng(3)
    x0, noise = rng.normal(size=5), rng.normal(size=5)
    torn = bar[-1] * x0 + np.sqrt(1 - bar[-1] ** 2) * noise
    np.testing.assert_allclose(example.build(lambda x, t: noise, torn, bar, stride=50, eta=0.0), x0, rtol=1e-9)


def test_torn_down(example):
    """Batches hold the noise in them."""
    bar, digits = example.schedule(100), np.full((3, 8, 8, 1), 0.5)
    (x, t), noise = next(example.torn_down(digits, bar, size=7))
    kept = bar[t][:, None, None, None]
    np.testing.assert_allclose(x, kept * 0.5 + np.sqrt(1 - kept**2) * noise)
    assert x.shape == noise.shape == (7, 8, 8, 1) and set(t) <= set(range(100))


@pytest.mark.parametrize("kind", ["gau", "conv"])
def test_networks(example, kind):
    """Fresh ones guess 0; each output sees every pixel (gau), or its surroundings, and the step."""
    keras.utils.set_random_seed(4)
    model = example.network(kind, 16, 20, depth=1)  # convolutions see 4 pixels far
    x, t = np.random.default_rng(4).normal(size=(2, 8, 8, 1)).astype("float32"), np.array([3, 12])
    assert not numpy(model([x, t])).any()
    randomise(model)
    found, changed = numpy(model([x, t])), x.copy()
    assert found.shape == (2, 8, 8, 1)
    changed[:, 7, 7] += 1
    difference = np.abs(numpy(model([changed, t])) - found)[..., 0]
    assert difference[:, 7, 7].all() and (difference[:, 0, 0] > 0).all() == (kind == "gau")
    assert np.abs(numpy(model([x, t + 1])) - found).max() > 1e-3


def test_positions_are_two_dimensional(example):
    """Attention scores depend on the distance of rows and columns alone: equal patches, the same shift, the same score."""
    layer = example.GridAttention(16, 8, normalization="softmax")
    x = np.tile(np.random.default_rng(5).normal(size=(1, 1, 6)), (1, 16, 1)).astype("float32")
    layer.build(x.shape)
    randomise(layer)
    _, _, q, k = layer.project(x, None, None)
    scores = (numpy(q)[0] @ numpy(k)[0].T).reshape(4, 4, 4, 4)  # row, column of the query, of the key
    np.testing.assert_allclose(scores[0, 0, 1, 2], scores[2, 1, 3, 3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores[1, 1, 2, 0], scores[2, 3, 3, 2], rtol=1e-4, atol=1e-5)
    assert abs(scores[0, 0, 1, 2] - scores[0, 0, 2, 1]) > 1e-3


@pytest.mark.slow
def test_draws(example, tmp_path, capsys):
    flags.FLAGS(["x", f"--output={tmp_path / 'x.png'}", "--epochs=1", "--width=8", "--steps=20"])
    example.main([])
    assert (tmp_path / "x.png").stat().st_size > 20_000
    assert "DDPM: mean confidence" in capsys.readouterr().out
