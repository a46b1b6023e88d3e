"""float64: as a policy, as Keras' floatx, and as torch's default type, which other libraries of a process set."""

import contextlib

import keras
import numpy as np
import pytest
from support.layer_checks import BACKEND
from support.tiny_models import PAIRS, backbone, matcher, scatter_weights, tokenizer

import zoo
from zoo.optimizers import AdditiveLoRA, GaLore, LoRA, LowRank, RandomProjection

LABELS = [label for *_, label in PAIRS]
ROWS = [(text, index % 3) for index, (text, *_) in enumerate(PAIRS)]


@contextlib.contextmanager
def floatx64():
    keras.config.set_floatx("float64")
    try:
        with x64():
            yield
    finally:
        keras.config.set_floatx("float32")


@contextlib.contextmanager
def torch_default64():
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def x64():
    """JAX computes in float64 where it is told to."""
    if BACKEND != "jax":
        yield
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


DEFAULTS = [floatx64, *([torch_default64] if BACKEND == "torch" else [])]
LOSSES = {
    "AnglE": zoo.losses.AnglE(),
    "Circle": zoo.losses.Circle(),
    "CoSENT": zoo.losses.CoSENT(),
    "CoSENT of wide scores": zoo.losses.CoSENT(1e4),
    "CoSENTInfoNCE": zoo.losses.CoSENTInfoNCE(),
    "Contrastive": zoo.losses.Contrastive(),
    "CosineRegression": zoo.losses.CosineRegression(),
    "InfoNCE": zoo.losses.InfoNCE(grouped=True),
}
OPTIMIZERS = {
    "default": lambda: None,
    "AdamW": lambda: keras.optimizers.AdamW(1e-3),
    "FusedAdam": lambda: zoo.optimizers.FusedAdam(1e-3),
    "Bert4KerasAdam": lambda: zoo.optimizers.Bert4KerasAdam(1e-3),
    "AdaFactor": lambda: zoo.optimizers.Bert4KerasAdaFactor(1e-3, beta_1=0.9, min_dim_size_to_factor=4),
    "LAMB": lambda: zoo.optimizers.LayerAdaptation(zoo.optimizers.FusedAdamW(1e-3)),
    "averages": lambda: zoo.optimizers.ExponentialMovingAverage(zoo.optimizers.Lookahead("adam", steps=2)),
    "rates": lambda: zoo.optimizers.LayerwiseLearningRate(zoo.optimizers.LazyUpdates("adam"), {"layer_0/": 0.5}),
    "schedule": lambda: keras.optimizers.SGD(zoo.optimizers.WarmupDecay(1e-3, 10)),
    "lines": lambda: keras.optimizers.SGD(zoo.optimizers.PiecewiseLinear(1e-3, {1: 1.0, 9: 0.1})),
    "LoRA": lambda: LowRank("adam", rank=2, full_rank="gamma"),
    "LoRA+": lambda: LowRank("adam", rank=2, form=LoRA(learning_rate_ratio=4.0, b_initializer="he_uniform")),
    "AdditiveLoRA": lambda: LowRank("adam", rank=2, form=AdditiveLoRA()),
    "RandomProjection": lambda: LowRank("sgd", rank=2, form=RandomProjection()),
    "GaLore": lambda: LowRank("adam", rank=2, form=GaLore(refresh_every=2)),
}


# Elsewhere each compiles for seconds.
FEW = list(OPTIMIZERS) if BACKEND == "torch" else ["default", "LAMB", "LoRA", "GaLore"]


def trained(optimizer, loss=None, dtype=None):
    """(history of the losses, weights before, weights after) of two epochs of two steps."""
    keras.utils.set_random_seed(1)
    model = scatter_weights(matcher(dtype=dtype))
    before = model.get_weights()
    model.compile(optimizer, loss)
    losses = model.fit(PAIRS, batch_size=4, epochs=2, validation_data=PAIRS, verbose=0).history["loss"]
    return losses, before, model.get_weights(), model


@pytest.mark.parametrize("name", FEW)
def test_optimizers_move_float64_weights_as_they_do_others(name):
    """The same steps as float32 within its roundings, where nothing is drawn: of float64 other numbers are."""
    with x64():
        losses, before, after, model = trained(OPTIMIZERS[name](), dtype="float64")
        assert after[0].dtype == np.float64 and any((a != b).any() for a, b in zip(before, after))
        assert all(np.isfinite(weights).all() for weights in after)
        if isinstance(model.optimizer, LowRank) and model.optimizer.form.is_average:
            delta = zoo.LowRankDelta.of(model)
            assert {factor.dtype for pair in delta.factors.values() for factor in pair} == {np.dtype("float32")}
    if not isinstance(model.optimizer, LowRank) or name == "GaLore":
        np.testing.assert_allclose(losses, trained(OPTIMIZERS[name]())[0], rtol=2e-3)


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_under_other_defaults(name, default):
    loss = LOSSES[name]
    rng = np.random.default_rng(2)
    shape = (7, 2, 8) if zoo.losses.needs.inputs_of(loss) == "embeddings" else (7,)
    y_true, y_pred = np.array(LABELS, "int32"), rng.uniform(-0.9, 0.9, shape).astype("float32")
    weights = np.array([1, 1, 0, 1, 2, 1, 1], "float32")
    wanted = loss(y_true, y_pred, weights)
    with default():
        found = loss(y_true, y_pred, weights)
        assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(wanted), rtol=1e-5)


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("optimizer", FEW)
def test_training_under_other_defaults(optimizer, default):
    with default():
        losses, _, _, model = trained(OPTIMIZERS[optimizer]())
        assert np.isfinite(losses).all() and np.isfinite(model.encode(["人民"])).all()


@pytest.mark.parametrize("default", DEFAULTS)
def test_other_tasks_under_other_defaults(default):
    with default():
        shared = backbone()
        tasks = {"match": zoo.RepresentationMatcher(shared), "topic": zoo.TextClassifier(shared, 3)}
        both = zoo.MultiTask(tasks, combine=zoo.training.MinNorm())
        both.fit({"match": PAIRS, "topic": ROWS}, callbacks=[zoo.callbacks.StopOnNaN()], verbose=0)
        model = matcher()
        model.fit(PAIRS, micro_batch_size=2, callbacks=[zoo.callbacks.StopOnNaN()], verbose=0)
        if BACKEND != "torch":  # each of the others compiles for seconds
            return
        for pooling in ("cls", "max", "attention", "comparison", "first_last_mean"):
            model = zoo.InteractionMatcher(backbone("BERT"), pooling=pooling)
            model.fit(PAIRS, validation_data=PAIRS, callbacks=[zoo.callbacks.StopOnNaN()], verbose=0)
        model = zoo.RepresentationMatcher(backbone("GAUAlpha", max_sequence_length=16), num_classes=2)
        model.fit(PAIRS, verbose=0)


@pytest.mark.parametrize("family", ["RoFormerV2", "GAUAlpha", "BERT"] if BACKEND == "torch" else ["GAUAlpha"])
@pytest.mark.parametrize("mask", ["causal", "unilm"] if BACKEND == "torch" else ["causal"])
def test_generation_in_float64(family, mask):
    """Cached steps give what the whole rows give, and float32's tokens."""
    with x64():
        made = lambda dtype: scatter_weights(zoo.CausalLM(backbone(family, attention_mask=mask, dtype=dtype)))
        model, narrow = made("float64"), made(None)
        prompts = [[2, 10, 11, 12], [2, 7]]
        assert model.generate(prompts, 5, end=()) == narrow.generate(prompts, 5, end=())
        rows = [("北京", "人民")] if mask == "unilm" else ["北京大学"]
        model.fit(rows, epochs=2, verbose=0)
        assert model.evaluate(rows)["tokens"] > 0


@pytest.mark.parametrize("default", DEFAULTS)
def test_generation_under_other_defaults(default):
    with default():
        model = scatter_weights(zoo.CausalLM(backbone(attention_mask="causal")))
        model.generate([[2, 10, 11], [2, 7]], 4, zoo.samplers.Beam(2), end=())
        model.fit(["北京大学", "人民"], validation_data=["人民"], verbose=0)


def test_masks_of_float64_models():
    with x64():
        model = zoo.MaskedLM(backbone(dtype="float64"))
        logits = model.predict(tokenizer()(["今天天气"]), verbose=0)
    assert np.isfinite(logits).all()
