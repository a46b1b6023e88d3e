"""Samplers against closed forms, frequencies and exhaustive search."""

import itertools

import numpy as np
import pytest

from zoo.samplers import Beam, Greedy, TopK, TopP

pytestmark = pytest.mark.neutral

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
LOGITS = np.log(PROBABILITIES) + 3.0


def frequencies(sampler, draws=20_000):
    chosen = sampler.choose(np.tile(LOGITS, (draws, 1)), np.random.default_rng(4))
    return np.bincount(chosen, minlength=5) / draws


def test_greedy_takes_the_first_of_the_likeliest():
    assert Greedy().choose(np.array([[0.0, 2.0, 2.0], [5.0, 1.0, 5.0]]), None).tolist() == [1, 0]


@pytest.mark.parametrize(
    "sampler, kept, temperature",
    [
        (TopK(3), [1, 3, 4], 1.0),
        (TopK(99), [0, 1, 2, 3, 4], 1.0),
        (TopK(2, temperature=0.5), [1, 3], 0.5),
        (TopP(1.0, temperature=2.0), [0, 1, 2, 3, 4], 2.0),
        (TopP(0.65 - 1e-9), [1, 3], 1.0),  # 0.4 + 0.25 just reach it
        (TopP(0.66), [1, 3, 4], 1.0),
        (TopP(1e-9), [1], 1.0),
    ],
)
def test_draws_have_the_renormalised_probabilities(sampler, kept, temperature):
    expected = np.zeros(5)
    expected[kept] = PROBABILITIES[kept] ** (1 / temperature)
    expected /= expected.sum()
    found = frequencies(sampler)
    assert np.abs(found - expected).max() < 0.015  # four standard deviations of 20,000 draws
    assert (found[expected == 0] == 0).all()


def test_the_same_seed_draws_the_same():
    logits = np.random.default_rng(1).normal(size=(50, 9))
    draw = lambda seed: TopP(0.9).choose(logits.copy(), np.random.default_rng(seed)).tolist()
    assert draw(3) == draw(3) != draw(5)


def test_top_one_and_a_cold_temperature_are_greedy():
    logits = np.random.default_rng(2).normal(size=(40, 7))
    best = logits.argmax(axis=1).tolist()
    for sampler in (TopK(1), TopK(7, temperature=1e-3), TopP(1e-6)):
        assert sampler.choose(logits, np.random.default_rng(0)).tolist() == best


def test_rows_end_alone():
    search = Greedy().search(2, [0], 9, None)
    turns = [[[0.0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0]]]
    done = []
    for logits in turns:
        search.advance(np.array(logits, "float64"))
        done.append(search.done)
    assert search.results() == [[1], [2, 1]]
    assert done == [False, False, True]


def log_odds_after(ids, row):
    """A made-up language model of 4 tokens: log-probabilities of the next one after any sequence."""
    logits = np.random.default_rng([9, row, len(ids), *ids]).normal(0, 1.5, 4)
    return logits - np.log(np.exp(logits).sum())


def best_sequence(row, longest, penalty):
    """By trying all: token 0 ends a sequence, which is as long as with its end."""
    best = (-np.inf, None)
    for length in range(1, longest + 1):
        for ids in itertools.product(range(4), repeat=length):
            if 0 in ids[:-1] or (ids[-1] != 0 and length < longest):
                continue
            total = sum(log_odds_after(ids[:i], row)[token] for i, token in enumerate(ids))
            best = max(best, (total / length**penalty, [token for token in ids if token]), key=lambda one: one[0])
    return best[1]


def beam_search(width, rows, longest, penalty=0.0):
    search = Beam(width, penalty).search(rows, [0], longest, None)
    beams = [[] for _ in range(rows * width)]
    for _ in range(longest):
        logits = np.stack([log_odds_after(tuple(ids), index // width) for index, ids in enumerate(beams)]) + 1.5
        tokens, parents = search.advance(logits)
        beams = [[*beams[parent], int(token)] for token, parent in zip(tokens, parents)]
        if search.done:
            break
    return search.results()


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty):
    assert beam_search(27, 6, 4, penalty) == [best_sequence(row, 4, penalty) for row in range(6)]


def test_a_beam_of_one_is_greedy():
    search, ids = Greedy().search(6, [0], 5, None), [[] for _ in range(6)]
    while len(ids[0]) < 5:
        tokens, _ = search.advance(np.stack([log_odds_after(tuple(one), row) for row, one in enumerate(ids)]))
        ids = [[*one, int(token)] for one, token in zip(ids, tokens)]
    greedy, narrow = search.results(), beam_search(1, 6, 5)
    for row in range(6):  # an end that is not the likeliest token may still end the likelier sequence
        assert narrow[row] in (greedy[row], *(greedy[row][:length] for length in range(5)))
    assert len({tuple(one) for one in greedy}) > 1


@pytest.mark.parametrize(
    "make",
    [lambda: TopK(0), lambda: TopK(2.5), lambda: TopP(0), lambda: TopP(1.1), lambda: TopP(0.5, 0), lambda: Beam(0)],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
