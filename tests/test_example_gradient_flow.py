"""The flows of examples/gradient_flow.py: Ornstein and Uhlenbeck's variance, the flow's limit, Euler's method."""

import numpy as np
import pytest
from absl import flags
from support.examples import imported_example

pytestmark = pytest.mark.neutral


@pytest.fixture(scope="module")
def example():
    with imported_example("gradient_flow") as module:
        yield module


@pytest.mark.parametrize("start", [0.25, 2.0])
def test_variance_of_ornstein_and_uhlenbeck(example, start):
    """1 + (σ₀² − 1) e^(−2t): by particles, by the equation on a grid."""
    time, known = 0.4, 1 + (start - 1) * np.exp(-0.8)
    rng, grid = np.random.default_rng(0), np.linspace(-6, 6, 101)
    moved = example.langevin(np.negative, rng.normal(0, start**0.5, (40_000, 2)), 0.005, 80, rng)
    assert moved.var() == pytest.approx(known, rel=0.02)
    density = example.fokker_planck(np.negative, example.gaussian(grid, start), grid, 0.01, round(time / 0.01))
    assert density.sum() == pytest.approx(1, abs=1e-9)
    assert (density.sum(1) * grid**2).sum() == pytest.approx(known, rel=0.02)
    assert (density.sum(0) * grid**2).sum() == pytest.approx(known, rel=0.02)


def test_the_limit_is_the_target(example):
    """The flow goes to π itself, whatever it starts from."""
    grid = np.linspace(-4, 4, 41)
    field = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    target = np.exp(example.two_hills(field)[1])
    target /= target.sum()
    density = example.fokker_planck(lambda x: example.two_hills(x)[0], example.gaussian(grid, 1.0), grid, 0.02, 500)
    assert np.abs(density - target).sum() < 0.05


def test_slope_is_the_gradient(example):
    x, step = np.random.default_rng(1).normal(size=(5, 2)), 1e-5
    for axis in range(2):
        ahead, behind = (example.two_hills(x + sign * step * np.eye(2)[axis])[1] for sign in (1, -1))
        np.testing.assert_allclose(example.two_hills(x)[0][:, axis], (ahead - behind) / (2 * step), rtol=1e-6)


def test_descent_is_eulers_method(example):
    """For f = x²/2 each step takes the factor 1 − step, and short steps reach e^(−t)."""
    path = example.descend(np.negative, np.ones((1, 2)), 0.1, 20)
    np.testing.assert_allclose(path[:, 0, 0], 0.9 ** np.arange(21))
    short = example.descend(np.negative, np.ones((1, 2)), 1e-4, 10_000)[-1]
    np.testing.assert_allclose(short, np.exp(-1), rtol=1e-4)


def test_draws(example, tmp_path, capsys):
    flags.FLAGS(["x", f"--output={tmp_path / 'flow.png'}", "--particles=2000", "--time=0.3"])
    example.main([])
    assert (tmp_path / "flow.png").stat().st_size > 20_000
    assert "known 0.7241" in capsys.readouterr().out
