"""Classifier on single texts and on pairs: names, probabilities, whole-set metrics, labels that teach."""

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss
from support.arrays import assert_close
from support.tiny_models import PAIRS, TEXTS, backbone, scatter_weights

import zoo

NAMES = ["weather", "school", "rest"]
RECORDS = [(text, i % 3) for i, text in enumerate(TEXTS[:7])]


@pytest.fixture(scope="module")
def model():
    model = zoo.TextClassifier(backbone(), 3, dropout=0.0, max_length=16, class_names=NAMES)
    return scatter_weights(model)


def test_probabilities_are_the_softmax_of_the_head(model):
    probabilities = model.predict(TEXTS[:7])
    tokens = model.tokenizer([*TEXTS[:7], TEXTS[6]], pad_to=16)
    logits = np.asarray(model.predict_on_batch(tokens), "float64")[:7]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_close(probabilities, expected, atol=1e-6)
    order = [3, 0, 6, 2, 1, 5, 4]
    assert_close(model.predict([TEXTS[i] for i in order]), probabilities[order], atol=1e-6)


def test_classes_by_name_or_number(model):
    best = model.predict(TEXTS[:7]).argmax(axis=1)
    assert model.classify(TEXTS[:7]) == [NAMES[i] for i in best]
    model.class_names, names = None, model.class_names
    assert model.classify(RECORDS).tolist() == best.tolist()
    model.class_names = names


def test_evaluate_equals_scikit_learn(model):
    labels, probabilities = [label for _, label in RECORDS], model.predict(RECORDS).astype("float64")
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    result = model.evaluate(RECORDS)
    best = probabilities.argmax(axis=1)
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, best))
    assert result["macro_f1"] == pytest.approx(f1_score(labels, best, average="macro"))
    assert result["cross_entropy"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    as_floats = [(text, float(label)) for text, label in RECORDS]
    assert model.evaluate(as_floats) == result


def test_pairs_are_packed_into_one_row(model):
    """(text, label) and (text_a, text_b) are both two values; the second one's type tells."""
    pairs = [pair[:2] for pair in PAIRS]
    probabilities = model.predict(pairs)
    assert_close(model.predict(PAIRS), probabilities, atol=1e-6)
    tokens = model.tokenizer(
        [a for a, _ in pairs], [b for _, b in pairs], pad_to=16, max_length=16, segment_ids="zeros"
    )
    logits = np.asarray(model.predict_on_batch({k: np.concatenate([x, x[-1:]]) for k, x in tokens.items()}), "float64")[
        :7
    ]
    assert_close(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6)
    assert np.abs(probabilities - model.predict([a for a, _ in pairs])).max() > 1e-3


def test_learns_and_validates(model):
    start = model.get_weights()
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(RECORDS, batch_size=8, epochs=25, validation_data=RECORDS, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_accuracy"][-1] == model.evaluate(RECORDS)["accuracy"] == 1.0
    assert model.classify([RECORDS[1][0]]) == ["school"]
    model.set_weights(start)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([("a", 3)], r"labels \[3"),
        ([("a", 0.5)], r"labels \[0.5\]"),
        ([("a", "b")], "trained on labelled records"),
        (["a"], "trained on labelled records"),
        ([("a", 1), ("b", None)], r"texts\[1\]\[1\]"),
        ([("a", 1), (None, 1)], r"texts\[1\]\[0\] is None"),
    ],
)
def test_labels_that_are_no_classes(model, records, words):
    with pytest.raises((ValueError, TypeError), match=words):
        model.fit(records)


def test_logits_that_are_not_finite_are_no_class():
    """argmax of a row of NaN is 0, the first class."""
    model = zoo.TextClassifier(backbone(), 3, dropout=0.0, max_length=16, class_names=NAMES)
    model.classifier.bias.assign([0.0, np.nan, 0.0])
    for call in (model.classify, model.predict, model.evaluate):
        with pytest.raises(
            zoo.callbacks.NonFiniteError, match=r"TextClassifier's output for records\[0\].* 7 of 7 are"
        ):
            call(RECORDS)


def test_validation_records_are_checked_before_training(model):
    before = model.get_weights()
    with pytest.raises(ValueError, match="validation_data is empty"):
        model.fit(RECORDS, validation_data=[])
    with pytest.raises(ValueError, match=r"validation_data: labels \[7\]"):
        model.fit(RECORDS, validation_data=[("a", 7)])
    with pytest.raises(TypeError, match=r"validation_data: texts\[0\]\[0\] is None"):
        model.fit(RECORDS, validation_data=[(None, 1)])
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_classes_in_another_order_are_refused(model):
    texts = zoo.data.Texts(["a", "b"], np.array([0, 1]), class_names=("school", "weather"))
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"classes school, weather, .*label=\['weather', 'school', 'rest'\]"):
            call(texts)
    assert "accuracy" in model.evaluate(zoo.data.Texts(texts.text, texts.labels, class_names=("weather", "school")))


def test_evaluate_checks_labels_too(model):
    with pytest.raises(ValueError, match=r"labels \[7\]"):
        model.evaluate([("a", 7)])
    with pytest.raises(ValueError, match="labelled"):
        model.evaluate(["a"])


def test_names_and_classes_must_agree():
    with pytest.raises(ValueError, match="2 class_names for num_classes=3"):
        zoo.TextClassifier(backbone(), 3, class_names=["a", "b"])
