"""Training on several labelled sets at once: their labels on one scale, each batch from one set."""

import hashlib
import json
from dataclasses import replace

import numpy as np

from zoo.data.batching import BUCKETS, BatchPlan
from zoo.data.normal_form import pair_key
from zoo.data.reader import read_pairs
from zoo.data.records import Pairs
from zoo.data.shuffling import SETS, permutation

# Kind of a set: name of its label column, type of its labels, the label that means "the same".
KINDS = {
    "pair": ("label", "binary", 1),
    "rel": ("label", "int", 2),  # relevance 0, 1, 2
    "nli": ("label", {"contradiction": 0, "neutral": 1, "entailment": 2}, 2),  # as an order (kexue.fm/archives/8847)
    "sts": ("score", "score", 5),  # similarity 0 .. 5
    "unit": ("score", "score", 1),  # anything from 0 to 1, such as a teacher's scores
}


def read_graded(path, kind):
    """Pairs of a file with labels brought to 0 (unrelated) .. 1 (the same).

    Args:
        path: a file for `read_pairs`.
        kind: `"pair"` (0, 1), `"rel"` (0, 1, 2), `"nli"` (contradiction, neutral, entailment), `"sts"` (column score,
            0 .. 5) or `"unit"` (column score, 0 .. 1).

    Raises:
        ValueError: unknown kind; labels out of range.
        zoo.data.DataError: the file is not as the kind says.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} of {path}, expected one of {', '.join(KINDS)}")
    column, label, highest = KINDS[kind]
    pairs = read_pairs(path, ("text_a", "text_b", column), label)
    if not 0 <= pairs.labels.min() <= pairs.labels.max() <= highest:
        found = f"{pairs.labels.min():g} to {pairs.labels.max():g}"
        raise ValueError(f"{path}: labels from {found}, kind {kind!r} means 0 to {highest}")
    return replace(pairs, labels=pairs.labels / highest, class_names=None)


def without_pairs_of(pairs, others):
    """The pairs that none of the other sets holds; order, case, punctuation, white space and width are ignored.

    Args:
        pairs: `Pairs`. others: list of `Pairs`, such as what a model will be judged on.
    """
    known = {pair_key(row[:2]) for other in others for row in zip(*other.columns)}
    return pairs.take([index for index, row in enumerate(zip(*pairs.columns)) if pair_key(row[:2]) not in known])


def joined(sets):
    """All rows of several labelled `Pairs` as one, in order."""
    columns = (sum((part.columns[i] for part in sets), []) for i in range(2))
    return Pairs(*columns, labels=np.concatenate([part.labels for part in sets]))


def write_matches(pairs, path, at_least=0.8, seed=0):
    """The texts of pairs that match, one a line and a pair's on neighbouring lines, as a corpus for a masked LM.

    Packed in rows, the model sees a text beside its paraphrase and learns to look from one to the other, which it cannot
    learn from unrelated lines (translation language modelling, arXiv 1901.07291, within one language).

    Args:
        pairs: labelled `Pairs`. path: file, written anew. at_least: float, the lowest label of a match. seed: int, of the
            order.

    Returns:
        int, how many pairs were written.
    """
    chosen = pairs.take([row for row in permutation(len(pairs), seed, SETS) if pairs.labels[row] >= at_least])
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(" ".join(text.splitlines()) + "\n" for pair in zip(*chosen.columns) for text in pair)
    return len(chosen)


class MixturePlan:
    """Training batches of several sets: each batch from one set, sets by turns at random.

    A loss that ranks the pairs of a batch, such as CoSENT, would compare labels across sets that mean different things
    by them; so a batch never mixes sets. Of a set of N rows about N^alpha of the sum of these come an epoch: 1 is every
    row once, 0 is every set as often. Each set is gone through in its own shuffled epochs, without a gap where the
    mixture's epochs meet. `plan(epoch)` is a function of (seed, epoch) alone. Texts that two rows share are not kept
    out of one batch, as `BatchPlan` can: by chance 0.1 to 1 % of the matches among 256 rows of four public sets have one.

    Args:
        lengths: ints [rows] or [rows, k], of the joined sets; see `BatchPlan`.
        sizes: list of int, rows of each set.
        batch_size: int. buckets: see `BatchPlan`.
        alpha: float, from 0 to 1.
        steps: int or None, about how many batches an epoch has; None: as many as hold every row once.
        seed: int.
    """

    shuffle = True

    def __init__(self, lengths, sizes, batch_size, buckets=BUCKETS, alpha=0.5, steps=None, seed=0):
        lengths, sizes = np.asarray(lengths), [int(size) for size in sizes]
        if sum(sizes) != len(lengths) or not sizes or min(sizes) < 1:
            raise ValueError(f"sizes={sizes} for {len(lengths)} rows, expected positive numbers that sum to them.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha}, expected 0 (every set as often) to 1 (every row as often).")
        self.starts = np.cumsum([0, *sizes[:-1]])
        self.plans = [
            BatchPlan(lengths[start : start + size], batch_size, buckets, seed=seed, last="pad")
            for start, size in zip(self.starts, sizes)
        ]
        shares = np.array(sizes, "float64") ** alpha
        total = sum(map(len, self.plans)) if steps is None else steps
        # batches of each set an epoch
        self.counts = [max(1, round(total * share)) for share in shares / shares.sum()]
        self.seed, self.batch_size = int(seed), int(batch_size)
        self._whole = BatchPlan(lengths, batch_size, buckets, seed=seed)

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
        plan, first = self.plans[number], epoch * self.counts[number]
        own_epoch, batches = None, []
        for place in range(first, first + self.counts[number]):
            if place // len(plan) != own_epoch:
                own_epoch = place // len(plan)
                batches = plan(own_epoch)
            batch = batches[place % len(plan)]
            yield replace(batch, indices=batch.indices + self.starts[number])

    def micro_batches(self, batch, size):
        """A big batch in parts of `size` rows, see `BatchPlan.micro_batches`."""
        return self._whole.micro_batches(batch, size)

    @property
    def fingerprint(self):
        """sha256 over everything that decides the order, the seed excepted."""
        return hashlib.sha256(
            json.dumps([self.counts, *(plan.fingerprint for plan in self.plans)]).encode()
        ).hexdigest()
