"""Longer inputs for a trained rotary model: each frequency θ_m is divided by Λ_m (kexue.fm/archives/9675, 9706).

The m-th pair of features, m = 1 .. s/2, is one digit of the position in base 10000^(2/s). Interpolating all digits
alike (Λ = k) blurs neighbours, the first digit; leaving the first digit alone and stretching the last by k does not.

Use: `RotaryEmbedding(scaling=NTKMixed(8))` reads inputs 8 times as long as those of training.
"""

import math

import numpy as np

from zoo.layers.options import Option, register_option


class FrequencyScaling(Option):
    """Divisors of the rotary frequencies.

    Args:
        factor: float >= 1, k, how many times longer the inputs are than those of training.
    """

    argument, method = "scaling", "divisors"
    logit_factor = 1.0  # the scores before a softmax are multiplied by it

    def __init__(self, factor):
        if not factor >= 1:
            raise ValueError(
                f"{type(self).__name__}: factor={factor!r}; expected a number >= 1, test over train length"
            )
        self.factor = factor

    def divisors(self, size, base):
        """Λ_m, float64 `[s/2]`.

        Args:
            size: int, s. base: float, that of the rotary embedding.
        """
        raise NotImplementedError(f"{type(self).__name__}.divisors")


def _digits(size):
    """m = 1 .. s/2."""
    return np.arange(1, size // 2 + 1, dtype="float64")


@register_option
class PositionInterpolation(FrequencyScaling):
    """Λ_m = k: positions divided by k (arXiv 2306.15595)."""

    def divisors(self, size, base):
        return np.full(size // 2, float(self.factor))


@register_option
class NTKAware(FrequencyScaling):
    """Λ_m = k^(2(m−1)/(s−2)): from 1 to exactly k; the same as base · k^(s/(s−2)) (kexue.fm/archives/9675)."""

    def divisors(self, size, base):
        return self.factor ** (2 * (_digits(size) - 1) / max(size - 2, 1))


@register_option
class NTKAwareOld(FrequencyScaling):
    """Λ_m = k^(2(m−1)/s): from 1 to a little below k, as "NTK-RoPE-old" of kexue.fm/archives/9706."""

    def divisors(self, size, base):
        return self.factor ** (2 * (_digits(size) - 1) / size)


@register_option
class NTKFixed(FrequencyScaling):
    """Λ_m = k^(2m/s): the first digit takes its share too (kexue.fm/archives/9706)."""

    def divisors(self, size, base):
        return self.factor ** (2 * _digits(size) / size)


@register_option
class NTKMixed(FrequencyScaling):
    """Λ_m = exp(a m^b) with a (s/2)^b = ln k: between interpolation (b = 0) and `NTKFixed` (b = 1).

    Source: kexue.fm/archives/9706.

    Args:
        factor: float >= 1, k.
        exponent: float in [0, 1], b; 0.625 in the post, 0.75 in its author's published patch. Above 1 the later
            digits would be stretched more than the first, against the idea.
    """

    def __init__(self, factor, exponent=0.625):
        super().__init__(factor)
        if not 0 <= exponent <= 1:
            raise ValueError(f"NTKMixed: exponent={exponent!r}; expected a number in [0, 1]")
        self.exponent = exponent

    def divisors(self, size, base):
        return np.exp(math.log(self.factor) * (_digits(size) / (size // 2)) ** self.exponent)


@register_option
class YaRN(FrequencyScaling):
    """Frequencies that turn often within the training length stay, those that turn less than once are interpolated.

    r = θ L / 2π turns; 1/Λ = γ + (1 − γ)/k with γ = (r − 1)/(τ − 1) clipped to [0, 1]; scores are multiplied by
    (1 + 0.1 ln k)² (arXiv 2309.00071; kexue.fm/archives/9948).

    Args:
        factor: float >= 1, k.
        train_length: int, L.
        threshold: float > 1, τ, turns from which on a frequency is left alone.
    """

    def __init__(self, factor, train_length, threshold=32.0):
        super().__init__(factor)
        if not train_length >= 1 or not threshold > 1:
            raise ValueError(f"YaRN: train_length={train_length!r}, threshold={threshold!r}; expected >= 1 and > 1")
        self.train_length, self.threshold = train_length, threshold

    @property
    def logit_factor(self):
        return (1 + 0.1 * math.log(self.factor)) ** 2

    def divisors(self, size, base):
        turns = float(base) ** (-2 * (_digits(size) - 1) / size) * self.train_length / (2 * math.pi)
        kept = np.clip((turns - 1) / (self.threshold - 1), 0, 1)
        return 1 / (kept + (1 - kept) / self.factor)
