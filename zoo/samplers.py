"""How generation chooses the next token: greedy, beam search, top-k and top-p sampling with a temperature.

A sampler is a small option; its `search` holds what is going on in one call of `generate`. All of it is NumPy in float64,
so that the same logits and seed give the same tokens on every backend.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from zoo.backend.arguments import PlainNumbers


class Sampler(PlainNumbers):
    """A rule that takes one token for each row of logits."""

    beams = 1

    def choose(self, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Token ids int64 `[B]` for logits float64 `[B, V]`."""
        raise NotImplementedError(f"{type(self).__name__}.choose")

    def search(self, batch: int, end: Collection[int], max_new_tokens: int, rng: np.random.Generator) -> Any:
        """The course of one generation.

        Args:
            batch: int, B. end: collection of token ids, each of which ends a row. max_new_tokens: int.
            rng: `np.random.Generator`.

        Returns:
            object with `advance(logits [B * beams, V]) -> (token ids [B * beams], parents [B * beams] or None)`,
            `done` (bool) and `results()` (list of B lists of int, without the end).
        """
        return _Rows(self, batch, end, rng)


class Greedy(Sampler):
    """The likeliest token; of equal ones the first."""

    def choose(self, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return logits.argmax(axis=-1)


class TopK(Sampler):
    """Sampling from the k likeliest tokens (Fan et al., arXiv 1805.04833).

    Args:
        k: int >= 1.
        temperature: float > 0, divides the logits.
    """

    def __init__(self, k: int, temperature: float = 1.0) -> None:
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"TopK: k={k!r}; expected a whole number of at least 1")
        self.k, self.temperature = k, _checked_temperature("TopK", temperature)

    def choose(self, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        order, odds = _sorted_odds(logits, self.temperature)
        odds[:, self.k :] = 0
        return _draw(order, odds, rng)


class TopP(Sampler):
    """Sampling from the fewest tokens that hold probability p (nucleus; Holtzman et al., arXiv 1904.09751).

    `TopP(1.0, temperature)` samples from all tokens.

    Args:
        p: float in (0, 1].
        temperature: float > 0, divides the logits.
    """

    def __init__(self, p: float, temperature: float = 1.0) -> None:
        if not 0 < p <= 1:
            raise ValueError(f"TopP: p={p!r}; expected a number above 0 and at most 1")
        self.p, self.temperature = p, _checked_temperature("TopP", temperature)

    def choose(self, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        order, odds = _sorted_odds(logits, self.temperature)
        before = np.cumsum(odds, axis=-1) - odds  # what the likelier tokens hold
        odds[before >= self.p * odds.sum(axis=-1, keepdims=True)] = 0
        return _draw(order, odds, rng)


class Beam(Sampler):
    """Beam search: the likeliest of the sequences that grow from the `width` best at each step.

    Args:
        width: int >= 1.
        length_penalty: float >= 0, a; sequences compare by ln p / length^a, the end counted. 0 compares probabilities,
            1 their geometric means.
    """

    def __init__(self, width: int, length_penalty: float = 0.0) -> None:
        if not isinstance(width, int) or width < 1 or not length_penalty >= 0:
            raise ValueError(
                f"Beam: width={width!r}, length_penalty={length_penalty!r}; expected a whole number >= 1, a number >= 0"
            )
        self.beams, self.length_penalty = width, length_penalty

    def search(self, batch: int, end: Collection[int], max_new_tokens: int, rng: np.random.Generator) -> Any:
        return _Beams(self.beams, self.length_penalty, batch, end, max_new_tokens)


class _Rows:
    """Rows that go on independently until each has its end."""

    def __init__(self, sampler: Sampler, batch: int, end: Collection[int], rng: np.random.Generator) -> None:
        self.sampler, self.end, self.rng = sampler, frozenset(end), rng
        self.ids, self.ended = [[] for _ in range(batch)], np.zeros(batch, "bool")

    @property
    def done(self) -> bool:
        return bool(self.ended.all())

    def advance(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        chosen = self.sampler.choose(np.asarray(logits, "float64"), self.rng)
        for row in np.flatnonzero(~self.ended):
            if int(chosen[row]) in self.end:
                self.ended[row] = True
            else:
                self.ids[row].append(int(chosen[row]))
        return chosen, None

    def results(self) -> list[list[int]]:
        return self.ids


class _Beams:
    """The live and the ended sequences of every row."""

    def __init__(self, width: int, penalty: float, batch: int, end: Collection[int], max_new_tokens: int) -> None:
        self.width, self.penalty, self.end, self.longest = width, penalty, frozenset(end), max_new_tokens
        self.live = [[(0.0, [])] for _ in range(batch)]  # (ln p, ids), best first
        self.ended = [[] for _ in range(batch)]  # (ln p / length^a, ids)

    def value(self, log_probability: float, length: int) -> float:
        return log_probability / length**self.penalty

    @property
    def done(self) -> bool:
        return all(map(self._settled, self.live, self.ended))

    def _settled(self, live: list, ended: list) -> bool:
        """Whether nothing that is live can still overtake: ln p only falls, and counts least at full length."""
        if not live:
            return True
        return bool(ended) and max(ended)[0] >= self.value(live[0][0], self.longest)

    def advance(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        logits = np.asarray(logits, "float64")
        log_odds = logits - logits.max(axis=-1, keepdims=True)
        log_odds -= np.log(np.exp(log_odds).sum(axis=-1, keepdims=True))
        log_odds = log_odds.reshape(len(self.live), self.width, -1)
        tokens = np.zeros((len(self.live), self.width), "int64")
        parents = np.tile(np.arange(self.width), (len(self.live), 1))
        for row, live in enumerate(self.live):
            if self._settled(live, self.ended[row]):
                continue
            totals = np.array([score for score, _ in live])[:, None] + log_odds[row, : len(live)]
            self.live[row] = []
            # each live sequence has at most one candidate for each end, which take no place among the live
            for candidate in _largest(totals.ravel(), self.width + len(live) * len(self.end)):
                parent, token = divmod(int(candidate), totals.shape[1])
                total, ids = totals[parent, token], live[parent][1]
                if token in self.end:
                    self.ended[row].append((self.value(total, len(ids) + 1), ids))
                elif len(self.live[row]) < self.width:
                    place = len(self.live[row])
                    tokens[row, place], parents[row, place] = token, parent
                    self.live[row].append((total, [*ids, token]))
        return tokens.ravel(), (parents + np.arange(len(self.live))[:, None] * self.width).ravel()

    def results(self) -> list[list[int]]:
        best = []
        for live, ended in zip(self.live, self.ended):
            candidates = [*ended, *((self.value(score, len(ids)), ids) for score, ids in live if ids)]
            best.append(max(candidates, key=lambda candidate: candidate[0])[1])
        return best


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest values, best first, ties by place."""
    return np.argsort(-values, kind="stable")[:count]


def _sorted_odds(logits: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Token ids by falling logit, and exp(logit / temperature) up to a factor, both `[B, V]`."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    logits = np.take_along_axis(logits, order, axis=-1) / temperature
    return order, np.exp(logits - logits[:, :1])


def _draw(order: np.ndarray, odds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One token of each row with probabilities proportional to the odds."""
    sums = np.cumsum(odds, axis=-1)
    draws = rng.random(len(odds)) * sums[:, -1]
    places = (sums > draws[:, None]).argmax(axis=-1)
    return order[np.arange(len(order)), places]


def _checked_temperature(name: str, temperature: float) -> float:
    if not temperature > 0:
        raise ValueError(f"{name}: temperature={temperature!r}; expected a number above 0 (Greedy() is the limit)")
    return temperature
