"""Table and picture of results.json."""

import json
import os
import textwrap

from rows import ROWS, missing_flags


def known(path):
    """Rows of earlier runs, without those whose contenders have changed since."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    return {
        name: row
        for name, row in rows.items()
        if name in ROWS
        and isinstance(row, dict)
        and [result["name"] for result in row["contenders"]] == [contender.name for contender in ROWS[name].contenders]
    }


def peers(row):
    """The libraries that zoo is held against in a row."""
    return list(dict.fromkeys(c.peer for c in row.contenders if c.peer))


def ratio(row, results, index, peer):
    """How many times as fast as a peer, at the same dtype and backend where both exist; None for peers themselves.

    A peer without that backend is taken at its fastest with the same dtype, one without the dtype at its fastest.
    """
    own = row.contenders[index]
    if own.peer:
        return None
    same_dtype = lambda c: c.dtype == own.dtype
    for alike in (lambda c: same_dtype(c) and c.backend == own.backend, same_dtype, lambda c: True):
        seconds = [r["median"] for c, r in zip(row.contenders, results) if c.peer == peer and alike(c)]
        if seconds:
            return min(seconds) / results[index]["median"]


def markdown(rows):
    lines = [
        "# zoo beside its peers", "",
        "`make bench-peers`; contenders in turn, medians. Versions: `requirements.txt`. *x PEER*: times as fast as this "
        "peer at the same dtype and backend; where it has no such backend, as its fastest at the same dtype; where it has "
        "not that dtype either, as its fastest. *of matmul*: the share of this machine's rate for the dtype, that of the "
        "fastest backend, which the matrix products that the job needs account for; products with padding are needed by "
        "nobody.", "",
    ]  # fmt: skip
    runs = {}
    for name, row in rows.items():
        runs.setdefault(json.dumps({key: row[key] for key in ("machine", "matmul", "repeats")}), []).append(name)
    for run, names in runs.items():
        made = json.loads(run)
        m, rates = made["machine"], ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in made["matmul"].items())
        lines += [
            f"{m['date']}, {m['cores']} cores of {m['processor']}, Python {m['python']}, {made['repeats']} rounds. Matrix "
            f"products, GFLOP/s: {rates}. Rows: {', '.join(names)}.", "",
        ]  # fmt: skip
    absent = [name for name in ROWS if name not in rows]
    if absent:
        needed = missing_flags(absent, ())
        shown = [f"{name} (needs {needed[name]})" if name in needed else name for name in absent]
        lines += [f"**Not measured: {', '.join(shown)}.**", ""]
    return "\n".join([*lines, *(table(name, rows[name]) for name in ROWS if name in rows)])


def table(name, measured):
    """Markdown of one row."""
    row, results = ROWS[name], measured["contenders"]
    against = peers(row)
    columns = [row.unit, *(f"x {peer}" for peer in against), "spread", "of matmul", "peak MB", "agrees"]
    lines = [f"## {row.title}", "", *([row.note, ""] if row.note else [])]
    lines += [f"| | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for index, (contender, r) in enumerate(zip(row.contenders, results)):
        bold = "" if contender.peer else "**"
        extra = f" ({r['optimizer_mb']:.1f} MB of optimizer)" if "optimizer_mb" in r else ""
        times = (ratio(row, results, index, peer) for peer in against)
        rate = max(r for name, r in measured["matmul"].items() if name.split()[1] == contender.dtype)
        cells = [
            f"{contender.name}{extra}",
            f"{bold}{r['work'] / r['median']:,.4g}{bold}",
            *("" if t is None else f"{t:.2f}" for t in times),
            f"{(max(r['seconds']) - min(r['seconds'])) / r['median']:.0%}",
            f"{r['flops'] / r['median'] / rate:.0%}" if "flops" in r else "",
            f"{r['peak_mb']:,.0f}" if "peak_mb" in r else "",
            agreement(r),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def agreement(result):
    """How the output compares with that of the row's first contender."""
    if "same_ids" in result:
        return "agree" if result["same_ids"] else "differ"
    return f"{result['difference']:.0e}, cos {result['least_cosine']:.5f}" if "difference" in result else ""


def picture(rows, path):
    """Bars of the ratios to the peers, a panel a row; and rate against length."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {
        name: [
            (f"{contender.name} : {peer}", ratio(ROWS[name], row["contenders"], index, peer))
            for index, contender in enumerate(ROWS[name].contenders)
            if not contender.peer
            for peer in peers(ROWS[name])
        ]
        for name, row in rows.items()
        if peers(ROWS[name])
    }
    lengths = {int(n.split("_")[1]): r["contenders"] for n, r in rows.items() if n.startswith("length_")}
    heights = [0.9 + 0.2 * len(bars) for bars in shown.values()] + [2.4] * bool(lengths)
    if not heights:
        return
    figure = plt.figure(figsize=(8, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (name, bars) in zip(axes, shown.items()):
        axis.barh([label for label, _ in bars], [times for _, times in bars], color="#3b6ea5", height=0.6)
        axis.axvline(1, color="black", lw=0.8)
        axis.invert_yaxis()
        axis.set_title(textwrap.fill(ROWS[name].title, 60), fontsize=9, loc="left")
        axis.set_xlabel("times as fast as the peer", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    if lengths:
        axis = axes[-1]
        for index, contender in enumerate(ROWS["length_64"].contenders):
            points = sorted((n, r[index]["work"] / r[index]["median"]) for n, r in lengths.items())
            axis.plot(*zip(*points), marker="o", ms=3, label=contender.name)
        axis.set(xscale="log", yscale="log", xlabel="tokens in a row", ylabel="tokens/s")
        axis.set_xticks(sorted(lengths), [str(n) for n in sorted(lengths)])
        axis.minorticks_off()
        axis.set_title(
            "Rate against length, 4 blocks of RoFormerV2 or 8 of GAU-alpha, 256 wide", fontsize=9, loc="left"
        )
        axis.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
