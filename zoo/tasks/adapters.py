"""Low-rank deltas on a model: several at once if need be, each put on and taken off exactly."""

from typing import Any

import numpy as np

from zoo.backend.variables import to_numpy, weights_of
from zoo.optimizers.low_rank_delta import base_sha256
from zoo.tasks.threshold import ThresholdMixin


class Adapters:
    """Puts deltas on a model and takes them off: several at once if need be, in any order, and exactly.

    The kernels of the base that a delta changes are kept, in float32 in main memory, as long as it is on. Weights are
    always those plus the deltas that are on, so that nothing adds up: without deltas they are the base, bit by bit.

    A threshold is of scores by certain weights. With one delta on, a matcher has the delta's, made by a matcher of the
    same class and options; without deltas its own of before; otherwise none, so that `classify` asks for one.

    Args:
        model: keras.Model, with the weights of the base and no delta on.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.active = model, ()
        self._variables, self._base, self._left = weights_of(model), {}, None
        self._decision = None

    def apply(self, delta: Any) -> None:
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

    def remove(self, delta: Any) -> None:
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
        matcher = self.model if isinstance(self.model, ThresholdMixin) else None  # of others `decision` may be a layer
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
        return (
            None if more or delta.decision is None or delta.matcher != self.model.scored_by() else dict(delta.decision)
        )


def _is_matrix_of(shape, a, b):
    sizes = [int(np.prod(shape[:axis])) for axis in range(1, len(shape))]
    return a.shape[0] in sizes and a.shape[0] * b.shape[1] == int(np.prod(shape))
