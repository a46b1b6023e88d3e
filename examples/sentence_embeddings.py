"""Turn sentences into vectors: cosines between some, and the most similar pairs among many.

    python examples/sentence_embeddings.py                                    # bundled questions, offline
    python examples/sentence_embeddings.py --texts=texts.tsv --column=text --output=vectors.npy
    python examples/sentence_embeddings.py --preset=matchers/representation 怎么改密码 密码如何修改 快递到哪了

Files are .tsv .csv .jsonl, plain, .gz or .xz, with a column of text; others are ignored.
"""

import os

import numpy as np
from absl import flags

import zoo
from zoo.retrieval import top_k

F = flags.FLAGS
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
flags.DEFINE_string("preset", "roformer_v2_mini_zh_matching", "Name or folder of a representation matcher.")
flags.DEFINE_string("texts", os.path.join(FAQ, "questions.tsv"), "Texts (.tsv .csv .jsonl, plain, .gz or .xz).")
flags.DEFINE_string("column", None, "Name of its column of text; default: question for the FAQ, else text.")
flags.DEFINE_integer("show", 6, "Texts in the table of cosines.", lower_bound=1)
flags.DEFINE_integer("pairs", 10, "Most similar pairs to print.", lower_bound=1)
flags.DEFINE_string("pooling", None, "Default: that of the matcher; mean for a backbone.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Texts a step.", lower_bound=1)
flags.DEFINE_string("output", None, "File for the vectors: .npy, float32 [texts, width], a row of length 1 each.")


def most_similar(vectors, count):
    """`(score, i, j)` of the pairs i < j with the highest cosines, best first.

    The best `count` pairs are among each text's own `count` neighbours: a pair outside both lists has as many better
    ones that share a text with it.
    """
    ids, scores = top_k(vectors, vectors, count + 1)  # and each text finds itself
    i = np.repeat(np.arange(len(ids)), ids.shape[1])
    pairs = {(-score, a, b) for score, a, b in zip(scores.ravel().tolist(), i.tolist(), ids.ravel().tolist()) if a < b}
    return [(-score, a, b) for score, a, b in sorted(pairs)[:count]]


def main(arguments):
    texts = arguments[1:]
    if not texts:
        column = F.column or ("question" if F["texts"].using_default_value else "text")
        texts = list(zoo.data.read_texts(F.texts, column, label=None))
    options = {"pooling": F.pooling} if F.pooling else {}
    model = zoo.RepresentationMatcher.from_preset(F.preset, dtype=F.dtype, max_length=F.max_length, **options)
    vectors = model.encode(texts, batch_size=F.batch_size)
    print(f"{len(texts):,} texts, {vectors.shape[1]} numbers each\n")

    some = vectors[: F.show]
    print("cosine" + "".join(f"{column:7}" for column in range(len(some))))
    for row, cosines in enumerate(some @ some.T):
        print(f"{row:6}" + "".join(f"{cosine:7.3f}" for cosine in cosines) + f"   {texts[row]}")
    print("\nmost similar pairs")
    different = np.sort(np.unique(texts, return_index=True)[1])  # repeated texts would be the most similar ones
    for score, i, j in most_similar(vectors[different], F.pairs):
        print(f"{score:7.3f}   {texts[different[i]]}  |  {texts[different[j]]}")
    if F.output:
        np.save(F.output, vectors)


if __name__ == "__main__":
    zoo.command_line.run(main, takes_arguments=True)
