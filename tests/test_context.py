"""extend_context: the same weights, an oracle or limiting case for each method, and what is refused."""

import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import backbone, matcher, scatter_weights

import zoo
from zoo.backend.variables import weights_of
from zoo.layers import AttentionOptions, LogN, Window
from zoo.models.context_extension import METHODS, SCALINGS

N = 16
RNG = np.random.default_rng(8)
SHORT, LONG = RNG.integers(5, 120, (2, N)).astype("int32"), RNG.integers(5, 120, (2, 3 * N)).astype("int32")


def rotary(family="RoFormerV2", **options):
    return scatter_weights(backbone(family, num_layers=2, **options))


@pytest.fixture(scope="module")
def model():
    return rotary(attention_mask="causal", custom_position_ids=True)


def run(model, token_ids, positions=None):
    inputs = {"token_ids": token_ids}
    if positions is not None or getattr(model, "custom_position_ids", False):
        positions = np.arange(token_ids.shape[1]) if positions is None else positions
        inputs["position_ids"] = np.broadcast_to(positions.astype("float32"), token_ids.shape)
    return model.predict_on_batch(inputs)


@pytest.mark.parametrize("method", METHODS)
def test_weights_stay_and_long_inputs_change(model, method):
    longer = zoo.extend_context(model, method, factor=3)
    assert type(longer) is type(model) and longer is not model
    for path, variable in weights_of(longer).items():
        assert_close(variable, weights_of(model)[path], atol=0)
    out = run(longer, LONG)
    assert np.isfinite(out).all()
    assert np.abs(out - run(model, LONG)).max() > 1e-3
    # the first tokens see nothing that is far
    if method not in SCALINGS:
        assert_close(out[:, : N // 2], run(model, LONG)[:, : N // 2], atol=1e-5)
    if method in ("log_n", "window"):
        assert_close(out[:, :N], run(model, LONG)[:, :N], atol=1e-5)


def test_interpolation_is_positions_divided(model):
    longer = zoo.extend_context(model, "position_interpolation", factor=3)
    assert_close(run(longer, LONG), run(model, LONG, np.arange(3 * N) / 3), atol=1e-4)


def test_a_window_forgets(model):
    """Two layers of width w reach 2 (w − 1) tokens back, and no further."""
    longer = zoo.extend_context(model, "window", factor=3, window=5)
    changed = LONG.copy()
    changed[:, 10] += np.where(changed[:, 10] > 100, -50, 13)
    differs = np.abs(run(longer, LONG) - run(longer, changed)).max(axis=(0, 2)) > 1e-6
    assert np.flatnonzero(differs)[[0, -1]].tolist() == [10, 18]


def test_leaky_distances_end_at_the_training_length(model):
    for factor, window in ((3, 8), (8, 4), (1.5, 15)):
        longer = zoo.extend_context(model, "leaky_rerope", factor=factor, window=window)
        position = zoo.layers.options.get(longer.layer_attention["position"])
        assert float(position.effective(np.float32(factor * N))) == pytest.approx(N, rel=1e-6)


def test_encoders_are_extended_to_both_sides():
    """A causal ReRoPE would read keys on the right at untrained distances."""
    for mask, causal in (("bidirectional", False), ("unilm", False), ("causal", True)):
        longer = zoo.extend_context(backbone(attention_mask=mask))
        assert longer.layer_attention["position"]["config"]["causal"] is causal


def test_methods_are_put_on_each_other(model):
    longer = zoo.extend_context(zoo.extend_context(model, "rerope", 3), "log_n", 3)
    options = AttentionOptions.get(longer.layer_attention)
    assert options.log_n == LogN(N) and options.position.window == N // 2


@pytest.mark.parametrize("method", SCALINGS)
def test_scalings_are_those_asked_for(model, method):
    """Equal to a model that is built with the object itself."""
    names = {
        "position_interpolation": "PositionInterpolation", "ntk_aware": "NTKAware", "ntk_aware_old": "NTKAwareOld",
        "ntk_fixed": "NTKFixed", "ntk_mixed": "NTKMixed", "yarn": "YaRN",
    }  # fmt: skip
    scaling = getattr(zoo.layers, names[method])(*((3, N) if method == "yarn" else (3,)))
    config = model.get_config()
    config["layer_attention"] = AttentionOptions(position=zoo.layers.RotaryEmbedding(scaling=scaling)).get_config()
    built = type(model).from_config(config)
    built.set_weights(model.get_weights())
    assert_close(run(zoo.extend_context(model, method, 3), LONG), run(built, LONG), atol=1e-6)


def test_a_task_reads_no_more_than_the_methods_reach():
    task = matcher()
    assert task.max_length == N
    longer = zoo.extend_context(zoo.extend_context(task, "rerope", 3), "log_n", 3)
    assert longer.max_length == 3 * N
    with pytest.warns(
        UserWarning, match="max_length=48 tokens, the longest 82, .*the backbone was extended for no more"
    ):
        longer.encode(["今天" * 40])


def test_log_n_is_nothing_where_a_window_ends_before():
    """A causal window of N or less never sees more than N keys; to both sides it shows more."""
    own = AttentionOptions(visibility=Window(N))
    with pytest.raises(ValueError, match="no layer of this RoFormerV2 has anything to extend"):
        zoo.extend_context(backbone(attention_mask="causal", layer_attention=own), "log_n")
    zoo.extend_context(backbone(layer_attention=own), "log_n")


def test_layers_that_need_nothing_keep_their_attention():
    """Of windows, NoPE and full layers with positions only the last are extended (as HWFA2 does)."""
    own = [AttentionOptions(visibility=Window(4)), AttentionOptions(position=None), AttentionOptions()]
    model = backbone("GAUAlpha", num_layers=3, attention_mask="causal", layer_attention=own, normalization="softmax")
    longer = zoo.extend_context(model, "rerope", 4)
    assert longer.layer_attention[:2] == model.layer_attention[:2]
    assert longer.layer_attention[2]["position"]["class"] == "ReRoPE"
    windows = zoo.extend_context(model, "window", 4, window=6).layer_attention
    assert [AttentionOptions.get(options).visibility for options in windows] == [(Window(4),)] + [(Window(6),)] * 2


def test_tasks(tmp_path):
    tasks = [
        scatter_weights(matcher()),
        scatter_weights(zoo.InteractionMatcher(backbone())),
        scatter_weights(zoo.MaskedLM(backbone("RoFormer"))),
        scatter_weights(zoo.CausalLM(backbone("GAUAlpha", attention_mask="causal"))),
    ]
    for task in tasks:
        longer = zoo.extend_context(task, "rerope", 2, window=4)
        assert type(longer) is type(task)
        assert longer.tokenizer is task.tokenizer
        assert longer.backbone.layer_attention["position"]["class"] == "ReRoPE"
        for path, variable in weights_of(longer).items():
            assert_close(variable, weights_of(task)[path], atol=0)
        if hasattr(task, "max_length"):
            assert longer.max_length == 2 * task.max_length
        longer.save_to_preset(tmp_path / type(task).__name__)
        loaded = type(task).from_preset(tmp_path / type(task).__name__)
        assert loaded.get_config()["backbone"]["config"]["layer_attention"] == longer.backbone.layer_attention
    first = zoo.extend_context(tasks[0], "rerope", 2, window=4)
    assert first.encode(["今天" * 12]).shape == (1, 16)


def test_generation_beyond_the_training_length():
    task = scatter_weights(zoo.CausalLM(backbone("GAUAlpha", attention_mask="causal", num_layers=2)))
    longer = zoo.extend_context(task, "rerope", 3, window=6)
    new = longer.generate([[2, 5, 7]], 2 * N, end=())[0]
    logits = longer.predict_on_batch({"token_ids": np.array([[2, 5, 7, *new]], "int32")})[0]
    assert logits.argmax(axis=1)[2:-1].tolist() == new


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 16}, "window=16; expected an int from 1 to 15: the model was trained on 16 tokens"),
        ({"method": "leaky_rerope", "window": 40}, "window=40; expected an int from 1 to 15"),
        ({"method": "window", "window": 17}, "window=17; expected an int from 1 to 16"),
        ({"method": "rerope", "window": 0}, "window=0; expected an int"),
        ({"method": "ntk_mixed", "window": 4}, "method='ntk_mixed' has none; only rerope"),
        ({"factor": 1}, "factor=1; expected a number above 1"),
        ({"factor": 0.5}, "factor=0.5; expected a number above 1"),
        ({"method": "alibi"}, "method='alibi'; expected one of rerope, leaky_rerope"),
    ],
)
def test_refused_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        zoo.extend_context(model, **arguments)


def test_refused_models(model):
    refused = [
        (backbone("BERT"), {}, "BERT has a table of 16 positions and no row for a later one"),
        (backbone(position=None), {}, "no layer of this RoFormerV2 has anything to extend"),
        (backbone("GAUAlpha"), {"method": "log_n"}, "SoftmaxPlus was trained with that scale"),
        (zoo.extend_context(model), {}, "whose positions are .*ReRoPE.*; expected a plain RotaryEmbedding"),
        (zoo.extend_context(model, "log_n"), {"method": "log_n"}, "has LogN.* already"),
        (zoo.extend_context(model, "window"), {"method": "window"}, "no layer of this RoFormerV2"),
    ]
    for other, arguments, message in refused:
        with pytest.raises(ValueError, match=message):
            zoo.extend_context(other, **arguments)
