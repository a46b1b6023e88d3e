"""Verbs asked from several threads at once give what one thread gets alone, the very first call included."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import PAIRS, backbone, matcher, scatter_weights, tokenizer

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


def test_verbs_of_a_matcher_and_a_classifier():
    texts = [text for pair in PAIRS for text in pair[:2]]
    ask = lambda model: lambda text: model.encode([text], verbose=0)
    pair = lambda model: lambda pair: model.score([pair[:2]], verbose=0)
    label = lambda model: lambda text: model.predict([text], verbose=0)
    classifier = lambda: zoo.TextClassifier(backbone(), num_classes=3, tokenizer=tokenizer())
    for make, verb, items in ((matcher, ask, texts), (matcher, pair, PAIRS), (classifier, label, texts)):
        alone = make()
        model = make()
        model.set_weights(alone.get_weights())
        wanted = list(map(verb(alone), items))
        for got, one in zip(in_threads(verb(model), items), wanted, strict=True):
            np.testing.assert_array_equal(got, one)


def serve(model, stop, errors):
    while not stop.is_set():
        try:
            model.encode(["t1 t2"], verbose=0)
        except RuntimeError as error:
            errors.append(str(error))


def test_training_goes_on_while_others_ask():
    """They get an answer, or under JAX one clear error, and the training is what it is without them."""
    trained = []
    for asked in (False, True):
        keras.utils.set_random_seed(3)
        model = matcher()
        model.encode(["t1"], verbose=0)
        stop, errors = threading.Event(), []
        server = threading.Thread(target=serve, args=(model, stop, errors))
        if asked:
            server.start()
        try:
            model.fit(PAIRS, epochs=3, batch_size=2, verbose=0)
        finally:
            stop.set()
            if asked:
                server.join()
        assert all("is being trained" in error for error in errors)
        trained.append(model.get_weights())
    for alone, served in zip(*trained, strict=True):
        assert_close(served, alone, atol=1e-6)
