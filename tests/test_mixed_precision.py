"""Half precision: padding still changes nothing, and what is sensitive is computed in float32."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.golden_models import TOKEN_IDS, backbone, batch, load, numpy, tiny

NAMES = ("roformer_v2", "gau_alpha", "roformer", "bert")
HALF_POLICIES = ("mixed_bfloat16", "mixed_float16")  # float16 on JAX' CPU too: scores are products of float32
ROUNDING = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}  # largest relative error of one rounding


@pytest.fixture(scope="module")
def half():
    loaded = {}

    def model(name, policy):
        if (name, policy) not in loaded:
            loaded[name, policy] = load(name, dtype=policy)
        return loaded[name, policy]

    return model


@pytest.mark.parametrize("policy", HALF_POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_no_row_by_more_than_two_units(golden, half, name, policy):
    model, inputs = half(name, policy), batch(golden(f"{name}/golden"), "l7")
    real = inputs["token_ids"] != 0
    out = numpy(model(inputs))[real]
    longer = {key: np.pad(ids, [(0, 0), (0, 33)]) for key, ids in inputs.items()}
    padded = numpy(model(longer))[:, :7][real]
    assert_close(padded, out, atol=3 * ROUNDING[policy] * np.abs(out).max())


@pytest.mark.parametrize("policy", HALF_POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_stays_near_float32(golden, half, name, policy):
    """On average within a few roundings of outputs of size 1."""
    inputs = batch(golden(f"{name}/golden"), "l7")
    model = half(name, policy)
    out = model(inputs)
    assert keras.backend.standardize_dtype(out.dtype) == policy.removeprefix("mixed_")
    error = np.abs(numpy(out) - numpy(backbone(name)(inputs)))
    assert np.sqrt((error**2).mean()) < 8 * ROUNDING[policy]
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.weights} == {"float32"}


@pytest.mark.parametrize("name", NAMES)
def test_scores_become_weights_in_float32(golden, monkeypatch, half, name):
    """Every softmax and every rotation gets float32; the norms are held to float64 in test_layers_norm."""
    model, seen = half(name, "mixed_bfloat16"), {}
    for function in ("softmax", "cos"):
        monkeypatch.setattr(ops, function, spied(function, seen))
    model(batch(golden(f"{name}/golden"), "l7"))
    rotations = 0 if name == "bert" else 2 * model.num_layers
    counts = {"softmax": model.num_layers, "cos": rotations}
    assert seen == {function: ["float32"] * count for function, count in counts.items() if count}


def spied(name, seen):
    """An operation that notes the dtype of what it gets."""
    original = getattr(ops, name)

    def spy(x, *args, **options):
        seen.setdefault(name, []).append(keras.backend.standardize_dtype(x.dtype))
        return original(x, *args, **options)

    return spy


def test_large_positions_are_exact_in_bfloat16(golden):
    """Positions 1000.5, 1001.5, ... are all 1000 or 1004 in bfloat16; shifted so, the output must not move."""
    inputs = batch(golden("roformer_v2/golden"), "l7")
    model = load("roformer_v2", custom_position_ids=True, dtype="mixed_bfloat16")
    positions = np.tile(np.arange(7, dtype="float32"), (4, 1))
    near, far = (numpy(model({**inputs, "position_ids": positions + shift})) for shift in (0, 1000.5))
    assert_close(far, near, atol=4 * ROUNDING["mixed_bfloat16"] * np.abs(near).max())


@pytest.mark.parametrize("policy", HALF_POLICIES)
@pytest.mark.parametrize("family", ["RoFormerV2", "GAUAlpha", "BERT"])
def test_extreme_weights_give_finite_numbers(family, policy):
    """Scores of 10⁵ and more: the softmax is one-hot, not NaN."""
    model = tiny(family, dtype=policy)
    for variable in model.weights:
        if any(part in variable.path for part in ("query", "key")):
            variable.assign(variable * 1000)
    out = numpy(model(TOKEN_IDS))
    assert np.isfinite(out).all()
    assert np.abs(out).max() > 0.1
