"""Losses and metrics of probabilities over logits are refused in `compile`, with the line that is meant."""

import functools

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, backbone, matcher

import zoo

L, M = keras.losses, keras.metrics


def interaction():
    return zoo.InteractionMatcher(backbone(), max_length=16)


def classifier(num_classes=3):
    return zoo.TextClassifier(backbone(), num_classes=num_classes, max_length=16)


def head_of_classes():
    return matcher(num_classes=2)


def masked_lm():
    return zoo.MaskedLM(backbone())


def causal_lm():
    return zoo.CausalLM(backbone(attention_mask="causal"))


def next_sentence():
    return zoo.NextSentence(backbone("BERT"))


CLASSES = [classifier, head_of_classes, masked_lm, causal_lm, next_sentence]


@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        "crossentropy",
        L.SparseCategoricalCrossentropy(),
        L.SparseCategoricalCrossentropy,
        L.sparse_categorical_crossentropy,
        functools.partial(L.sparse_categorical_crossentropy, ignore_class=0),
        {"class_name": "SparseCategoricalCrossentropy", "config": {}},
        ["sparse_categorical_crossentropy"],
    ],
)
def test_cross_entropy_of_probabilities_over_classes(make, loss):
    line = r"keras.losses.SparseCategoricalCrossentropy\(from_logits=True\)"
    with pytest.raises(ValueError, match=f"compile: loss=.*takes probabilities.*logits.*{line}"):
        make().compile("sgd", loss)


@pytest.mark.parametrize(
    "loss",
    [
        "kl_divergence",
        L.KLDivergence(),
        L.CategoricalCrossentropy(),
        "categorical_focal_crossentropy",
        L.BinaryCrossentropy(),
        L.CategoricalGeneralizedCrossEntropy(),
        "poisson",
    ],
)
def test_other_losses_of_probabilities(loss):
    with pytest.raises(ValueError, match="takes probabilities, TextClassifier gives logits"):
        classifier().compile("sgd", loss)


@pytest.mark.parametrize(
    "loss", ["binary_crossentropy", "bce", L.BinaryCrossentropy(), L.BinaryFocalCrossentropy(), L.binary_crossentropy]
)
def test_binary_cross_entropy_of_a_score(loss):
    with pytest.raises(
        ValueError, match=r"takes probabilities, InteractionMatcher gives one logit.*\(from_logits=True\)"
    ):
        interaction().compile("sgd", loss)
    with pytest.raises(ValueError, match=r"takes probabilities, RepresentationMatcher gives one cosine.*CoSENT\(\)"):
        matcher().compile("sgd", loss)


@pytest.mark.parametrize("make", [interaction, matcher])
def test_losses_of_classes_over_one_number(make):
    """A softmax over one number is 1, whatever it is."""
    for loss in ("sparse_categorical_crossentropy", L.SparseCategoricalCrossentropy(from_logits=True)):
        with pytest.raises(ValueError, match="is for one number a class"):
            make().compile("sgd", loss)


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (classifier, L.SparseCategoricalCrossentropy(from_logits=True)),
        (classifier, functools.partial(L.sparse_categorical_crossentropy, from_logits=True)),
        (classifier, zoo.losses.EMO(np.eye(3))),
        (classifier, lambda y_true, y_pred: keras.ops.mean(y_pred)),
        (head_of_classes, L.SparseCategoricalCrossentropy(from_logits=True)),
        (interaction, L.BinaryCrossentropy(from_logits=True)),
        (interaction, "mse"),
        (interaction, "hinge"),
        (interaction, zoo.losses.CoSENT(scale=1.0)),
        (matcher, zoo.losses.InfoNCE()),
        (matcher, "mse"),
        (masked_lm, zoo.losses.TokenCrossEntropy()),
        (causal_lm, zoo.losses.TokenCrossEntropy()),
    ],
)
def test_what_is_meant_is_taken(make, loss):
    make().compile("sgd", loss)


@pytest.mark.parametrize("name", ["cosent", "CoSENT", "no such loss"])
def test_unknown_names_are_an_error_in_compile(name):
    with pytest.raises(
        ValueError, match=r"is no loss of Keras, and losses of zoo are objects: loss=zoo.losses.CoSENT\(\)"
    ):
        matcher().compile("sgd", name)
    with pytest.raises(ValueError, match=r"is no metric of Keras: validation_data gives"):
        matcher().compile(metrics=[name])


@pytest.mark.parametrize(
    "metric",
    [
        "accuracy",
        "acc",
        "binary_accuracy",
        M.BinaryAccuracy(),
        M.binary_accuracy,
        "crossentropy",
        "binary_crossentropy",
        M.BinaryCrossentropy(),
        M.Accuracy(),
        M.AUC(),
        "AUC",
        M.Precision(),
        M.Recall(),
        M.TruePositives(),
        M.F1Score(),
        M.SparseCategoricalAccuracy(),
        M.BinaryIoU(),
    ],
)
@pytest.mark.parametrize("make", [interaction, matcher, head_of_classes])
def test_metrics_of_matchers(make, metric):
    for options in ({"metrics": [metric]}, {"metrics": metric}, {"weighted_metrics": [metric]}):
        with pytest.raises(ValueError, match=r"compile: metrics=.*Matcher gives one "):
            make().compile(**options)


def test_metrics_of_scores_that_mean_something():
    interaction().compile(metrics=[M.BinaryAccuracy(threshold=0.0), M.AUC(from_logits=True), "mae"])
    interaction().compile(metrics=[M.BinaryCrossentropy(from_logits=True)])
    matcher().compile(metrics=[M.BinaryAccuracy(threshold=0.8), M.Precision(thresholds=0.8), "mse"])


@pytest.mark.parametrize("make", [classifier, masked_lm, causal_lm, next_sentence])
def test_metrics_of_classes(make):
    loss = L.SparseCategoricalCrossentropy(from_logits=True)
    for metric in ("crossentropy", M.SparseCategoricalCrossentropy(), M.AUC(), M.Accuracy(), M.Precision(), "poisson"):
        with pytest.raises(ValueError, match=r"compile: metrics=.*gives logits, one a class"):
            make().compile("sgd", loss, metrics=[metric])
    make().compile("sgd", loss, metrics=["accuracy", M.SparseCategoricalCrossentropy(from_logits=True)])


def test_accuracy_of_a_classifier_is_that_of_its_classes():
    model = zoo.TextClassifier(backbone(), num_classes=2, dropout=0.0, max_length=16)
    model.compile(keras.optimizers.SGD(0.0), metrics="accuracy")
    rows = [(a, label) for a, _, label in PAIRS]
    assert model.fit(rows, verbose=0).history["accuracy"][0] == pytest.approx(
        model.evaluate(rows, verbose=0)["accuracy"]
    )


def test_a_task_of_several_says_the_same():
    shared = backbone()
    tasks = {
        "match": zoo.RepresentationMatcher(shared, max_length=16),
        "topic": zoo.TextClassifier(shared, num_classes=2),
    }
    with pytest.raises(ValueError, match=r"from_logits=True"):
        zoo.MultiTask(tasks).compile(loss={"topic": "sparse_categorical_crossentropy"})


def test_a_masked_lm_of_a_keras_file_is_compiled_as_it_was_saved(tmp_path):
    model = masked_lm()
    model.compile("sgd", L.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").loss.from_logits
