"""Build train.tsv, dev.tsv, test.tsv and queries.tsv from the written files beside this script.

    python examples/data/faq_zh/build.py            # writes next to the script, same bytes every time

Order comes from SHA-256 keys, not from `random`, so that every Python gives the same files and an
added paraphrase moves few others. Rules of the split, with the reasons, are in README.md.
"""

import argparse
import hashlib
import itertools
import pathlib

SEED = 20
HERE = pathlib.Path(__file__).resolve().parent
WRITTEN = ("questions.tsv", "paraphrases.tsv", "hard_positives.tsv", "hard_negatives.tsv", "neighbours.tsv")
UNSEEN_PER_DOMAIN = {"dev": 1, "test": 2}  # standard questions that training never meets
SEEN_WORDINGS = ({"dev": 3, "test": 2}, {"dev": 2, "test": 3})  # held out of a question, by turns
POSITIVES = {"train": 24, "dev": 10, "test": 8}  # at most so many pairs of one question
# What the written hard negatives leave is shared out; the remainder are easy pairs.
NEGATIVE_SHARES = {"contrast": 0.3, "neighbour": 0.4}


def read(name):
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines[1:]]


def write(path, header, rows):
    text = "".join("\t".join(row) + "\n" for row in [header, *rows])
    path.write_bytes(text.encode("utf-8"))


def shuffled(items, salt):
    """The items in an order that depends on SEED, salt and each item alone."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{SEED}|{salt}|{item}".encode()).digest())


def assign(questions, paraphrases, hard_positives):
    """({split: {id: texts}}, {held-out id: split}).

    A text lies in one split, a hard positive's two in the same, a held-out question wholly in one.
    """
    splits = {"train": {}, "dev": {}, "test": {}}
    held_out = {}
    for domain in dict.fromkeys(row[1] for row in questions):
        ids = iter(shuffled([row[0] for row in questions if row[1] == domain], "unseen"))
        held_out |= {next(ids): split for split, count in UNSEEN_PER_DOMAIN.items() for _ in range(count)}
    twin, twins = dict(hard_positives), {text_b for _, text_b in hard_positives}
    turn = itertools.cycle(SEEN_WORDINGS)
    for key, _, standard, _ in questions:
        written = [text for owner, text in paraphrases if owner == key]
        if key in held_out:
            splits[held_out[key]][key] = [standard, *written]
            continue
        counts = next(turn)
        rest = [[text, twin[text]] if text in twin else [text] for text in written if text not in twins]
        rest = shuffled(rest, "wording")
        for split in ("dev", "test"):
            splits[split][key], rest = sum(rest[: counts[split]], []), rest[counts[split] :]
        splits["train"][key] = [standard, *sum(rest, [])]
    return splits, held_out


def build(split, texts, hard_positives, hard_negatives, neighbours):
    owner = {text: key for key, group in texts.items() for text in group}
    positives = []
    for key, group in texts.items():
        written = [pair for pair in hard_positives if owner.get(pair[0]) == key]
        others = [pair for pair in itertools.combinations(group, 2) if pair not in written]
        positives += (written + shuffled(others, "positive"))[: POSITIVES[split]]
    negatives = [pair for pair in hard_negatives if pair[0] in owner]
    room = len(positives) - len(negatives)
    # A contrast differs from its question, hence from every wording of that question in this split.
    contrast = [(other, text_b) for text_a, text_b in negatives for other in texts[owner[text_a]] if other != text_a]
    near = [pair for a, b in neighbours for pair in itertools.product(texts.get(a, ()), texts.get(b, ()))]
    linked = {frozenset(pair) for pair in neighbours}
    easy = {
        frozenset(pair): pair
        for pair in zip(shuffled(owner, "easy a"), shuffled(owner, "easy b"))
        if len({owner[text] for text in pair}) == 2 and frozenset(map(owner.get, pair)) not in linked
    }
    negatives += shuffled(contrast, "contrast")[: int(NEGATIVE_SHARES["contrast"] * room)]
    negatives += shuffled(near, "neighbour")[: int(NEGATIVE_SHARES["neighbour"] * room)]
    negatives += list(easy.values())[: len(positives) - len(negatives)]
    rows = [(*pair, "1") for pair in positives] + [(*pair, "0") for pair in negatives]
    turned = set(shuffled(rows, "turn")[::2])  # which text comes first must not tell the label
    return [(row[1], row[0], row[2]) if row in turned else row for row in shuffled(rows, "row")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder that receives the files")
    output = parser.parse_args().output
    questions, paraphrases, hard_positives, hard_negatives, neighbours = map(read, WRITTEN)
    splits, _ = assign(questions, paraphrases, hard_positives)
    for split, texts in splits.items():
        rows = build(split, texts, hard_positives, hard_negatives, neighbours)
        write(output / f"{split}.tsv", ("text_a", "text_b", "label"), rows)
    asked = {text for group in splits["test"].values() for text in group}
    queries = [(text, key) for key, text in paraphrases if text in asked]
    write(output / "queries.tsv", ("text", "id"), queries)


if __name__ == "__main__":
    main()
