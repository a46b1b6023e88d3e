"""A tied output embedding at the start and in a small training: loss before and while learning, for each transform.

    KERAS_BACKEND=torch python benchmarks/output_transform.py --corpus='zh-00*.xz' --heldout=heldout.txt.xz   # 5 minutes

kexue.fm/archives/9698: where blocks add little, a tied output predicts the input, at a loss of ln(exp(d σ) + V − 1) instead of
ln V for embeddings of deviation σ. A fresh causal RoFormerV2 of two layers learns some text once, each kind from the same seed.
"""

import glob
import json
import os

import keras
import numpy as np
from absl import flags

import zoo
from zoo.data import NextTokenRows, PackedRows, character_vocabulary, tokenize_corpus
from zoo.tasks.heads import TRANSFORMS

F = flags.FLAGS
flags.DEFINE_list("corpus", None, "Text files or patterns, a paragraph a line.", required=True)
flags.DEFINE_string("heldout", None, "Text file that is measured on.", required=True)
flags.DEFINE_integer("width", 128, "Hidden width, a multiple of 32.")
flags.DEFINE_integer("vocabulary_size", 2000, "Characters and pieces.")
flags.DEFINE_integer("steps", 1000, "Batches of 512 tokens, a multiple of 50.")
flags.DEFINE_string("out", os.path.join(os.path.dirname(os.path.abspath(__file__)), "output_transform"), "Less .json.")
ROWS, LENGTH, EVERY, SHOWN = 8, 64, 50, (50, 100, 250, 500, 1000)


def losses(kind, tokenizer, stream, heldout):
    """σ of the fresh embedding, and held-out losses before training and after every 50 steps."""
    keras.utils.set_random_seed(0)
    backbone = zoo.RoFormerV2(
        vocabulary_size=tokenizer.vocabulary_size, num_layers=2, num_heads=F.width // 32, hidden_dim=F.width,
        num_segments=0, intermediate_dim=4 * F.width, dropout=0.0, attention_dropout=0.0, attention_mask="causal",
    )  # fmt: skip
    model = zoo.CausalLM(backbone, output_transform=kind)
    deviation = float(np.std(keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)))
    rate = zoo.optimizers.WarmupDecay(0.25 / F.width, F.steps)
    model.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0))
    rows = lambda part: PackedRows(part, LENGTH + 2, tokenizer.cls_token_id, tokenizer.sep_token_id)
    data, unseen = NextTokenRows(rows(stream), ROWS, EVERY), NextTokenRows(rows(heldout.part(0, 2**15)), 64, 8)
    before = model.evaluate(unseen, return_dict=True, verbose=0)["loss"]
    history = model.fit(
        data,
        epochs=F.steps // EVERY,
        validation_data=unseen,
        callbacks=[data.epoch_callback()],
        shuffle=False,
        verbose=0,
    )
    return deviation, [round(float(loss), 4) for loss in [before, *history.history["val_loss"]]]


def table(found):
    """Markdown."""
    shown = [step for step in SHOWN if step <= found["steps"]]
    lines = ["| output_transform | before | " + " | ".join(f"{step} steps" for step in shown) + " |"]
    lines.append("| --- |" + " ---: |" * (1 + len(shown)))
    for kind, row in found["losses"].items():
        lines.append(f"| {kind} | " + " | ".join(f"{row[step // EVERY]:.3f}" for step in (0, *shown)) + " |")
    width, deviation, count = found["width"], found["deviation"], found["vocabulary"]
    lines.append(
        f"\nd = {width}, σ = {deviation:.4f}, V = {count:,}: ln(exp(d σ) + V − 1) = "
        f"{np.log(np.exp(width * deviation) + count - 1):.3f}, ln V = {np.log(count):.3f}."
    )
    return "\n".join(lines)


def main(_):
    files = sorted(path for pattern in F.corpus for path in glob.glob(pattern))
    tokenizer = zoo.Tokenizer(character_vocabulary(files, F.vocabulary_size))
    stream, heldout = tokenize_corpus(files, tokenizer), tokenize_corpus([F.heldout], tokenizer)
    found = {"backend": keras.backend.backend(), "width": F.width, "vocabulary": tokenizer.vocabulary_size}
    found |= {"steps": F.steps, "deviation": None, "losses": {}}
    for kind in TRANSFORMS:
        found["deviation"], found["losses"][str(kind)] = losses(kind, tokenizer, stream, heldout)
        print(kind, found["losses"][str(kind)], flush=True)
    with open(f"{F.out}.json", "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.write("\n")
    print(table(found))


if __name__ == "__main__":
    zoo.command_line.run(main)
