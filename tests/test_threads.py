"""Verbs asked from several threads at once give what one thread gets alone, the very first call included."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.tiny_models import backbone, scatter_weights

import zoo
from zoo.samplers import Beam, TopK

PROMPTS = [[2, 10, 11, 12], [2, 7], [2, 30, 31, 8, 9], [2, 5, 6]] * 2


def causal():
    return scatter_weights(zoo.CausalLM(backbone("GAUAlpha", attention_mask="causal")))


def in_threads(function, items):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, items))


@pytest.mark.parametrize("sampler", [TopK(20), Beam(2)], ids=["TopK", "Beam"])
def test_generate(sampler):
    model, alone = causal(), causal()
    ask = lambda model: lambda prompt: model.generate([prompt], 5, sampler, end=(), seed=1)
    wanted = list(map(ask(alone), PROMPTS))
    assert len({str(text) for text in wanted}) == 4, "the texts must differ for this to say anything"
    assert in_threads(ask(model), PROMPTS) == wanted


def test_evaluate_of_a_language_model():
    model, alone = causal(), causal()
    rows = [np.array([prompt[:2] * 3], "int32") for prompt in PROMPTS]
    assert in_threads(model.evaluate, rows) == list(map(alone.evaluate, rows))
