"""LowRank: explicit LoRA, number by number, and nothing else changes."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND
from support.low_rank_problem import (
    MATRICES,
    SHAPES,
    START,
    Stepper,
    as_float64,
    kernels,
    started,
    train,
    train_explicit,
)

import zoo
from zoo.optimizers import (
    ExponentialMovingAverage,
    GaLore,
    LayerwiseLearningRate,
    Lookahead,
    LoRA,
    LowRank,
    RandomProjection,
)
from zoo.optimizers.low_rank import matrix_shape

optimizers = keras.optimizers
INNER = {
    "sgd_momentum": lambda: optimizers.SGD(0.003, momentum=0.9, nesterov=True),
    "adam_schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.02, 5, 0.8)),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.5),
    "lion": lambda: optimizers.Lion(1e-3),
    "adafactor": lambda: optimizers.Adafactor(0.05),
    "clipnorm": lambda: optimizers.SGD(0.2, clipnorm=0.1),
    "global_clipnorm": lambda: optimizers.Adam(0.01, global_clipnorm=0.05, epsilon=0.01),
    "clipvalue": lambda: optimizers.SGD(0.05, clipvalue=0.5),
    "accumulation": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3, global_clipnorm=0.05, epsilon=0.01),
    "lookahead": lambda: Lookahead(optimizers.SGD(0.003, momentum=0.9), steps=4),
    "average": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.8),
}


@pytest.mark.parametrize("inner", INNER)
def test_equals_explicit_factors(inner):
    """The same Keras optimizer, given the factors and their gradients, moves A B as LowRank moves W."""
    form = LoRA(alpha=2 * 3)  # s = 2
    expected = train_explicit(INNER[inner](), started(LowRank(INNER[inner](), rank=3, form=form)), scale=2.0)
    optimizer = LowRank(INNER[inner](), rank=3, form=form)
    trained = train(optimizer)
    optimizer.finalize_variable_values(list(trained.values()))
    for name, (n, m) in MATRICES.items():
        kernel = as_float64(trained[f"{name}/kernel"]).reshape(n, m)
        assert_close(kernel, expected[name], atol=1e-5)
        assert np.abs(kernel - START[name]).max() > 3e-3
        assert np.linalg.matrix_rank(kernel - START[name], tol=1e-5) <= 3
        assert (as_float64(trained[f"{name}/bias"]) == 1).all()


def test_two_learning_rates():
    """LoRA+: B learns 16 times as fast, as with Keras' own optimizer of two rates."""

    def adamw(rate):
        return optimizers.AdamW(rate, weight_decay=0.5)

    two_rates = optimizers.MultiOptimizer(optimizers.OptimizerMap(adamw(1e-3), {"kernel_b": adamw(1.6e-2)}))
    ratio = LoRA(learning_rate_ratio=16)
    expected = train_explicit(two_rates, started(LowRank("sgd", rank=3)))
    trained = train(LowRank(adamw(1e-3), rank=3, form=ratio))
    by_path = train(LowRank(LayerwiseLearningRate(adamw(1e-3), {"kernel_b$": 16}), rank=3))
    plain = train(LowRank(adamw(1e-3), rank=3))
    for name, shape in MATRICES.items():
        for kernels_ in (trained, by_path):
            assert_close(as_float64(kernels_[f"{name}/kernel"]).reshape(shape), expected[name], atol=1e-5)
        assert np.abs(as_float64(plain[f"{name}/kernel"]).reshape(shape) - expected[name]).max() > 1e-3


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_scale_and_both_factors_random(rank_stabilized):
    """alpha / r and alpha / sqrt(r); with A₀ B₀ ≠ 0 the kernel starts where it was."""
    form = LoRA(alpha=1.5, rank_stabilized=rank_stabilized, b_initializer="glorot_normal")
    start = started(LowRank("sgd", rank=3, form=form))
    assert all(np.abs(value).max() > 0.1 for value in start.values())
    expected = train_explicit(optimizers.Adam(0.01), start, scale=1.5 / (3**0.5 if rank_stabilized else 3))
    optimizer = LowRank(optimizers.Adam(0.01), rank=3, form=form)
    trained = train(optimizer)
    delta = optimizer.extract()
    for name, shape in MATRICES.items():
        kernel = as_float64(trained[f"{name}/kernel"]).reshape(shape)
        assert_close(kernel, expected[name], atol=1e-5)
        a, b = delta.factors[f"{name}/kernel"]
        assert a.shape[1] == 6
        assert_close(a @ b, kernel - START[name], atol=1e-6)


def test_other_variables():
    """Frozen bit by bit, or trained by the inner optimizer as it trains them."""
    trained = train(
        LowRank(optimizers.Adam(0.01), rank=3, pattern="first/kernel", full_rank="second/bias|second/kernel")
    )
    plain = train(optimizers.Adam(0.01))
    assert (as_float64(trained["first/bias"]) == 1).all()
    for path in ("second/bias", "second/kernel"):
        assert_close(as_float64(trained[path]), as_float64(plain[path]), atol=1e-6)
    moved = as_float64(trained["first/kernel"]) - START["first"]
    assert np.linalg.matrix_rank(moved, tol=1e-5) == 3


def test_no_more_numbers_than_the_matrix_has():
    """A side of at most r: trained as it is, as by the inner optimizer alone."""
    optimizer = LowRank(optimizers.Adam(0.01), rank=8)
    trained, plain = train(optimizer), train(optimizers.Adam(0.01))
    for path in ("first/kernel", "second/kernel"):
        assert_close(as_float64(trained[path]), as_float64(plain[path]), atol=1e-6)
    assert set(optimizer.extract().values) == {"first/kernel", "second/kernel"}


@pytest.mark.parametrize("form", [LoRA(), GaLore(scale=1.0, refresh_every=5)], ids=lambda form: type(form).__name__)
def test_half_precision_loses_no_step(form):
    """Under pure bfloat16 W is its float32 running copy, rounded: steps far below its resolution add up."""
    inner = {"float32": optimizers.SGD(2e-6, momentum=0.9), "bfloat16": optimizers.SGD(2e-6, momentum=0.9)}
    runs = {}
    for dtype, optimizer in inner.items():
        wrapped = LowRank(optimizer, rank=3, form=form)
        runs[dtype] = (train(wrapped, dtype=dtype, steps=20), wrapped)
    weights, optimizer = runs["bfloat16"]
    rests = {v.path: v for v in optimizer.variables if v.path.endswith("kernel_rest")}
    for name in SHAPES:
        kernel, rest = weights[f"{name}/kernel"], rests[f"{name}/low_rank/kernel_rest"]
        base = ops.convert_to_tensor(START[name].reshape(SHAPES[name]), "bfloat16")
        exact = runs["float32"][0][f"{name}/kernel"]
        moved = as_float64(exact) - np.float32(START[name]).reshape(SHAPES[name])
        assert 0 < np.abs(moved).max() < 2e-3, "below the resolution of bfloat16 near 1"
        running = as_float64(kernel) + as_float64(rest)
        # gradients come rounded to bfloat16, at a point that is off by as much
        assert_close(running - as_float64(base), moved, atol=0.05 * np.abs(moved).max())
        assert (as_float64(ops.cast(ops.convert_to_tensor(running, "float32"), "bfloat16")) == as_float64(kernel)).all()


def test_skipped_steps_and_loss_scale():
    """LossScaleOptimizer around it: gradients are unscaled, and one with an infinity changes nothing."""
    wrapped = optimizers.LossScaleOptimizer(LowRank(optimizers.SGD(0.1), rank=3), initial_scale=8.0)
    plain = LowRank(optimizers.SGD(0.1), rank=3)
    variables, others = kernels(), kernels()
    steps, plain_steps = Stepper(wrapped, variables), Stepper(plain, others)
    rng = np.random.default_rng(5)
    for infinite in (False, True, False):
        gradients = [rng.normal(size=tuple(v.shape)).astype("float32") for v in variables]
        before = [as_float64(v) for v in variables]
        scale = as_float64(wrapped.scale_loss(ops.ones(())))
        steps.step([g * scale + (np.inf if infinite else 0) for g in gradients])
        if infinite:
            assert all((as_float64(v) == old).all() for v, old in zip(variables, before))
        else:
            plain_steps.step(gradients)
    for variable, other in zip(variables, others):
        assert_close(as_float64(variable), as_float64(other), atol=1e-6)
    factor = LowRank(optimizers.SGD(0.1, loss_scale_factor=8.0), rank=3)
    assert float(factor.scale_loss(2.0)) == 16 and factor.loss_scale_factor == 8
    with pytest.raises(ValueError, match="outermost"):
        LowRank(optimizers.LossScaleOptimizer(optimizers.SGD(0.1)))


def test_drift_stays_below_rounding():
    """After a thousand steps W is W₀ + s A B up to some units in the last place."""
    optimizer = LowRank(optimizers.Adam(0.003), rank=3)
    trained = train(optimizer, steps=1000)
    for path, (a, b) in optimizer.extract().factors.items():
        name = path.split("/")[0]
        moved = as_float64(trained[path]).reshape(MATRICES[name]) - np.float32(START[name])
        assert_close(moved, a.astype("float64") @ b, atol=1e-5)
        assert np.abs(moved).max() > 0.1


AROUND = {
    "lookahead": lambda inner: Lookahead(inner, steps=3),
    "average": lambda inner: ExponentialMovingAverage(inner, 0.8),
    "layerwise": lambda inner: LayerwiseLearningRate(inner, {"second/": 0.1}),
}


@pytest.mark.parametrize("around", AROUND)
def test_a_delta_is_the_models_or_refused(around):
    """Inside LowRank these act on the factors; around it they move kernels elsewhere, which no factors say."""
    inside = LowRank(AROUND[around](optimizers.Adam(0.01)), rank=3)
    trained = train(inside, steps=20)
    inside.finalize_variable_values(list(trained.values()))
    for path, (a, b) in inside.extract().factors.items():
        name = path.split("/")[0]
        assert_close(as_float64(trained[path]).reshape(MATRICES[name]) - np.float32(START[name]), a @ b, atol=1e-5)
    outside = AROUND[around](LowRank(optimizers.Adam(0.01), rank=3))
    trained = train(outside, steps=20)
    outside.finalize_variable_values(list(trained.values()))
    with pytest.raises(ValueError, match=r"(first|second)/kernel is some \S+ away from its base plus its factors"):
        outside.inner.extract()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_set_behind_its_back_make_no_delta(dtype):
    """As by restore_best_weights, or by loading after the build: also a kernel that is off by a little."""
    optimizer = LowRank(optimizers.Adam(0.01), rank=3)
    trained = train(optimizer, dtype=dtype)
    optimizer.extract()
    kernel = trained["second/kernel"]
    kernel.assign(as_float64(kernel) + 0.02 * (np.arange(9) == 4))
    with pytest.raises(ValueError, match="second/kernel is some 0.05.* away"):
        optimizer.extract()


def test_matrix_of_a_kernel():
    """The split of the fewest factors: attention's and convolutions' kernels lie as expected."""
    assert matrix_shape((384, 1536)) == (384, 1536)
    assert matrix_shape((768, 12, 64)) == (768, 768)
    assert matrix_shape((12, 64, 768)) == (768, 768)
    assert matrix_shape((3, 3, 64, 128)) == (576, 128)
    assert matrix_shape((4, 4, 4)) == (16, 4)


def test_optimizer_bytes():
    """RoFormerV2-small at rank 8: at most 5 % of what Adam holds, slots of A and B alone."""

    def size(optimizer):
        optimizer.build(model.trainable_variables)
        return sum(np.prod(v.shape, dtype=int) * np.dtype(v.dtype).itemsize for v in optimizer.variables)

    model = zoo.RoFormerV2(vocabulary_size=12000, num_layers=6, num_heads=6, hidden_dim=384, intermediate_dim=1536)
    adam, wrapped = optimizers.Adam(), LowRank(optimizers.Adam(), rank=8)
    held = size(wrapped)
    assert held <= 0.05 * size(adam)
    factors = 6 * 8 * (4 * (384 + 384) + 2 * (384 + 1536))
    assert held <= 4 * 3 * factors + 36 * 4 * 8 + 100
    assert len([v for v in wrapped.variables if v.path.endswith("kernel_a")]) == 36


def test_config_round_trip():
    optimizer = LowRank(
        optimizers.AdamW(optimizers.schedules.CosineDecay(0.1, 10)), rank=4, pattern="kernel", full_rank="bias", seed=7,
        form=LoRA(alpha=8, rank_stabilized=True, a_initializer="glorot_normal", learning_rate_ratio=4.0),
    )  # fmt: skip
    twin = optimizers.deserialize(optimizers.serialize(optimizer))
    assert type(twin) is LowRank and twin.form.scale(4) == 4 and twin.form.learning_rate_ratio == 4
    assert optimizers.serialize(twin) == optimizers.serialize(optimizer)


def test_learning_rate_and_iterations_are_the_inner_ones():
    inner = optimizers.Adam(0.01, gradient_accumulation_steps=2)
    optimizer = LowRank(inner, rank=3)
    optimizer.learning_rate = 0.5
    assert float(ops.convert_to_numpy(inner.learning_rate)) == 0.5
    train(optimizer, steps=4)
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 2


def test_exclusion_from_decay_goes_by_name():
    """A word that names a kernel, or its factor, keeps them from decaying."""

    def optimizer(*names):
        inner = optimizers.SGD(0.1, weight_decay=0.5)
        wrapped = LowRank(inner, rank=3, full_rank="bias", form=LoRA(b_initializer="ones"))
        wrapped.exclude_from_weight_decay(var_names=list(names))
        return wrapped

    for names, kept in ((["_b"], 1.0), (["kernel"], 1.0), (["bias"], 0.95)):
        wrapped = optimizer(*names)
        variables = kernels()
        wrapped.build(variables)
        wrapped.apply([ops.zeros(v.shape) for v in variables], variables)
        (b,) = [as_float64(v) for v in wrapped.variables if v.path == "first/low_rank/kernel_b"]
        assert_close(b, np.full(b.shape, kept), atol=1e-6)


def test_errors_teach():
    with pytest.raises(ValueError, match="no trainable variable matches 'nothing'.*first/kernel"):
        LowRank("sgd", pattern="nothing").build(kernels())
    with pytest.raises(ValueError, match="zeros for both"):
        LoRA(a_initializer="zeros")
    with pytest.raises(ValueError, match="rank=0"):
        LowRank("sgd", rank=0)
    built = optimizers.SGD(0.1)
    built.build(kernels())
    with pytest.raises(ValueError, match="is built for other variables"):
        LowRank(built)
    averaging = optimizers.SGD(0.1, use_ema=True)
    ratio, ahead = LoRA(learning_rate_ratio=2), LayerwiseLearningRate(Lookahead("sgd"), {"a$": 0.5})
    for inner, form, words in (
        (averaging, GaLore(), r"SGD \(use_ema\).*: ExponentialMovingAverage\(LowRank"),
        (ExponentialMovingAverage("sgd"), ratio, r": ExponentialMovingAverage\(LowRank"),
        (ahead, ratio, r"got Lookahead, .*factors of LoRA .*: Lookahead\(LowRank"),
        (ahead, RandomProjection(), r"got Lookahead, .*factors of RandomProjection .*: Lookahead\(LowRank"),
    ):
        with pytest.raises(ValueError, match=words):
            LowRank(inner, form=form)
    constrained = keras.layers.Dense(9, kernel_constraint="non_neg")
    constrained.build((None, 20))
    with pytest.raises(ValueError, match="constraint NonNeg"):
        LowRank("sgd").build(constrained.trainable_variables)
    with pytest.raises(ValueError, match="trained nothing"):
        LowRank("sgd").extract()


def test_gradients_may_be_missing():
    """A kernel that the loss does not reach stays as it is."""
    optimizer, variables = LowRank(optimizers.Adam(0.1), rank=3), kernels()
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([ops.ones((6, 7)), None, None, None], variables)
    assert (as_float64(variables[2]) == np.float32(START["second"]).reshape(2, 4, 9)).all()
    assert (as_float64(variables[0]) != np.float32(START["first"])).any()


def test_rows_of_a_lookup_add_up():
    """TensorFlow's gradient of a foreign embedding holds rows, some of them several times."""
    dense = np.zeros((6, 7), "float32")
    dense[[1, 4]] = [[2.0], [1.0]]
    rows = ops.convert_to_tensor(dense)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        rows = tf.IndexedSlices(tf.ones((3, 7)), tf.constant([1, 4, 1]), tf.constant([6, 7]))
    results = []
    for gradient in (rows, ops.convert_to_tensor(dense)):
        optimizer, variables = LowRank(optimizers.Adam(0.1, epsilon=0.1), rank=3, full_rank="bias"), kernels()
        optimizer.build(variables)
        optimizer.apply([gradient, *(ops.zeros(v.shape) for v in variables[1:])], variables)
        results.append(as_float64(variables[0]))
    assert_close(results[0], results[1], atol=0)
    assert np.abs(results[0] - START["first"]).max() > 0.01
