"""Poolings: one vector a text, whatever the padding."""

import numpy as np
import pytest
from support.arrays import assert_close
from support.layer_checks import built, check_layer, numpy

from zoo.layers import Pooling

KINDS = ("cls", "mean", "max", "first_last_mean", "attention", "comparison")


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 8)).astype("float32")
    mask = np.arange(6) < np.array([6, 4, 1, 0])[:, None]
    second = np.arange(6) >= np.array([2, 3, 1, 0])[:, None]
    return {"hidden_states": x, "padding_mask": mask, "first_hidden_states": x[::-1].copy(), "second_text": second}


def inputs_of(kind, batch):
    own = {"first_hidden_states": "first_last_mean", "second_text": "comparison"}
    return {name: x for name, x in batch.items() if own.get(name, kind) == kind}


@pytest.mark.parametrize("kind, key", [("mean", "avg_mask"), ("max", "max_mask")])
def test_equals_bert4keras(golden, kind, key):
    arrays = golden("ops")
    assert_close(Pooling(kind)(arrays["pool/x"], arrays["pool/mask"]), arrays[f"pool/{key}"], atol=2e-5)


def test_mean_without_padding_equals_bert4keras(golden):
    arrays = golden("ops")
    out = Pooling("mean")(arrays["pool/x"], np.ones_like(arrays["pool/mask"]))
    assert_close(out, arrays["pool/avg_nomask"], atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_loop_over_real_tokens(batch, kind):
    layer = built(Pooling(kind), inputs_of(kind, batch))
    x, first = batch["hidden_states"].astype("float64"), batch["first_hidden_states"].astype("float64")
    expected = np.zeros((4, 16 if kind == "comparison" else 8))
    for row, real in enumerate(batch["padding_mask"]):
        if kind == "cls":
            expected[row] = x[row, 0]
        elif not real.any():
            continue
        elif kind == "mean":
            expected[row] = x[row, real].mean(0)
        elif kind == "max":
            expected[row] = x[row, real].max(0)
        elif kind == "first_last_mean":
            expected[row] = (x[row, real].mean(0) + first[row, real].mean(0)) / 2
        elif kind == "comparison":
            parts = [real & ~batch["second_text"][row], real & batch["second_text"][row]]
            u, v = (x[row, part].mean(0) if part.any() else np.zeros(8) for part in parts)
            u, v = (w * np.sqrt(8 / (w @ w)) if w.any() else w for w in (u, v))
            expected[row] = [*(u * v), *abs(u - v)]
        else:
            weights = np.exp(x[row, real] @ numpy(layer.query))
            expected[row] = weights / weights.sum() @ x[row, real]
    assert_close(layer(**inputs_of(kind, batch)), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(batch, kind):
    """Neither more of it nor what stands there, were it 1e30."""
    batch = inputs_of(kind, batch)
    layer = built(Pooling(kind), batch)
    padded = {k: np.concatenate([v, np.zeros_like(v[:, :3])], axis=1) for k, v in batch.items()}
    for name in set(batch) - {"padding_mask"}:
        padded[name][~padded["padding_mask"]] = 1e30 if kind != "cls" else 7
    rows = slice(0, 3) if kind == "cls" else slice(None)  # the first token of an empty text is padding
    assert_close(numpy(layer(**padded))[rows], numpy(layer(**batch))[rows], atol=1e-6)


def test_attention_starts_as_the_mean(batch):
    batch = inputs_of("attention", batch)
    assert_close(Pooling("attention")(**batch), Pooling("mean")(**batch), atol=1e-6)


def test_mean_of_constant_in_half_precision_is_exact():
    """4096 ones sum to 4096 in float32 and to 256 in bfloat16."""
    x, mask = np.ones((1, 4096, 2), "float32"), np.ones((1, 4096), bool)
    assert_close(Pooling("mean", dtype="mixed_bfloat16")(x, mask), np.ones((1, 2)), atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_layer_contract(tmp_path, batch, kind):
    weights = int(kind == "attention")
    check_layer(Pooling(kind), inputs_of(kind, batch), tmp_path, output_dtype="float32", weights=weights)


def test_errors(batch):
    with pytest.raises(
        ValueError, match="pooling='last'; expected one of cls, mean, max, first_last_mean, attention, comp"
    ):
        Pooling("last")
    with pytest.raises(ValueError, match="needs first_hidden_states"):
        Pooling("first_last_mean")(**inputs_of("mean", batch))
    with pytest.raises(ValueError, match="needs second_text"):
        Pooling("comparison")(**inputs_of("mean", batch))


def test_comparison_holds_the_cosine(batch):
    """The mean of its first half is the cosine of the two texts' means; the same text twice gives 1 and differences 0."""
    x = np.concatenate([batch["hidden_states"], 3 * batch["hidden_states"]], axis=1)
    mask, second = np.tile(batch["padding_mask"], 2)[:3], np.tile(np.arange(12) >= 6, (3, 1))
    products, differences = np.split(numpy(Pooling("comparison")(x[:3], mask, second_text=second)), 2, axis=1)
    assert_close(products.mean(axis=1), np.ones(3), atol=1e-6)
    assert_close(differences, np.zeros((3, 8)), atol=1e-6)
