"""dtype and jit_compile are switches: every model trains and predicts under each as in float32, or says why not."""

import keras
import numpy as np
import pytest
from support.layer_checks import BACKEND
from support.tiny_models import PAIRS, backbone, scatter_weights

import zoo
from zoo.data import as_pairs
from zoo.optimizers import LayerwiseLearningRate, Lookahead, LowRank

ROUNDING = {"bfloat16": 2**-8, "float16": 2**-11, "float32": 2**-20}  # of outputs of size 1; float32's gather over sums
MODELS = {
    "representation": lambda dtype: zoo.RepresentationMatcher(backbone("RoFormerV2", dtype=dtype), max_length=16),
    "interaction": lambda dtype: zoo.InteractionMatcher(backbone("BERT", dtype=dtype), dropout=0.0, max_length=16),
    "classifier": lambda dtype: zoo.TextClassifier(
        backbone("RoFormer", dtype=dtype), num_classes=2, dropout=0.0, max_length=16
    ),
    "masked_lm": lambda dtype: zoo.MaskedLM(backbone("GAUAlpha", dtype=dtype)),
}
# Every model in float16, where most can go wrong, and every precision in one model; the others are slow tests.
FAST = [(name, "mixed_float16") for name in MODELS] + [("representation", "mixed_bfloat16")]
PRECISIONS = [(name, dtype) for name in MODELS for dtype in ("mixed_bfloat16", "mixed_float16")]


def batch(name, model):
    """Six pairs as the model takes them, 16 tokens a row, and labels."""
    if name == "masked_lm":
        rng = np.random.default_rng(5)
        token_ids = rng.integers(5, 120, (6, 16)).astype("int32")
        token_ids[::2, 9:] = 0
        return {"token_ids": token_ids}, rng.integers(5, 120, (6, 16)).astype("int32")
    records = as_pairs(PAIRS[:6])
    encoded, rows = model.encode_records(records)
    return encoded.batch(rows, 16), model.targets(records.labels)


def compiled(name, dtype, jit="auto"):
    model = scatter_weights(MODELS[name](dtype))
    optimizer = LayerwiseLearningRate(keras.optimizers.SGD(0.125), {"layer_0/": 0.5})
    if dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**7)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if name == "masked_lm" else None
    model.compile(optimizer, *([] if loss is None else [loss]), jit_compile=jit)
    return model


def run(name, model):
    """Outputs, loss, and how far one step moves each weight."""
    x, y = batch(name, model)
    before, outputs = model.get_weights(), np.asarray(model.predict_on_batch(x), "float64")
    loss = float(np.squeeze(model.train_on_batch(x, y)))
    moves = {v.path: b - a for v, a, b in zip(model.weights, before, model.get_weights(), strict=True)}
    return outputs, loss, moves


@pytest.fixture(scope="module")
def reference():
    """Each model in float32 as the backend runs it by default."""
    results = {}

    def get(name):
        if name not in results:
            results[name] = run(name, compiled(name, "float32"))
        return results[name]

    return get


def assert_like(result, expected, rounding):
    """Outputs and moves within some roundings of their size. Single weights' moves are sums that nearly cancel."""
    (outputs, loss, moves), (expected_outputs, expected_loss, expected_moves) = result, expected
    assert np.isfinite(outputs).all() and np.isfinite(loss)
    assert np.abs(outputs - expected_outputs).max() < 8 * rounding * np.abs(expected_outputs).max()
    assert abs(loss - expected_loss) < 4 * rounding * max(1, abs(expected_loss))
    floor = rounding * max(np.abs(move).max() for move in expected_moves.values())  # the key's bias has no gradient
    for path, move in moves.items():
        largest = np.abs(expected_moves[path]).max()
        assert (
            np.isfinite(move).all() and np.abs(move - expected_moves[path]).max() < 64 * rounding * largest + floor
        ), path
    error = sum(((move - expected_moves[path]) ** 2).sum() for path, move in moves.items())
    assert error**0.5 < 16 * rounding * sum((move**2).sum() for move in expected_moves.values()) ** 0.5
    assert sum(np.abs(move).max() > 1e-4 for move in moves.values()) > len(moves) / 2, "something must have moved"


def check_precision(reference, name, dtype):
    model = compiled(name, dtype)
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.weights} == {"float32"}
    assert_like(run(name, model), reference(name), ROUNDING[dtype.removeprefix("mixed_")])


@pytest.mark.parametrize(("name", "dtype"), FAST)
def test_mixed_precision(reference, name, dtype):
    check_precision(reference, name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [case for case in PRECISIONS if case not in FAST])
def test_mixed_precision_of_all(reference, name, dtype):
    check_precision(reference, name, dtype)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.compile warns of Keras' code
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_compilation(reference, name, jit, dtype):
    """XLA, torch.compile, op by op: the same outputs, the same step."""
    assert_like(run(name, compiled(name, dtype, jit)), reference(name), ROUNDING[dtype.removeprefix("mixed_")])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_pure_half_precision_is_for_use(reference, dtype):
    """It scores; training float16 weights is refused, training bfloat16 ones warned of."""
    model = compiled("interaction", dtype)
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.backbone.weights} == {dtype}
    outputs = np.asarray(model.predict_on_batch(batch("interaction", model)[0]), "float64")
    expected = reference("interaction")[0]
    assert np.abs(outputs - expected).max() < 32 * ROUNDING[dtype] * np.abs(expected).max()
    if dtype == "float16":
        with pytest.raises(
            ValueError, match="dtype='mixed_float16' computes in float16 and keeps the weights in float32"
        ):
            model.fit(PAIRS, verbose=0)
        with pytest.raises(ValueError, match="mixed_float16"):
            compiled("masked_lm", dtype).fit(np.ones((2, 16), "int32"), np.ones((2, 16), "int32"), verbose=0)
    else:
        with pytest.warns(UserWarning, match="dtype='mixed_bfloat16'"):
            zoo.training.checks.check_training(model)
        model.backbone.trainable = False
        zoo.training.checks.check_training(model)  # the head is float32


@pytest.mark.parametrize("around", [lambda inner: inner, Lookahead], ids=["alone", "inside"])
def test_low_rank_answers_for_its_factors_alone(around):
    """What it trains at full rank, asked for or of few rows, loses steps in half precision as under any optimizer."""

    def check(dtype, **options):
        model = zoo.RepresentationMatcher(backbone("BERT", dtype=dtype), max_length=16)
        model.compile(around(LowRank(keras.optimizers.SGD(0.1), **options)))
        zoo.training.checks.check_training(model)

    check("float16", rank=2)
    with pytest.raises(ValueError, match="weights such as .*gamma in float16"):
        check("float16", rank=2, full_rank="gamma$")
    with pytest.warns(UserWarning, match="weights such as .*kernel in bfloat16"):
        check("bfloat16", rank=16)
    check("mixed_bfloat16", rank=16, full_rank="gamma$")


def test_an_overflow_costs_one_step_and_half_the_scale():
    """Infinite gradients change nothing but the scale, and the next step trains."""
    model = compiled("representation", "mixed_float16")
    optimizer = model.optimizer
    x, y = batch("representation", model)
    model.train_on_batch(x, y)
    weights, steps = model.get_weights(), int(optimizer.iterations)
    optimizer.dynamic_scale.assign(2.0**126)
    loss = float(np.squeeze(model.train_on_batch(x, y)))
    assert np.isfinite(loss)
    assert all((a == b).all() for a, b in zip(model.get_weights(), weights))
    assert float(optimizer.dynamic_scale) == 2.0**125 and int(optimizer.iterations) == steps == 1
    optimizer.dynamic_scale.assign(2.0**7)
    model.train_on_batch(x, y)
    assert all(np.isfinite(a).all() for a in model.get_weights()) and int(optimizer.iterations) == 2
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(model.get_weights(), weights))


def test_auto_takes_what_measures_fastest():
    """Lengths are padded to buckets where each new one would be compiled."""
    model = MODELS["representation"]("float32")
    for jit, xla in (("auto", BACKEND == "jax"), (True, True), (False, False)):
        model.compile(jit_compile=jit)
        assert model.jit_compile == xla
        assert (model.buckets is not None) == (xla or BACKEND == "jax")


def test_a_distribution_that_would_do_nothing_is_refused():
    devices = keras.distribution.list_devices() if BACKEND == "jax" else ["cpu:0"]
    mesh = keras.distribution.DeviceMesh((1,), ["batch"], devices[:1])
    keras.distribution.set_distribution(keras.distribution.DataParallel(device_mesh=mesh))
    try:
        if BACKEND == "jax":
            assert backbone().count_params() > 0
        else:
            with pytest.raises(ValueError, match=f"DataParallel, which the {BACKEND} backend ignores"):
                backbone()
    finally:
        keras.distribution.set_distribution(None)
