"""Does the loader of masked rows keep up with the model? Rows a second of both, in one process.

    KERAS_BACKEND=torch python benchmarks/pretraining_data.py
    KERAS_BACKEND=torch python benchmarks/pretraining_data.py --tokens=run/tokens.npz --whole_word --width=256

Without --tokens the stream is of random ids; the loader's work does not depend on what the ids are.
"""

import time

import keras
import numpy as np
from absl import app, flags

import zoo
from zoo.data import MaskedRows, TokenStream, load_corpus
from zoo.data.corpus import SPECIAL_TOKENS, PackedRows

F = flags.FLAGS
flags.DEFINE_string("tokens", None, "tokens.npz of examples/pretrain_mlm.py.")
flags.DEFINE_boolean("whole_word", False, "Mask whole words.")
flags.DEFINE_integer("layers", 4, "Blocks of the RoFormerV2 that is trained.")
flags.DEFINE_integer("width", 256, "Its hidden width.")
flags.DEFINE_integer("length", 128, "Tokens a row.")
flags.DEFINE_integer("batch_size", 64, "Rows a batch.")
flags.DEFINE_integer("batches", 50, "Batches loaded; a tenth of them is trained on.")
flags.DEFINE_string("dtype", "mixed_bfloat16", "Dtype policy.")


def stream():
    """Vocabulary and tokens."""
    if F.tokens:
        return load_corpus(F.tokens, words=F.whole_word)[:2]
    rng = np.random.default_rng(0)
    ids = rng.integers(len(SPECIAL_TOKENS), 6000, 20_000_000).astype("uint16")
    vocabulary = [*SPECIAL_TOKENS, *(chr(0x4E00 + i) for i in range(6000 - len(SPECIAL_TOKENS)))]
    return vocabulary, TokenStream(ids, rng.random(len(ids)) < 0.6 if F.whole_word else None)


def rows_per_second(step, count):
    """Median over `count` calls, after one that is not timed."""
    seconds = []
    for index in range(count + 1):
        start = time.perf_counter()
        step(index)
        seconds.append(time.perf_counter() - start)
    return F.batch_size / float(np.median(seconds[1:]))


def main(_):
    vocabulary, tokens = stream()
    tokenizer = zoo.Tokenizer(vocabulary)
    packed = PackedRows(tokens, F.length, tokenizer.cls_token_id, tokenizer.sep_token_id)
    data = MaskedRows(packed, tokenizer, F.batch_size, F.batches + 1)
    loader = rows_per_second(data.__getitem__, F.batches)
    backbone = zoo.RoFormerV2(
        vocabulary_size=len(vocabulary), num_layers=F.layers, num_heads=max(1, F.width // 64), hidden_dim=F.width,
        intermediate_dim=4 * F.width, dropout=0.0, attention_dropout=0.0, dtype=F.dtype,
    )  # fmt: skip
    model = zoo.MaskedLM(backbone, masked_positions=True)
    model.compile("adamw", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = [data[index] for index in range(F.batches // 10 + 1)]
    step = rows_per_second(lambda index: float(model.train_on_batch(*batches[index])), F.batches // 10)
    print(f"loader {loader:,.0f} rows/s, {loader * F.length:,.0f} tokens/s")
    print(f"{keras.backend.backend()} training step {step:,.0f} rows/s, {step * F.length:,.0f} tokens/s")
    print(f"the loader takes {100 * step / loader:.1f} % of a step's time")


if __name__ == "__main__":
    app.run(main)
