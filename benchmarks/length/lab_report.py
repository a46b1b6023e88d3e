"""Tables and picture of the length lab, made of the files of results alone."""

import numpy as np
from lab_criteria import RANKINGS, SEEDS, order_of, pairs_in_order
from lab_model import cell_name, cells
from lab_variants import AFTER, LOG_N, READINGS
from matplotlib.figure import Figure

from zoo.plots import COLOURS, GREY

NOTE = (
    "Accuracy and loss are of the next token, over all tokens. Lengths cut the same held-out text; repeated text is "
    "the first {n} tokens of each row again and again (longer rows, fewer of them: compare within a column). "
    "Frequencies are scaled by {k:g} at every length. `log-n`: "
    "trained with the scale, base {n}; `log-n after`: given to the baseline after its training. The posts' numbers: a "
    "100 M model trained at 512 tokens, at 1× read as it was trained; ours are read with the change at every length. An "
    "accuracy of 25 over {tokens:,} tokens has a standard error of {error:.2f}, a difference of two on the same text less: "
    "a ranking whose smallest gap is below that says little. Where repeated text is no easier than other text, a model has "
    "not learned to copy, as those of the posts have, and what it loses at a length is its own confusion alone."
)


def report(results, setting, lengths):
    """The page, Markdown."""
    seeds = max((len(made) for made in results.values()), default=0)
    error = 100 * np.sqrt(0.25 * 0.75 / setting.test_tokens)
    note = NOTE.format(n=setting.length, k=setting.factor, tokens=setting.test_tokens, error=error)
    lines = ["## Length lab", "", note, ""]
    lines += [
        f"GAU of {setting.layers} layers, width {setting.width}, {setting.steps} steps of {setting.batch_size} rows of "
        f"{setting.length} tokens; {setting.test_tokens:,} tokens tested; up to {seeds} seed{'s' * (seeds != 1)}.",
        "",
    ]
    lines += ["### Rankings", "", *rankings(results, setting), ""]
    for metric, name in (("accuracy", "Accuracy, percent"), ("loss", "Loss, nats")):
        lines += [f"### {name}", "", *numbers(results, setting, lengths, metric), ""]
    return "\n".join(lines)


def rankings(results, setting):
    lines = ["| claim | post's ranking | ours | smallest gap | agrees |", "| --- | --- | --- | ---: | --- |"]
    verdicts = []
    for ranking in RANKINGS:
        values = ranking.ours(results, setting.length)
        verdicts.append(ranking.verdict(results, setting.length))
        claim = f"{ranking.claim} ([post](https://kexue.fm/{ranking.url}))"
        post = " > ".join(
            str(term) if number is None else f"{term} {number:.2f}"
            for term, number in zip(ranking.ranked(), ranking.posts())
        )
        gap = ranking.smallest_gap(results, setting.length)
        gap = "" if gap is None else f"{gap:.{3 if ranking.metric == 'loss' else 2}f}"
        lines.append(f"| {claim} | {post} | {_ordered(ranking, values)} | {gap} | {verdicts[-1]} |")
    agreed = sum(verdict.startswith("yes") for verdict in verdicts)
    known = sum(verdict != "not measured" for verdict in verdicts)
    lines += ["", f"{agreed} of {known} agree, {len(verdicts) - known} not measured."]
    open_ones = sum(verdict.endswith("run)") for verdict in verdicts)
    if open_ones:
        lines.append(f"{open_ones} disagreements rest on fewer than {SEEDS} seeds: --seeds={SEEDS} settles them.")
    return lines


def _ordered(ranking, values):
    """Our means, best first."""
    if values is None:
        return ""
    sign = 1 if ranking.metric == "loss" else -1
    decimals = 3 if ranking.metric == "loss" else 2
    columns = sorted(zip(ranking.ranked(), values.T), key=lambda column: sign * column[1].mean())
    return " > ".join(f"{term} {_with_spread(column, decimals)}" for term, column in columns)


def _with_spread(values, decimals):
    values = np.asarray(values)
    spread = f" ± {np.std(values, ddof=1):.{decimals}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{decimals}f}{spread}"


def numbers(results, setting, lengths, metric):
    """A row a reading; beside accuracies the posts', both ranks, and how many pairs of rows stand in the same order."""
    names = [cell_name(*cell) for cell in cells(setting, lengths)]
    rows = order_of(results, setting.length) if metric == "accuracy" else []
    by_post = [row[0] for row in rows]
    by_us = [row[0] for row in sorted(rows, key=lambda row: -row[2])]
    extra = ["post: 1×", "8× repeated", "8×", "rank, post", "ours", "pairs in order"] if metric == "accuracy" else []
    lines = [f"| reading | {' | '.join(names + extra)} |", "| --- |" + " ---: |" * len(names + extra)]
    for reading in READINGS:
        made = results.get(reading.name)
        if not made:
            continue
        columns = [[cells_of[name][metric] for cells_of in made.values() if name in cells_of] for name in names]
        shown = [_with_spread(column, 3 if metric == "loss" else 2) if column else "" for column in columns]
        if extra:
            shown += ["" if number is None else f"{number:.2f}" for number in reading.post or (None,) * 3]
            place = by_post.index(reading.name) if reading.name in by_post else None
            shown += (
                [""] * 3
                if place is None
                else [
                    str(place + 1),
                    str(by_us.index(reading.name) + 1),
                    "{} of {}".format(*pairs_in_order(rows, reading.name)),
                ]
            )
        lines.append(f"| {reading.name} | {' | '.join(shown)} |")
    if rows:
        agreeing, all_pairs = np.sum([pairs_in_order(rows, name) for name in by_post], axis=0) // 2
        lines += ["", f"At 8×, text not repeated: {agreeing} of {all_pairs} pairs of rows stand in the posts' order."]
    return lines


def picture(results, setting, lengths):
    """Accuracy against length: text not repeated above, repeated below; a column for each kind of reading."""
    panels = list(dict.fromkeys(reading.panel for reading in READINGS))
    figure = Figure(figsize=(4.6 * len(panels), 8), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(panels), sharex=True, sharey="row")
    for column, panel in enumerate(panels):
        # The baseline is in every panel, in grey
        shown = [r for r in READINGS if r.panel == panel or r.stem == "baseline"]
        shown = [reading for reading in shown if reading.name in results]
        stems = [stem for stem in dict.fromkeys(reading.stem for reading in shown) if stem != "baseline"]
        colours = {"baseline": GREY, **dict(zip(stems, COLOURS))}
        for reading in shown:
            style = ":" if reading.name.endswith(AFTER) else "--" if reading.name.endswith(LOG_N) else "-"
            for row, repeated in enumerate((False, True)):
                chosen = [n for n in lengths if n > setting.length or not repeated]
                points = [(n, _mean(results[reading.name], cell_name(n, repeated))) for n in chosen]
                axes[row, column].plot(
                    *zip(*points), "o" + style, color=colours[reading.stem], markersize=3.5, label=reading.name
                )
        axes[0, column].set_title(panel, fontsize=11)
        axes[1, column].set_xlabel("tokens in test")
        if shown:
            axes[1, column].legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=8, handlelength=3.5
            )
    for row, text in zip(axes, ("text not repeated", "repeated text")):
        row[0].set_ylabel(f"accuracy of the next token, percent\n{text}")
        for one in row:
            one.set_xscale("log", base=2)
            one.set_xticks(lengths, [str(n) for n in lengths])
            one.axvline(setting.length, color=GREY, linewidth=0.8, linestyle="--")
            one.spines[["top", "right"]].set_visible(False)
            one.grid(color="#E5E5E5", linewidth=0.7, axis="y")
            one.tick_params(labelsize=9)
    return figure


def _mean(made, name):
    found = [cells_of[name]["accuracy"] for cells_of in made.values() if name in cells_of]
    return float(np.mean(found)) if found else float("nan")
