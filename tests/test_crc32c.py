"""CRC-32C against published values and a bitwise loop."""

import numpy as np
import pytest

from zoo.formats.tensorflow.crc32c import CHUNK, EXPONENT, GENERATOR, STEPS, crc32c, mask

pytestmark = pytest.mark.neutral


def bitwise(data, value=0):
    register = value ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (GENERATOR if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4, and the next three
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, expected):
    assert crc32c(data) == expected


def test_generator_divides_the_sparse_polynomial():
    """x^5685 + x^1362 + x^426 + 1 = 0 modulo the generator: what folding rests on."""
    exponents = {EXPONENT, 0, *(EXPONENT - step for step in STEPS)}
    power, total = 0x80000000, 0
    for exponent in range(EXPONENT + 1):
        total ^= power if exponent in exponents else 0
        power = (power >> 1) ^ (GENERATOR if power & 1 else 0)
    assert len(exponents) == 4 and total == 0


@pytest.mark.parametrize(
    "length", [*range(10), 63, EXPONENT - 1, EXPONENT, EXPONENT + 1, 2 * EXPONENT, 30_011, 131_072]
)
def test_equals_bitwise_loop(length):
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    assert crc32c(data) == bitwise(data.tobytes())
    assert crc32c(data.tobytes(), 0xDEADBEEF) == bitwise(data.tobytes(), 0xDEADBEEF)


def test_may_be_cut_anywhere():
    data = np.random.default_rng(0).integers(0, 256, CHUNK + 70_001, dtype=np.uint8)
    whole = crc32c(data)
    for cut in (0, 1, 3, 4, 5, 40_000, CHUNK - 1, CHUNK, len(data)):
        assert crc32c(data[cut:], crc32c(data[:cut])) == whole


def test_reads_and_does_not_write():
    data = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8)
    before = data.copy()
    crc32c(data)
    np.testing.assert_array_equal(data, before)


def test_mask_is_that_of_leveldb():
    """leveldb/util/crc32c.h: rotate right by 15 bits, add a constant; undone by the inverse."""
    for value in (0, 1, 0xFFFFFFFF, 0xE3069283):
        rotated = (mask(value) - 0xA282EAD8) & 0xFFFFFFFF
        assert ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF == value
