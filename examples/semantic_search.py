"""Search a collection of texts by meaning: encode, index, query.

    python examples/semantic_search.py --query=手机号怎么过户     # the bundled FAQ answers, offline
    python examples/semantic_search.py --preset=matchers/representation       # as text_matching.py has trained it
    python examples/semantic_search.py --corpus=docs.tsv --queries=asked.tsv

The corpus holds id and text, queries hold text and the id they should find (.tsv .csv .jsonl, plain, .gz or .xz).
Reached with the FAQ's 510 queries: recall@1 0.53 by the preset as it is, 0.43 after text_matching.py, whose pairs teach
decisions and not search (torch, float32, seed 0); TF-IDF of character bigrams reaches 0.44.
"""

import os
import time

import numpy as np
from absl import flags

import zoo
from zoo.retrieval import top_k

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
flags.DEFINE_string("preset", "roformer_v2_mini_zh_matching", "Name or folder of a representation matcher.")
flags.DEFINE_string("corpus", os.path.join(FAQ, "questions.tsv"), "Texts to search.")
flags.DEFINE_list("corpus_columns", None, "Names of its columns of id and text; default: id,question for the FAQ.")
flags.DEFINE_string("queries", None, "Texts with the id each should find; default: the FAQ's, where it is the corpus.")
flags.DEFINE_list("queries_columns", "text,id", "Names of its columns of text and id.")
flags.DEFINE_string("query", None, "A text to search for; its nearest texts are printed.")
flags.DEFINE_integer("k", 5, "Texts to find.", lower_bound=1)
flags.DEFINE_string("pooling", None, "Default: that of the matcher; mean for a backbone.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Texts a step.", lower_bound=1)


def compare_usearch(queries, corpus, exact):
    """Time usearch's graph index and count the exact neighbours it finds."""
    try:
        from usearch.index import Index
    except ImportError:
        print("usearch is not installed: pip install 'keras-zoo[search]'")
        return
    index = Index(ndim=corpus.shape[1], metric="ip", dtype="f32")
    start = time.perf_counter()
    index.add(np.arange(len(corpus)), corpus)
    built = time.perf_counter()
    found = index.search(queries, exact.shape[1]).keys  # [Q, k]
    spent = 1e6 * (time.perf_counter() - built) / len(queries)
    same = np.mean([np.isin(a, b).mean() for a, b in zip(exact, found)])
    print(f"usearch: {spent:.1f} µs a query, index built in {built - start:.2f} s, {same:.2%} of the exact neighbours")


def main(_):
    faq = F["corpus"].using_default_value
    columns = F.corpus_columns or (("id", "question") if faq else ("id", "text"))
    ids, texts = zoo.data.read_pairs(F.corpus, columns, label=None).columns
    options = {"pooling": F.pooling} if F.pooling else {}
    model = zoo.RepresentationMatcher.from_preset(F.preset, dtype=F.dtype, max_length=F.max_length, **options)
    start = time.perf_counter()
    corpus = model.encode(texts, batch_size=F.batch_size)
    print(f"{len(texts):,} texts encoded in {time.perf_counter() - start:.1f} s, {corpus.shape[1]} numbers each")

    if F.queries or faq:
        path = F.queries or os.path.join(FAQ, "queries.tsv")
        asked, wanted = zoo.data.read_pairs(path, F.queries_columns, label=None).columns
        queries = model.encode(asked, batch_size=F.batch_size)
        relevant = np.array([[id == key for id in ids] for key in wanted])  # [Q, N]
        cosines = queries @ corpus.T
        found = {f"recall@{k}": zoo.metrics.recall_at_k(relevant, cosines, k) for k in (1, F.k)}
        found["MRR"] = zoo.metrics.mrr(relevant, cosines)
        print(f"{len(asked):,} queries:", ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
        start = time.perf_counter()
        exact, _ = top_k(queries, corpus, F.k)
        print(f"brute force: {1e6 * (time.perf_counter() - start) / len(asked):.1f} µs a query")
        compare_usearch(queries, corpus, exact)
    if F.query:
        (nearest,), (scores,) = top_k(model.encode([F.query]), corpus, F.k)
        print(f"\n{F.query}")
        for row, score in zip(nearest, scores):
            print(f"{score:8.3f}  {ids[row]}  {texts[row]}")


if __name__ == "__main__":
    zoo.command_line.run(main)
