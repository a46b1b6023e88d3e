"""What low-rank training has changed: a small file, put on its base and taken off again exactly."""

import hashlib
import json
import re

import numpy as np
from keras import ops

from zoo.metrics.threshold import check_decision
from zoo.optimizers.wrapper import chain
from zoo.store import Folder, PresetError, safetensors_bytes, strict_json, write_folder

FILE = "low_rank_delta.safetensors"
A, B = "/low_rank_a", "/low_rank_b"


class LowRankDelta:
    """The difference between a trained model and its base, in factors; see `zoo.optimizers.LowRank.extract`.

        zoo.LowRankDelta.of(model).save("faq")
        adapters = zoo.Adapters(base)
        adapters.apply(zoo.LowRankDelta.load("faq"))

    Args:
        factors: dict, path of a kernel to float32 arrays `[n, k]` and `[k, m]`. Their product is the difference, the
            kernel being taken as a matrix of leading by trailing axes.
        values: dict, path of a variable that was trained at full rank to its trained value, float32.
        base_sha256: str, `base_sha256` of the kernels of the base, in hexadecimal.
        decision: dict or None, the stored threshold of the trained matcher.
        matcher: str or None, the matcher's `scored_by()`: its threshold does not fit scores that come from elsewhere.

    The file holds `<path>/low_rank_a` and `<path>/low_rank_b` of each kernel, `<path>` of each other variable, and the
    hash and the threshold.
    """

    def __init__(self, factors, values, base_sha256, decision=None, matcher=None):
        self.factors, self.values, self.base_sha256 = dict(factors), dict(values), base_sha256
        self.decision, self.matcher = check_decision(decision), matcher

    @classmethod
    def of(cls, model):
        """What `zoo.optimizers.LowRank` has trained so far, whatever optimizers it is in, and a matcher's threshold.

        Raises:
            ValueError: the model is compiled without one, or see `zoo.optimizers.LowRank.extract`.
        """
        optimizer = getattr(model, "optimizer", None)
        for one in chain(optimizer):
            if hasattr(one, "extract"):
                delta = one.extract()
                if hasattr(model, "scored_by") and model.decision is not None:
                    delta.decision, delta.matcher = dict(model.decision), model.scored_by()
                return delta
        raise ValueError(
            f"{type(model).__name__} is compiled with {type(optimizer).__name__}, which trains no factors: a delta is made "
            "by compile(zoo.optimizers.LowRank(...)) and fit"
        )

    def save(self, folder):
        """Write the folder, as a whole or not at all."""
        arrays = dict(self.values)
        for path, (a, b) in self.factors.items():
            arrays |= {path + A: a, path + B: b}
        metadata = {"zoo_low_rank_delta": "1", "base_sha256": self.base_sha256}
        if self.decision is not None:
            metadata |= {"decision": json.dumps(self.decision), "matcher": self.matcher or ""}
        write_folder(folder, {FILE: safetensors_bytes(arrays, metadata)})

    @classmethod
    def load(cls, folder):
        """Read what `save` wrote.

        Raises:
            PresetError: the folder holds no delta, or a damaged one.
        """
        folder = Folder(folder)
        arrays = folder.safetensors(FILE)
        where, metadata = f"{folder}/{FILE}", arrays.metadata
        if metadata.get("zoo_low_rank_delta") != "1" or not re.fullmatch(
            "[0-9a-f]{64}", metadata.get("base_sha256", "")
        ):
            raise PresetError(f"{where}: no low-rank delta of version 1 with the hash of its base; {metadata!r:.200}")
        decision = metadata.get("decision")
        if decision is not None:
            decision = strict_json.parse(decision.encode("utf-8", "surrogatepass"), f"{where}: decision")
            try:
                check_decision(decision)
            except ValueError as error:
                raise PresetError(f"{where}: {error}") from None
        wrong = [name for name, x in arrays.items() if x.dtype != np.float32 or not np.isfinite(x).all()]
        if wrong:
            raise PresetError(f"{where}: {wrong[0]} is not float32, or holds NaN or infinity")
        factors, values = {}, {}
        for name, x in arrays.items():
            if not name.endswith((A, B)):
                values[name] = np.array(x)
                continue
            path = name[: -len(A)]
            a, b = arrays.get(path + A), arrays.get(path + B)
            if a is None or b is None or a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
                shapes = [None if factor is None else factor.shape for factor in (a, b)]
                raise PresetError(f"{where}: the factors of {path} have shapes {shapes}; expected [n, k] and [k, m]")
            factors[path] = np.array(a), np.array(b)
        return cls(factors, values, metadata["base_sha256"], decision, metadata.get("matcher"))


def base_sha256(variables):
    """SHA-256 of variables, 32 bytes: of their paths, shapes and values in float32, in the order of the paths.

    Args:
        variables: iterable of (path, variable or array).
    """
    digest = hashlib.sha256()
    for path, variable in sorted(variables, key=lambda item: item[0]):
        array = np.ascontiguousarray(ops.convert_to_numpy(ops.cast(variable, "float32")), "<f4")
        digest.update(f"{path}{tuple(array.shape)}".encode())
        digest.update(array)
    return digest.digest()


def fingerprint(matrix):
    """Eight sums over a matrix `[n, m]` with fixed signs, float64 `[8]`: their mean square is about its squared norm.

    They add up as matrices do, and tell without a base at hand whether its difference to a matrix is a given one.
    """
    left, right = (_signs(side, size) for side, size in zip((b"left", b"right"), matrix.shape))
    return np.sum(left @ matrix.astype("float64") * right, axis=1)


def _signs(seed, size):
    # From a hash, since NumPy's generators may change from version to version.
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(seed).digest(size), "uint8"))
    return 2.0 * bits.reshape(8, size) - 1
