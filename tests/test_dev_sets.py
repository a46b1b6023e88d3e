"""Several sets by name in `fit`: what is logged, which epoch is kept, going on after a kill, mixtures."""

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, matcher

import zoo
from zoo.callbacks import BestPreset, LearningLog, Resume
from zoo.callbacks.learning_log import read_csv_rows
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
    callbacks = [log, BestPreset(folder / "best", "val_spearman"), resume]
    model.fit(
        PAIRS, epochs=epochs, initial_epoch=initial, batch_size=7, callbacks=callbacks, validation_data=DEV, verbose=0
    )
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


def test_a_set_of_one_label_ranks_nothing():
    model = matcher()
    ones = as_pairs([(a, b, 1) for a, b, _ in PAIRS[:3]])
    with pytest.raises(ValueError, match=r"validation_data\['graded'\]: all 3 labels are 1, so no score ranks"):
        model.fit(PAIRS, validation_data={**DEV, "graded": ones})
    with pytest.raises(ValueError, match=r"validation_data\['graded'\] is empty"):
        model.fit(PAIRS, validation_data={**DEV, "graded": []})


def test_evaluate_and_predict_take_sets_by_name():
    model = matcher()
    assert model.evaluate(DEV, verbose=0) == {name: model.evaluate(pairs, verbose=0) for name, pairs in DEV.items()}
    found = model.predict(DEV)
    assert set(found) == set(DEV) and (found["binary"] == model.predict(PAIRS)).all()


# Several sets to train on

SETS = {"questions": PAIRS[:5], "graded": [(a, b, i / 4) for i, (a, b, _) in enumerate(PAIRS[2:])]}


def trained(x, **options):
    keras.utils.set_random_seed(5)
    model = matcher()
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(x, batch_size=2, epochs=3, seed=4, verbose=0, **options).history
    return model.get_weights(), history["loss"]


def test_a_mixture_by_name_is_the_training_by_hand():
    """Bit for bit: rows of both sets encoded together, a `MixturePlan`, and Keras' own fit on its batches."""
    mixture = zoo.training.Mixture(alpha=0.25, steps=5)
    weights, losses = trained(SETS, mixture=mixture)
    keras.utils.set_random_seed(5)
    model = matcher()
    model.compile(keras.optimizers.Adam(0.02))
    records = as_pairs([(a, b, float(label)) for pairs in SETS.values() for a, b, label in pairs])
    tokens, rows = model.encode_records(records)
    plan = zoo.training.MixturePlan(tokens.lengths[rows], [5, 5], 2, model.buckets, seed=4, counts=[2, 2])
    labels = records.labels.astype("float32")
    data = zoo.data.Batches(
        plan, lambda b: (tokens.batch(rows[b.indices], b.length), labels[b.indices], b.weights)
    )  # fmt: skip
    by_hand = model.fit(data, epochs=3, callbacks=[data.epoch_callback()], shuffle=False, verbose=0).history["loss"]
    assert losses == by_hand
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))


def test_shares_decide_how_often_a_set_comes():
    model = matcher()
    batches = model.batches(
        SETS, batch_size=2, mixture=zoo.training.Mixture(shares={"questions": 3, "graded": 1}, steps=8)
    )
    assert batches.plan.counts == [6, 2]
    texts = [pair[0] for pairs in SETS.values() for pair in pairs]
    assert len(texts) == len(batches.examples.lengths)
    for index in range(len(batches)):
        assert len({int(row) // 5 for row in batches.rows_of(index)}) == 1, "a batch is of one set"


def test_sets_that_do_not_fit_together():
    model = matcher()
    with pytest.raises(ValueError, match="sets of two kinds: 'a' is Pairs, labelled; 'b' is Triplets, unlabelled"):
        model.compile(loss=zoo.losses.InfoNCE())
        model.fit({"a": [("x", "y", 1)], "b": [("x", "y", "z")]})
    model.compile()
    with pytest.raises(ValueError, match="set 'b': x is empty|set 'b': no records to train on: x is empty"):
        model.fit({"a": PAIRS, "b": []})
    with pytest.raises(ValueError, match=r"set 'b': CoSENT needs labelled pairs"):
        model.fit({"a": PAIRS, "b": [("x", "y")]})
    with pytest.raises(ValueError, match=r"mixture says how often each of several sets comes"):
        model.fit(PAIRS, mixture=zoo.training.Mixture())
    with pytest.raises(TypeError, match="fit takes mixture with several sets"):
        model.fit({"token_ids": np.zeros((1, 2, 4), "int32")}, np.ones(1), mixture=zoo.training.Mixture())
