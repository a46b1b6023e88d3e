"""A training judged by several dev sets: what is logged, which epoch is kept, going on after a kill."""

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, matcher

import zoo
from zoo.callbacks import BestPreset, Resume
from zoo.callbacks.csv_rows import read_csv_rows
from zoo.callbacks.evaluate_sets import DevSets
from zoo.callbacks.learning_log import LearningLog
from zoo.data import as_pairs

DEV = {"graded": as_pairs([(a, b, i / 4) for i, (a, b, _) in enumerate(PAIRS[:5])]), "binary": as_pairs(PAIRS)}


def train(folder, epochs, state):
    """Rows of the log."""
    keras.utils.set_random_seed(1)
    model = matcher()
    model.compile(keras.optimizers.Adam(0.02))
    resume = Resume(state)
    initial = resume.restore(model)
    log = LearningLog(folder / "log.csv", initial_epoch=initial)
    callbacks = [DevSets(DEV, threshold_on="binary"), log, BestPreset(folder / "best", "val_spearman"), resume]
    model.fit(PAIRS, epochs=epochs, initial_epoch=initial, batch_size=7, callbacks=callbacks, verbose=0)
    return [{name: float(value) for name, value in row.items()} for row in read_csv_rows(folder / "log.csv")]


def test_the_best_epoch_is_kept_and_a_resumed_training_is_the_same(tmp_path):
    whole = train(tmp_path / "whole", 4, tmp_path / "one")
    train(tmp_path / "cut", 2, tmp_path / "two")
    resumed = train(tmp_path / "cut", 4, tmp_path / "two")
    assert [row["epoch"] for row in whole] == [0, 1, 2, 3]
    assert [row["epoch"] for row in resumed] == [0, 1, 2, 3]
    means = [row["val_spearman"] for row in whole]
    np.testing.assert_allclose([row["val_spearman"] for row in resumed], means, atol=1e-6)
    assert means[0] == pytest.approx(np.mean([whole[0][f"val_{name}_spearman"] for name in DEV]))
    best = whole[int(np.argmax(means))]
    for folder in ("whole", "cut"):
        kept = zoo.RepresentationMatcher.from_preset(tmp_path / folder / "best")
        for name, pairs in DEV.items():
            found = kept.evaluate(pairs, verbose=0)["spearman"]
            assert found == pytest.approx(best[f"val_{name}_spearman"])
        assert np.mean(kept.classify(PAIRS) == DEV["binary"].labels) == pytest.approx(best["val_binary_accuracy"])


def test_a_threshold_needs_its_set():
    with pytest.raises(ValueError, match="threshold_on='lcqmc', expected one of the sets graded, binary"):
        DevSets(DEV, threshold_on="lcqmc")


def test_a_set_of_one_label_ranks_nothing():
    with pytest.raises(ValueError, match="set 'graded': all 3 labels are the same"):
        DevSets({**DEV, "graded": as_pairs([(a, b, 1) for a, b, _ in PAIRS[:3]])})
