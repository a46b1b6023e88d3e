"""Hubs among the vectors of a matcher, and search corrected for them: recall on the bundled FAQ, alone and in a crowd.

    KERAS_BACKEND=torch python benchmarks/hubness.py [--sentences=FILE] [--out=benchmarks/hubness.json]

The FAQ's 510 queries search its 119 questions; FILE (one sentence a line) adds its first --limit lines to these.
Skewness is that of how often a question, or a vector of the crowd, is among the ten nearest of the others.
"""

import json
import os
import re

import numpy as np
from absl import app, flags

import zoo
from zoo.analysis import hubness
from zoo.analysis.hubness import report
from zoo.data.lines import Lines
from zoo.retrieval import HubCorrection, hubs, top_k

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples", "data", "faq_zh")
flags.DEFINE_string("preset", "roformer_v2_mini_zh_matching", "Name or folder of a representation matcher.")
flags.DEFINE_string("sentences", None, "Text file with a sentence a line.")
flags.DEFINE_integer("limit", 100_000, "Sentences to read.")
flags.DEFINE_string("out", None, "Where to store the numbers.")


def sentences():
    """Sentences of 8 to 40 characters, each once."""
    found = {}
    with Lines(F.sentences) as lines:
        while len(found) < F.limit and (line := lines.read()) is not None:
            parts = (part.strip() for part in re.split("[。！？]", line))
            found |= dict.fromkeys(part for part in parts if 8 <= len(part) <= 40)
    return list(found)[: F.limit]


def recall(ids, wanted):
    return {f"recall@{k}": round(float((ids[:, :k] == wanted[:, None]).any(axis=1).mean()), 4) for k in (1, 5)}


def compare(queries, wanted, corpus, training):
    """Recall and the skewness of the results' counts, for plain search and each correction."""
    searches = {"cosine": lambda q, k: top_k(q, corpus, k)}
    for method in hubs.METHODS:
        searches[method] = HubCorrection(corpus, method).top_k
    searches["csls, training texts as reference"] = HubCorrection(corpus, "csls", reference=training).top_k
    searches["mutual_proximity, the same"] = HubCorrection(corpus, "mutual_proximity", reference=training).top_k
    rows = {}
    for name, search in searches.items():
        ids, _ = search(queries, 10)
        counts = np.bincount(ids.ravel(), minlength=len(corpus))
        rows[name] = recall(ids, wanted) | {"skewness": round(report(counts, ids.size / len(corpus)).skewness, 3)}
        print(f"{name:36}", rows[name])
    return rows


def main(_):
    matcher = zoo.RepresentationMatcher.from_preset(F.preset)
    ids, texts = zoo.data.read_pairs(os.path.join(FAQ, "questions.tsv"), ("id", "question"), label=None).columns
    asked, keys = zoo.data.read_pairs(os.path.join(FAQ, "queries.tsv"), ("text", "id"), label=None).columns
    pairs = zoo.data.read_pairs(os.path.join(FAQ, "train.tsv"))
    training = matcher.encode(sorted(set(pairs.columns[0]) | set(pairs.columns[1])), verbose=0)
    row = {key: i for i, key in enumerate(ids)}
    wanted = np.array([row[key] for key in keys])
    corpus, queries = matcher.encode(list(texts), verbose=0), matcher.encode(list(asked), verbose=0)
    found = {"preset": F.preset, "faq": compare(queries, wanted, corpus, training)}
    if F.sentences:
        crowd = matcher.encode(sentences(), verbose=0)
        plain = hubness(crowd, 10)
        print(plain)
        found["crowd"] = {
            "vectors": len(crowd),
            "skewness": round(plain.skewness, 3),
            "orphans": round(plain.orphans, 4),
        }
        found["faq_in_the_crowd"] = compare(queries, wanted, np.concatenate([corpus, crowd]), training)
    if F.out:
        with open(F.out, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    app.run(main)
