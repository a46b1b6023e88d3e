"""Pretrain a backbone as a masked language model on text files; stops and goes on where it was.

    python examples/pretrain_mlm.py --corpus='texts/*.xz' --output=run --steps=7500
    KERAS_BACKEND=jax python examples/pretrain_mlm.py --corpus=texts.txt --family=GAUAlpha --layers=8

Writes into --output: `state/` (to resume from), `backbone/` (the preset), `log.csv`, `curve.png`.
"""

import glob
import json
import os
import time

import keras
import numpy as np
from absl import app, flags

import zoo
from zoo.callbacks import Resume
from zoo.data.corpus import PackedRows, corpus_characters, tokenize_corpus
from zoo.data.masked_rows import MaskedRows

F = flags.FLAGS
flags.DEFINE_string(
    "corpus", None, "Text files: paths or patterns, comma-separated; one paragraph a line, plain, .gz or .xz."
)
flags.DEFINE_string("heldout", None, "Text file for the held-out loss; default: the last 1 % of the corpus.")
flags.DEFINE_string("output", "pretrained", "Folder of the run.")
flags.DEFINE_enum("family", "RoFormerV2", ["BERT", "RoFormer", "RoFormerV2", "GAUAlpha"], "Backbone.")
flags.DEFINE_integer("layers", 4, "Number of blocks.")
flags.DEFINE_integer("width", 256, "Hidden width.")
flags.DEFINE_integer("heads", 4, "Attention heads (not GAUAlpha).")
flags.DEFINE_integer("key_dim", 64, "Width of GAUAlpha's shared queries and keys.")
flags.DEFINE_integer("vocabulary_size", 6000, "Characters and special tokens kept.")
flags.DEFINE_integer("length", 128, "Tokens a row.")
flags.DEFINE_integer("batch_size", 64, "Rows a step.")
flags.DEFINE_integer("steps", 7500, "Optimizer steps in all.")
flags.DEFINE_integer("steps_per_epoch", 250, "Steps between held-out evaluations and saved states.")
flags.DEFINE_float("learning_rate", 1e-3, "Peak, after a warm-up of 4 % and before a cosine decay.")
flags.DEFINE_string("dtype", "mixed_bfloat16", "Dtype policy.")
flags.DEFINE_string("jit_compile", "auto", "auto, true or false.")
flags.DEFINE_integer("seed", 0, "Seed of everything.")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def build(vocabulary_size):
    sizes = {"vocabulary_size": vocabulary_size, "num_layers": F.layers, "hidden_dim": F.width, "dropout": 0.0,
             "attention_dropout": 0.0, "max_sequence_length": F.length, "dtype": F.dtype}  # fmt: skip
    if F.family != "GAUAlpha":
        sizes |= {"num_heads": F.heads, "intermediate_dim": 4 * F.width}
    else:
        sizes |= {"key_dim": F.key_dim}
    return getattr(zoo, F.family)(**sizes)


def main(_):
    keras.utils.set_random_seed(F.seed)
    files = sorted(path for pattern in F.corpus.split(",") for path in glob.glob(pattern))
    os.makedirs(F.output, exist_ok=True)
    cache = os.path.join(F.output, "tokens.npz")  # tokenized once, so that a restart begins at once
    if os.path.exists(cache):
        with np.load(cache, allow_pickle=False) as saved:
            stream, heldout, tokenizer = saved["stream"], saved["heldout"], zoo.Tokenizer(saved["vocabulary"].tolist())
    else:
        common = corpus_characters(files)
        characters = [c for c, _ in common if not c.isspace() and c == c.lower()]
        tokenizer = zoo.Tokenizer(SPECIAL + characters[: F.vocabulary_size - len(SPECIAL)])
        stream = tokenize_corpus(files, tokenizer, lambda path, n: print(f"{path}: {n:,} tokens", flush=True))
        heldout = tokenize_corpus([F.heldout], tokenizer) if F.heldout else stream[-len(stream) // 100 :]
        stream = stream if F.heldout else stream[: -len(stream) // 100]
        np.savez(cache, stream=stream, heldout=heldout, vocabulary=np.array(tokenizer.vocabulary))

    def rows(tokens, steps, seed):
        packed = PackedRows(tokens, F.length, tokenizer.cls_token_id, tokenizer.sep_token_id, seed)
        return MaskedRows(packed, tokenizer, F.batch_size, steps, seed)

    backbone = build(tokenizer.vocabulary_size)
    backbone.tokenizer = tokenizer
    model = zoo.MaskedLM(backbone, masked_positions=True)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, round(F.steps * 0.96), alpha=0.02, warmup_target=F.learning_rate, warmup_steps=round(F.steps * 0.04)
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, beta_2=0.98, clipnorm=None, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    jit = {"auto": "auto", "true": True, "false": False}[F.jit_compile.lower()]
    model.compile(optimizer, loss, weighted_metrics=["accuracy"], jit_compile=jit)
    resume = Resume(os.path.join(F.output, "state"))
    epoch = resume.restore(model)
    print(
        f"{model.count_params():,} parameters, {len(stream):,} tokens, from step {epoch * F.steps_per_epoch}",
        flush=True,
    )
    log = keras.callbacks.CSVLogger(os.path.join(F.output, "log.csv"), append=epoch > 0)
    start = time.time()
    data = rows(stream, F.steps_per_epoch, F.seed)
    model.fit(
        data, epochs=F.steps // F.steps_per_epoch, initial_epoch=epoch,
        validation_data=rows(heldout, 20, 1), callbacks=[data.follow(), resume, log], shuffle=False, verbose=2,
    )  # fmt: skip
    steps = F.steps - epoch * F.steps_per_epoch
    print(f"{steps * F.batch_size * F.length / (time.time() - start):,.0f} tokens/s")
    final = model.evaluate(rows(heldout, 200, 2), return_dict=True, verbose=0)
    print(json.dumps(final))
    backbone.save_to_preset(os.path.join(F.output, "backbone"))


if __name__ == "__main__":
    flags.mark_flag_as_required("corpus")
    app.run(main)
