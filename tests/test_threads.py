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


SHARED = [one for pair in PAIRS for one in pair[:2]]
ROWS = [(text, index % 3) for index, text in enumerate(SHARED)]
IDS = np.array([[2, 10, 3, 0], [2, 7, 9, 3], [4, 5, 6, 3]], "int32")


def over(kind):
    """A task of a kind, always with the same weights, and every verb of it as functions of the task and a number."""
    base = lambda **options: backbone(**options)
    text = lambda number: [SHARED[number % len(SHARED)]]
    bare = lambda number: [PAIRS[number % len(PAIRS)][:2]]
    ids = lambda number: {"token_ids": np.roll(IDS, number, axis=0)}
    if kind == "representation":
        model = zoo.RepresentationMatcher(base(), num_classes=2, decision=0.5, max_length=16)
        verbs = [
            lambda m, n: m.encode(text(n), verbose=0),
            lambda m, n: m.score(bare(n), verbose=0),
            lambda m, n: m.classify(bare(n), verbose=0),
            lambda m, n: m.predict(bare(n), verbose=0),
            lambda m, n: m.class_probabilities(bare(n), verbose=0),
            lambda m, n: m.evaluate(PAIRS[n % 3 :], verbose=0),
            lambda m, n: m.predict({"token_ids": IDS[:, None], "padding_mask": IDS[:, None] != 0}, verbose=0),
        ]
    elif kind == "interaction":
        model = zoo.InteractionMatcher(base(), decision=0.0, max_length=16)
        verbs = [
            lambda m, n: m.score(bare(n), verbose=0),
            lambda m, n: m.classify(bare(n), verbose=0),
            lambda m, n: m.predict(bare(n), verbose=0),
            lambda m, n: m.evaluate(PAIRS[n % 3 :], verbose=0),
        ]
    elif kind == "classifier":
        model = zoo.TextClassifier(base(), num_classes=3, max_length=16)
        verbs = [
            lambda m, n: m.predict(text(n), verbose=0),
            lambda m, n: m.classify(text(n), verbose=0),
            lambda m, n: m.evaluate(ROWS[n % 5 :], verbose=0),
            lambda m, n: m.predict_on_batch({"token_ids": IDS, "padding_mask": IDS != 0}),
        ]
    elif kind == "multi":
        shared = base()
        tasks = {"match": zoo.RepresentationMatcher(shared, decision=0.5), "topic": zoo.TextClassifier(shared, 3)}
        model = zoo.MultiTask(tasks)
        verbs = [
            lambda m, n: m.predict({"match": bare(n), "topic": text(n)}, verbose=0),
            lambda m, n: m.evaluate({"match": PAIRS[n % 3 :], "topic": ROWS[n % 5 :]}, verbose=0),
            lambda m, n: m.tasks["match"].encode(text(n), verbose=0),
            lambda m, n: m.tasks["topic"].classify(text(n), verbose=0),
        ]
    elif kind == "masked":
        model = zoo.MaskedLM(base())
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        verbs = [
            lambda m, n: m.predict(ids(n), verbose=0),
            lambda m, n: m.predict_on_batch(ids(n)),
            lambda m, n: m.evaluate(ids(n), ids(n)["token_ids"], verbose=0),
            lambda m, n: keras.ops.convert_to_numpy(m(ids(n))),
            lambda m, n: m.backbone.predict(ids(n), verbose=0),
        ]
    else:
        model = zoo.CausalLM(base(attention_mask=kind))
        record = (lambda n: bare(n)) if kind == "unilm" else text
        verbs = [
            lambda m, n: m.generate(text(n), 3, end=()),
            lambda m, n: m.generate(text(n), 3, TopK(20), end=(), seed=n),
            lambda m, n: m.evaluate(record(n), verbose=0),
            lambda m, n: m.predict(ids(n), verbose=0),
        ]
    return scatter_weights(model), verbs


def check_requests(kind, count):
    (model, verbs), (alone, _) = over(kind), over(kind)
    ask = lambda model, number: verbs[number % len(verbs)](model, number)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: ask(model, number), range(count)))
    for number, got in enumerate(found):
        np.testing.assert_equal(got, ask(alone, number), err_msg=f"{kind}, verb {number % len(verbs)}")


KINDS = ["representation", "interaction", "classifier", "multi", "masked", "causal", "unilm"]


@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_every_verb_from_eight_threads(kind):
    """The first calls too, when nothing is compiled yet; bit by bit what one thread gets."""
    check_requests(kind, 24)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_requests_of_every_verb_from_eight_threads(kind):
    check_requests(kind, 200)


def serve(ask, model, stop, errors):
    while not stop.is_set():
        try:
            ask(model)
        except RuntimeError as error:
            errors.append(str(error))


@pytest.mark.parametrize(
    ("make", "ask", "data"),
    [
        (matcher, lambda model: model.encode(["t1 t2"], verbose=0), {"x": PAIRS}),
        (
            lambda: over("masked")[0],
            lambda model: model.predict({"token_ids": IDS}, verbose=0),
            {"x": {"token_ids": IDS}, "y": IDS, "shuffle": False},  # torch shuffles by numbers that predict draws too
        ),
    ],
    ids=["encode", "Keras' predict"],
)
def test_training_goes_on_while_others_ask(make, ask, data):
    """They get an answer, or under JAX one clear error, and the training is what it is without them."""
    trained = []
    for asked in (False, True):
        keras.utils.set_random_seed(3)
        model = make()
        ask(model)
        stop, errors = threading.Event(), []
        server = threading.Thread(target=serve, args=(ask, model, stop, errors))
        if asked:
            server.start()
        try:
            model.fit(**data, epochs=3, batch_size=2, verbose=0)
        finally:
            stop.set()
            if asked:
                server.join()
        assert all("is being trained" in error for error in errors)
        trained.append(model.get_weights())
    for alone, served in zip(*trained, strict=True):
        assert_close(served, alone, atol=1e-6)
