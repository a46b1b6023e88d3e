"""The recurrence of examples/constant_memory_generation.py: the model's own numbers, what they cost in time and memory."""

from math import comb

import numpy as np
import pytest
from absl import flags
from support.arrays import assert_close, randomise, to_numpy
from support.examples import imported_example

IDS = np.array([2, 7, 9, 11, 5, 5, 8, 120, 3])


@pytest.fixture(scope="module")
def example():
    with imported_example("constant_memory_generation") as module:
        yield module


@pytest.fixture(scope="module")
def model(example):
    """Three layers whose weights are large enough for attention to matter."""
    model = example.fresh(3, 16)
    randomise(model, spread=0.5)
    return model


@pytest.mark.parametrize("cached", [False, True])
def test_states_are_those_of_the_model(example, model, cached):
    recurrence = example.Recurrence(model)
    expected = to_numpy(model.backbone({"token_ids": IDS[None]}))[0]
    kept = {} if cached else None
    states = [recurrence.state(IDS, place, 3, kept) for place in range(len(IDS))]
    assert_close(np.stack(states), expected, atol=2e-4)
    if not cached:
        alone = recurrence.state(IDS[-1:], 0, 3, None)
        assert np.abs(states[-1] - alone).max() > 0.1  # what stands before a token matters


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_reads_grow_with_the_power_of_the_layers(example, layers):
    """C(t + L − 1, L), the number of non-decreasing paths down to the embeddings; one a token with a cache."""
    for length in (1, 4, 9):
        recurrence = example.Recurrence(example.fresh(layers, 16))
        recurrence.next_token(IDS[:length])
        assert recurrence.reads == comb(length + layers - 1, layers)
        recurrence.reads, kept = 0, {}
        for t in range(1, length + 1):
            recurrence.next_token(IDS[:t], kept)
        assert recurrence.reads == length and len(kept) == layers * length


def test_tokens_are_those_of_generate(example):
    model = example.fresh(2, 16)
    text = np.array(example.PROMPT + model.generate([example.PROMPT], 9, end=())[0])
    for cached in (False, True):
        tokens, _ = example.measured(example.Recurrence(model), text, [4, 7, 12], cached, memory=False)
        assert tokens.tolist() == text[[4, 7, 12]].tolist()


def test_memory_is_flat_without_a_cache(example):
    model = example.fresh(2, 16)
    text = np.arange(40) % 7
    peaks = {
        cached: example.measured(example.Recurrence(model), text, [6, 12, 24, 39], cached, memory=True)[1]
        for cached in (False, True)
    }
    assert np.ptp(peaks[False][1:]) < 0.1 * peaks[False][1]
    assert peaks[True][3] > 3 * peaks[True][0] > 3 * 6 * 2 * (32 + 8) * 8  # keys and values of 2 layers, in bytes


def test_draws(example, tmp_path, capsys):
    flags.FLAGS(["x", f"--output={tmp_path / 'x.png'}", "--longest=16,8", "--width=16"])
    example.main([])
    assert (tmp_path / "x.png").stat().st_size > 20_000
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and all("tokens as by generate" in line for line in lines)
    assert all(line.split(", ")[-1].split(" of ")[0] == line.split(" of ")[-1].split()[0] for line in lines)
