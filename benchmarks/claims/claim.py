"""A row of the claims table: what a post says, what is compared, and when we say that it holds here.

Every (variant, seed) is one run; its numbers go to OUTPUT/ROW/VARIANT-SEED.json as soon as it ends, and a row that was
stopped goes on with the runs that are missing. The table (OUTPUT/ROW.md: mean ± standard deviation over the seeds) and
the picture (OUTPUT/ROW.png) are made of the files alone; OUTPUT/README.md has the tables of all rows there are.
"""

import itertools
import json
import math
import os
import sys
import time
from dataclasses import dataclass

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from zoo.plots import COLOURS

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(HERE))

from records import made_on, write  # noqa: E402

F = flags.FLAGS
SEEDS = 3  # fewer say nothing of the spread
flags.DEFINE_integer("seeds", SEEDS, "Runs of each variant, with the seeds 0, 1, ...")
flags.DEFINE_list("only", [], "Variants to run; default: all.")
flags.DEFINE_string("output", os.path.join(HERE, "results"), "Folder of the results.")
NOT_SETTINGS = {"seeds", "only", "output", "data", "tokens", "probe"}


@dataclass(frozen=True)
class Claim:
    """What a row says and does.

    Args:
        text: str, the claim of the post. url: str.
        criterion: str, when it holds here, fixed before the runs.
        holds: function from a `Summary` to bool: the criterion.
        variants: dict from a name to a function of the seed that gives the run's numbers, a dict from name to float.
        unit: str, of the numbers in the picture.
        pictured: list of the numbers' names in the picture; None: all.
        x: str or None. The names of the numbers are themselves numbers (lengths), of this axis.
        says: function from a `Summary` of all variants to str, what else the table states: numbers of the criterion that
            compare variants.
        log: bool, whether the picture's numbers are on a logarithmic axis.
    """

    text: str
    url: str
    criterion: str
    holds: object
    variants: dict
    unit: str
    pictured: list = None
    x: str = None
    says: object = None
    log: bool = False


class Summary(dict):
    """Variant to number to the values of all seeds."""

    def mean(self, variant, number):
        return float(np.mean(self[variant][number]))

    def std(self, variant, number):
        values = self[variant][number]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def gain(self, better, worse, number):
        """How far one variant's mean is above another's."""
        return self.mean(better, number) - self.mean(worse, number)

    def beats(self, better, worse, number):
        """Whether the gain is more than the standard deviations of both, taken together."""
        return self.gain(better, worse, number) > math.hypot(self.std(better, number), self.std(worse, number))

    def numbers(self):
        return list(dict.fromkeys(number for values in self.values() for number in values))


def run(claim):
    """The command of a row."""
    row = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    app.run(lambda _: print(f"\n{measured(claim, row)}"))


def measured(claim, row):
    """Makes the runs that are missing, then table and picture; returns the table."""
    folder = os.path.join(F.output, row)
    os.makedirs(folder, exist_ok=True)
    settings = {"backend": keras.backend.backend(), **_settings()}
    for seed in range(F.seeds):  # seed by seed, so that a row that was stopped can be compared already
        for variant in F.only or claim.variants:
            path = os.path.join(folder, f"{variant}-{seed}.json")
            if os.path.exists(path):
                _check(path, settings)
                continue
            keras.utils.set_random_seed(seed)
            wall, cpu = time.time(), time.process_time()
            numbers = {name: float(value) for name, value in claim.variants[variant](seed).items()}
            cost = {"seconds": time.time() - wall, "cpu_seconds": time.process_time() - cpu}
            result = {"numbers": numbers, **cost, "made": made_on(), "settings": settings}
            write(path, json.dumps(result, indent=1, ensure_ascii=False))
            shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            print(f"{variant}, seed {seed}: {shown} ({cost['cpu_seconds']:.0f} CPU s)", flush=True)
    results = _results(claim, folder)
    summary = _summary(results)
    table = _table(claim, row, summary, settings, [result["made"] for result in results.values()])
    write(os.path.join(F.output, f"{row}.md"), table)
    _picture(claim, summary).savefig(os.path.join(F.output, f"{row}.png"))
    write(os.path.join(F.output, "README.md"), _all_tables())
    return table


def _settings():
    """Flags that decide the numbers: those of the claims' own files."""
    own = {os.path.abspath(path) for path in (sys.argv[0], *(os.path.join(HERE, name) for name in os.listdir(HERE)))}
    settings = {}
    for module, defined in F.flags_by_module_dict().items():
        file = getattr(sys.modules.get(module), "__file__", None) or module
        if os.path.abspath(file) in own:
            settings |= {flag.name: flag.value for flag in defined if flag.name not in NOT_SETTINGS}
    return settings


def _check(path, settings):
    with open(path, encoding="utf-8") as file:
        made = json.load(file)["settings"]
    differing = {name: (made.get(name), value) for name, value in settings.items() if made.get(name) != value}
    if differing:
        raise app.UsageError(f"{path} was made with other settings, {differing}; take another --output or remove it")


def _results(claim, folder):
    """What the files hold, by (variant, seed)."""
    results = {}
    for variant in claim.variants:
        for seed in range(F.seeds):
            path = os.path.join(folder, f"{variant}-{seed}.json")
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    results[variant, seed] = json.load(file)
    return results


def _summary(results):
    summary = Summary()
    for (variant, _), result in results.items():
        for name, value in result["numbers"].items():
            summary.setdefault(variant, {}).setdefault(name, []).append(value)
    return summary


def _table(claim, row, summary, settings, made):
    numbers = summary.numbers()
    lines = [f"Claim ({claim.url}): {claim.text}", "", f"Holds here if: {claim.criterion}", ""]
    lines += [f"| | {' | '.join(numbers)} | seeds |", "| --- |" + " ---: |" * (len(numbers) + 1)]
    for variant, values in summary.items():
        cells = [
            f"{summary.mean(variant, n):.4g} ± {summary.std(variant, n):.2g}" if n in values else "" for n in numbers
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} | {max(map(len, values.values()))} |")
    fewest = min((len(runs) for values in summary.values() for runs in values.values()), default=0)
    missing = set(claim.variants) - set(summary)
    if missing or fewest < SEEDS:
        verdict = f"not yet known, {f'{sorted(missing)} missing' if missing else f'{fewest} of {SEEDS} seeds'}"
    else:
        verdict = "yes" if claim.holds(summary) else "no"
    if claim.says and not missing:
        lines += ["", claim.says(summary)]
    shown = {name: ",".join(value) if isinstance(value, list) else value for name, value in settings.items()}
    flags_text = " ".join(f"--{name}={value}" for name, value in shown.items() if name != "backend")
    command = (
        f"KERAS_BACKEND={settings['backend']} python benchmarks/claims/{row}.py --seeds={F.seeds} {flags_text} ..."
    )
    machines = sorted({f"{one['cores']} × {one['processor']}, {one['date']}" for one in made})
    heading = [f"## {row}: {verdict}", ""]
    return "\n".join(
        [*heading, *lines, "", f"**Holds here: {verdict}.** {'; '.join(machines)}:", "", f"    {command}", ""]
    )


def _all_tables():
    """The page of all rows that have a table, in the order of their names."""
    rows = sorted(name[:-3] for name in os.listdir(F.output) if name.endswith(".md") and name != "README.md")
    sections = ["# Claims of the lineage's posts, and whether they hold here\n"]
    for row in rows:
        with open(os.path.join(F.output, f"{row}.md"), encoding="utf-8") as file:
            sections.append(f"{file.read()}\n![{row}]({row}.png)\n")
    return "\n".join(sections)


def _picture(claim, summary):
    """Every seed as a dot, means as lines or bars."""
    numbers = [n for n in summary.numbers() if claim.pictured is None or n in claim.pictured]
    figure = Figure(figsize=(6.4 if claim.x else 1.6 + 1.9 * len(numbers), 3.8), dpi=150, layout="constrained")
    if claim.x:
        axes = figure.subplots()
        for colour, variant in zip(itertools.cycle(COLOURS), summary):
            places = [float(n) for n in numbers]
            means, spread = ([f(variant, n) for n in numbers] for f in (summary.mean, summary.std))
            axes.errorbar(places, means, spread, color=colour, marker="o", capsize=3, label=variant)
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set(xlabel=claim.x, ylabel=claim.unit)
        panels = [axes]
    else:
        panels = np.atleast_1d(figure.subplots(1, len(numbers)))
        for axes, number in zip(panels, numbers):
            for place, (colour, (variant, values)) in enumerate(zip(itertools.cycle(COLOURS), summary.items())):
                seeds = values.get(number, [])
                axes.plot([place] * len(seeds), seeds, "o", color=colour, alpha=0.6, markersize=5)
                if seeds:
                    mean = summary.mean(variant, number)
                    label = variant if axes is panels[0] else None
                    axes.plot([place - 0.3, place + 0.3], [mean, mean], color=colour, linewidth=2.5, label=label)
            axes.set(title=number, xticks=[], xlim=(-0.6, len(summary) - 0.4))
            axes.set_yscale("log" if claim.log else "linear")
        panels[0].set_ylabel(claim.unit)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E5E5", linewidth=0.7, axis="y")
        axes.tick_params(labelsize=9)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
