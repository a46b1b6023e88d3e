"""CRC-32C (Castagnoli), the checksum of TensorFlow checkpoints, at memory speed in NumPy.

A CRC is the remainder of the message, a polynomial over GF(2), by the generator G. As G divides x^5685 +
x^1362 + x^426 + 1, a bit of degree d may be replaced by three bits of degrees d - 4323, d - 5259 and d - 5685
without changing the remainder; and as squaring is linear over GF(2), the same holds with all four exponents
doubled, any number of times. So the head of the message is removed by three wide exclusive-ors into what
follows, with the exponents so large that one NumPy call moves many kilobytes (the idea of Chorba: Russell,
"Fast calculation of cyclic redundancy checks without lookup tables or special instructions", 2024). What is
left, at most 5685 bytes, is summed bit by bit.
"""

import functools

import numpy as np

GENERATOR = 0x82F63B78  # without x^32, lowest bit = highest power, as the bits of each byte go over the wire
EXPONENT = 5685
STEPS = (5685 - 1362, 5685 - 426, 5685)  # how far ahead in the message the bit comes to lie
CHUNK = 1 << 22  # bytes held in a scratch copy at a time; about the size of a core's cache


@functools.lru_cache(maxsize=1)
def bit_weights():
    """`uint32 [8 * 5685]`: the remainder that a lone bit leaves; the last is that of a message's last bit."""
    weights, register = [], 1  # x^31; the remainder is of the message times x^32
    for _ in range(8 * EXPONENT):
        register = (register >> 1) ^ (GENERATOR if register & 1 else 0)
        weights.append(register)
    return np.array(weights[::-1], dtype=np.uint32)


def fold(message):
    """The tail, at most 5685 bytes, that leaves the remainder of the whole `uint8` message; overwrites it."""
    start, end = 0, len(message)
    for power in range(max(0, (end // EXPONENT).bit_length() - 1), -1, -1):
        near, middle, far = (step << power for step in STEPS)
        while end - start > far:
            width = min(near, end - start - far)  # beyond `near` the head would feed into itself
            head = message[start : start + width]
            for step in (near, middle, far):
                target = message[start + step : start + step + width]
                np.bitwise_xor(target, head, out=target)
            start += width
    return message[start:]


def crc32c(data, value=0):
    """CRC-32C of bytes.

    Args:
        data: bytes-like object or `uint8 [n]` array; read only.
        value: int, the CRC of what came before, to continue it.

    Returns:
        int, 0 .. 2^32 - 1. `crc32c(b + c) == crc32c(c, crc32c(b))`.
    """
    data = np.frombuffer(data, dtype=np.uint8)
    register = value ^ 0xFFFFFFFF
    for start in range(0, len(data), CHUNK):
        message = data[start : start + CHUNK].copy()
        carried = min(4, len(message))  # the register is one with the first four bytes
        message[:carried] ^= np.frombuffer(register.to_bytes(4, "little"), dtype=np.uint8)[:carried]
        bits = np.unpackbits(fold(message), bitorder="little")
        terms = bit_weights()[len(bit_weights()) - len(bits) :] * bits
        register = int(np.bitwise_xor.reduce(terms)) ^ (register >> 8 * carried)
    return register ^ 0xFFFFFFFF


def mask(value):
    """The form in which TensorFlow and LevelDB store a CRC, so that a CRC over stored CRCs stays strong."""
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
