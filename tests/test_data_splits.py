"""Splits: seeded, exact in size, groups never on both sides, labels in proportion."""

import numpy as np
import pytest

from zoo.data import Pairs, Texts, as_pairs, leakage_report, split, text_groups

pytestmark = pytest.mark.neutral


@pytest.fixture
def pairs():
    """1,000 pairs over 900 texts; a third positive, one label in fifty a rare 2."""
    random = np.random.default_rng(0)
    labels = random.choice(3, 1000, p=[0.65, 0.33, 0.02])
    return as_pairs(
        [(f"text {a}", f"Text {b}!", int(label)) for (a, b), label in zip(random.integers(0, 900, (1000, 2)), labels)]
    )


def rows_of(parts):
    return sorted(row for part in parts for row in part)


@pytest.mark.parametrize("groups", [None, "texts", lambda row: row[0]], ids=["rows", "texts", "key"])
@pytest.mark.parametrize("stratify", [False, True])
def test_parts_hold_every_row_once_in_their_old_order(pairs, groups, stratify):
    parts = split(pairs[:300], (0.7, 0.2, 0.1), groups=groups, stratify=stratify)
    assert rows_of(parts) == sorted(pairs[:300])
    order = {row: index for index, row in enumerate(pairs[:300])}
    for part in parts:
        assert isinstance(part, Pairs)
        places = [order[row] for row in part]
        assert places == sorted(places)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.99, 0.01), (1.0,)])
@pytest.mark.parametrize("stratify", [False, True])
def test_sizes_are_exact_to_a_row(pairs, fractions, stratify):
    for part, fraction in zip(split(pairs, fractions, stratify=stratify), fractions):
        assert abs(len(part) - 1000 * fraction) <= 1


def test_the_same_seed_gives_the_same_split(pairs):
    assert split(pairs, seed=3) == split(list(pairs), seed=3)
    assert split(pairs, seed=3) != split(pairs, seed=4)
    assert split(pairs, seed=3, groups=lambda row: row[0]) == split(pairs, seed=3, groups=[row[0] for row in pairs])


def test_groups_never_stand_on_both_sides(pairs):
    parts = split(pairs, groups=lambda row: row[0])
    keys = [{row[0] for row in part} for part in parts]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert [len(part) for part in parts] == pytest.approx([800, 100, 100], abs=5)


def test_every_part_gets_its_share_of_big_groups():
    """100 groups of 10 rows and 1,000 of one: no part is filled with crumbs."""
    keys = [row // 10 if row < 1000 else row for row in range(2000)]
    rows = [("big" if row < 1000 else "small", str(row)) for row in range(2000)]
    for part, fraction in zip(split(rows, groups=keys), (0.8, 0.1, 0.1)):
        assert part.text_a.count("big") == pytest.approx(1000 * fraction, abs=10)
        assert part.text_a.count("small") == pytest.approx(1000 * fraction, abs=10)


def test_splitting_by_texts_leaks_nothing(pairs):
    """Rows linked by a text in any spelling stay together; the leakage report is the independent judge."""
    few = pairs[:300]
    assert leakage_report(*split(few)).overlaps[0].shared_texts > 0
    report = leakage_report(*split(few, groups="texts"))
    assert [(o.leaked, o.shared_texts) for o in report.overlaps] == [(0, 0)] * 3


def test_text_groups_are_connected_components(pairs):
    """Against components grown by brute force: two rows touch where a text is shared."""
    rows = [{text.casefold().strip("!").replace(" ", "") for text in row[:2]} for row in pairs[:400]]
    component = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for i, left in enumerate(rows):
            for j in range(i):
                if left & rows[j] and component[i] != component[j]:
                    component[i] = component[j] = min(component[i], component[j])
                    changed = True
    found = text_groups(pairs[:400]).tolist()
    assert found == component
    assert len(set(found)) > 10


def test_stratified_parts_have_the_same_mix_of_labels(pairs):
    whole = np.bincount(pairs.labels, minlength=3)
    for part, fraction in zip(split(pairs, (0.8, 0.1, 0.1), stratify=True), (0.8, 0.1, 0.1)):
        assert np.abs(np.bincount(part.labels, minlength=3) - fraction * whole).max() <= 2
    for part, fraction in zip(split(pairs, groups=lambda row: row[0], stratify=True), (0.8, 0.1, 0.1)):
        assert np.abs(np.bincount(part.labels, minlength=3) - fraction * whole).max() <= 6


def test_scores_are_stratified_by_value():
    rows = [("a", f"b{index}", index / 1000) for index in range(1000)]
    means = [part.labels.mean() for part in split(rows, stratify=True)]
    assert means == pytest.approx([0.4995] * 3, abs=0.005)


def test_a_giant_group_warns(pairs):
    keys = ["giant"] * 600 + list(range(400))
    with pytest.warns(UserWarning, match="the largest of 401 groups has 600 rows"):
        parts = split(pairs, (0.5, 0.5), groups=keys)
    assert sorted(len(part) for part in parts) == [400, 600]


def test_texts_and_lists_of_str_split_too():
    parts = split([f"t{index}" for index in range(10)], (0.5, 0.5))
    assert [type(part) for part in parts] == [Texts, Texts]
    assert sorted(list(parts[0]) + list(parts[1])) == sorted(f"t{index}" for index in range(10))


@pytest.mark.parametrize(
    "options, says",
    [
        ({"fractions": (0.5, 0.4)}, "sum to 1"),
        ({"fractions": (1.5, -0.5)}, "positive numbers"),
        ({"groups": "text"}, "groups='text'"),
        ({"groups": [1, 2]}, "groups has 2 keys for 1000 rows"),
        ({"groups": ["one"] * 1000}, "too few rows or groups"),
    ],
)
def test_wrong_arguments_are_named(pairs, options, says):
    with pytest.raises(ValueError, match=says):
        split(pairs, **options)


def test_too_few_rows_for_the_parts():
    with pytest.raises(ValueError, match="too few rows"):
        split([("a", "b")])
    with pytest.raises(ValueError, match="too few rows"):
        split([])
    with pytest.raises(ValueError, match="stratify=True"):
        split([("a", "b")], stratify=True)
