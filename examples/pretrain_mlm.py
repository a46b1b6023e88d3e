"""Pretrain a backbone as a masked language model on text files; stops and goes on where it was.

    python examples/pretrain_mlm.py --corpus='texts/*.xz' --output=run --steps=7500
    KERAS_BACKEND=jax python examples/pretrain_mlm.py --corpus=texts.txt --family=GAUAlpha --layers=8 --whole_word
    python examples/pretrain_mlm.py --corpus=own.txt --preset=roformer_v2_mini_zh --learning_rate=5e-4 --steps=500

Killed, the same command goes on after the last whole epoch, to the same numbers. --output gets `tokens.npz` (the corpus,
tokenized once), `state/`, `log.csv`, `curve.png`, at the end `backbone/` (the preset) and `heldout.json`: numbers of single
masked tokens, also under --whole_word, so that runs compare.
"""

import glob
import json
import os

import keras
from absl import app, flags

import zoo
from zoo.callbacks import LearningLog, Resume, tensorboard
from zoo.data import MaskedRows, PackedRows, load_corpus, save_corpus, tokenize_corpus

F, JIT = flags.FLAGS, {"auto": "auto", "true": True, "false": False}
flags.DEFINE_list("corpus", None, "Text files or patterns; one paragraph a line, plain, .gz or .xz.", required=True)
flags.DEFINE_string("heldout", None, "Text file for the held-out loss; default: the last 1 % of the corpus.")
flags.DEFINE_string("output", "pretrained", "Folder of the run.")
flags.DEFINE_string("preset", None, "Go on from this backbone: its vocabulary, sizes and weights.")
flags.DEFINE_enum("family", "RoFormerV2", ["BERT", "RoFormer", "RoFormerV2", "GAUAlpha"], "Backbone.")
flags.DEFINE_integer("layers", 4, "Number of blocks.", lower_bound=1)
flags.DEFINE_integer("width", 256, "Hidden width.", lower_bound=1)
flags.DEFINE_integer("heads", 4, "Attention heads (not GAUAlpha).", lower_bound=1)
flags.DEFINE_integer("key_dim", 64, "Width of GAUAlpha's shared queries and keys.", lower_bound=1)
flags.DEFINE_float("dropout", 0.0, "Of hidden states and attention; small models on much text want none.")
flags.DEFINE_integer(
    "vocabulary_size", 6000, "Characters, pieces of Latin words and special tokens kept.", lower_bound=1
)
flags.DEFINE_boolean("whole_word", False, "Mask whole words, cut by rjieba.")
flags.DEFINE_integer("length", 128, "Tokens a row.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Rows a batch.", lower_bound=1)
flags.DEFINE_integer("accumulate", None, "Batches whose gradients are averaged into one update.", lower_bound=2)
flags.DEFINE_integer("steps", 7500, "Batches in all, a multiple of --steps_per_epoch.", lower_bound=1)
flags.DEFINE_integer("steps_per_epoch", 250, "Batches between held-out evaluations and saved states.", lower_bound=1)
flags.DEFINE_enum("optimizer", "adamw", ["adamw", "lamb"], "LAMB (arXiv 1904.00962) is for batches of thousands.")
flags.DEFINE_float("learning_rate", 1e-3, "Peak, after a warm-up of 4 % and before a cosine decay.")
flags.DEFINE_string("dtype", "mixed_bfloat16", "Dtype policy.")
flags.DEFINE_enum("jit_compile", "auto", JIT, "XLA.")
flags.DEFINE_boolean("tensorboard", False, "Write TensorBoard's files too, into tensorboard/.")
flags.DEFINE_integer("seed", 0, "Seed of everything.")


def read_corpus():
    """Tokenizer, training and held-out streams: from the file of an earlier start, or tokenized now."""
    path = os.path.join(F.output, "tokens.npz")
    known = F.preset and zoo.Backbone.from_preset(F.preset, load_weights=False).tokenizer
    if not os.path.exists(path):
        files = sorted(found for pattern in F.corpus for found in glob.glob(pattern))
        if not files:
            raise app.UsageError(f"--corpus={','.join(F.corpus)}: there is no such file")
        cut = zoo.data.word_cutter() if F.whole_word else None
        tokenizer = known or zoo.Tokenizer(zoo.data.character_vocabulary(files, F.vocabulary_size))
        train = tokenize_corpus(files, tokenizer, lambda name, n: print(f"{name}: {n:,} tokens", flush=True), cut)
        train, heldout = (train, tokenize_corpus([F.heldout], tokenizer)) if F.heldout else train.split(0.01)
        save_corpus(path, tokenizer.vocabulary, train, heldout)
    vocabulary, train, heldout = load_corpus(path, words=F.whole_word, vocabulary=known and known.vocabulary)
    return zoo.Tokenizer(vocabulary), train, heldout


def build(tokenizer):
    dropout = {"dropout": F.dropout, "attention_dropout": F.dropout}
    if F.preset:
        model = zoo.MaskedLM.from_preset(F.preset, dtype=F.dtype, masked_positions=True, **dropout)
    else:
        gau, heads = F.family == "GAUAlpha", {"num_heads": F.heads, "intermediate_dim": 4 * F.width}
        sizes = {"key_dim": F.key_dim} if gau else heads
        sizes |= {"vocabulary_size": tokenizer.vocabulary_size, "num_layers": F.layers, "hidden_dim": F.width}
        backbone = getattr(zoo, F.family)(**sizes, **dropout, max_sequence_length=F.length, dtype=F.dtype)
        backbone.tokenizer = tokenizer
        model = zoo.MaskedLM(backbone, masked_positions=True)
    decay = {"warmup_steps": round(F.steps * 0.04), "end": 0.02 * F.learning_rate, "shape": "cosine"}
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, F.steps, **decay)
    options = {"weight_decay": 0.01, "beta_2": 0.98, "global_clipnorm": 1.0}
    options["gradient_accumulation_steps"] = F.accumulate
    optimizer = {"adamw": zoo.optimizers.FusedAdamW, "lamb": keras.optimizers.Lamb}[F.optimizer](rate, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = zoo.losses.TokenCrossEntropy()
    model.compile(optimizer, loss, weighted_metrics=["accuracy"], jit_compile=JIT[F.jit_compile])
    return model


def main(_):
    if F.steps % F.steps_per_epoch:
        raise app.UsageError(f"--steps={F.steps} is no multiple of --steps_per_epoch={F.steps_per_epoch}")
    keras.utils.set_random_seed(F.seed)
    inside = lambda name: os.path.join(F.output, name)
    tokenizer, train, heldout = read_corpus()

    def rows(stream, steps, seed):
        packed = PackedRows(stream, F.length, tokenizer.cls_token_id, tokenizer.sep_token_id, seed)
        return MaskedRows(packed, tokenizer, F.batch_size, steps, seed)

    model = build(tokenizer)
    data, epoch = rows(train, F.steps_per_epoch, F.seed), Resume(inside("state")).restore(model)
    print(f"{model.count_params():,} parameters, {len(train):,} tokens, from epoch {epoch}", flush=True)
    log = LearningLog(inside("log.csv"), F.batch_size * F.length, epoch, picture=inside("curve.png"))
    callbacks = [data.epoch_callback(), log] + ([tensorboard(inside("tensorboard"))] if F.tensorboard else [])
    model.fit(
        data, epochs=F.steps // F.steps_per_epoch, initial_epoch=epoch, validation_data=rows(heldout, 20, 1),
        callbacks=[Resume(inside("state"), callbacks=callbacks, data=data)], shuffle=False, verbose=2,
    )  # fmt: skip
    final = model.evaluate(rows(heldout, 200, 2), return_dict=True, verbose=0)
    print(json.dumps(final))
    with open(inside("heldout.json"), "w", encoding="utf-8") as file:
        json.dump(final, file)
    model.backbone.save_to_preset(inside("backbone"))


if __name__ == "__main__":
    zoo.command_line.run(main)
