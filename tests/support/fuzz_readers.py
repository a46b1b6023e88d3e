"""Mutated files for the two readers of binary formats: shared by the tests and by benchmarks/fuzzing.py.

A round is fixed by the reader's name and its number, so that a failure can be repeated alone. A round ends in "refused"
(our own error) or "read" (arrays no larger than the file); everything else is a failure and raises.
"""

import json
import struct

import ml_dtypes
import numpy as np

from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.formats.tensorflow.leveldb_table import read_table, write_table
from zoo.store import PresetError, safetensors_bytes
from zoo.store.safetensors import DTYPES, SafeTensors

SEED = 20220301
LONGEST_MESSAGE = 2000
ODD_VALUES = (
    *(-1, 0, 1, 2, 3, 7, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 0.5, -0.0),
    *(None, True, False, "", "F32", "F31", "BOOL", "U8", "../x", "\0", [], {}, [0], [0, 0], [1, 1, 1], [1 << 32] * 2),
)


def sample_arrays():
    """One small array of each kind that both formats know."""
    rng = np.random.default_rng(0)
    return {
        "bert/embeddings/word_embeddings": rng.normal(size=(7, 3)).astype("float32"),
        "bert/embeddings/word_embeddings/adam_m": rng.normal(size=(7, 3)),
        "half": rng.normal(size=(2, 1, 3)).astype("float16"),
        "brain": rng.normal(size=(5,)).astype(ml_dtypes.bfloat16),
        "flags": np.array([True, False, True]),
        "global_step": np.array(1234567890123, dtype="int64"),
        "ids": np.array([[-1, 2], [3, -4]], dtype="int32"),
        "bytes": np.arange(200, 256, dtype="uint8"),
        "empty": np.zeros((0, 4), dtype="float32"),
        "zz/int8": np.array([-128, 127], dtype="int8"),
        "zz/uint32": np.array([2**32 - 1], dtype="uint32"),
    }


def mutate(content, rng):
    """A copy with a few bytes flipped, removed, put in, overwritten or cut off."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        position, length = rng.integers(len(content) + 1), rng.integers(1, 9)
        kind = rng.integers(5)
        if kind == 0 and content:
            content[position % len(content)] ^= 1 << rng.integers(8)
        elif kind == 1:
            del content[position : position + length]
        elif kind == 2:
            content[position:position] = rng.bytes(length)
        elif kind == 3:
            content[position : position + length] = rng.bytes(length)
        else:
            del content[position:]
    return bytes(content)


class Memory:
    """Stands for a `Folder`: the files are in memory, which makes a million rounds affordable."""

    def __init__(self, files):
        self.files = files

    def bytes(self, name, cap):
        return self.files[name]

    def memory_map(self, name):
        if name not in self.files:
            raise PresetError(name)
        return np.frombuffer(self.files[name], dtype=np.uint8)


class SafetensorsReader:
    """Bytes changed anywhere; or a header that is sound JSON with odd values, the length before it right."""

    def __init__(self):
        self.content = safetensors_bytes(sample_arrays(), {"format": "pt"})
        (length,) = struct.unpack("<Q", self.content[:8])
        self.header, self.data = json.loads(self.content[8 : 8 + length]), self.content[8 + length :]

    def attempt(self, rng):
        content = self._with_odd_header(rng) if rng.integers(3) == 0 else mutate(self.content, rng)
        tensors = SafeTensors(np.frombuffer(content, dtype=np.uint8), "x.safetensors")
        assert sum(np.asarray(tensors[name]).nbytes for name in tensors) <= len(content)
        assert all(tensors[name].dtype in DTYPES.values() for name in tensors)
        assert all(isinstance(value, str) for value in tensors.metadata.values())

    def _with_odd_header(self, rng):
        header = {name: dict(entry) for name, entry in self.header.items()}
        for _ in range(rng.integers(1, 3)):
            name = list(header)[rng.integers(len(header))]
            entry, odd = header[name], ODD_VALUES[rng.integers(len(ODD_VALUES))]
            fields = list(entry) if isinstance(entry, dict) else []
            field = fields[rng.integers(len(fields))] if fields else None
            kind = rng.integers(5)
            if kind == 0:
                header[name] = odd
            elif kind == 1:
                header[str(odd)] = header.pop(name)
            elif field is not None and kind == 2 and isinstance(entry[field], list) and entry[field]:
                entry[field] = list(entry[field])
                entry[field][rng.integers(len(entry[field]))] = odd
            elif field is not None and kind == 3:
                del entry[field]
            elif field is not None:
                entry[field] = odd
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + self.data


class TFCheckpointReader:
    """Bytes changed in the index or the data; or an index with mutated entries under right checksums."""

    INDEX, DATA = "x.index", "x.data-00000-of-00001"

    def __init__(self):
        self.arrays = sample_arrays()
        self.files = write_tf_checkpoint(self.arrays, "x")
        self.entries = list(read_table(self.files[self.INDEX], "x").items())

    def attempt(self, rng):
        kind = rng.integers(3)
        if kind == 2:
            mutated = self.files | {self.INDEX: self._resealed(rng)}
        else:
            name = (self.INDEX, self.DATA)[kind]
            mutated = self.files | {name: mutate(self.files[name], rng)}
        checkpoint = TFCheckpoint(Memory(mutated), "x")
        for name in checkpoint:
            array = np.asarray(checkpoint[name])
            assert array.nbytes <= len(mutated[self.DATA])
            if kind != 2:  # the checksums let nothing else through
                np.testing.assert_array_equal(array, self.arrays[name])

    def _resealed(self, rng):
        """What an attacker would send: mutated keys and values, all checksums right."""
        entries = list(self.entries)
        for _ in range(rng.integers(1, 3)):
            chosen = rng.integers(len(entries))
            key, value = entries[chosen]
            entries[chosen] = (key, mutate(value, rng)) if rng.integers(4) else (mutate(key, rng), value)
        return write_table(dict(entries))


READERS = {"safetensors": SafetensorsReader, "tf_checkpoint": TFCheckpointReader}


def run_round(name, reader, number):
    """ "refused" or "read"; anything else raises."""
    rng = np.random.default_rng([SEED, list(READERS).index(name), number])
    try:
        reader.attempt(rng)
    except PresetError as error:
        assert len(str(error)) < LONGEST_MESSAGE, f"a message of {len(str(error))} characters"
        return "refused"
    return "read"
