"""What low-rank training has changed: a small file, put on its base and taken off again exactly."""

import hashlib
import json
import re

import numpy as np
from keras import ops

from zoo.backend.variables import to_numpy, weights_of
from zoo.store import Folder, PresetError, safetensors_bytes, strict_json, write_folder
from zoo.tasks.threshold import PairScores, check_decision

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
        matcher: str or None, class and options of that matcher: a threshold of its scores is none of others.

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
        from zoo.optimizers.wrapper import chain

        optimizer = getattr(model, "optimizer", None)
        for one in chain(optimizer):
            if hasattr(one, "extract"):
                delta = one.extract()
                if isinstance(model, PairScores) and model.decision is not None:
                    delta.decision, delta.matcher = dict(model.decision), _matcher(model)
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


class Adapters:
    """Puts deltas on a model and takes them off: several at once if need be, in any order, and exactly.

    The kernels of the base that a delta changes are kept, in float32 in main memory, as long as it is on. Weights are
    always those plus the deltas that are on, so that nothing adds up: without deltas they are the base, bit by bit.

    A threshold is of scores by certain weights. With one delta on, a matcher has the delta's, made by a matcher of the
    same class and options; without deltas its own of before; otherwise none, so that `classify` asks for one.

    Args:
        model: keras.Model, with the weights of the base and no delta on.
    """

    def __init__(self, model):
        self.model, self.active = model, ()
        self._variables, self._base, self._left = weights_of(model), {}, None
        self._decision = None

    def apply(self, delta):
        """Put a delta on.

        Raises:
            ValueError: it is on, is of another base or model, sets a variable that one that is on sets too, or the
                weights have been changed since the last call. The model is as it was.
        """
        if any(delta is other for other in self.active):
            raise ValueError("this delta is on; every delta counts once")
        missing = sorted({*delta.factors, *delta.values} - set(self._variables))
        if missing:
            raise ValueError(
                f"the delta changes {missing[0]} and {len(missing) - 1} more variables that {type(self.model).__name__} "
                f"lacks; its own are {', '.join(list(self._variables)[:3])}, ..."
            )
        for path, change in [*delta.factors.items(), *delta.values.items()]:
            shape = tuple(self._variables[path].shape)
            fits = change.shape == shape if path in delta.values else _is_matrix_of(shape, *change)
            if not fits:
                given = change.shape if path in delta.values else (change[0].shape, change[1].shape)
                raise ValueError(f"the delta has {given} for {path}, whose shape is {shape}")
        for other in self.active:
            if both := sorted(
                set(delta.values) & {*other.values, *other.factors} | set(other.values) & set(delta.factors)
            ):
                raise ValueError(f"{both[0]} was trained at full rank in one delta, so another's cannot be added to it")
        self._check_untouched()
        base = base_sha256((path, self._base_of(path)) for path in delta.factors).hex()
        if base != delta.base_sha256:
            raise ValueError(
                f"the delta is of a base with SHA-256 {delta.base_sha256}, these kernels have {base}: it was trained "
                "from other weights, or the model is not at its base"
            )
        self._set((*self.active, delta))

    def remove(self, delta):
        """Take a delta off.

        Raises:
            ValueError: it is not on, or the weights have been changed since the last call. The model is as it was.
        """
        if not any(delta is other for other in self.active):
            raise ValueError("this delta is not on")
        self._check_untouched()
        self._set(tuple(other for other in self.active if other is not delta))

    def _base_of(self, path):
        return self._base[path] if path in self._base else to_numpy(self._variables[path])

    def _check_untouched(self):
        if self.active and base_sha256((path, self._variables[path]) for path in self._base) != self._left:
            raise ValueError(
                "the weights have been changed since the deltas were put on (trained, loaded?), which going back to the "
                "base would undo; make new Adapters for the model as it is"
            )

    def _set(self, active):
        matcher = self.model if isinstance(self.model, PairScores) else None  # of others `decision` may be a layer
        if matcher and not self.active:
            self._decision = matcher.decision
        touched = {path for delta in active for path in (*delta.factors, *delta.values)}
        base = {path: self._base_of(path) for path in touched}
        for path in touched | set(self._base):
            value = base[path] if path in base else self._base[path]
            for delta in active:
                if path in delta.factors:
                    a, b = delta.factors[path]
                    value = value + (a @ b).reshape(value.shape)
                value = delta.values.get(path, value)
            self._variables[path].assign(value)
        self.active, self._base = active, base
        self._left = base_sha256((path, self._variables[path]) for path in base)
        if matcher:
            matcher.decision = self._decision_of(*active) if active else self._decision

    def _decision_of(self, delta, *more):
        return None if more or delta.decision is None or delta.matcher != _matcher(self.model) else dict(delta.decision)


def _matcher(model):
    options = {name: value for name, value in model.task_config().items() if name != "decision"}
    return json.dumps({"class": type(model).__name__, **options}, sort_keys=True)


def _is_matrix_of(shape, a, b):
    sizes = [int(np.prod(shape[:axis])) for axis in range(1, len(shape))]
    return a.shape[0] in sizes and a.shape[0] * b.shape[1] == int(np.prod(shape))


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
