"""LowRank through Keras' training: against Keras' own LoRA layers, and with everything that goes with fit."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND
from support.tiny_models import PAIRS, matcher, scatter_weights

import zoo
from zoo.callbacks import Resume
from zoo.optimizers import LoRA, LowRank

RNG = np.random.default_rng(8)
IDS = RNG.integers(0, 9, (24, 5))
IMAGES = RNG.normal(size=(24, 5, 5, 2)).astype("float32")
TARGETS = RNG.normal(size=(24, 3, 4)).astype("float32")
ADAPTED = ("embeddings", "kernel")


def values(model):
    return {v.path: ops.convert_to_numpy(ops.cast(v, "float32")) for v in model.weights if "seed" not in v.path}


def network(dtype=None):
    """A foreign embedding, a convolution, a kernel of three axes and a plain one."""
    keras.utils.set_random_seed(1)
    ids, images = keras.Input((5,), dtype="int32", name="ids"), keras.Input((5, 5, 2), name="images")
    options = {"bias_initializer": "ones", "dtype": dtype}
    x = keras.layers.Embedding(9, 6, name="embedding", dtype=dtype)(ids)
    x = keras.layers.GlobalAveragePooling1D(dtype=dtype)(x)
    y = keras.layers.Conv2D(10, 3, activation="tanh", name="convolution", **options)(images)
    y = keras.layers.GlobalAveragePooling2D(dtype=dtype)(y)
    x = keras.layers.Dense(3, activation="tanh", name="dense", **options)(keras.layers.Concatenate(dtype=dtype)([x, y]))
    x = keras.layers.EinsumDense("bd,dhs->bhs", (3, 4), bias_axes="s", name="heads", **options)(x)
    return keras.Model([ids, images], x)


LAYERS = ("embedding", "convolution", "dense", "heads")
RANK = 2  # the convolution is [18, 10] and the heads [9, 4], as in the layers of Keras


def inner(accumulated=None):
    return keras.optimizers.AdamW(
        0.01, weight_decay=0.1, global_clipnorm=0.05, epsilon=1e-3, gradient_accumulation_steps=accumulated
    )


def fitted(model, optimizer, jit):
    model.compile(optimizer, "mse", jit_compile=jit)
    return model.fit([IDS, IMAGES], TARGETS, batch_size=8, epochs=10, shuffle=False, verbose=0).history["loss"]


def explicit(model, wrapped):
    """Turn layers into Keras' LoRA layers that start at the factors of a built LowRank."""
    start = {v.path: v for v in wrapped.variables}
    for name in LAYERS:
        layer = model.get_layer(name)
        layer.enable_lora(RANK)
        for variable in layer.trainable_variables:
            if variable.path.endswith("bias"):
                variable.trainable = False
        a = getattr(layer, "lora_kernel_a", None)
        a = layer.lora_embeddings_a if a is None else a
        (factor,) = [v for path, v in start.items() if path.startswith(f"{name}/low_rank/") and path.endswith("_a")]
        a.assign(
            ops.convert_to_numpy(factor).reshape(a.shape)
        )  # one array shared by two models is donated twice on JAX


@pytest.mark.parametrize(
    "jit", [False, pytest.param(True, marks=[pytest.mark.slow] if BACKEND == "torch" else [])], ids=["eager", "jit"]
)
def test_equals_the_layers_of_keras(jit):
    """30 steps with clipping and decay, compiled also with accumulation: the merged kernels are W."""
    model, twin = network(), network()
    before = values(model)
    accumulated = 2 if jit else None  # JAX without jit compiles its branch anew at each step
    wrapped = LowRank(inner(accumulated), rank=RANK, pattern="kernel$|embeddings$")
    wrapped.build(model.trainable_variables)
    explicit(twin, wrapped)
    # torch takes minutes to compile a step: there the layers run eagerly in both cases
    losses, expected = fitted(model, wrapped, jit), fitted(twin, inner(accumulated), jit and BACKEND != "torch")
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    for name in LAYERS:
        layer, other = model.get_layer(name), twin.get_layer(name)
        kind = "embeddings" if name == "embedding" else "kernel"
        assert_close(getattr(layer, kind), getattr(other, kind), atol=1e-5)
        assert np.abs(before[f"{name}/{kind}"] - ops.convert_to_numpy(getattr(layer, kind))).max() > 1e-3
    after = values(model)
    assert set(after) == set(before)
    assert all((after[path] == before[path]).all() for path in after if path.endswith("bias"))


def test_mixed_precision_keeps_kernels_in_float32():
    """W is float32 and W₀ + A B to its rounding; the losses are near those in float32."""
    losses = {}
    for dtype in ("float32", "mixed_bfloat16"):
        model = network(dtype)
        before = values(model)
        losses[dtype] = fitted(model, LowRank(keras.optimizers.Adam(0.01), rank=RANK), jit="auto")
        for path, (a, b) in model.optimizer.extract().factors.items():
            after = {v.path: v for v in model.weights}[path]
            assert keras.backend.standardize_dtype(after.dtype) == "float32"
            assert_close(after, before[path] + (a @ b).reshape(before[path].shape), atol=1e-6)
    assert losses["float32"][-1] < losses["float32"][0] - 0.01
    np.testing.assert_allclose(losses["mixed_bfloat16"], losses["float32"], atol=0.02)


def test_a_delta_under_loss_scaling():
    """Keras puts LossScaleOptimizer around it in tasks under mixed_float16: the delta is found inside."""
    model = network("mixed_float16")
    before = values(model)
    with pytest.raises(ValueError, match="Functional is compiled with NoneType, which trains no factors"):
        zoo.LowRankDelta.of(model)
    optimizer = LowRank(keras.optimizers.Adam(0.01), rank=RANK)
    fitted(model, keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0), jit="auto")
    delta = zoo.LowRankDelta.of(model)
    for path, (a, b) in delta.factors.items():
        after = values(model)[path]
        assert_close(after, before[path] + (a @ b).reshape(after.shape), atol=1e-6)
        assert np.abs(after - before[path]).max() > 1e-3
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="trains no factors"):
        zoo.LowRankDelta.of(model)


def test_goes_on_after_saving_and_loading(tmp_path):
    """A .keras file holds factors, slots, projections and seeds; the layers in it are those without LowRank."""
    form = zoo.optimizers.RandomProjection(refresh_every=4)
    model = network()
    model.compile(LowRank(inner(2), rank=RANK, form=form, full_rank="bias"), "mse")
    model.fit([IDS, IMAGES], TARGETS, batch_size=8, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    plain = keras.Model.from_config(json.loads(again.to_json())["config"])
    assert {v.path for v in plain.weights} == {v.path for v in network().weights}
    for one in (model, again):
        one.fit([IDS, IMAGES], TARGETS, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A representation matcher after three epochs, its start, its losses, and the state after the second."""
    folder = tmp_path_factory.mktemp("run")
    model = scatter_weights(matcher())
    start = values(model)
    model.compile(optimizer())
    model.fit(PAIRS, batch_size=4, epochs=2, callbacks=[Resume(folder)], verbose=0)
    history = model.fit(PAIRS, batch_size=4, epochs=3, initial_epoch=2, verbose=0).history
    return model, start, history, folder


def optimizer():
    return LowRank(keras.optimizers.AdamW(1e-2), rank=4, full_rank="gamma$")


def test_a_matcher_trains_its_kernels(trained):
    model, start, _, _ = trained
    after = values(model)
    moved = {path for path in after if (after[path] != start[path]).any()}
    assert moved == {path for path in after if path.endswith(("kernel", "gamma"))}


def test_resume(trained):
    """Killed after two epochs, the third goes on bit by bit."""
    model, _, history, folder = trained
    other = scatter_weights(matcher(), seed=11)
    other.compile(optimizer())
    resume = Resume(folder)
    assert resume.restore(other) == 2
    again = other.fit(PAIRS, batch_size=4, epochs=3, initial_epoch=2, verbose=0).history
    assert again["loss"] == history["loss"]
    assert all((a == b).all() for a, b in zip(values(other).values(), values(model).values()))
    assert other.optimizer.extract().base_sha256 == model.optimizer.extract().base_sha256


def test_a_preset_of_it_is_as_ever_and_a_delta_is_smaller(trained, tmp_path):
    """The preset holds merged weights, the delta what makes them out of the base."""
    model, start, _, _ = trained
    model.save_to_preset(tmp_path / "preset")
    plain = scatter_weights(matcher())
    plain.save_to_preset(tmp_path / "plain")
    assert (tmp_path / "preset/config.json").read_bytes() == (tmp_path / "plain/config.json").read_bytes()
    sizes = [(tmp_path / f"{name}/model.safetensors").stat().st_size for name in ("preset", "plain")]
    assert sizes[0] == sizes[1]
    loaded = zoo.RepresentationMatcher.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(loaded.score(PAIRS), model.score(PAIRS), atol=1e-5)
    model.optimizer.extract().save(tmp_path / "delta")
    delta, adapters = zoo.LowRankDelta.load(tmp_path / "delta"), zoo.Adapters(plain)
    scores = plain.score(PAIRS)
    adapters.apply(delta)
    np.testing.assert_allclose(plain.score(PAIRS), model.score(PAIRS), atol=1e-4)
    adapters.remove(delta)
    assert (plain.score(PAIRS) == scores).all()
    assert all((value == start[path]).all() for path, value in values(plain).items())


def test_big_batches_in_parts():
    """Parts of a batch give the step of the whole."""
    results = []
    for micro_batch_size in (None, 3):
        model = scatter_weights(matcher())
        start = values(model)
        model.compile(LowRank(keras.optimizers.SGD(0.05, momentum=0.9), rank=4, form=LoRA(alpha=8)))
        model.fit(PAIRS, batch_size=8, epochs=2, micro_batch_size=micro_batch_size, verbose=0)
        results.append(values(model))
    for path in start:
        np.testing.assert_allclose(results[0][path], results[1][path], atol=1e-5)
    assert any(np.abs(results[0][path] - start[path]).max() > 1e-3 for path in start)


@pytest.mark.slow
def test_a_keras_hub_bert():
    """Kernels of three axes in a foreign backbone: all of them move, by rank 2, and nothing else."""
    models = pytest.importorskip("keras_hub").models
    backbone = models.BertBackbone(
        vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=8
    )
    outputs = keras.layers.Dense(1, name="head")(backbone.output["sequence_output"])
    model = keras.Model(backbone.input, outputs)
    ids = RNG.integers(1, 20, (6, 7)).astype("int32")
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}
    before = values(model)
    model.compile(LowRank(keras.optimizers.Adam(0.01), rank=2, full_rank="head/"), "mse")
    losses = model.fit(inputs, RNG.normal(size=(6, 7, 1)), epochs=8, verbose=0).history["loss"]
    after, delta = values(model), model.optimizer.extract()
    moved = {path for path in after if (after[path] != before[path]).any()}
    # the pooler's kernel has no gradient
    assert moved == {path for path in (*delta.factors, *delta.values) if "pooled" not in path}
    for path, (a, b) in delta.factors.items():
        np.testing.assert_allclose(after[path], before[path] + (a @ b).reshape(before[path].shape), atol=1e-6)
    assert len(delta.factors) >= 2 * 6 and losses[-1] < losses[0]
