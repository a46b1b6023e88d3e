"""A plan of batches as what `fit` and `evaluate` read: the one file of zoo.data that touches Keras."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Serves the batches of a `BatchPlan` (another epoch's in every epoch) or of a `PredictionPlan`.

        batches = Batches(plan, collate)
        model.fit(batches, epochs=3, shuffle=False, callbacks=[batches.epoch_callback()])

    `shuffle=False`, since the plan shuffles and Keras would shuffle again from Python's global generator;
    `epoch_callback()`, since Keras tells a dataset when an epoch begins but not which, and tells it too often; no
    `steps_per_epoch`, which makes TensorFlow read ahead into an epoch before it begins.

    Args:
        plan: `BatchPlan`, or `PredictionPlan` for validation.
        collate: function from `Batch` to what Keras takes: `(x, y)` or `(x, y, sample_weight)`.
        epoch: int. The plan's epoch to serve until `epoch_callback()` names another.
    """

    def __init__(self, plan: Any, collate: Callable, epoch: int = 0) -> None:
        # One worker: Keras' threads start to read before it says that an epoch has begun.
        super().__init__(workers=1)
        self.plan, self.collate = plan, collate
        self._within_epoch = False
        self._identity: dict[str, Any] | None = None
        self.set_epoch(epoch)

    @property
    def num_batches(self) -> int:
        return len(self.plan)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Any:
        batches = self._batches
        if not self._within_epoch:
            # TensorFlow takes the shapes of all batches from the first two, read before the epoch begins.
            # Two of one length would make it refuse the others, so it sees the longest and the shortest.
            longest, shortest = max(batches, key=_length), min(batches, key=_length)
            lengths = getattr(self.plan, "padded", ())
            if longest.length == shortest.length and len(lengths):  # by chance; another epoch's need not be
                shortest = dataclasses.replace(shortest, length=int(np.min(lengths)))
            batches = [longest, shortest, *batches]
        return self.collate(batches[index])

    def __iter__(self) -> Iterator:
        return map(self.collate, self._batches)

    def batch_at(self, index: int) -> Any:
        """The batch of a step of the current epoch, as `fit` got it."""
        return self.collate(self._batches[index])

    def rows_of(self, index: int) -> Any:
        """Its rows of the data, int64 array."""
        return self._batches[index].rows

    def identity(self) -> dict[str, Any]:
        """What tells this data from other data, JSON values: order, lengths and the content of one batch."""
        if self._identity is None:
            plan = {"plan": self.plan.fingerprint[:16], "seed": self.plan.seed} if callable(self.plan) else {}
            first = self.plan(0)[0] if callable(self.plan) else next(iter(self.plan))
            self._identity = {"batches": len(self.plan), **plan, "content": digest(self.collate(first))[:16]}
        return self._identity

    def set_epoch(self, epoch: int) -> None:
        """Serve this epoch of the plan from now on."""
        self.epoch = int(epoch)
        self._batches = self.plan(self.epoch) if callable(self.plan) else list(self.plan)
        self._times_begun = 0

    def epoch_callback(self) -> keras.callbacks.Callback:
        """The callback that tells this dataset which epoch `fit` is in."""
        return _EpochCallback(self)

    follow, begin = epoch_callback, set_epoch  # their names until 0.1

    def on_epoch_begin(self) -> None:
        self._within_epoch = True
        self._times_begun += 1
        # Once to find the shapes of an unbuilt model, once to train.
        if self._times_begun > 2 and getattr(self.plan, "shuffle", False):
            raise RuntimeError(
                f"epoch {self.epoch} of the plan is begun for the third time: every epoch would train in the "
                "same order. Pass callbacks=[batches.epoch_callback()] to fit."
            )

    def on_epoch_end(self) -> None:
        self._within_epoch = False


class _EpochCallback(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.set_epoch(epoch)

    def on_train_end(self, logs=None):
        self.batches.on_epoch_end()  # Keras leaves it out when training stops inside an epoch


def _length(batch):
    return batch.length


def digest(batch: Any) -> str:
    """sha256 of the arrays of a batch, in hexadecimal."""
    content = hashlib.sha256()
    for array in keras.tree.flatten(batch):
        array = np.ascontiguousarray(array)
        content.update(f"{array.dtype}{array.shape}".encode())
        content.update(array)
    return content.hexdigest()
