"""Scaling laws of small language models, and how far they may be believed: five sizes, five amounts of text.

    KERAS_BACKEND=torch python benchmarks/scaling_law.py --corpus='zh-00*.xz' --heldout=heldout.txt.xz   # 12 minutes, one core

Every point is a training of its own that sees each token once and ends with a learning rate of 0. The larger amounts, and
the largest size, are kept from the fit: the picture and the tables show the forecast with its interval beside what was
measured. Killed or out of --minutes, the same command goes on with what is missing; with nothing missing it only reports.
"""

import glob
import json
import os
import time

import keras
import numpy as np
from absl import flags
from matplotlib.figure import Figure

import zoo
from zoo.analysis import fit_scaling_law
from zoo.data import NextTokenRows, PackedRows, character_vocabulary, tokenize_corpus

F = flags.FLAGS
flags.DEFINE_list("corpus", None, "Text files or patterns, a paragraph a line; needed while a training is missing.")
flags.DEFINE_string("heldout", None, "Text file that is measured on.")
flags.DEFINE_list("widths", "16,32,48,80,128", "Hidden widths, multiples of 16; the largest is kept from the fit.")
flags.DEFINE_list("tokens", "32768,65536,131072,262144,524288", "Tokens trained on, each of them once.")
flags.DEFINE_integer("fitted", 4, "Amounts that the laws are fitted to; the rest is forecast.")
flags.DEFINE_integer("vocabulary_size", 2000, "Characters and pieces.")
flags.DEFINE_float("minutes", 14.0, "No training begins after these.")
flags.DEFINE_string(
    "out", os.path.join(os.path.dirname(os.path.abspath(__file__)), "scaling_law"), "Where, less .json."
)
ROWS, LENGTH, HELD_OUT = 8, 64, 1024  # rows a step, tokens a row that are predicted, held-out rows
COLOURS = ("#56B4E9", "#009E73", "#E69F00", "#D55E00", "#0072B2")


def read():
    """Tokenizer, training and held-out streams."""
    files = sorted(found for pattern in F.corpus for found in glob.glob(pattern))
    tokenizer = zoo.Tokenizer(character_vocabulary(files, F.vocabulary_size))
    return tokenizer, tokenize_corpus(files, tokenizer), tokenize_corpus([F.heldout], tokenizer)


def train(width, tokens, tokenizer, stream, heldout):
    """Parameters and held-out loss, nats a token, of a causal model of two layers after one pass over the tokens."""
    keras.utils.set_random_seed(0)
    backbone = zoo.RoFormerV2(
        vocabulary_size=tokenizer.vocabulary_size, num_layers=2, num_heads=width // 16, hidden_dim=width, num_segments=0,
        intermediate_dim=4 * width, dropout=0.0, attention_dropout=0.0, attention_mask="causal",
    )  # fmt: skip
    model = zoo.CausalLM(backbone)
    steps = tokens // (ROWS * LENGTH)
    rate = zoo.optimizers.WarmupDecay(0.25 / width, steps)
    model.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0))
    rows = lambda part: PackedRows(part, LENGTH + 2, tokenizer.cls_token_id, tokenizer.sep_token_id)
    model.fit(NextTokenRows(rows(stream.part(0, tokens)), ROWS, steps), shuffle=False, verbose=0)
    batches = NextTokenRows(rows(heldout.part(0, HELD_OUT * LENGTH)), 64, HELD_OUT // 64)
    return model.count_params(), float(model.evaluate(batches, return_dict=True, verbose=0)["loss"])


def fill(runs, save):
    """Train what is missing, the cheap first."""
    begun, corpus = time.monotonic(), None
    for tokens in map(int, F.tokens):
        for width in map(int, F.widths):
            if any(run["width"] == width and run["tokens"] == tokens for run in runs):
                continue
            if not F.corpus or time.monotonic() - begun > 60 * F.minutes:
                return
            corpus = corpus or read()
            parameters, loss = train(width, tokens, *corpus)
            runs.append({"width": width, "tokens": tokens, "parameters": parameters, "loss": round(loss, 4)})
            save()
            print(runs[-1], flush=True)


def forecasts(x, losses, count):
    """The law of the first points, and rows of (x, how far ahead, forecast, low, high, measured) of the others."""
    law = fit_scaling_law(x[:count], losses[:count])
    low, high = law.interval(x[count:])
    return law, list(zip(x[count:], x[count:] / x[count - 1], law(x[count:]), low, high, losses[count:]))


def curves(runs):
    """(axis, name, x, losses, points that are fitted): by tokens for each size, by parameters for the most text."""
    for width in sorted({run["width"] for run in runs}):
        mine = sorted((run["tokens"], run["loss"], run["parameters"]) for run in runs if run["width"] == width)
        yield 0, f"{mine[0][2]:,} parameters", *np.array(mine)[:, :2].T, F.fitted
    for amount in sorted({run["tokens"] for run in runs}):
        mine = sorted((run["parameters"], run["loss"]) for run in runs if run["tokens"] == amount)
        if amount < 2**18 or len(mine) < 5:  # little text is learnt alike by all sizes; four fit a law, one is forecast
            continue
        yield 1, f"{amount:,} tokens", *np.array(mine, "float64").T, len(mine) - 1


def report(runs):
    """Picture and tables of the forecasts."""
    figure = Figure((10, 4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    lines, inside = ["| law of | fitted to | exponent | ahead | forecast | 95 % interval | measured | inside |"], []
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for number, (axis, name, x, losses, count) in enumerate(curves(runs)):
        law, rows = forecasts(x, losses, count)
        grid, colour = np.geomspace(x[0], x[-1], 100), COLOURS[number % len(COLOURS)]
        panels[axis].plot(grid, law(grid), color=colour, linewidth=1, label=f"{name}, exponent {law.exponent:.2f}")
        ahead = grid[grid >= x[count - 1]]
        panels[axis].fill_between(ahead, *law.interval(ahead), color=colour, alpha=0.2, linewidth=0)
        panels[axis].plot(x[:count], losses[:count], "o", color=colour, markersize=4)
        panels[axis].plot(x[count:], losses[count:], "o", color=colour, markersize=5, fillstyle="none")
        for _, far, guess, low, high, measured in rows:
            inside.append(low <= measured <= high)
            low_exponent, high_exponent = law.intervals["exponent"]
            lines.append(
                f"| {name} | {x[0]:,.0f} to {x[count - 1]:,.0f} | {law.exponent:.2f} ({low_exponent:.2f} to "
                f"{high_exponent:.2f}) | {far:.1f} × | {guess:.3f} | {low:.3f} to {high:.3f} | {measured:.3f} | "
                f"{'yes' if inside[-1] else 'no'} |"
            )
    for axes, label in zip(panels, ("tokens, each seen once", "parameters")):
        axes.set(xscale="log", xlabel=label, ylabel="held-out loss, nats a token")
        axes.legend(frameon=False, fontsize=8, title="full: fitted; hollow: forecast", title_fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(f"{F.out}.png")
    return f"{sum(inside)} of {len(inside)} measured losses lie inside the interval of their forecast.\n\n" + "\n".join(
        lines
    )


def main(_):
    path, stored = f"{F.out}.json", {"backend": keras.backend.backend(), "runs": []}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)

    def save():
        with open(path, "w", encoding="utf-8") as file:
            json.dump(stored, file, indent=1)
            file.write("\n")

    fill(stored["runs"], save)
    done = {(run["width"], run["tokens"]) for run in stored["runs"]}
    missing = sum((int(width), int(tokens)) not in done for width in F.widths for tokens in F.tokens)
    print(f"{missing} trainings are missing: the same command goes on" if missing else report(stored["runs"]))


if __name__ == "__main__":
    zoo.command_line.run(main)
