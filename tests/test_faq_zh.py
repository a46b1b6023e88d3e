"""The bundled FAQ pairs: what the card promises holds for the committed files."""

import collections
import itertools
import pathlib
import re
import subprocess
import sys
import unicodedata

import pytest

pytestmark = pytest.mark.neutral

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "examples" / "data" / "faq_zh"
COLUMNS = {
    "questions": ("id", "domain", "question", "answer"),
    "paraphrases": ("id", "text"),
    "hard_positives": ("text_a", "text_b"),
    "hard_negatives": ("text_a", "text_b"),
    "neighbours": ("id_a", "id_b"),
    "train": ("text_a", "text_b", "label"),
    "dev": ("text_a", "text_b", "label"),
    "test": ("text_a", "text_b", "label"),
    "queries": ("text", "id"),
}
SPLITS = ("train", "dev", "test")


def rows(name):
    lines = (FOLDER / f"{name}.tsv").read_bytes().decode("utf-8").split("\n")
    return [tuple(line.split("\t")) for line in lines[1:-1]]


def bare(text):
    """The text without what a reader would not count as a difference: width, case, punctuation, spaces."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def owners():
    standard = [(row[0], row[2]) for row in rows("questions")]
    return {text: key for key, text in [*standard, *rows("paraphrases")]}


def texts(split):
    return {text for row in rows(split) for text in row[:2]}


def unordered(pairs):
    return {frozenset(pair[:2]) for pair in pairs}


@pytest.mark.parametrize("name", COLUMNS)
def test_files_are_plain_tsv(name):
    content = (FOLDER / f"{name}.tsv").read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf") and b"\r" not in content and b'"' not in content
    header, *lines = content.decode("utf-8").split("\n")
    assert tuple(header.split("\t")) == COLUMNS[name]
    assert lines.pop() == "", "the last line ends in a newline"
    for line in lines:
        fields = line.split("\t")
        assert len(fields) == len(COLUMNS[name])
        assert all(field and field == field.strip() for field in fields), line


def test_counts():
    domains = collections.Counter(row[1] for row in rows("questions"))
    assert len(rows("questions")) >= 100 and len(domains) >= 6 and min(domains.values()) >= 10
    wordings = collections.Counter(key for key, _ in rows("paraphrases"))
    assert set(wordings) == {row[0] for row in rows("questions")}
    assert min(wordings.values()) >= 9
    assert len(rows("hard_negatives")) >= 300
    assert 3000 <= len(rows("train")) <= 5000
    assert 600 <= len(rows("dev")) <= 900 and 600 <= len(rows("test")) <= 900


def test_ids_and_texts_are_unique():
    ids = [row[0] for row in rows("questions")]
    assert len(ids) == len(set(ids))
    written = [*owners(), *(text_b for _, text_b in rows("hard_negatives"))]
    assert len(rows("paraphrases")) + len(ids) == len(owners())
    assert len(set(map(bare, written))) == len(written)


def test_hard_pairs_and_neighbours_refer_to_what_is_written():
    owner, ids = owners(), {row[0] for row in rows("questions")}
    for text_a, text_b in rows("hard_positives"):
        assert owner[text_a] == owner[text_b]
    for text_a, text_b in rows("hard_negatives"):
        assert text_a in owner and text_b not in owner
    for pair in rows("neighbours"):
        assert set(pair) <= ids and len(set(pair)) == 2
    for name in ("hard_positives", "hard_negatives", "neighbours"):
        assert len(unordered(rows(name))) == len(rows(name))


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_distinct_and_balanced(split):
    pairs = rows(split)
    assert len(unordered(pairs)) == len(pairs), "a pair occurs twice, perhaps swapped"
    assert all(len(pair) == 2 for pair in unordered(pairs)), "a text is paired with itself"
    assert {row[2] for row in pairs} == {"0", "1"}
    assert 0.45 <= sum(row[2] == "1" for row in pairs) / len(pairs) <= 0.55


@pytest.mark.parametrize("split", SPLITS)
def test_labels_follow_from_the_written_files(split):
    owner = owners()
    contrasted = {text_b: owner[text_a] for text_a, text_b in rows("hard_negatives")}
    for text_a, text_b, label in rows(split):
        if text_a in owner and text_b in owner:
            assert (owner[text_a] == owner[text_b]) == (label == "1"), (text_a, text_b)
        else:
            known, contrast = (text_a, text_b) if text_a in owner else (text_b, text_a)
            assert label == "0" and contrasted[contrast] == owner[known], (text_a, text_b)


def test_every_written_hard_pair_is_used():
    pairs = [row for split in SPLITS for row in rows(split)]
    used = {label: unordered(row for row in pairs if row[2] == label) for label in "01"}
    assert unordered(rows("hard_negatives")) <= used["0"]
    assert unordered(rows("hard_positives")) <= used["1"]


@pytest.mark.parametrize("one, other", itertools.combinations(SPLITS, 2))
def test_no_text_lies_in_two_splits(one, other):
    assert not set(map(bare, texts(one))) & set(map(bare, texts(other)))


def test_questions_unseen_in_training():
    owner = owners()
    keys = {split: {owner[text] for text in texts(split) if text in owner} for split in SPLITS}
    unseen = {split: keys[split] - keys["train"] for split in ("dev", "test")}
    assert not unseen["dev"] & unseen["test"]
    pairs = {
        split: sum(bool({owner.get(text) for text in row[:2]} & unseen[split]) for row in rows(split))
        for split in unseen
    }
    assert (len(unseen["dev"]), len(unseen["test"])) == (9, 18)
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split in unseen:
        assert f"{pairs[split]} of the {len(rows(split))} {split} pairs" in card


def test_queries_are_the_paraphrases_of_test():
    owner = owners()
    queries = dict(rows("queries"))
    assert len(queries) == len(rows("queries")) and queries.items() <= owner.items()
    assert not set(queries) & (texts("train") | texts("dev"))
    assert not set(queries) & {row[2] for row in rows("questions")}
    paraphrases = {text for _, text in rows("paraphrases")}
    assert texts("test") & paraphrases <= set(queries)


def test_build_reproduces_the_committed_files(tmp_path):
    command = [sys.executable, str(FOLDER / "build.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    for name in ("train", "dev", "test", "queries"):
        assert (tmp_path / f"{name}.tsv").read_bytes() == (FOLDER / f"{name}.tsv").read_bytes(), name


def test_card_quotes_the_baseline():
    command = [sys.executable, str(FOLDER / "baseline.py")]
    printed = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    thresholds = set(re.findall(r"threshold (0\.\d{4}) from dev", printed))
    assert set(re.findall(r"0\.\d{4}", card)) == set(re.findall(r"0\.\d{4}", printed)) - thresholds
