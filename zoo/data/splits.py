"""Seeded splits that keep groups together, so that a test set shares no text with the training set."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from .normal_form import normal_form
from .records import as_records
from .shuffling import SPLITS, permutation

# A part further than this from its share is worth a word; rounding alone never gets there on real sizes.
FAR_OFF = 0.02


def split(
    records: Sequence,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    groups: str | Sequence | Callable | None = None,
    stratify: bool = False,
) -> tuple:
    """Cut rows into parts at random, the same for the same seed.

    Args:
        records: `Pairs`, `Triplets`, `Texts`, or a list of tuples or str.
        fractions: positive numbers that sum to 1. The parts' shares of the rows.
        seed: int, not negative.
        groups: None; "texts" (rows that share a text, directly or through others, stay together; case,
            punctuation and width ignored); a key per row; or a function from a row (tuple) to its key.
            Rows of one group end in one part.
        stratify: bool. Give each part the same mix of labels, as far as groups allow.

    Returns:
        tuple of as many parts, each of the records' type, rows in their old order.

    Raises:
        ValueError: a part would be empty. A part far off its share (one giant group) only warns.
    """
    records = as_records(records)
    fractions = np.asarray(fractions, "float64")
    if fractions.ndim != 1 or not (fractions > 0).all() or not np.isclose(fractions.sum(), 1.0):
        raise ValueError(f"fractions={tuple(fractions.tolist())}, expected positive numbers that sum to 1.")
    if stratify and records.labels is None:
        raise ValueError(f"stratify=True, but {records!r}.")
    rows = len(records)
    classes, strata = np.unique(records.labels, return_inverse=True) if stratify else (np.zeros(1), np.zeros(rows, int))
    members = _members(records, groups)
    order = permutation(len(members), seed, SPLITS)
    if groups is None:
        # Label by label, each label's rows in random order; without strata just the random order.
        order = order[np.argsort(strata[order], kind="stable")]
        assigned = _deal(fractions, rows)
        part_of = np.empty(rows, "int64")
        part_of[order] = assigned
    else:
        part_of = _deal_groups([members[index] for index in order], strata, len(classes), fractions, rows)
    sizes = np.bincount(part_of, minlength=len(fractions)) if rows else np.zeros(len(fractions), int)
    if not sizes.all():
        raise ValueError(
            f"parts of {sizes.tolist()} rows out of {rows} rows in {len(members)} groups for fractions "
            f"{tuple(fractions.tolist())}: too few rows or groups for every part to have one."
        )
    if rows and np.abs(sizes / rows - fractions).max() > max(FAR_OFF, 1 / rows):
        warnings.warn(
            f"the parts hold {sizes.tolist()} of {rows} rows, fractions={tuple(fractions.tolist())} ask for "
            f"{np.round(fractions * rows).astype(int).tolist()}: the largest of {len(members)} groups has "
            f"{max(map(len, members))} rows and stays whole.",
            stacklevel=2,
        )
    return tuple(records.take(np.flatnonzero(part_of == part)) for part in range(len(fractions)))


def text_groups(records: Sequence) -> np.ndarray:
    """Which rows hang together through shared texts: int64 array [rows], rows of one group have one number.

    Texts count as the same in their normal form (case, punctuation, white space and width ignored).
    """
    columns = as_records(records).columns
    parent = list(range(len(columns[0])))

    def root(row):
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]  # halve the path on the way
        return row

    first_row = {}
    for column in columns:
        for row, text in enumerate(column):
            a, b = root(first_row.setdefault(normal_form(text), row)), root(row)
            parent[max(a, b)] = min(a, b)
    return np.array([root(row) for row in range(len(parent))], "int64")


def _members(records, groups):
    """Row indices of each group, a list of lists."""
    if groups is None:
        return range(len(records))
    if isinstance(groups, str):
        if groups != "texts":
            raise ValueError(f'groups={groups!r}, expected "texts", a key per row, or a function of a row.')
        groups = text_groups(records).tolist()
    elif callable(groups):
        groups = [groups(row) for row in records]
    elif len(groups) != len(records):
        raise ValueError(f"groups has {len(groups)} keys for {len(records)} rows.")
    members = {}
    for row, key in enumerate(groups):
        members.setdefault(key, []).append(row)
    return list(members.values())


def _deal(fractions, count):
    """Part of each of `count` items: at every moment the part furthest behind its share gets the next.

    So each run of items (each label) is shared out in proportion, not only the whole.
    """
    dealt, assigned = [0] * len(fractions), np.empty(count, "int64")
    shares = fractions.tolist()
    for position in range(count):
        behind = [share * (position + 1) - got for share, got in zip(shares, dealt)]
        part = behind.index(max(behind))
        dealt[part] += 1
        assigned[position] = part
    return assigned


def _deal_groups(members, strata, num_strata, fractions, rows):
    """Part of each row: big groups first, each to the part that lacks most of what the group brings."""
    part_of = np.empty(rows, "int64")
    lacking = np.outer(fractions, np.bincount(strata, minlength=num_strata)).tolist()  # [parts][strata]
    for group in sorted(members, key=len, reverse=True):
        brings = Counter(strata[group].tolist())
        # What is still lacking, relative to the part's share: small parts fill up as evenly as large ones.
        need = [
            sum(lack[stratum] * count for stratum, count in brings.items()) / share
            for lack, share in zip(lacking, fractions)
        ]
        part = need.index(max(need))
        for stratum, count in brings.items():
            lacking[part][stratum] -= count
        part_of[group] = part
    return part_of
