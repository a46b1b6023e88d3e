"""Scaling laws: planted ones are found again, intervals hold them, and the quanta model in closed form."""

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import zeta

from zoo.analysis import fit_scaling_law, quanta_loss

pytestmark = pytest.mark.neutral

X = np.geomspace(1e5, 1e8, 12)


@pytest.mark.parametrize("exponent, amplitude, offset", [(0.3, 20.0, 1.7), (0.08, 5.0, 0.0), (1.5, 1e8, 0.4)])
def test_finds_a_planted_law(exponent, amplitude, offset):
    law = fit_scaling_law(X, offset + amplitude * X**-exponent, bootstrap=3)
    assert law.exponent == pytest.approx(exponent, rel=1e-4)
    assert law.amplitude == pytest.approx(amplitude, rel=2e-3)
    assert law.offset == pytest.approx(offset, abs=1e-3)
    assert law.error < 1e-7 and not law.at_border
    np.testing.assert_allclose(law(X), offset + amplitude * X**-exponent, rtol=1e-6)


def test_equals_nonlinear_least_squares():
    """The minimum that SciPy's Levenberg-Marquardt finds from the right start."""
    rng = np.random.default_rng(0)
    losses = (1.5 + 30 * X**-0.25) * (1 + 0.01 * rng.normal(size=len(X)))
    law = fit_scaling_law(X, losses, bootstrap=1)
    (a, b, c), _ = curve_fit(
        lambda x, a, b, c: c + b * (x / 1e6) ** -a, X, losses, (0.25, 1, 1.5), sigma=losses, xtol=1e-12
    )
    assert law.exponent == pytest.approx(a, rel=1e-4) and law.offset == pytest.approx(c, rel=1e-4)
    assert law.amplitude == pytest.approx(b * 1e6**a, rel=1e-3)


def test_intervals_hold_the_truth():
    """95 % intervals of a law with noise hold the exponent, and the loss ten times beyond the data, nearly as often."""
    held, ahead = [], []
    for seed in range(40):
        noise = 1 + 0.005 * np.random.default_rng(seed).normal(size=len(X))
        law = fit_scaling_law(X, (1.5 + 30 * X**-0.25) * noise, bootstrap=60, seed=seed)
        low, high = law.intervals["exponent"]
        held.append(low <= 0.25 <= high)
        low, high = law.interval(1e9)
        ahead.append(low <= 1.5 + 30 * 1e9**-0.25 <= high)
    assert np.mean(held) >= 0.85 and np.mean(ahead) >= 0.85


def test_extrapolation_grows_less_certain():
    noise = 1 + 0.01 * np.random.default_rng(1).normal(size=len(X))
    low, high = fit_scaling_law(X, (1 + 30 * X**-0.25) * noise).interval([1e7, 1e9, 1e11])
    assert np.all(np.diff(high - low) > 0)


def test_no_power_law_is_said():
    assert fit_scaling_law(X, np.where(X > 1.5e5, 1.0, 2.0), bootstrap=1).at_border
    flat = fit_scaling_law(X, np.full(len(X), 2.0), bootstrap=1)
    assert flat(1e9) == pytest.approx(2.0)


def test_the_unit_of_x_does_not_matter():
    losses = 1.5 + 30 * X**-0.25
    law, other = (fit_scaling_law(x, losses, bootstrap=1) for x in (X, X / 1e30))
    assert law.exponent == pytest.approx(other.exponent, rel=1e-6) and law.offset == pytest.approx(
        other.offset, rel=1e-5
    )


# Quanta


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.5])
def test_quanta_are_tails_of_zeta(gamma):
    learnt = np.array([0, 1, 5, 100, 10**6])
    np.testing.assert_allclose(quanta_loss(learnt, gamma), zeta(gamma + 1, learnt + 1) / zeta(gamma + 1), rtol=1e-10)
    np.testing.assert_allclose(quanta_loss(learnt, gamma, 2.0, 5.0), 2 + 3 * quanta_loss(learnt, gamma))


def test_number_of_the_specification():
    """γ = 1, n = 100: 0.006049, where the asymptote n^−γ / (γ Z) has 0.006079."""
    assert quanta_loss(100, 1.0) == pytest.approx(0.006049, abs=5e-7)
    assert 1 / (100 * zeta(2)) == pytest.approx(0.006079, abs=5e-7)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_parameters_have_the_exponent_gamma(gamma):
    n = np.geomspace(100, 1e6, 10).astype(int)
    law = fit_scaling_law(n, quanta_loss(n, gamma), bootstrap=1)
    assert law.quanta_exponent("parameters") == pytest.approx(gamma, rel=0.02)


def test_data_have_the_exponent_of_a_threshold():
    """A skill is learnt once it has been met 20 times: n is the last k with p_k x >= 20; γ is found again."""
    gamma, x = 0.8, np.geomspace(1e6, 1e12, 13)
    learnt = np.floor((x / (20 * zeta(gamma + 1))) ** (1 / (gamma + 1))).astype(int)
    law = fit_scaling_law(x, quanta_loss(learnt, gamma), bootstrap=1)
    assert law.exponent == pytest.approx(gamma / (gamma + 1), rel=0.02)
    assert law.quanta_exponent("data") == pytest.approx(gamma, rel=0.05)


def test_text_and_picture(tmp_path):
    law = fit_scaling_law(X, 1.5 + 30 * X**-0.25, bootstrap=20)
    assert str(law).startswith("loss = 1.5 + 30 x^-0.25") and len(str(law).splitlines()) == 4
    law.figure(X, law(X), title="law").savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_refuses_what_has_no_law():
    with pytest.raises(ValueError, match="4 different x"):
        fit_scaling_law([1, 2, 3, 3], [1, 1, 1, 1])
    with pytest.raises(ValueError, match="positive and finite"):
        fit_scaling_law([1, 2, 3, 4], [1, 1, np.nan, 1])
    with pytest.raises(ValueError, match="confidence=1"):
        fit_scaling_law(X, X, confidence=1)
    law = fit_scaling_law(X, 1e8 * X**-1.5, bootstrap=1)
    with pytest.raises(ValueError, match="resource='compute'"):
        law.quanta_exponent("compute")
    with pytest.raises(ValueError, match="has one below 1"):
        law.quanta_exponent("data")
    with pytest.raises(ValueError, match="gamma > 0"):
        quanta_loss(3, 0)
