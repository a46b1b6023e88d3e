"""The leakage report: rows and texts that training shares with evaluation, and contradicting labels."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .normal_form import normal_form
from .records import as_records

EXAMPLES = 3


@dataclass(frozen=True)
class Overlap:
    """What a later split shares with an earlier one.

    Args:
        first, second: str. Names of the earlier and the later split.
        rows: int. Rows of the later split.
        exact: int. Its rows whose texts stand in the earlier split in the same order.
        swapped: int. Its rows that are there only with their texts in another order.
        normalised: int. Its rows that are there only when case, punctuation, white space, width and order
            are ignored.
        shared_texts, texts: ints. Its distinct texts that occur in the earlier split, and all of them.
        examples: dict from "exact", "swapped", "normalised" to tuples of
            `(index in first, index in second, texts)`.
    """

    first: str
    second: str
    rows: int
    exact: int
    swapped: int
    normalised: int
    shared_texts: int
    texts: int
    examples: dict

    @property
    def leaked(self) -> int:
        """int. Rows of the later split that the earlier split gives away."""
        return self.exact + self.swapped + self.normalised


@dataclass(frozen=True)
class Inside:
    """What one split repeats or contradicts.

    Args:
        name: str.
        rows: int.
        duplicates: int. Rows whose texts stood before in this split, in the same order.
        swapped: int. Rows that stood before only with their texts in another order.
        conflicts: int. Rows whose label differs from that of an earlier row with the same texts (normalised,
            same order).
        swapped_conflicts: int. The same for texts in another order; no fault where direction matters (NLI).
        examples: tuple of `(earlier index, index, texts)`, of conflicts.
    """

    name: str
    rows: int
    duplicates: int
    swapped: int
    conflicts: int
    swapped_conflicts: int
    examples: tuple


@dataclass(frozen=True)
class LeakageReport:
    """Overlaps between splits and faults inside them; `str()` is a table.

    Args:
        overlaps: tuple of `Overlap`, one for each two splits.
        inside: tuple of `Inside`, one a split.
    """

    overlaps: tuple
    inside: tuple

    @property
    def leaked(self) -> int:
        """int. Rows given away, summed over all two splits."""
        return sum(overlap.leaked for overlap in self.overlaps)

    @property
    def conflicts(self) -> int:
        """int. Rows that contradict an earlier row of their split."""
        return sum(split.conflicts for split in self.inside)

    def __str__(self) -> str:
        between = [("found in", "rows", "exact", "swapped", "normalised", "shared texts")]
        for o in self.overlaps:
            share = f"{o.shared_texts} of {o.texts} ({o.shared_texts / max(o.texts, 1):.0%})"
            between.append((f"{o.second} in {o.first}", o.rows, o.exact, o.swapped, o.normalised, share))
        within = [("inside", "rows", "repeated", "swapped", "conflicts", "swapped conflicts")]
        within += [(s.name, s.rows, s.duplicates, s.swapped, s.conflicts, s.swapped_conflicts) for s in self.inside]
        blocks = [_table(block) for block in (between, within) if len(block) > 1]
        lines = [
            f"{o.second}[{second}] = {o.first}[{first}] ({kind}): {' | '.join(texts):.80}"
            for o in self.overlaps
            for kind, found in o.examples.items()
            for first, second, texts in found
        ]
        lines += [
            f"{s.name}[{second}] contradicts {s.name}[{first}]: {' | '.join(texts):.80}"
            for s in self.inside
            for first, second, texts in s.examples
        ]
        return "\n\n".join(blocks + (["\n".join(lines)] if lines else []))


def leakage_report(train: Sequence, dev: Sequence | None = None, test: Sequence | None = None) -> LeakageReport:
    """Look for rows and texts shared between splits, and for repeated or contradicting rows inside each.

    Args:
        train, dev, test: `Pairs`, `Triplets`, `Texts`, or lists of tuples or str; dev and test may be None.

    Returns:
        `LeakageReport`.
    """
    splits = [
        _Indexed(name, as_records(records))
        for name, records in (("train", train), ("dev", dev), ("test", test))
        if records is not None
    ]
    overlaps = [_overlap(first, second) for at, second in enumerate(splits) for first in splits[:at]]
    return LeakageReport(tuple(overlaps), tuple(_inside(split) for split in splits))


class _Indexed:
    """A split with, for each way of being the same, the first row that holds a key."""

    def __init__(self, name, records):
        self.name, self.records = name, records
        self.rows = list(zip(*records.columns))
        normal = [list(map(normal_form, column)) for column in records.columns]
        self.normal_rows = list(zip(*normal))
        self.texts = set().union(*records.columns)
        self.exact, self.any_order, self.normal_any_order = {}, {}, {}
        for index, (row, normal_row) in enumerate(zip(self.rows, self.normal_rows)):
            self.exact.setdefault(row, index)
            self.any_order.setdefault(_sorted(row), index)
            self.normal_any_order.setdefault(_sorted(normal_row), index)


def _overlap(first, second):
    found = {"exact": [], "swapped": [], "normalised": []}
    for index, (row, normal_row) in enumerate(zip(second.rows, second.normal_rows)):
        for kind, known, key in (
            ("exact", first.exact, row),
            ("swapped", first.any_order, _sorted(row)),
            ("normalised", first.normal_any_order, _sorted(normal_row)),
        ):
            if key in known:
                found[kind].append((known[key], index, row))
                break
    counts = {kind: len(items) for kind, items in found.items()}
    examples = {kind: tuple(items[:EXAMPLES]) for kind, items in found.items()}
    return Overlap(
        first.name,
        second.name,
        len(second.rows),
        **counts,
        texts=len(second.texts),
        shared_texts=len(first.texts & second.texts),
        examples=examples,
    )


def _inside(split):
    repeated = [index for index, row in enumerate(split.rows) if split.exact[row] < index]
    swapped = [
        index
        for index, row in enumerate(split.rows)
        if split.exact[row] == index and split.any_order[_sorted(row)] < index
    ]
    conflicts, swapped_conflicts = [], 0
    if split.records.labels is not None:
        seen = defaultdict(dict)  # texts in any order -> {texts in order: (index, label)}
        for index, (row, label) in enumerate(zip(split.normal_rows, split.records.labels.tolist())):
            orders = seen[_sorted(row)]
            if row in orders:
                earlier, earlier_label = orders[row]
                if label != earlier_label:
                    conflicts.append((earlier, index, split.rows[index]))
                continue
            swapped_conflicts += any(label != other for _, other in orders.values())
            orders[row] = (index, label)
    return Inside(
        split.name,
        len(split.rows),
        len(repeated),
        len(swapped),
        len(conflicts),
        swapped_conflicts,
        tuple(conflicts[:EXAMPLES]),
    )


def _sorted(row):
    return tuple(sorted(row))


def _table(rows):
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in cells
    )
