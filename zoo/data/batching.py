"""Which rows go together: batches of nearly equal length, few shapes, the same for a seed and epoch."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from .packing import pack_distinct
from .shuffling import BATCHES, ROWS, permutation

# Each length is a shape, compiled once under XLA (seconds); a doubling wastes at most half of a row. On seven public sets
# of pairs a third of what is computed in training is padding at three lengths, a quarter with steps between the
# doublings at five, an eighth where shapes cost nothing and each batch has its own (benchmarks/length_buckets.py).
BUCKETS = (16, 32, 64, 128, 256, 512)


def length_buckets(max_length: int, buckets: Sequence[int] = BUCKETS) -> tuple[int, ...]:
    """The buckets below `max_length`, and `max_length` itself: never above what the model takes.

    Args:
        max_length: int. The longest sequence of the model or the task.
        buckets: increasing ints.

    Returns:
        tuple of ints, the last of them `max_length`.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length}, expected at least 1.")
    return (*(bucket for bucket in _checked(buckets) if bucket < max_length), int(max_length))


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows that are computed together.

    Args:
        indices: int64 array [b]. Rows of the data; padding rows repeat a row of the batch.
        length: int. Tokens every row is padded (or cut) to.
        weights: float32 array [b]. 1 for a real row, 0 for a row that only keeps the shape.
    """

    indices: np.ndarray
    length: int
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def rows(self) -> np.ndarray:
        """The real rows, int64 array."""
        return self.indices[self.weights > 0]

    def padded_to(self, size: int) -> "Batch":
        """The same batch with zero-weight rows up to `size`; they repeat the last row, so no token is new."""
        missing = size - len(self)
        return replace(
            self,
            indices=np.pad(self.indices, (0, missing), mode="edge"),
            weights=np.pad(self.weights, (0, missing)),
        )


class _Lengths:
    """Lengths of all rows and the lengths they may be padded to."""

    def __init__(self, lengths: ArrayLike, batch_size: int, buckets: Sequence[int] | None) -> None:
        lengths = np.asarray(lengths)
        if lengths.ndim not in (1, 2) or lengths.size and not np.issubdtype(lengths.dtype, np.integer):
            raise ValueError(
                f"lengths: {lengths.dtype} array of shape {lengths.shape}, expected integers [rows] or "
                "[rows, texts of a row]."
            )
        if lengths.size and lengths.min() < 0:
            raise ValueError(f"lengths[{int(np.argmin(lengths)) // lengths[0].size}] is negative.")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}, expected at least 1.")
        self.lengths, self.batch_size = lengths.astype("int64"), int(batch_size)
        self.buckets = None if buckets is None else _checked(buckets)
        self.texts = lengths.shape[1] if lengths.ndim == 2 else 1
        self.longest = self.lengths.max(axis=1) if lengths.ndim == 2 else self.lengths
        # What rows are sorted by. Inside a bucket the length costs nothing, so rows stay mixed there.
        self.padded = self.longest
        if self.buckets is not None:
            places = np.searchsorted(self.buckets, self.longest)
            self.padded = np.asarray(self.buckets)[np.minimum(places, len(self.buckets) - 1)]

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    @property
    def truncated(self) -> int:
        """int. Rows longer than the last bucket, which lose their ends."""
        return 0 if self.buckets is None else int(np.sum(self.longest > self.buckets[-1]))

    def _batch(self, rows: ArrayLike) -> Batch:
        rows = np.asarray(rows, "int64")
        return Batch(rows, int(self.padded[rows].max()), np.ones(len(rows), "float32"))

    def _padding_fraction(self, batches: Iterable[Batch]) -> float:
        cells = real = 0
        for batch in batches:
            cells += len(batch) * self.texts * batch.length
            real += int(np.minimum(self.lengths[batch.rows], batch.length).sum())
        return 1.0 - real / cells if cells else 0.0


class BatchPlan(_Lengths):
    """Training batches: `plan(epoch)` is the list of that epoch's batches, a function of (seed, epoch) alone.

    Rows are shuffled, stably sorted by bucket inside windows of `window` batches, cut into batches, and the
    batches shuffled. So batches have one length each and almost no padding beyond their bucket's, while
    which rows meet and in which order batches come stays random. The remainder that fills no batch is drawn
    before the sorting, so that it is no sample of the longest, and comes last.

    Args:
        lengths: ints [rows], or [rows, k] where k texts a row are padded to one length.
        batch_size: int.
        buckets: increasing ints, or None: pad to each batch's longest row. Longer rows are cut to the last.
        seed: int, not negative.
        shuffle: bool. False keeps the given order (and so sorts nothing).
        last: "keep" the short batch, "pad" it with zero-weight rows, or "drop" its rows for the epoch.
        window: int. Batches sorted together; more means less padding and less mixing of lengths.
        no_duplicates: None, or per row the texts (a str or a sequence of hashables) of which none may stand
            twice in a batch. The number of batches stays the same every epoch; rows that fit in none, because
            their text is in more rows than there are batches, sit an epoch out (`left_out(epoch)`).

    `len(plan)` is the number of batches, the same in every epoch.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        batch_size: int,
        buckets: Sequence[int] | None = BUCKETS,
        seed: int = 0,
        shuffle: bool = True,
        last: str = "keep",
        window: int = 64,
        no_duplicates: Sequence | None = None,
    ) -> None:
        super().__init__(lengths, batch_size, buckets)
        rows = len(self.lengths)
        if last not in ("keep", "pad", "drop"):
            raise ValueError(f'last={last!r}, expected "keep", "pad" or "drop".')
        if window < 1:
            raise ValueError(f"window={window}, expected at least 1 batch.")
        if rows < (batch_size if last == "drop" else 1):
            raise ValueError(f"{rows} rows make no batch of {batch_size} (last={last!r}).")
        if no_duplicates is not None and last == "drop":
            raise ValueError(
                'no_duplicates may leave any batch short, and last="drop" would drop them all; say '
                'last="pad" for one shape, or "keep".'
            )
        if no_duplicates is not None and len(no_duplicates) != rows:
            raise ValueError(f"no_duplicates has {len(no_duplicates)} rows, lengths has {rows}.")
        self.seed, self.shuffle, self.last, self.window = int(seed), shuffle, last, int(window)
        self._keys = None
        if no_duplicates is not None:
            self._keys = [frozenset((texts,) if isinstance(texts, str) else texts) for texts in no_duplicates]

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size if self.last == "drop" else super().__len__()

    def __call__(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, a list of `Batch`."""
        batches = [self._batch(group) for group in self._groups(epoch)]
        return [batch.padded_to(self.batch_size) for batch in batches] if self.last == "pad" else batches

    def left_out(self, epoch: int) -> np.ndarray:
        """Rows that are in no batch of this epoch, a sorted int64 array."""
        return np.setdiff1d(np.arange(len(self.lengths)), np.concatenate(self._groups(epoch)))

    def padding_fraction(self, epoch: int = 0) -> float:
        """Share of the computed tokens that are padding, zero-weight rows included."""
        return self._padding_fraction(self(epoch))

    def micro_batches(self, batch: Batch, size: int) -> list[Batch]:
        """A big batch in parts of exactly `size` rows, by length, padded with zero-weight rows.

        For losses computed over the big batch from parts that fit in memory: `part.indices` says which rows
        a part holds, as positions in the big batch.
        """
        real = np.flatnonzero(batch.weights)
        order = real[np.argsort(self.padded[batch.indices[real]], kind="stable")]
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [replace(self._batch(batch.indices[part]), indices=part).padded_to(size) for part in parts]

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that decides the order, the seed excepted."""
        settings = [
            self.batch_size,
            self.buckets,
            bool(self.shuffle),
            self.last,
            self.window,
            self.lengths.shape,
        ]
        digest = hashlib.sha256(json.dumps(settings).encode())
        digest.update(self.lengths.astype("<i8").tobytes())
        for keys in self._keys or ():
            digest.update(json.dumps(sorted(map(str, keys))).encode())
        return digest.hexdigest()

    def _groups(self, epoch: int) -> list[np.ndarray]:
        """Rows of each batch, in the epoch's order: full batches, then the short ones."""
        rows, size = len(self.lengths), self.batch_size
        order = permutation(rows, self.seed, epoch, ROWS) if self.shuffle else np.arange(rows)
        full = rows // size * size
        if self.shuffle:
            step = self.window * size
            for start in range(0, full, step):
                block = order[start : min(start + step, full)]
                block[:] = block[np.argsort(self.padded[block], kind="stable")]
        if self._keys is None:
            groups = np.split(order, range(size, rows, size))
        else:
            groups, _ = pack_distinct(order.tolist(), self._keys, size, len(self))
            groups = [np.asarray(group, "int64") for group in groups]
        whole = [group for group in groups if len(group) == size]
        short = [group for group in groups if 0 < len(group) < size]
        if self.shuffle:
            whole = [whole[index] for index in permutation(len(whole), self.seed, epoch, BATCHES)]
        return whole + (short if self.last != "drop" else [])


class PredictionPlan(_Lengths):
    """Batches for prediction: every row once, longest first, and `restore` back to the given order.

    Longest first, so that a batch too big for the memory fails at once and not after an hour.

    Args:
        lengths, batch_size, buckets: as in `BatchPlan`.
        last: "keep" the short batch or "pad" it with zero-weight rows, for one shape fewer to compile.
    """

    def __init__(
        self, lengths: ArrayLike, batch_size: int, buckets: Sequence[int] | None = BUCKETS, last: str = "keep"
    ) -> None:
        super().__init__(lengths, batch_size, buckets)
        if last not in ("keep", "pad"):
            raise ValueError(f'last={last!r}, expected "keep" or "pad".')
        self.last = last

    def __iter__(self) -> Iterator[Batch]:
        order = np.argsort(-self.longest, kind="stable")
        for start in range(0, len(order), self.batch_size):
            batch = self._batch(order[start : start + self.batch_size])
            yield batch.padded_to(self.batch_size) if self.last == "pad" else batch

    @property
    def padding_fraction(self) -> float:
        """Share of the computed tokens that are padding, zero-weight rows included."""
        return self._padding_fraction(self)

    def restore(self, outputs: Sequence) -> np.ndarray:
        """Outputs of the batches, joined and put in the order of `lengths`.

        Args:
            outputs: sequence of arrays [b, ...], one a batch, in the plan's order.

        Returns:
            array [rows, ...].
        """
        outputs, batches = [np.asarray(output) for output in outputs], list(self)
        sizes, expected = [len(output) for output in outputs], [len(batch) for batch in batches]
        if sizes != expected:
            raise ValueError(f"outputs of sizes {sizes[:8]} for batches of sizes {expected[:8]}.")
        if not batches:
            return np.zeros((0,), "float32")
        result = np.empty((len(self.lengths), *outputs[0].shape[1:]), outputs[0].dtype)
        for batch, output in zip(batches, outputs):
            result[batch.rows] = output[batch.weights > 0]
        return result


def _checked(buckets: Sequence[int]) -> tuple[int, ...]:
    buckets = tuple(int(bucket) for bucket in buckets)
    if not buckets or buckets[0] < 1 or any(a >= b for a, b in zip(buckets, buckets[1:])):
        raise ValueError(f"buckets={buckets}, expected increasing positive lengths.")
    return buckets
