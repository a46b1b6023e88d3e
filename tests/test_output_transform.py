"""A tied output embedding in a model that is trained from nothing: its loss at the start, and what is done about it."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close, randomise, to_numpy
from support.tiny_models import backbone

import zoo
from zoo.tasks.heads import TRANSFORMS, OutputTransform

KINDS = TRANSFORMS[1:]


def test_values_of_the_transforms():
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype("float32")
    assert_close(OutputTransform("swap_halves")(x), np.concatenate([x[..., 3:], x[..., :3]], -1), atol=0)
    assert_close(OutputTransform("shuffle")(x), x[..., [0, 3, 1, 4, 2, 5]], atol=0)
    layer = OutputTransform("orthogonal")
    turned = to_numpy(layer(x))
    kernel = to_numpy(layer.kernel)
    assert_close(kernel @ kernel.T, np.eye(6), atol=1e-5)
    assert_close(turned, x.astype("float64") @ kernel, atol=1e-5)
    again = OutputTransform.from_config(layer.get_config())
    assert again.kind == "orthogonal"
    with pytest.raises(ValueError, match="takes the features in two halves; the width is 5"):
        OutputTransform("shuffle")(x[..., :5])


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_loss_before_training(kind):
    """Hidden states are the normalised embeddings of the input, as where blocks add next to nothing."""
    width, count, deviation = 256, 2000, 0.05
    model = zoo.MaskedLM(
        zoo.RoFormerV2(
            vocabulary_size=count,
            num_layers=1,
            num_heads=2,
            hidden_dim=width,
            intermediate_dim=8,
            max_sequence_length=8,
        ),
        output_transform=kind,
    )
    rng = np.random.default_rng(1)
    table = rng.normal(0, deviation, (count, width)).astype("float32")
    model.backbone.token_embedding.embeddings.assign(table)
    if kind == "untied":
        model.get_layer("output_embedding").kernel.assign(rng.normal(0, deviation, (width, count)))
    states = table / np.sqrt(np.mean(table**2, axis=1, keepdims=True))
    inputs, targets = rng.integers(0, count, 400), rng.integers(0, count, 400)
    logits = model.token_logits(model.backbone, ops.convert_to_tensor(states[inputs][None]))[0]
    rows = to_numpy(ops.sparse_categorical_crossentropy(targets, logits, from_logits=True))
    loss = rows.mean()
    spread = width * deviation**2 / 2  # of the other logits, which are N(0, d σ²)
    if kind is None:
        assert loss == pytest.approx(np.log(np.exp(width * deviation) + count - 1), abs=0.4)
    else:
        assert loss == pytest.approx(np.log(count) + spread, abs=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_training_generation_and_presets(kind, tmp_path):
    """A few steps lower the loss; the preset gives the same logits; cached generation is the uncached one."""
    model = zoo.CausalLM(backbone(attention_mask="causal", dropout=0.0), max_length=16, output_transform=kind)
    texts = ["今天天气很好", "天气今天很好", "我去公园玩", "北京大学"]
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(texts, epochs=6, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    randomise(model, spread=0.3)
    ids = np.array([[2, 7, 9, 11, 5]])
    expected = model.predict({"token_ids": ids}, verbose=0)
    model.save_to_preset(tmp_path / "model")
    again = zoo.CausalLM.from_preset(tmp_path / "model")
    assert again.output_transform == kind
    assert_close(again.predict({"token_ids": ids}, verbose=0), expected, atol=1e-5)
    new = again.generate(ids.tolist(), 4, end=())[0]
    row = ids[0].tolist()
    for token in new:
        logits = again.predict({"token_ids": np.array([row])}, verbose=0)[0, -1]
        assert token == int(logits.argmax())
        row.append(int(token))
    kept = np.arange(60)
    cut = zoo.CausalLM.from_preset(tmp_path / "model", keep_tokens=kept)
    assert_close(cut.predict({"token_ids": ids}, verbose=0), expected[..., :60], atol=1e-5)
    with pytest.raises(ValueError, match=f"has no place for output_transform='{kind}'"):
        again.save_to_preset(tmp_path / "foreign", format="bert4keras")


def test_presets_without_the_option_are_as_before():
    model = zoo.MaskedLM(backbone())
    assert model.task_config() == {"masked_positions": False}
    with pytest.raises(ValueError, match="output_transform='rotate'; expected None, 'orthogonal'"):
        zoo.MaskedLM(backbone(), output_transform="rotate")
    config = zoo.MaskedLM(backbone(), output_transform="shuffle").get_config()
    assert zoo.MaskedLM.from_config(config).output_transform == "shuffle"


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_every_policy(dtype):
    if dtype == "mixed_float16" and keras.backend.backend() == "jax":
        pytest.skip("XLA's CPU has no float16 products")
    for kind in KINDS:
        model = zoo.MaskedLM(backbone(dtype=dtype), output_transform=kind)
        logits = model.predict({"token_ids": np.array([[2, 7, 9]])}, verbose=0)
        assert logits.dtype == np.float32 and np.isfinite(logits).all()
