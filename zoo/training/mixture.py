"""Training on several sets at once: how often each comes, each batch from one set."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from zoo.backend.arguments import plain
from zoo.data.batching import BUCKETS, BatchPlan
from zoo.data.shuffling import SETS, permutation


@dataclass(frozen=True)
class Mixture:
    """How often each of several training sets comes: `fit({"name": records, ...}, mixture=Mixture(...))`.

    Args:
        alpha: float from 0 to 1. A set of N rows comes about N^alpha often: 1 is as its size, 0 all sets alike.
        shares: dict from the name of each set to a positive number, in the place of N^alpha; or None.
        steps: int or None, about how many batches an epoch has; None: as many as hold every row once.

    Raises:
        ValueError: an argument is none of these.
    """

    alpha: float = 0.5
    shares: dict | None = None
    steps: int | None = None

    def __post_init__(self):
        for name in ("alpha", "shares", "steps"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        alpha, shares, steps = self.alpha, self.shares, self.steps
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
            raise ValueError(f"Mixture: alpha={alpha!r:.60}; expected 0 (every set as often) to 1 (every row as often)")
        if shares is not None:
            if not isinstance(shares, Mapping) or not shares:
                raise ValueError(
                    f"Mixture: shares={shares!r:.60}; expected a dict from the name of each set to a number"
                )
            if not all(
                isinstance(one, Real) and not isinstance(one, bool) and 0 < one < np.inf for one in shares.values()
            ):
                raise ValueError(f"Mixture: shares={shares!r:.80}; expected a positive number for each")
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
            raise ValueError(
                f"Mixture: steps={steps!r:.60}; expected how many batches an epoch has, at least 1, or None"
            )

    def batches(self, sizes, batch_size):
        """Batches of each set an epoch, dict from name to int.

        Args:
            sizes: dict from name to int, rows of each set.

        Raises:
            ValueError: the names of `shares` are not those of the sets.
        """
        shares = (
            {name: float(size) ** self.alpha for name, size in sizes.items()} if self.shares is None else self.shares
        )
        if set(shares) != set(sizes):
            raise ValueError(
                f"shares of {', '.join(map(str, shares))} for sets {', '.join(map(str, sizes))}; expected one for each."
            )
        parts = np.array([shares[name] for name in sizes], "float64")
        total = sum(-(-size // batch_size) for size in sizes.values()) if self.steps is None else self.steps
        return {name: max(1, round(total * share)) for name, share in zip(sizes, parts / parts.sum())}

    def plan(self, lengths, sizes, batch_size, buckets=BUCKETS, seed=0, no_duplicates=None):
        """The `MixturePlan` of sets whose rows stand one behind the other.

        Args:
            sizes: dict from name to int, rows of each set. The rest as in `zoo.data.BatchPlan`.

        Raises:
            ValueError: as `batches`.
        """
        counts = list(self.batches(sizes, batch_size).values())
        return MixturePlan(lengths, list(sizes.values()), batch_size, buckets, seed, counts, no_duplicates)


class MixturePlan:
    """Training batches of several sets: each batch from one set, sets by turns at random.

    A loss that ranks the pairs of a batch, such as CoSENT, would compare labels across sets that mean different things
    by them; so a batch never mixes sets. How often each comes is for `Mixture` to say. Each set is gone through in its own
    shuffled epochs, without a gap where the mixture's epochs meet. `plan(epoch)` is a function of (seed, epoch) alone.

    Args:
        lengths: ints [rows] or [rows, k], of the joined sets; see `BatchPlan`.
        sizes: list of int, rows of each set.
        batch_size: int. buckets: see `BatchPlan`.
        seed: int.
        counts: list of int, batches of each set an epoch; None: as `Mixture()` says.
        no_duplicates: see `BatchPlan`; within each set.
    """

    shuffle = True

    def __init__(self, lengths, sizes, batch_size, buckets=BUCKETS, seed=0, counts=None, no_duplicates=None):
        lengths, sizes = np.asarray(lengths), [int(size) for size in sizes]
        if sum(sizes) != len(lengths) or not sizes or min(sizes) < 1:
            raise ValueError(f"sizes={sizes} for {len(lengths)} rows, expected positive numbers that sum to them.")
        self.starts = np.cumsum([0, *sizes[:-1]])
        parts = [slice(start, start + size) for start, size in zip(self.starts, sizes)]
        self.plans = [
            BatchPlan(
                lengths[part], batch_size, buckets, seed=seed, last="pad",
                no_duplicates=None if no_duplicates is None else no_duplicates[part],
            )
            for part in parts
        ]  # fmt: skip
        named = dict(enumerate(sizes))
        self.counts = list(Mixture().batches(named, batch_size).values()) if counts is None else list(counts)
        self.seed, self.batch_size = int(seed), int(batch_size)
        self.padded = np.concatenate([plan.padded for plan in self.plans])  # what `Batches` knows of the lengths

    def __len__(self):
        return sum(self.counts)

    def order(self, epoch):
        """The set of each batch of an epoch, int64 array."""
        sets = np.repeat(np.arange(len(self.counts)), self.counts)
        return sets[permutation(len(sets), self.seed, epoch, SETS)]

    def __call__(self, epoch):
        """The batches of an epoch, a list of `Batch` with indices of the joined rows."""
        waiting = [self._of_set(number, epoch) for number in range(len(self.plans))]
        return [next(waiting[number]) for number in self.order(epoch)]

    def _of_set(self, number, epoch):
        for batch in in_turn(self.plans[number], epoch, self.counts[number]):
            yield replace(batch, indices=batch.indices + self.starts[number])

    def left_out(self, epoch):
        """Rows that no batch of their set takes in its own epoch, because of `no_duplicates`; int64 array."""
        left = [plan.left_out(epoch * count // len(plan)) for plan, count in zip(self.plans, self.counts)]
        return np.concatenate([start + rows for start, rows in zip(self.starts, left)])

    @property
    def fingerprint(self):
        """sha256 over everything that decides the order, the seed excepted."""
        return hashlib.sha256(
            json.dumps([self.counts, *(plan.fingerprint for plan in self.plans)]).encode()
        ).hexdigest()


def in_turn(plan, epoch, count):
    """The batches of a plan that an epoch of another length takes: `count` of them, gone on with where the last one ended.

    Args:
        plan: `zoo.data.BatchPlan`. epoch: int. count: int, batches an epoch.
    """
    own_epoch, batches = None, []
    for place in range(epoch * count, (epoch + 1) * count):
        if place // len(plan) != own_epoch:
            own_epoch = place // len(plan)
            batches = plan(own_epoch)
        yield batches[place % len(plan)]
