"""A user's own options: subclasses and functions of every kind, in layers, blocks, backbones, configs and presets."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import HALF_POLICIES, built, functional, numpy, randomise, rebuilt
from support.tiny_models import backbone

import zoo
from zoo import layers
from zoo.backend.arguments import described
from zoo.layers import AttentionOptions, options, register_option

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 8)).astype("float32")
MASK = np.arange(6) < np.array([6, 4])[:, None]
IDS = {"token_ids": np.array([[5, 6, 7, 8, 9, 3], [5, 9, 7, 2, 0, 0]], "int32")}


def gaps(query_positions, key_positions):
    return ops.abs(query_positions[:, None, :, None] - key_positions[:, None, None, :])


class Near(layers.ScoreBias):
    def __init__(self, slope=0.7):
        self.slope = slope

    def bias(self, query_positions, key_positions, num_heads, trained):
        return -self.slope * gaps(query_positions, key_positions)


class Fading(layers.Position):
    """Products that halve with every token between."""

    def scores(self, query, key, query_positions=None, key_positions=None):
        here, there = (ops.cast(ops.arange(ops.shape(x)[-2]), "float32") for x in (query, key))
        return ops.matmul(query, ops.swapaxes(key, -1, -2)) * 0.5 ** ops.abs(here[:, None] - there)


class Sigmoid(layers.Normalizer):
    def __call__(self, scores, visible=None):
        weights = ops.sigmoid(ops.cast(scores, "float32"))
        return weights if visible is None else ops.where(visible, weights, 0.0)


class TanhProduct(layers.ScoreProduct):
    def transform(self, query, key):
        return ops.tanh(query), key


class RootLength(layers.LengthScale):
    def factor(self, count):
        return ops.sqrt(count)


class Even(layers.Visibility):
    """A query sees the keys at an even distance."""

    def visible(self, query_places, key_places, num_heads):
        return (query_places[:, None] - key_places[None, :]) % 2 == 0


class Halved(layers.Residual):
    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, x, branch):
        return ops.cast(x, branch.dtype) * self.factor + branch


class Gated(layers.Residual, keras.layers.Layer):
    """A residual with a trained gain for each feature."""

    def __init__(self, start=0.5, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, x_shape, branch_shape=None):
        self.gain = self.add_weight(
            shape=(x_shape[-1],), initializer=keras.initializers.Constant(self.start), name="gain"
        )

    def call(self, x, branch):
        return ops.cast(x, branch.dtype) + ops.cast(self.gain, branch.dtype) * branch

    def compute_output_spec(self, x, branch):
        return keras.KerasTensor(x.shape, dtype=branch.dtype)


OWN = {  # argument -> object of a class of this file
    "position": Fading(),
    "score_bias": Near(),
    "normalization": Sigmoid(),
    "product": TanhProduct(),
    "log_n": RootLength(),
    "visibility": Even(),
}
FUNCTIONS = {name: getattr(own, type(own).method) for name, own in OWN.items()}
FUNCTIONS["normalization"] = Sigmoid().__call__
every = pytest.mark.parametrize("name", OWN)


def oracle(name, query, key, mask):
    """Attention weights in float64 with one option changed: `[B, H, n, s]`, `[B, H, m, s]`, `[B, m]`."""
    query, key = query.astype("float64"), key.astype("float64")
    i, j = np.arange(query.shape[-2])[:, None], np.arange(key.shape[-2])[None]
    visible = np.broadcast_to(mask[:, None, None, :], (*query.shape[:-1], key.shape[-2]))
    if name == "visibility":
        visible = visible & ((i - j) % 2 == 0)
    if name == "product":
        scores = np.tanh(query) @ key.swapaxes(-1, -2)
    else:
        scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    if name == "position":
        scores = scores * 0.5 ** abs(i - j)
    if name == "score_bias":
        scores = scores - 0.7 * abs(i - j)
    if name == "log_n":
        scores = scores * np.sqrt(visible.sum(-1, keepdims=True))
    if name == "normalization":
        return visible / (1 + np.exp(-scores))
    weights = np.exp(scores) * visible
    return weights / weights.sum(-1, keepdims=True)


@every
@pytest.mark.parametrize("given", [OWN, FUNCTIONS], ids=["class", "function"])
def test_weights_equal_a_float64_oracle(name, given):
    query, key = (RNG.standard_normal((2, 2, 6, 4)).astype("float32") for _ in range(2))
    found = AttentionOptions(**{name: given[name]}).attention_weights(
        ops.convert_to_tensor(query), ops.convert_to_tensor(key), 2, {}, padding_mask=ops.convert_to_tensor(MASK)
    )
    assert_close(numpy(found), oracle(name, query, key, MASK), atol=2e-6)


LAYERS = {
    "MultiHeadAttention": lambda **more: layers.MultiHeadAttention(2, 4, **more),
    "GatedAttentionUnit": lambda **more: layers.GatedAttentionUnit(12, 4, normalization="softmax", **more),
    "TransformerBlock": lambda **more: layers.TransformerBlock(2, 4, 16, **more),
    "GAUBlock": lambda **more: layers.GAUBlock(12, 4, **more),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_and_blocks_take_classes_and_functions(kind):
    inputs = {"x": X, "padding_mask": MASK}
    plain = built(LAYERS[kind](), inputs)
    model = functional(LAYERS[kind](attention_options=AttentionOptions(**OWN)), inputs)
    own, made_of_functions = model.layers[-1], built(LAYERS[kind](attention_options=FUNCTIONS), inputs)
    for layer in (own, made_of_functions):
        for new, old in zip(layer.weights, plain.weights, strict=True):
            new.assign(old)
    given = [ops.convert_to_tensor(array) for array in inputs.values()]
    expected = numpy(own(given[0], padding_mask=given[1]))
    assert_close(numpy(made_of_functions(given[0], padding_mask=given[1])), expected, atol=0)
    assert np.abs(numpy(plain(given[0], padding_mask=given[1])) - expected).max() > 1e-3
    changed = X.copy()
    changed[1, 4:] = 9.0  # padding
    assert_close(numpy(own(ops.convert_to_tensor(changed), padding_mask=given[1]))[1, :4], expected[1, :4], atol=2e-5)
    if keras.backend.backend() != "torch":
        model.compile(jit_compile=True)
        assert_close(model.predict(inputs, verbose=0), expected, atol=2e-5)


@pytest.mark.parametrize("policy", HALF_POLICIES)
def test_mixed_precision(policy):
    options = AttentionOptions(**OWN)
    layer = built(layers.TransformerBlock(2, 4, 16, attention_options=options, residual=Halved()), {"x": X})
    half = built(
        layers.TransformerBlock(2, 4, 16, attention_options=options, residual=Halved(), dtype=policy), {"x": X}
    )
    for new, old in zip(half.weights, layer.weights, strict=True):
        new.assign(old)
    assert_close(numpy(half(ops.convert_to_tensor(X))), numpy(layer(ops.convert_to_tensor(X))), atol=0.1)


def test_arguments_of_layers_take_them_as_attention_options_do():
    own = built(layers.MultiHeadAttention(2, 4, position=Fading(), normalization=FUNCTIONS["normalization"]), {"x": X})
    twin = built(
        layers.MultiHeadAttention(2, 4, attention_options={"position": Fading(), "normalization": Sigmoid()}), {"x": X}
    )
    assert_close(numpy(own(ops.convert_to_tensor(X))), numpy(twin(ops.convert_to_tensor(X))), atol=0)


def test_chunks_take_a_normaliser_and_a_position_that_rotates():
    class Rotates(layers.Position):
        def rotate(self, x, positions=None, sequence_axis=1):
            return layers.RotaryEmbedding().rotate(x, positions, sequence_axis)

    make = lambda **more: built(layers.FLASHBlock(12, 4, chunk_length=3, **more), {"x": X})
    own = make(normalization=FUNCTIONS["normalization"], position=Rotates())
    twin = make(attention_options={"normalization": Sigmoid(), "position": "rotary"})
    assert_close(numpy(own(ops.convert_to_tensor(X))), numpy(twin(ops.convert_to_tensor(X))), atol=0)
    for layer in (
        lambda: layers.FLASHBlock(12, 4, position=Fading()),
        lambda: layers.LinearAttention(2, 4, position=Fading()),
    ):
        with pytest.raises(ValueError, match="never forms"):
            layer()


def test_own_frequency_scaling():
    own = layers.RotaryEmbedding(scaling=lambda size, base: [3.0] * (size // 2))
    known = layers.RotaryEmbedding(scaling=layers.PositionInterpolation(3))
    assert_close(numpy(own(ops.convert_to_tensor(X))), numpy(known(ops.convert_to_tensor(X))), atol=1e-6)
    with pytest.raises(ValueError, match="FrequencyScaling cannot be written"):
        own.get_config()


@pytest.mark.parametrize("residual", [Halved(), lambda x, branch: ops.cast(x, branch.dtype) * 0.5 + branch])
def test_own_residuals(residual):
    make = lambda **more: built(layers.TransformerBlock(2, 4, 16, **more), {"x": X})
    own, scaled = make(residual=residual), make(residual=layers.DeepNorm(0.5))
    assert_close(numpy(own(ops.convert_to_tensor(X))), numpy(scaled(ops.convert_to_tensor(X))), atol=1e-6)


def test_every_branch_has_weights_of_its_own_in_a_residual_that_is_a_layer():
    model = functional(layers.TransformerBlock(2, 4, 16, residual=Gated(0.25)), {"x": X})
    block = model.layers[-1]
    gains = [weight for weight in block.trainable_weights if weight.path.endswith("gain")]
    assert {weight.path.split("/")[-2] for weight in gains} == {"attention_residual", "feedforward_residual"}
    known = functional(layers.TransformerBlock(2, 4, 16, residual=layers.AlphaResidual(0.25)), {"x": X})
    others = [weight for weight in block.weights if not weight.path.endswith("gain")]
    for new, old in zip(others, [w for w in known.weights if not w.path.endswith("alpha")], strict=True):
        new.assign(old)
    assert_close(numpy(block(ops.convert_to_tensor(X))), numpy(known({"x": X})), atol=2e-6)


@pytest.fixture
def registered(monkeypatch):
    """Registers classes for one test."""
    for table in ("_CLASSES", "_SHORT_NAMES"):
        monkeypatch.setattr(options, table, dict(getattr(options, table)))
    return register_option


def own_backbone(bias, family="RoFormerV2"):
    model = backbone(family, layer_attention={"score_bias": bias}, residual=Halved())
    return randomise(model)


@pytest.mark.parametrize("family", ["BERT", "RoFormerV2", "GAUAlpha"])
def test_backbones_and_presets(family, registered, tmp_path):
    model = own_backbone(Near(), family)
    heads = 1 if family == "GAUAlpha" else 2
    known = randomise(
        backbone(family, layer_attention={"score_bias": layers.ALiBi([0.7] * heads)}, residual=layers.DeepNorm(0.5))
    )
    expected = numpy(model(IDS))
    assert_close(expected, numpy(known(IDS)), atol=2e-5)
    for write in (model.get_config, lambda: model.save_to_preset(tmp_path / "own")):
        with pytest.raises(
            ValueError, match=r"Near\(slope=0.7\) cannot be written .*\n?.*register_option above class Near"
        ):
            write()
    assert not (tmp_path / "own").exists()
    registered(Near, "near")
    registered(Halved)
    twin = type(model).from_config(json.loads(json.dumps(model.get_config())))
    assert twin.layer_attention == {"score_bias": {"class": "Near", "config": {"slope": 0.7}}}
    model.save_to_preset(tmp_path / "own")
    loaded = type(model).from_preset(tmp_path / "own")
    assert_close(numpy(loaded(IDS)), expected, atol=0)
    named = randomise(backbone(family, layer_attention={"score_bias": "near"}, residual=Halved()))
    assert_close(numpy(named(IDS)), expected, atol=0)


def test_a_preset_with_an_option_that_this_program_has_not_registered(registered, tmp_path):
    for cls in (Near, Halved):
        registered(cls)
    own_backbone(Near()).save_to_preset(tmp_path / "own")
    del options._CLASSES["Near"]
    with pytest.raises(ValueError, match="'Near'.*zoo.layers.register_option"):
        zoo.RoFormerV2.from_preset(tmp_path / "own")


def test_functions_in_backbones_run_and_are_refused_by_name_when_written(tmp_path):
    def nearer(query_positions, key_positions, num_heads, trained):
        return -0.7 * gaps(query_positions, key_positions)

    model = own_backbone(nearer)
    assert_close(numpy(model(IDS)), numpy(own_backbone(Near())(IDS)), atol=0)
    for write in (model.get_config, lambda: model.save_to_preset(tmp_path / "own")):
        with pytest.raises(ValueError, match="nearer.* as a ScoreBias cannot be written"):
            write()
    assert list(pathlib.Path(tmp_path).iterdir()) == []


def test_own_position_and_normaliser_of_a_whole_backbone():
    model = randomise(backbone(position=Fading(), normalization=FUNCTIONS["normalization"]))
    twin = randomise(backbone(layer_attention=[{"position": FUNCTIONS["position"], "normalization": Sigmoid()}]))
    assert_close(numpy(model(IDS)), numpy(twin(IDS)), atol=0)


def test_config_of_a_layer_with_registered_options(registered):
    for cls in (Near, Sigmoid, Gated):
        registered(cls)
    block = built(
        layers.TransformerBlock(
            2, 4, 16, normalization=Sigmoid(), attention_options={"score_bias": Near(0.2)}, residual=Gated()
        ),
        {"x": X},
    )
    twin = rebuilt(block, {"x": X})
    assert_close(numpy(twin(ops.convert_to_tensor(X))), numpy(block(ops.convert_to_tensor(X))), atol=0)
    assert twin.options == block.options


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"score_bias": Sigmoid()},
            r"Sigmoid\(\) for score_bias; expected .* subclass of zoo.layers.ScoreBias, .* its bias",
        ),
        ({"score_bias": Near}, "class .*Near.* for score_bias"),
        ({"normalization": keras.layers.Dense(3)}, "Dense.* for normalization"),
        ({"score_bias": {"class": ["Near"], "config": {}}}, "for score_bias"),
        ({"visibility": [Even(), "even"]}, "'even' for visibility"),
        ({"position": 3}, "3 for position"),
    ],
)
def test_what_is_no_option_of_the_kind(given, message):
    with pytest.raises(ValueError, match=message):
        AttentionOptions(**given)


def test_registering(registered):
    with pytest.raises(ValueError, match="'ALiBi' is already the name of zoo.layers.score_biases.ALiBi"):
        register_option(type("ALiBi", (Near,), {}))
    with pytest.raises(ValueError, match="'alibi' is already"):
        register_option(Near, "alibi")
    for wrong in (Near(), int, options.Option):
        with pytest.raises(ValueError, match="expected a subclass of a kind"):
            register_option(wrong)
    for _ in range(2):  # the cell of a notebook may run twice

        @register_option("near")
        class Again(Near):
            pass

    assert options.get("near", layers.ScoreBias) == Again()
    assert described(Again(0.1)) == {"class": "Again", "config": {"slope": 0.1}}


def test_equal_options_are_those_with_equal_arguments():
    assert Near(0.5) == Near(0.5) != Near(0.25)
    assert hash(Near(0.5)) == hash(Near(0.5))
    function = FUNCTIONS["score_bias"]
    assert AttentionOptions(score_bias=function) == AttentionOptions(score_bias=function)
    assert AttentionOptions(score_bias=function) != AttentionOptions(score_bias=lambda *places: 0.0)
    assert layers.AlphaResidual() != layers.AlphaResidual()  # two layers, two weights
    assert repr(AttentionOptions(score_bias=Near(0.5))) == "AttentionOptions(score_bias=Near(slope=0.5))"


def test_an_option_that_keeps_no_attribute_for_an_argument(registered):
    @registered
    class Forgetful(layers.Visibility):
        def __init__(self, width):
            self.reach = width

    with pytest.raises(ValueError, match="Forgetful has no attribute width"):
        described(Forgetful(3))
