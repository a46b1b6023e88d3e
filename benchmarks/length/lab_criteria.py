"""What the posts rank, fixed before the lab ran, and whether our numbers stand in the same order.

A ranking is a list of terms, best first. We agree where each mean of ours (over the seeds that have all terms) is
better than the one behind it; equals agree only where the claim is ">=" or "not above". Numbers are accuracies of the
next token over all tokens of text that is not repeated, at 8 times the training length, if a term does not say
otherwise. Where we disagree, three seeds say so. A short row shows its tokens less of what came before than a long one,
so that a longer row alone lowers the loss: a window of the training length, which extrapolates nothing, is the control.
"""

from dataclasses import dataclass

import numpy as np
from lab_model import cell_name
from lab_variants import AFTER, LOG_N, READINGS

SEEDS = 3
BEYOND = (2, 4, 8, 16)  # times the training length
POSTS = {reading.name: reading.post for reading in READINGS if reading.post}


@dataclass(frozen=True)
class Term:
    """A reading's mean over some lengths.

    Args:
        reading: str. times: tuple of int, the lengths in training lengths. repeated: bool, the text.
    """

    reading: str
    times: tuple = (8,)
    repeated: bool = False

    def values(self, results, length, metric):
        """Seed -> number, of the seeds that have all lengths."""
        names = [cell_name(times * length, self.repeated) for times in self.times]
        seeds = results.get(self.reading, {})
        whole = {seed: made for seed, made in seeds.items() if all(name in made for name in names)}
        return {seed: float(np.mean([made[name][metric] for name in names])) for seed, made in whole.items()}

    def __str__(self):
        where = "mean beyond 1×" if self.times == BEYOND else f"{self.times[0]}×"
        return f"{self.reading} ({where}{', repeated' if self.repeated else ''})"

    def post(self):
        """The post's number for it, or None."""
        numbers = POSTS.get(self.reading)
        if numbers is None or self.times not in ((1,), (8,)):
            return None
        return numbers[0 if self.times == (1,) else 1 if self.repeated else 2]


@dataclass(frozen=True)
class Ranking:
    """A row of the table of rankings.

    Args:
        claim: str. url: str, of the post.
        terms: tuple of `Term` or names of readings, best first.
        metric: "accuracy" or "loss"; of losses the lower is better.
        numbers: tuple of the post's numbers where they are not those of `READINGS`, or None.
        ties: bool, whether equals agree.
    """

    claim: str
    url: str
    terms: tuple
    metric: str = "accuracy"
    numbers: tuple | None = None
    ties: bool = False

    def ranked(self):
        return [Term(term) if isinstance(term, str) else term for term in self.terms]

    def posts(self):
        """The post's numbers, best first; None where it gives none."""
        return list(self.numbers) if self.numbers else [term.post() for term in self.ranked()]

    def ours(self, results, length):
        """(values `[seeds, terms]`, best of the post first) or None where no seed has all."""
        found = [term.values(results, length, self.metric) for term in self.ranked()]
        seeds = sorted(set.intersection(*(set(values) for values in found)))
        return np.array([[values[seed] for values in found] for seed in seeds]) if seeds else None

    def in_order(self, numbers):
        """Whether numbers, best of the post first, stand in its order."""
        gains = np.diff(numbers) * (1 if self.metric == "loss" else -1)
        return bool(np.all(gains >= 0 if self.ties else gains > 0))

    def verdict(self, results, length):
        """ "yes" or "no" by the means, with the seeds that say so; or "not measured"."""
        values = self.ours(results, length)
        if values is None:
            return "not measured"
        if not self.in_order(values.mean(axis=0)) and len(values) < SEEDS:
            return f"no ({len(values)} of {SEEDS} seeds run)"
        agreeing = sum(map(self.in_order, values))
        return f"{'yes' if self.in_order(values.mean(axis=0)) else 'no'} ({agreeing} of {len(values)} seeds agree)"

    def smallest_gap(self, results, length):
        """How far apart our means are at least, of neighbours in the post's ranking; None where not measured."""
        values = self.ours(results, length)
        return None if values is None else float(np.abs(np.diff(values.mean(axis=0))).min())


def _log_n(stem, *kinds):
    """The scale against none, on one way of reading."""
    return Ranking(f"log-n helps {stem}", "archives/9706", tuple(stem + kind for kind in kinds) + (stem,))


RANKINGS = (
    # The bars of the lab
    *(
        Ranking(
            f"longer context, lower loss: {name} at 8× not above itself at 1×",
            "archives/9708",
            (Term(name), Term(name, (1,))),
            "loss",
            # LLaMA-2 13B at 4 times its training length, window N/4; of the small model the post has no losses
            numbers=(1.4001, 1.4996) if name == "ReRoPE N/4" + AFTER else (None, None),
            ties=True,
        )
        for stem in ("ReRoPE N/2", "ReRoPE N/4")
        for name in (stem, stem + LOG_N, stem + AFTER)
    ),
    *(
        Ranking(
            f"ReRoPE uses what a window does not show: {name} below a window of N, loss at 8×",
            "archives/9708",
            (name, control),
            "loss",
            numbers=(None, None),
        )
        for name, control in (("ReRoPE N/2", "window N"), ("ReRoPE N/2" + LOG_N, "window N" + LOG_N))
    ),
    Ranking("frequencies: mixed >= fixed >= PI", "archives/9706", ("NTK-mixed", "NTK-fixed", "PI"), ties=True),
    Ranking(
        "log-n is better than none, beyond the training length",
        "archives/8823",
        (Term("baseline" + LOG_N, BEYOND), Term("baseline", BEYOND)),
    ),
    # The rest of the posts' tables
    _log_n("baseline", LOG_N),
    _log_n("NTK-old", LOG_N),
    _log_n("NTK-fixed", LOG_N, AFTER),
    _log_n("NTK-mixed", LOG_N, AFTER),
    Ranking(
        "log-n helps ReRoPE",
        "archives/9708",
        ("ReRoPE N/2" + LOG_N, "ReRoPE N/2" + AFTER, "ReRoPE N/2"),
    ),
    Ranking(
        "frequencies of the baseline, the whole order",
        "archives/9706",
        ("NTK-mixed", "NTK-fixed", "NTK-old", "baseline", "PI"),
    ),
    Ranking("the same, log-n after the training", "archives/9706", ("NTK-mixed" + AFTER, "NTK-fixed" + AFTER)),
    Ranking(
        "the same, log-n trained",
        "archives/9706",
        ("NTK-mixed" + LOG_N, "NTK-fixed" + LOG_N, "NTK-old" + LOG_N, "baseline" + LOG_N),
    ),
    Ranking("ReRoPE is above the frequency scalings", "archives/9708", ("ReRoPE N/2", "NTK-mixed", "baseline")),
    Ranking(
        "ReRoPE is above the frequency scalings, repeated text",
        "archives/9708",
        tuple(Term(name, repeated=True) for name in ("ReRoPE N/2", "NTK-mixed", "NTK-fixed", "baseline", "PI")),
    ),
    Ranking("ReRoPE's window: N/2 above N/4", "archives/9708", ("ReRoPE N/2" + LOG_N, "ReRoPE N/4" + LOG_N)),
    Ranking(
        "Leaky: a large k above ReRoPE, that above a small k",
        "archives/9708",
        ("Leaky N/4, k=16" + LOG_N, "ReRoPE N/4" + LOG_N, "Leaky N/4, k=8" + LOG_N),
    ),
    Ranking("a window of N at test time above none", "archives/9431", ("window N", "baseline"), numbers=(None, None)),
    *(
        Ranking(
            f"bias of query and key extrapolates, {times}×",
            "archives/9577",
            (Term("bias", (times,)), Term("baseline", (times,))),
            numbers=numbers,
        )
        for times, numbers in ((2, (50.99, 33.15)), (4, (45.25, 22.85)), (8, (39.55, 17.87)))
    ),
    Ranking("key norm extrapolates", "archives/9859", ("key norm", "key norm" + LOG_N, "baseline")),
    Ranking(
        "key norm extrapolates, repeated text",
        "archives/9859",
        tuple(Term(name, repeated=True) for name in ("key norm" + LOG_N, "key norm", "baseline")),
    ),
    Ranking("HWFA extrapolates", "archives/9603", ("HWFA", "baseline")),
    Ranking("HWFA costs a little at 1×", "archives/9603", (Term("baseline", (1,)), Term("HWFA", (1,)))),
    Ranking("HWFA2 above HWFA", "archives/9731", ("HWFA2, ReRoPE N/2", "HWFA")),
    Ranking(
        "HWFA2 costs nothing at 1×",
        "archives/9731",
        (Term("HWFA2", (1,)), Term("baseline", (1,))),
    ),
)


def order_of(results, length):
    """Readings that the posts give a number for at 8×, with that number and our mean, by the posts' order."""
    rows = []
    for name in POSTS:
        values = Term(name).values(results, length, "accuracy")
        post = Term(name).post()
        if values and post is not None:
            rows.append((name, post, float(np.mean(list(values.values())))))
    return sorted(rows, key=lambda row: -row[1])


def pairs_in_order(rows, name):
    """(agreeing, all) pairs of this reading with another, in the posts' order and ours."""
    post, ours = next((post, ours) for other, post, ours in rows if other == name)
    others = [(p, o) for other, p, o in rows if other != name]
    return sum((post - p) * (ours - o) > 0 for p, o in others), len(others)
