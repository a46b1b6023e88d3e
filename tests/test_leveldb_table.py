"""LevelDB tables: round trips, and tables made to break a reader (TensorFlow's: test_tf_checkpoint.py)."""

import pathlib
import struct

import numpy as np
import pytest

from zoo.formats.tensorflow.crc32c import crc32c, mask
from zoo.formats.tensorflow.leveldb_table import MAGIC, read_table, read_varint, write_table, write_varint
from zoo.store import PresetError

pytestmark = pytest.mark.neutral

GOLDENS = pathlib.Path(__file__).resolve().parent / "goldens"


def block(content, restarts=1, kind=0):
    content = content + bytes(4 * restarts) + struct.pack("<I", restarts) + bytes([kind])
    return content + struct.pack("<I", mask(crc32c(content)))


def table(content, kind=0):
    """A table with one data block of this content."""
    data, meta = block(content, kind=kind), block(b"")
    handle = write_varint(0) + write_varint(len(data) - 5)
    index = block(bytes([0, 1, len(handle)]) + b"z" + handle)
    handles = [len(data), len(meta) - 5, len(data) + len(meta), len(index) - 5]
    footer = b"".join(map(write_varint, handles)).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    return data + meta + index + footer


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\1\1a", "does not fit"),
        (b"\1\1\0a", "does not fit"),
        (b"\0\1\0b\0\1\0a", "not in order"),
        (b"\0\1\0a\0\1\0a", "not in order"),
        (b"\0" + write_varint(5000) + b"\0" + b"a" * 5000, "too long"),
    ],
)
def test_hostile_block_is_refused(content, message):
    with pytest.raises(PresetError, match=message):
        read_table(table(content), "x.index")
    assert read_table(table(b"\0\1\1ax"), "x.index") == {b"a": b"x"}


def test_keys_that_grow_without_end_are_refused():
    """Each key repeats the one before: 2 MB of entries would become gigabytes of keys."""
    long = b"\0" + write_varint(4000) + b"\0" + b"a" * 4000
    grown = b"".join(write_varint(4000) + b"\2\0" + struct.pack(">H", k) for k in range(60_000))
    with pytest.raises(PresetError, match="too long"):
        read_table(table(long + grown), "x.index")


def test_compressed_index_is_refused():
    with pytest.raises(PresetError, match="compressed \\(snappy\\)"):
        read_table(table(b"\0\1\1ax", kind=1), "x.index")


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_numbers_round_trip(number):
    encoded = write_varint(number)
    assert read_varint(b"x" + encoded + b"y", 1, "x") == (number, 1 + len(encoded))


@pytest.mark.parametrize("count", [0, 1, 2, 17, 3000])
def test_tables_round_trip(count):
    rng = np.random.default_rng(count)
    entries = {rng.bytes(rng.integers(1, 30)): rng.bytes(rng.integers(0, 300)) for _ in range(count)}
    entries |= {b"\xff\xff": b"last"} if count else {}
    assert read_table(write_table(entries), "x") == dict(sorted(entries.items()))


def test_every_bit_of_the_footer_shows():
    """The only part of the index without a checksum."""
    content = (GOLDENS / "bert" / "bert_model.ckpt.index").read_bytes()
    for position in range(len(content) - 48 - 5, len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            with pytest.raises(PresetError, match="x.index"):
                read_table(bytes(damaged), "x.index")
