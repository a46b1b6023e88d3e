"""Mixtures of labelled sets: labels on one scale, one set a batch, promised proportions, a seeded, resumable order."""

import numpy as np
import pytest

from zoo.data import DataError, Pairs, Texts, read_graded, without_pairs_of, write_matches
from zoo.data.records import joined
from zoo.training import Mixture, MixturePlan

pytestmark = pytest.mark.neutral

SIZES = [1000, 90, 7]


def plan(**options):
    lengths = np.random.default_rng(0).integers(3, 40, (sum(SIZES), 2))
    mixture = Mixture(**{name: options.pop(name) for name in ("alpha", "steps", "shares") if name in options})
    return mixture.plan(lengths, dict(zip("abc", SIZES)), **{"batch_size": 16, "seed": 3, **options})


def set_of(rows):
    return set(np.searchsorted(np.cumsum(SIZES), rows, side="right").tolist())


def write(path, column, labels):
    rows = [f"甲{i}\t乙{i}\t{label}" for i, label in enumerate(labels)]
    path.write_text("\n".join([f"text_a\ttext_b\t{column}", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "column", "labels", "expected"),
    [
        ("pair", "label", [0, 1, 1], [0, 1, 1]),
        ("nli", "label", ["neutral", "entailment", "contradiction"], [0.5, 1, 0]),
        ("rel", "label", [0, 2, 1], [0, 1, 0.5]),
        ("sts", "score", [0, 2.5, 5], [0, 0.5, 1]),
        ("unit", "score", [0, 0.25, 1], [0, 0.25, 1]),
    ],
)
def test_labels_on_one_scale(tmp_path, kind, column, labels, expected):
    pairs = read_graded(write(tmp_path / "x.tsv", column, labels), kind)
    assert pairs.labels.tolist() == expected and pairs.text_b == ["乙0", "乙1", "乙2"]


def test_labels_that_the_kind_does_not_have(tmp_path):
    with pytest.raises(ValueError, match=r"labels from 0 to 9, kind 'rel' means 0 to 2"):
        read_graded(write(tmp_path / "x.tsv", "label", [0, 9]), "rel")
    with pytest.raises(ValueError, match="kind='pairs'.*expected one of pair, rel, nli, sts, unit"):
        read_graded(tmp_path / "x.tsv", "pairs")
    with pytest.raises(DataError):
        read_graded(write(tmp_path / "y.tsv", "label", ["maybe"]), "nli")


def test_pairs_that_a_model_is_judged_on_are_left_out():
    train = Pairs(
        ["怎么改密码", "查话费", "快递", "快递"], ["密码如何修改", "话费", "包裹", "邮件"], np.array([1.0, 0, 1, 0])
    )
    judged = Pairs(["密码如何修改？", "快递"], ["怎么改密码!", "邮件"])
    left = without_pairs_of(train, [judged])
    assert list(left) == [("查话费", "话费", 0.0), ("快递", "包裹", 1.0)]
    assert list(without_pairs_of(train, [])) == list(train)


def test_matches_as_a_corpus(tmp_path):
    """A text a line, a pair's texts on neighbouring lines, in an order of the seed; a text's own lines become one."""
    pairs = Pairs([f"a{i}" for i in range(20)], [f"b\n{i}" for i in range(20)], labels=np.arange(20) / 19)
    path = tmp_path / "matches.txt"
    assert write_matches(pairs, path) == 4
    lines = path.read_text(encoding="utf-8").splitlines()
    written = [(a, b) for a, b in zip(lines[::2], lines[1::2], strict=True)]
    assert sorted(written) == [(f"a{i}", f"b {i}") for i in range(16, 20)]
    assert write_matches(pairs, path, at_least=0.0, seed=1) == 20
    assert path.read_text(encoding="utf-8").splitlines()[0] != "a0"


def test_joined():
    sets = {
        "one": Pairs(["a"], ["b"], np.array([0.5])),
        "two": Pairs(["c", "d"], ["e", "f"], np.array([1, 0])),
    }
    assert list(joined(sets)) == [("a", "b", 0.5), ("c", "e", 1.0), ("d", "f", 0.0)]
    assert list(sets["one"]) == [("a", "b", 0.5)], "the first set is left as it was"
    assert joined({"one": sets["one"]}) is sets["one"]
    with pytest.raises(ValueError, match="'one' is Pairs, labelled; 'two' is Pairs, unlabelled"):
        joined({**sets, "two": Pairs(["c"], ["d"])})
    with pytest.raises(ValueError, match="'one' is Pairs, labelled; 'two' is Texts, labelled"):
        joined({**sets, "two": Texts(["c"], np.array([1]))})


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_each_batch_is_of_one_set(alpha):
    mixture = plan(alpha=alpha)
    for epoch in range(3):
        batches = mixture(epoch)
        assert len(batches) == len(mixture)
        found = [set_of(batch.indices) for batch in batches]
        assert all(len(sets) == 1 for sets in found), "padding rows too"
        assert [sets.pop() for sets in found] == mixture.order(epoch).tolist()
        assert np.bincount(mixture.order(epoch)).tolist() == mixture.counts


def test_proportions():
    assert plan(alpha=1).counts == [64, 6, 1], "as the rows: 63 + 6 + 1 full or padded batches shared out"
    assert plan(alpha=0, steps=30).counts == [10, 10, 10]
    shares = np.sqrt(SIZES) / np.sqrt(SIZES).sum()
    assert plan(alpha=0.5, steps=1000).counts == np.round(1000 * shares).tolist()


def test_each_set_is_gone_through_in_whole_epochs():
    """However the mixture's epochs cut it: the first N rows served of a set of N rows are all of them, and so on."""
    mixture = plan(alpha=0.5, steps=40)
    served = [[] for _ in SIZES]
    for epoch in range(6):
        for batch in mixture(epoch):
            served[set_of(batch.rows).pop()].extend(batch.rows.tolist())
    for rows, start, size in zip(served, mixture.starts, SIZES):
        for first in range(0, len(rows) - size + 1, size):
            assert sorted(rows[first : first + size]) == list(range(start, start + size))
    assert len(served[2]) >= 3 * 7 and served[2][:7] != served[2][7:14], "another order every time"


def test_order_depends_on_seed_and_epoch_alone():
    same = lambda a, b: all(np.array_equal(x.indices, y.indices) and x.length == y.length for x, y in zip(a, b))
    first, again = plan(), plan()
    assert same(first(2), again(2)) and same(first(0), again(0)) and same(first(2), again(2))
    assert not same(first(0), first(1)) and not same(first(0), plan(seed=4)(0))


def test_a_fingerprint_tells_another_order():
    assert plan().fingerprint == plan().fingerprint != plan(alpha=1).fingerprint


def test_shares_by_name():
    assert plan(shares={"c": 3, "a": 1, "b": 1}, steps=50).counts == [10, 10, 30]
    assert Mixture(shares={"c": 3, "a": 1, "b": 1}, steps=50).batches(dict(zip("abc", SIZES)), 16) == {
        "a": 10, "b": 10, "c": 30,
    }  # fmt: skip
    with pytest.raises(ValueError, match="shares of a, b for sets a, b, c; expected one for each"):
        plan(shares={"a": 1, "b": 1})
    with pytest.raises(ValueError, match="expected a positive number for each"):
        plan(shares={"a": 1, "b": 1, "c": 0})


def test_texts_that_may_not_repeat_are_kept_apart_within_a_set():
    """Row i of every set holds the text i // 3: of three such rows no two meet, and none sits out where there is room."""
    texts = [(f"{row // 3}",) for size in SIZES for row in range(size)]
    mixture = plan(no_duplicates=texts, steps=200)
    for epoch in range(3):
        for batch in mixture(epoch):
            met = [texts[row] for row in batch.rows]
            assert len(set(met)) == len(met)
    assert not len(plan(no_duplicates=texts[:1090] + [(str(i),) for i in range(7)]).left_out(0))
    left = mixture.left_out(0)  # the set of 7 rows has one batch, and three texts in it
    assert set_of(left) == {2} and len(left) == 4


def test_refusals():
    with pytest.raises(ValueError, match="for 1097 rows"):
        MixturePlan(np.ones(1097), [5, 5], 2)
    for wrong, says in (
        ({"alpha": "0.7"}, "alpha='0.7'"),
        ({"alpha": True}, "alpha=True"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"shares": [1, 2]}, r"shares=\[1, 2\]; expected a dict"),
        ({"shares": {"a": 0}}, "expected a positive number for each"),
        ({"shares": {"a": "2"}}, "expected a positive number for each"),
    ):
        with pytest.raises(ValueError, match=f"Mixture: .*{says}"):
            Mixture(**wrong)
    with pytest.raises(ValueError, match="alpha=2"):
        plan(alpha=2)
