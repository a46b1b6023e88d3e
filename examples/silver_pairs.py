"""New training pairs for a representation matcher, labelled by an interaction matcher (Augmented SBERT, 2010.08240).

    python examples/silver_pairs.py --teacher=interaction --preset=roformer_v2_tiny_zh --output=silver.jsonl
    python examples/silver_pairs.py --teacher=interaction --preset=representation --output=silver.jsonl.gz \\
        --data=lcqmc/train.tsv.gz --data=afqmc/train.tsv.gz --exclude=lcqmc/dev.tsv.gz
    python examples/mixture_matching.py --data=silver=silver.jsonl.gz:unit --data=lcqmc=lcqmc/train.tsv.gz:pair ...

Each text of --data is paired with its nearest text and with one drawn from the next ones, as the cosines of --preset and
usearch find them, unless the pair is in --data or --exclude. The teacher's scores become labels from 0 to 1 by their rank,
in hundredths: CoSENT, which trains on them, compares labels and nothing else.
"""

import gzip
import json
import os

import numpy as np
from absl import app, flags
from scipy.stats import rankdata

import zoo
from zoo.data.normal_form import pair_key

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh", "train.tsv")
flags.DEFINE_string("teacher", None, "Name or folder of an interaction matcher.", required=True)
flags.DEFINE_string("preset", "roformer_v2_tiny_zh", "Name or folder of a representation matcher (or a backbone).")
flags.DEFINE_multi_string("data", [FAQ], "Pairs whose texts are paired anew; may be repeated. Labels are not read.")
flags.DEFINE_multi_string("exclude", [], "Pairs that must not come out: what the matcher will be judged on.")
flags.DEFINE_integer("limit", None, "So many texts, drawn at random; default: all.")
flags.DEFINE_list("columns", "text_a,text_b", "Names of the columns.")
flags.DEFINE_integer("neighbours", 10, "The second partner of a text is drawn from so many nearest.", lower_bound=2)
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_integer("batch_size", 64, "Texts or pairs a step.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the second partners.")
flags.DEFINE_string("output", "silver.jsonl", "JSON lines of text_a, text_b, score; .gz compresses.")


def read(paths):
    return [pair for path in paths for pair in zip(*zoo.data.read_pairs(path, F.columns, label=None).columns)]


def mined(texts, known):
    """Pairs of texts that lie near each other and are not known, each once."""
    from usearch.index import Index

    miner = zoo.RepresentationMatcher.from_preset(F.preset, dtype=F.dtype)
    vectors = miner.encode(texts, batch_size=F.batch_size)
    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(texts)), vectors)
    nearest = index.search(vectors, min(F.neighbours + 1, len(texts))).keys.reshape(len(texts), -1)
    rng, pairs = np.random.default_rng(F.seed), {}
    for row, found in enumerate(nearest.astype("int64")):
        partners = found[found != row]
        for partner in (partners[:1], rng.permutation(partners[1:])[:1]):
            for other in partner:
                pair = tuple(sorted((texts[row], texts[other])))
                key = pair_key(pair)
                if len(key) == 2 and key not in known:
                    pairs.setdefault(key, pair)
    return list(pairs.values())


def main(_):
    given = read(F.data)
    known = {pair_key(pair) for pair in [*given, *read(F.exclude)]}
    texts = list(dict.fromkeys(text for pair in given for text in pair))
    texts = np.random.default_rng(F.seed).permutation(np.array(texts, object))[: F.limit].tolist()
    pairs = mined(texts, known)
    if not pairs:
        raise app.UsageError(f"no two of the {len(texts):,} texts of --data make a new pair")
    teacher = zoo.InteractionMatcher.from_preset(F.teacher, dtype=F.dtype)
    scores = rankdata(teacher.score(pairs, batch_size=F.batch_size)) / len(pairs)
    rows = [{"text_a": a, "text_b": b, "score": round(float(score), 2)} for (a, b), score in zip(pairs, scores)]
    with (gzip.open if F.output.endswith(".gz") else open)(F.output, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for row in sorted(rows, key=lambda row: -row["score"])[:: max(1, len(rows) // 5)]:
        print(row["score"], row["text_a"], row["text_b"], sep="  ")
    print(f"{len(texts):,} texts, {len(pairs):,} new pairs in {F.output}")


if __name__ == "__main__":
    zoo.command_line.run(main)
