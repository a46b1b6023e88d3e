"""Residual options: the constants of the papers, their limits, and what they do to the first step of training."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND, built, gradients, numpy

from zoo.layers import AlphaResidual, DeepNorm, FeedForward, RMSNorm, TransformerBlock
from zoo.layers.residuals import ScaledInitializer


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 5, 8)).astype("float32")


def test_constants_of_the_paper():
    """Values at N = 1000, and at N = M = 100."""
    assert [vars(DeepNorm.encoder(1000))[name] for name in ("alpha", "gain")] == pytest.approx(
        [6.68740, 0.105737], rel=1e-5
    )
    encoder, decoder = DeepNorm.encoder_decoder(100, 100)
    found = [encoder.alpha, encoder.gain, decoder.alpha, decoder.gain]
    assert found == pytest.approx([3.41574, 0.206310, 4.16179, 0.169904], rel=1e-5)
    assert DeepNorm.decoder(12) == DeepNorm.encoder(12)


def test_constants_by_optimizer():
    """2N = 16 sub-layers."""
    found = {name: DeepNorm.for_optimizer(name, 8) for name in ("sgd", "adam", "lamb")}
    assert found == {"sgd": DeepNorm(2.0, 0.5), "adam": DeepNorm(4.0, 0.25), "lamb": DeepNorm(1.0, 0.25)}
    with pytest.raises(ValueError, match="rmsprop"):
        DeepNorm.for_optimizer("rmsprop", 8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_formulas(x, dtype):
    branch = ops.cast(ops.convert_to_tensor(x[:, ::-1].copy()), dtype)
    atol = 1e-6 if dtype == "float32" else 0.05
    for residual, a, b in (
        (DeepNorm(1.0), 1, 1),
        (DeepNorm(2.5), 2.5, 1),
        (AlphaResidual(0.25, dtype=f"mixed_{dtype}" if dtype != "float32" else None), 1, 0.25),
    ):
        out = residual(ops.convert_to_tensor(x), branch)
        assert ops.dtype(out) == dtype
        assert_close(ops.cast(out, "float32"), a * x + b * x[:, ::-1], atol=atol)


def test_configs_as_json():
    encoder = DeepNorm.encoder(12)
    assert DeepNorm.from_config(json.loads(json.dumps(encoder.get_config()))) == encoder
    layer = AlphaResidual(0.5, trainable=True)
    twin = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(layer))))
    assert numpy(twin.alpha) == 0.5 and twin.trainable and len(twin.trainable_variables) == 1
    assert AlphaResidual().trainable_variables == [] and numpy(AlphaResidual().alpha) == 1
    assert AlphaResidual.from_config(layer.described_arguments()).trainable
    initializer = DeepNorm(2.0, 0.5).initializer("ones")
    config = json.loads(json.dumps(keras.initializers.serialize(initializer)))
    assert (numpy(keras.initializers.deserialize(config)((2, 3))) == 0.5).all()


def test_scaled_initializer():
    """The base's numbers times the gain, drawn apart by each clone as the base's are."""
    base = keras.initializers.GlorotNormal(seed=3)
    scaled = ScaledInitializer(base.clone(), 0.1)
    assert np.abs(numpy(scaled((4, 5))) - 0.1 * numpy(base((4, 5)))).max() < 1e-7
    free = ScaledInitializer("glorot_normal", 0.1)
    assert np.abs(numpy(free.clone()((4, 5))) - numpy(free.clone()((4, 5)))).max() > 1e-3


def test_shrink_leaves_query_and_key(x):
    block = built(TransformerBlock(2, 4, 16), {"x": x})
    before = {w.path.partition("/")[2]: numpy(w) for w in block.weights}
    assert DeepNorm(2.0, 0.5).shrink(block) == 4
    for weight in block.weights:
        path = weight.path.partition("/")[2]
        meant = path.endswith("kernel") and path.split("/")[-2] in ("value", "output", "inner", "outer")
        assert np.abs(numpy(weight) - before[path] * (0.5 if meant else 1)).max() < 1e-7
    with pytest.raises(ValueError, match="no kernels"):
        DeepNorm(2.0, 0.5).shrink(RMSNorm())


class Stack(keras.layers.Layer):
    """N feed-forwards after one another, x ← Norm(residual(x, F(x)))."""

    def __init__(self, depth, width, residual, gain):
        super().__init__()
        self.residual = residual
        initializer = ScaledInitializer("he_normal", gain)
        self.branches = [FeedForward(width, use_bias=False, kernel_initializer=initializer) for _ in range(depth)]
        self.norm = RMSNorm()

    def build(self, x_shape):
        for branch in self.branches:
            branch.build(x_shape)

    def call(self, x):
        for branch in self.branches:
            x = self.norm(self.residual(x, branch(x)))
        return x


def squared_gradient(depth, option, x):
    """Sum of squares of the gradient by the weights: how far the output moves in a step of SGD, at rate 1."""
    stack = Stack(depth, x.shape[-1], option, option.gain)
    stack.build(x.shape)
    target = np.random.default_rng(1).standard_normal(x.shape).astype("float32")
    return sum((numpy(g) ** 2).sum() for g in gradients(stack, {"x": x}, target))


@pytest.mark.parametrize("shallow, deep, width", [(4, 16, 16), pytest.param(8, 256, 64, marks=pytest.mark.slow)])
def test_a_first_step_does_not_grow_with_depth(shallow, deep, width):
    """kexue.fm/archives/8978: plain post-norm moves the output by O(N), DeepNorm by O(1).

    The deep stack is wide: in a narrow one gradients of plain post-norm die out before they reach the first layers.
    """
    x = np.random.default_rng(0).standard_normal((8, 4, width)).astype("float32")
    draws = 4 if deep < 100 else 2
    mean = lambda depth, option: np.mean([squared_gradient(depth, option(depth), x) for _ in range(draws)])
    plain, deepnorm = (
        mean(deep, option) / mean(shallow, option)
        # the paper counts attention and feed-forward as one layer, so this stack is half as deep
        for option in (lambda n: DeepNorm(1.0), lambda n: DeepNorm.for_optimizer("sgd", n / 2))
    )
    assert plain > 0.5 * deep / shallow
    assert 0.7 < deepnorm < 1.5


def alpha_model(x, policy="float32"):
    inputs = keras.Input(x.shape[1:])
    branch = keras.layers.Dense(8, use_bias=False, dtype=policy, name="branch")(inputs)
    model = keras.Model(inputs, AlphaResidual(dtype=policy, name="residual")(inputs, branch))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=BACKEND != "torch")
    return model


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.alphas, self.kernels = [], []

    def on_train_batch_end(self, batch, logs=None):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self.alphas.append(float(numpy(self.model.get_layer("residual").alpha)))
        self.kernels.append(numpy(self.model.get_layer("branch").kernel))


def test_warmup_runs_in_the_compiled_step(x):
    """α = 0, 1/4, 1/2, 3/4, 1, 1; in the batch at α = 0 the branch gets no gradient, in the next one it does."""
    from zoo.callbacks import ResidualWarmup

    model, seen = alpha_model(x), Recorder()
    start = numpy(model.get_layer("branch").kernel)
    data = np.repeat(x, 3, axis=0)
    model.fit(data, -data, batch_size=2, epochs=1, verbose=0, callbacks=[ResidualWarmup(4), seen])
    model.fit(data, -data, batch_size=2, epochs=1, verbose=0, callbacks=[ResidualWarmup(4), seen])
    assert seen.alphas == [0, 0.25, 0.5, 0.75, 1, 1]
    assert (seen.kernels[0] == start).all()
    steps = [np.abs(b - a).max() for a, b in zip(seen.kernels, seen.kernels[1:])]
    assert min(steps) > 0
    expected = x + x @ seen.kernels[-1].astype("float32")
    assert np.abs(model.predict(x, verbose=0) - expected).max() < 1e-4


def test_warmup_needs_something_to_warm_up(x):
    from zoo.callbacks import ResidualWarmup

    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, keras.layers.Dense(8)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no AlphaResidual"):
        model.fit(x, x, verbose=0, callbacks=[ResidualWarmup(4)])
    with pytest.raises(ValueError, match="steps=0"):
        ResidualWarmup(0)
