"""Texts that the rows share."""

import itertools
import os

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def english(path, count=2000):
    """The first distinct sentences of the two text columns of a TSV file (plain or .gz)."""
    import gzip

    read = gzip.open if path.endswith(".gz") else open
    with read(path, "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t")[:2] for line in itertools.islice(file, 1, None)]
    return list(dict.fromkeys(text for pair in lines for text in pair))[:count]


def chinese(count=20000):
    """Distinct sentences: those of the bundled FAQ set, joined in pairs until there are enough."""
    path = os.path.join(HERE, "examples", "data", "faq_zh", "train.tsv")
    with open(path, encoding="utf-8") as file:
        texts = list(dict.fromkeys(text for line in itertools.islice(file, 1, None) for text in line.split("\t")[:2]))
    joined = (a + "，" + b for shift in itertools.count(1) for a, b in zip(texts, texts[shift:]))
    return list(itertools.islice(itertools.chain(texts, joined), count))


def vocabulary():
    """A character vocabulary for them."""
    characters = sorted({c for text in chinese(4000) for c in text.lower() if not c.isspace()})
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
