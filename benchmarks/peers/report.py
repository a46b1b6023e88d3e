"""Table and picture of results.json."""

from rows import ROWS


def ratio(row, results, index):
    """How many times as fast as the fastest peer of its group (of all peers where it has none)."""
    contender = row.contenders[index]
    if contender.peer:
        return None
    groups = [contender.group, f"hub {contender.name.removeprefix('zoo ')}"]
    peers = [(c, r) for c, r in zip(row.contenders, results) if c.peer]
    own = [r for c, r in peers if c.group in groups] if contender.group else [r for c, r in peers if not c.group]
    own = own or [r for _, r in peers]
    return min(r["median"] for r in own) / results[index]["median"] if own else None


def markdown(results, head=False):
    lines = []
    if head:
        m = results["machine"]
        rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in results["matmul"].items())
        lines += [
            "# zoo beside its peers", "",
            f"`make bench-peers`, {m['date']}, {m['cores']} cores of {m['cpu']}, Python {m['python']}; contenders in turn, "
            "medians. Versions: `requirements.txt`.", "",
            f"Matrix products of this machine, GFLOP/s: {rates}. *of matmul* is the share of that rate which the row's own "
            "matrix products alone account for.", "",
        ]  # fmt: skip
    for name, measured in results["rows"].items():
        row = ROWS[name]
        lines += [
            f"## {row.title}",
            "",
            f"| | {row.unit} | x peer | spread | of matmul | peak MB | agrees |",
            "| --- |" + " ---: |" * 6,
        ]
        for index, (contender, r) in enumerate(zip(row.contenders, measured)):
            rate = r["work"] / r["median"]
            spread = (max(r["seconds"]) - min(r["seconds"])) / r["median"]
            times = ratio(row, measured, index)
            share = "" if "flops" not in r else f"{r['flops'] / r['median'] / matmul_rate(results, contender):.0%}"
            agrees = f"{r['difference']:.0e}, cos {r['least_cosine']:.5f}" if "difference" in r else ""
            extra = f" ({r['optimizer_mb']:.1f} MB of optimizer)" if "optimizer_mb" in r else ""
            memory = f"{r['peak_mb']:,.0f}" if "peak_mb" in r else ""
            bold = "" if contender.peer else "**"
            lines.append(
                f"| {contender.name}{extra} | {bold}{rate:,.4g}{bold} | {'' if times is None else f'{times:.2f}'} | "
                f"{spread:.0%} | {share} | {memory} | {agrees} |"
            )
        lines.append("")
    return "\n".join(lines)


def matmul_rate(results, contender):
    dtype = "bfloat16" if "bfloat16" in contender.options.get("dtype", "") else "float32"
    return results["matmul"][f"{contender.backend} {dtype}"]


def picture(results, path):
    """Bars of the ratios to the peers, a panel a row; and rate against length."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {n: r for n, r in results["rows"].items() if any(c.peer for c in ROWS[n].contenders)}
    lengths = {int(n.split("_")[1]): r for n, r in results["rows"].items() if n.startswith("length_")}
    panels = len(shown) + bool(lengths)
    if not panels:
        return
    figure = plt.figure(figsize=(8, 2.2 * panels), layout="constrained")
    axes = list(figure.subplots(panels, 1, squeeze=False)[:, 0])
    for axis, (name, measured) in zip(axes, shown.items()):
        row = ROWS[name]
        bars = [(c.name, ratio(row, measured, i)) for i, c in enumerate(row.contenders) if not c.peer]
        axis.barh([n for n, _ in bars], [t for _, t in bars], color="#3b6ea5", height=0.6)
        axis.axvline(1, color="black", lw=0.8)
        axis.invert_yaxis()
        axis.set_title(row.title, fontsize=9, loc="left")
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
