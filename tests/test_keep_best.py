"""The best epoch by several dev sets: what is kept, what is written, going on after a kill."""

import json

import numpy as np
import pytest
from tiny_models import PAIRS, matcher

import zoo
from zoo.callbacks import Resume
from zoo.data import as_pairs
from zoo.keep_best import KeepBest

DEV = {"graded": as_pairs([(a, b, i / 4) for i, (a, b, _) in enumerate(PAIRS[:5])]), "binary": as_pairs(PAIRS)}


def train(folder, epochs, initial=0, state=None):
    import keras

    keras.utils.set_random_seed(1)
    model = matcher()
    model.compile(keras.optimizers.Adam(0.02))
    callbacks = []
    if state is not None:
        resume = Resume(state)
        initial = resume.restore(model)
        callbacks = [resume]
    keep = KeepBest(folder, DEV, threshold_on="binary", initial_epoch=initial)
    model.fit(PAIRS, epochs=epochs, initial_epoch=initial, batch_size=7, callbacks=[keep, *callbacks], verbose=0)
    return keep.history


def test_the_best_epoch_is_kept_and_a_resumed_training_is_the_same(tmp_path):
    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "cut", 2, state=tmp_path / "state")
    resumed = train(tmp_path / "cut", 4, state=tmp_path / "state")
    assert [row["epoch"] for row in whole] == [0, 1, 2, 3]
    np.testing.assert_allclose([r["mean"] for r in resumed], [r["mean"] for r in whole], atol=1e-6)
    written = json.loads((tmp_path / "cut" / "history" / "history.json").read_text(encoding="utf-8"))["epochs"]
    assert written == resumed
    means = [row["mean"] for row in whole]
    assert whole[0]["mean"] == np.mean([whole[0][name]["spearman"] for name in DEV])
    best = whole[len(means) - 1 - int(np.argmax(means[::-1]))]  # of equals the last
    for folder in ("whole", "cut"):
        kept = zoo.RepresentationMatcher.from_preset(tmp_path / folder)
        for name, pairs in DEV.items():
            assert kept.evaluate(pairs, verbose=0)["spearman"] == pytest.approx(best[name]["spearman"])
        assert np.mean(kept.classify(PAIRS) == DEV["binary"].labels) == pytest.approx(best["binary"]["accuracy"])


def test_a_threshold_needs_its_set(tmp_path):
    with pytest.raises(ValueError, match="threshold_on='lcqmc', expected one of the sets graded, binary"):
        KeepBest(tmp_path, DEV, threshold_on="lcqmc")
