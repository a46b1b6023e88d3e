"""Batches for several tasks: each step has one of every task, or of the one whose turn it is."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.data.batching import Batch
from zoo.data.dataset import Batches
from zoo.data.shuffling import SETS, permutation
from zoo.training.mixture import in_turn


@dataclass(frozen=True)
class Step:
    """The batch of each task of a step; tasks that are not in it are left out."""

    batches: dict[str, Batch]
    rows = None  # a step is of several data sets, so that no row numbers of one can be told in an error


class TaskPlan:
    """The steps of an epoch, which (seed, epoch) alone decide.

    Args:
        plans: dict from the task's name to its `zoo.data.BatchPlan`.
        seed: int.
        counts: dict from name to the batches an epoch, where each step is of one task; None: each step has all tasks, and an
            epoch is the longest plan once, while shorter ones begin again.
    """

    shuffle = True

    def __init__(self, plans, seed, counts=None):
        self.plans, self.seed, self.counts = plans, int(seed), counts

    def __len__(self):
        return max(map(len, self.plans.values())) if self.counts is None else sum(self.counts.values())

    def __call__(self, epoch):
        """List of `Step`."""
        names = list(self.plans)
        waiting = {
            name: in_turn(plan, epoch, len(self) if self.counts is None else self.counts[name])
            for name, plan in self.plans.items()
        }
        if self.counts is None:
            return [Step(dict(zip(names, batches))) for batches in zip(*waiting.values())]
        order = np.repeat(np.arange(len(names)), [self.counts[name] for name in names])
        order = order[permutation(len(order), self.seed, epoch, SETS)]
        return [Step({names[number]: next(waiting[names[number]])}) for number in order]

    @property
    def fingerprint(self):
        """sha256 over everything that decides the order, the seed excepted."""
        parts = [list(self.plans), self.counts, *(plan.fingerprint for plan in self.plans.values())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class TaskBatches(Batches):
    """The steps that `zoo.MultiTask.fit` reads: dicts from name to inputs, to labels, to weights.

    A task that is not in a step has arrays of no rows there, so that all steps have one structure.

    Args:
        parts: dict from name to `zoo.training.RecordBatches` of one task.
        seed: int. epoch: int, the first one to serve.
        counts: see `TaskPlan`.
    """

    distinct: Any = ()

    def __init__(self, parts, seed=0, epoch=0, counts=None):
        self.parts = parts
        super().__init__(
            TaskPlan({name: part.plan for name, part in parts.items()}, seed, counts), self._collated, epoch
        )

    def _collated(self, step):
        found = {name: part.collate(step.batches.get(name, _EMPTY)) for name, part in self.parts.items()}
        return tuple({name: batch[place] for name, batch in found.items()} for place in range(3))

    def __getitem__(self, index):
        if self._within_epoch or index > 1:
            return super().__getitem__(index)
        # TensorFlow takes the shapes of all steps from the first two that it reads: they differ wherever steps may.
        pick = (np.argmax, np.argmin)[index]
        chosen = {}
        for name, part in self.parts.items():
            batches = part.plan(0)
            batch = batches[pick([batch.length for batch in batches])]
            if index:
                batch = Batch(batch.indices[:0], max(2, batch.length - 1), batch.weights[:0])
            chosen[name] = batch
        return self._collated(Step(chosen))


_EMPTY = Batch(np.zeros(0, "int64"), 2, np.zeros(0, "float32"))
