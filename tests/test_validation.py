"""What fit says of validation records: a loss that Keras' callbacks find, directions, a threshold that finds nothing."""

import warnings

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, TEXTS, backbone, matcher, scatter_weights

import zoo

ROWS = [(a, label) for a, _, label in PAIRS]


def interaction():
    return zoo.InteractionMatcher(backbone(), dropout=0.0, max_length=16)


def classifier():
    return zoo.TextClassifier(backbone(), num_classes=2, dropout=0.0, max_length=16)


def still(model, loss=None):
    """Compiled so that nothing changes."""
    scatter_weights(model).compile(keras.optimizers.SGD(0.0), loss)
    return model


@pytest.mark.parametrize(
    ("make", "records"),
    [(matcher, PAIRS), (interaction, PAIRS), (classifier, ROWS), (lambda: matcher(num_classes=2), PAIRS)],
)
def test_val_loss_is_the_loss_of_the_same_records(make, records):
    """One batch of all: what training logs of weights that stand still."""
    history = still(make()).fit(records, validation_data=records, verbose=0).history
    assert history["val_loss"] == pytest.approx(history["loss"], abs=1e-5)


def test_val_loss_of_a_language_model_is_its_cross_entropy():
    model = still(zoo.CausalLM(backbone(attention_mask="causal"), max_length=16))
    history = model.fit(TEXTS, validation_data=TEXTS, verbose=0).history
    assert history["val_loss"] == history["val_cross_entropy"]


def test_val_loss_of_several_sets():
    history = still(matcher()).fit(PAIRS, validation_data={"a": PAIRS, "b": PAIRS[:4]}, verbose=0).history
    assert history["val_loss"][0] == pytest.approx((history["val_a_loss"][0] + history["val_b_loss"][0]) / 2)


def test_a_loss_that_cannot_mean_the_labels_has_no_val_loss():
    matches = [(a, b) for a, b, label in PAIRS if label]
    history = still(matcher(), zoo.losses.InfoNCE()).fit(matches, validation_data=PAIRS, verbose=0).history
    assert "val_loss" not in history and "val_spearman" in history


def test_callbacks_with_their_defaults():
    model = still(matcher())
    stop = keras.callbacks.EarlyStopping(patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = model.fit(PAIRS, validation_data=PAIRS, epochs=6, verbose=0, callbacks=[stop]).history
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_direction_that_keras_does_not_know_is_said_before_training(wrapped, tmp_path):
    C = keras.callbacks
    for callback, better in (
        (C.EarlyStopping("val_accuracy"), "max"),
        (C.ReduceLROnPlateau("val_spearman"), "max"),
        (C.ModelCheckpoint("x.keras", "val_auc", save_best_only=True), "max"),
        (C.EarlyStopping("val_a_loss"), "min"),
    ):
        model = matcher()
        given = [zoo.callbacks.Resume(tmp_path, callbacks=[callback])] if wrapped else [callback]
        before = model.get_weights()
        with pytest.raises(ValueError, match=f"{type(callback).__name__}.*mode='{better}'"):
            model.fit(PAIRS, validation_data=PAIRS, verbose=0, callbacks=given)
        assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_directions_that_are_known():
    C, model = keras.callbacks, scatter_weights(classifier())
    model.compile(metrics=["accuracy"])
    given = [C.EarlyStopping("val_macro_f1", mode="max"), C.EarlyStopping("loss"), C.EarlyStopping("val_accuracy")]
    model.fit(ROWS, validation_data=ROWS, verbose=0, callbacks=given)


RARE = [(f"t{i}", "人民", int(i < 2)) for i in range(12)]  # two matches, in the middle of the scores
SCORES = np.array([0.5, 0.4, *np.linspace(0.6, 0.9, 5), *np.linspace(0.0, 0.3, 5)], "float32")


def rare(monkeypatch):
    model = matcher()
    monkeypatch.setattr(model, "score", lambda pairs, *_, **__: SCORES)
    return model


def test_a_threshold_that_finds_nothing_warns(monkeypatch):
    model = rare(monkeypatch)
    with pytest.warns(UserWarning, match=r"best for accuracy, calls none of 12 pairs a match, of which 2 are.*f1"):
        model.fit_threshold(RARE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert model.fit_threshold(RARE, metric="f1")["metric"] == "f1" and model.classify(RARE)[:2].all()


def test_fit_is_told_its_metric():
    model = still(matcher())
    model.fit(PAIRS, validation_data=PAIRS, threshold_metric="f1", verbose=0)
    assert model.decision["metric"] == "f1"
    model.fit(PAIRS, validation_data=PAIRS, verbose=0)
    assert model.decision["metric"] == "f1"  # that of the threshold before
    with pytest.raises(ValueError, match="threshold_metric='recall'.*expected 'accuracy', 'f1' or None"):
        model.fit(PAIRS, threshold_metric="recall", verbose=0)
    with pytest.raises(TypeError, match="TextClassifier has no threshold"):
        classifier().fit(ROWS, threshold_metric="f1", verbose=0)
