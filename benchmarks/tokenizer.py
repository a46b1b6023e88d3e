"""Tokenizers side by side: sentences a second into padded int32 arrays, and whether ids are the original's.

    python benchmarks/tokenizer.py                                   # 20,000 made-up Chinese sentences
    python benchmarks/tokenizer.py --texts=sentences.txt --vocabulary=vocab.txt --reference

One line per tokenizer; the best of `--repeats` runs. `--texts` is a UTF-8 file with a sentence a line (or two
tab-separated ones), .gz or not. Without `--vocabulary` one is made from the characters of the sentences.
`--reference` compares ids, pairs, truncation, rematch and decode with bert4keras where that is installed
(`pip install --no-deps bert4keras`); only its tokenizer is loaded, without Keras 2 or TensorFlow.
"""

import collections
import gzip
import importlib
import importlib.util
import pathlib
import random
import sys
import time
import types
import unicodedata

import numpy as np
from absl import app, flags
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from zoo.text.tokenizer import Tokenizer
from zoo.text.vocabulary import load_vocabulary

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("texts", [], "files of sentences; may be given several times")
flags.DEFINE_string("vocabulary", None, "a vocab.txt")
flags.DEFINE_integer("sentences", 20_000, "how many sentences are timed (all are compared)")
flags.DEFINE_integer("max_length", 64, "tokens a row at most")
flags.DEFINE_integer("repeats", 5, "runs of which the best counts")
flags.DEFINE_bool("lowercase", True, "for an uncased vocabulary")
flags.DEFINE_bool("reference", False, "compare every sentence with bert4keras")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def made_up_sentences(count):
    """Short questions, shaped like everyday Chinese: Zipf's law over 4,000 characters, some Latin."""
    rng = random.Random(0)
    characters = [chr(0x4E00 + 5 * rank) for rank in range(4_000)]
    weights = [1 / (rank + 5) for rank in range(4_000)]
    latin = ["app", "iPhone", "2022", "wifi", "OK", "3.5", "VIP"]

    def sentence():
        text = rng.choices(characters, weights, k=rng.randint(5, 20))
        if rng.random() < 0.2:
            text.insert(rng.randrange(len(text)), rng.choice(latin))
        return "".join(text) + rng.choice(["", "", "？", "。"])

    return [sentence() for _ in range(count)]


def sentences_of(path):
    content = pathlib.Path(path).read_bytes()
    content = gzip.decompress(content) if path.endswith(".gz") else content
    return [text for line in content.decode("utf-8").split("\n") for text in line.split("\t")[:2] if text]


def vocabulary_of(texts):
    counts = collections.Counter(c for text in texts for c in text.lower() + text if not c.isspace())
    words = collections.Counter(w for text in texts for w in text.lower().split() if w.isascii() and w.isalpha())
    tokens = [*SPECIAL, *counts, *(f"##{c}" for c in counts), *(w for w, _ in words.most_common(5_000))]
    return list(dict.fromkeys(tokens))


def rust_pipeline(vocabulary, lowercase, max_length):
    """Hugging Face's own BERT pipeline, on all cores."""
    ids = {token: index for index, token in enumerate(vocabulary)}
    rust = RustTokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=200))
    rust.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.enable_truncation(max_length - 2)
    rust.enable_padding(length=max_length)
    return lambda texts: np.array([row.ids for row in rust.encode_batch_fast(texts)], np.int32)


def original_tokenizer(vocabulary, lowercase):
    """bert4keras' Tokenizer, or None. Its module needs six small functions that import Keras 2: stand-ins."""
    found = importlib.util.find_spec("bert4keras")
    if found is None:
        return None
    package, snippets = types.ModuleType("bert4keras"), types.ModuleType("bert4keras.snippets")
    package.__path__ = list(found.submodule_search_locations)

    def lowercase_and_normalize(text):
        decomposed = unicodedata.normalize("NFD", text.lower())
        return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")

    def truncate_sequences(maxlen, index, *sequences):
        sequences = [one for one in sequences if one]
        while sum(map(len, sequences)) > maxlen:
            max(sequences, key=len).pop(index)

    snippets.is_py2, snippets.open = False, open
    snippets.is_string = lambda value: isinstance(value, str)
    snippets.convert_to_unicode = str
    snippets.lowercase_and_normalize = lowercase_and_normalize
    snippets.truncate_sequences = truncate_sequences
    sys.modules |= {"bert4keras": package, "bert4keras.snippets": snippets}
    module = importlib.import_module("bert4keras.tokenizers")
    return module.Tokenizer({token: index for index, token in enumerate(vocabulary)}, do_lower_case=lowercase)


def differences(ours, original, texts):
    """How many texts differ in anything, each paired with its neighbour and cut to changing lengths."""
    count = 0
    for index, (text, second) in enumerate(zip(texts, texts[1:] + texts[:1])):
        cut = 4 + index % 40
        tokens = original.tokenize(text)
        same = (
            ours.tokenize(text) == tokens
            and ours.encode(text) == tuple(original.encode(text))
            and ours.encode(text, max_length=cut) == tuple(original.encode(text, maxlen=cut))
            and ours.encode(text, second, max_length=cut) == tuple(original.encode(text, second, maxlen=cut))
            and ours.decode(ours.encode(text)[0]) == original.decode(original.encode(text)[0])
            # The original counts positions in the lower-case text, which the dotted capital I makes longer.
            and ("İ" in text or ours.rematch(text, tokens) == original.rematch(text, tokens))
        )
        if not same:
            count += 1
            print(f"  differs: {text!a}")
    return count


def best_seconds(function, texts):
    best = float("inf")
    for _ in range(FLAGS.repeats):
        start = time.perf_counter()
        function(texts)
        best = min(best, time.perf_counter() - start)
    return best


def main(_):
    texts = [text for path in FLAGS.texts for text in sentences_of(path)] or made_up_sentences(FLAGS.sentences)
    path = FLAGS.vocabulary
    vocabulary = load_vocabulary(pathlib.Path(path).read_bytes()) if path else vocabulary_of(texts)
    timed, cut = texts[: FLAGS.sentences], FLAGS.max_length
    ours = Tokenizer(vocabulary, lowercase=FLAGS.lowercase)
    original = original_tokenizer(vocabulary, FLAGS.lowercase)

    tokenizers = {
        "zoo, new": lambda batch: Tokenizer(vocabulary, lowercase=FLAGS.lowercase)(batch, max_length=cut, pad_to=cut),
        "zoo, used": lambda batch: ours(batch, max_length=cut, pad_to=cut),
        "zoo, batches of 32": lambda batch: [ours(batch[i : i + 32], max_length=cut) for i in range(0, len(batch), 32)],
        "zoo, one by one": lambda batch: [ours.encode(text, max_length=cut) for text in batch],
        "tokenizers, padded": rust_pipeline(vocabulary, FLAGS.lowercase, cut),
    }
    if original is not None:
        tokenizers["bert4keras, one by one"] = lambda batch: [original.encode(text, maxlen=cut) for text in batch]
    mean = sum(map(len, timed)) / len(timed)
    print(f"{len(timed)} sentences of {mean:.1f} characters, {len(vocabulary)} tokens, rows of at most {cut}")
    for name, function in tokenizers.items():
        print(f"{name:24s}{len(timed) / best_seconds(function, timed):10,.0f} sentences/s")

    if FLAGS.reference and original is None:
        print("reference: bert4keras is not installed, nothing compared")
    elif FLAGS.reference:
        different = differences(ours, original, texts)
        print(f"reference: {different} of {len(texts)} sentences differ from bert4keras")


if __name__ == "__main__":
    app.run(main)
