"""The optimizer that nobody chose: warm-up and decay over the steps of each fit, gentler where the task is trained already."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import PAIRS, backbone, matcher, scatter_weights

import zoo
from zoo.optimizers import DecayOverFit, ExcludeFromDecay, FusedAdamW, LowRank, WarmupDecay
from zoo.optimizers.wrapper import chain

PEAK, BATCHES = 0.05, 4  # of PAIRS in batches of 2


def trained(optimizer, *fits, callbacks=None, **options):
    """Weights after each fit, dict of its options; every one is given the optimizer's next state."""
    model = scatter_weights(matcher())
    model.compile(optimizer, zoo.losses.CoSENT(scale=2.0), **options)
    found = []
    for fit in fits:
        model.fit(PAIRS, batch_size=2, verbose=0, callbacks=callbacks, **fit)
        found.append(model.get_weights())
    return found


def same(found, expected, atol=0.0):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert_close(a, b, atol=atol)


@pytest.mark.parametrize("options", [{}, {"shape": "cosine", "end": 0.1, "warmup_share": 0.5}])
def test_the_steps_are_those_of_the_schedule(options):
    schedule = WarmupDecay(PEAK, 3 * BATCHES, **{**options, "end": PEAK * options.get("end", 0.0)})
    ours = trained(DecayOverFit(keras.optimizers.SGD(PEAK), **options), {"epochs": 3})
    same(ours, trained(keras.optimizers.SGD(schedule), {"epochs": 3}), atol=1e-6)
    constant = trained(keras.optimizers.SGD(PEAK), {"epochs": 3})
    assert max(np.abs(a - b).max() for a, b in zip(ours[0], constant[0])) > 1e-3


def test_each_fit_is_a_training_of_its_own():
    """The compiled step of the first fit must see the numbers of the second, which is longer."""
    fits = {"epochs": 2}, {"epochs": 8, "initial_epoch": 5}
    model, (first, second) = scatter_weights(matcher()), fits
    for fit, epochs in ((first, 2), (second, 3)):
        model.compile(keras.optimizers.SGD(WarmupDecay(PEAK, epochs * BATCHES)), zoo.losses.CoSENT(scale=2.0))
        model.fit(PAIRS, batch_size=2, verbose=0, **fit)
    ours = trained(DecayOverFit(keras.optimizers.SGD(PEAK)), *fits)
    same(ours[1:], [model.get_weights()], atol=1e-6)


def test_under_and_over_other_optimizers():
    schedule = WarmupDecay(PEAK, 2 * BATCHES)
    once = {"epochs": 2}
    expected = trained(LowRank(keras.optimizers.SGD(schedule), rank=2), once)
    same(trained(LowRank(DecayOverFit(keras.optimizers.SGD(PEAK)), rank=2), once), expected, atol=1e-6)
    same(trained(DecayOverFit(LowRank(keras.optimizers.SGD(PEAK), rank=2)), once), expected, atol=1e-6)
    expected = trained(keras.optimizers.SGD(schedule, gradient_accumulation_steps=2), once)
    same(trained(DecayOverFit(keras.optimizers.SGD(PEAK, gradient_accumulation_steps=2)), once), expected, atol=1e-6)


def test_weight_decay_follows_the_rate():
    schedule = WarmupDecay(PEAK, 2 * BATCHES)
    ours = trained(DecayOverFit(ExcludeFromDecay(FusedAdamW(PEAK, weight_decay=0.5))), {"epochs": 2})
    same(ours, trained(ExcludeFromDecay(FusedAdamW(schedule, weight_decay=0.5)), {"epochs": 2}), atol=1e-5)


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            raise InterruptedError


def test_resumed_as_if_nothing_had_happened(tmp_path):
    def optimizer():
        return DecayOverFit(FusedAdamW(PEAK))

    whole = trained(optimizer(), {"epochs": 3})
    with pytest.raises(InterruptedError):
        trained(optimizer(), {"epochs": 3}, callbacks=[zoo.callbacks.Resume(tmp_path / "a", every_steps=3), Stop()])
    same(trained(optimizer(), {"epochs": 3}, callbacks=[zoo.callbacks.Resume(tmp_path / "a")]), whole)


def test_resumed_with_more_epochs_follows_the_longer_schedule(tmp_path):
    resume = zoo.callbacks.Resume(tmp_path)
    trained(DecayOverFit(keras.optimizers.SGD(PEAK)), {"epochs": 1}, callbacks=[resume])
    model = scatter_weights(matcher())
    model.compile(keras.optimizers.SGD(WarmupDecay(PEAK, BATCHES)), zoo.losses.CoSENT(scale=2.0))
    model.fit(PAIRS, batch_size=2, verbose=0)
    second = keras.optimizers.SGD(WarmupDecay(PEAK, 3 * BATCHES))
    second.build(model.trainable_variables)
    second.iterations.assign(BATCHES)
    model.compile(second, zoo.losses.CoSENT(scale=2.0))
    model.fit(PAIRS, batch_size=2, verbose=0, epochs=3, initial_epoch=1)
    ours = trained(DecayOverFit(keras.optimizers.SGD(PEAK)), {"epochs": 3}, callbacks=[zoo.callbacks.Resume(tmp_path)])
    same(ours, [model.get_weights()], atol=1e-6)


def test_outside_fit_the_rate_is_the_peak():
    optimizer, weight = DecayOverFit(keras.optimizers.SGD(0.5)), keras.Variable(np.ones(2, "float32"))
    optimizer.apply([keras.ops.ones(2)], [weight])
    assert_close(weight, [0.5, 0.5], atol=1e-7)


def test_callbacks_change_the_peak():
    model = scatter_weights(matcher())
    model.compile()
    peak = float(model.optimizer.learning_rate)
    reduce = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1e9, mode="min")
    history = model.fit(PAIRS, epochs=3, batch_size=2, verbose=0, callbacks=[reduce]).history
    np.testing.assert_allclose(history["learning_rate"], [peak, peak, peak / 2], rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16" if keras.backend.backend() != "jax" else "mixed_bfloat16"])
def test_mixed_precision(policy):
    """Under mixed_float16 Keras' optimizer of loss scales is around the whole."""
    keras.config.set_dtype_policy(policy)
    try:
        model = matcher()
        model.compile()
        model.fit(PAIRS, batch_size=2, epochs=2, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    decay = next(one for one in chain(model.optimizer) if isinstance(one, DecayOverFit))
    model.optimizer.build(model.trainable_variables)
    assert int(decay._steps) == 2 * BATCHES and int(decay._warmup) == 0


def test_config_round_trip():
    optimizer = DecayOverFit(keras.optimizers.SGD(0.5), warmup_share=0.2, end=0.1, shape="cosine")
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(twin) is DecayOverFit and twin.get_config() == optimizer.get_config()
    with pytest.raises(ValueError, match="a schedule of its own; expected a number"):
        DecayOverFit(keras.optimizers.SGD(WarmupDecay(1.0, 4)))
    with pytest.raises(ValueError, match="expected 0 <= warm-up < total"):
        DecayOverFit(keras.optimizers.SGD(0.1), warmup_share=1.0)
    with pytest.raises(ValueError, match="shape='flat'"):
        DecayOverFit(keras.optimizers.SGD(0.1), shape="flat")


def test_peaks_of_fresh_and_of_trained_backbones(tmp_path):
    """A matcher that is loaded as a matcher takes gentler steps; the same backbone under a fresh head does not."""
    unit = 2e-5 * 768 / 16

    def peak(model):
        model.compile()
        assert isinstance(model.optimizer, DecayOverFit)
        return float(model.optimizer.learning_rate) / unit

    fresh = matcher()
    assert peak(fresh) == pytest.approx(zoo.tasks.text_task.PEAK)
    fresh.backbone.save_to_preset(tmp_path / "backbone")
    fresh.save_to_preset(tmp_path / "matcher")
    low = pytest.approx(zoo.tasks.text_task.PEAK_OF_TRAINED)
    assert peak(zoo.RepresentationMatcher.from_preset(tmp_path / "backbone")) != low
    assert peak(zoo.RepresentationMatcher.from_preset(tmp_path / "matcher")) == low
    assert peak(zoo.RepresentationMatcher(zoo.Backbone.from_preset(tmp_path / "matcher"))) == low
    assert peak(zoo.RepresentationMatcher.from_preset(tmp_path / "matcher", load_weights=False)) != low
    assert peak(zoo.TextClassifier.from_preset(tmp_path / "matcher", num_classes=2)) != low
    assert peak(zoo.RepresentationMatcher.from_preset(tmp_path / "matcher", num_classes=2)) != low
    assert peak(zoo.CausalLM(backbone(attention_mask="causal"))) == pytest.approx(zoo.tasks.text_task.PEAK)
