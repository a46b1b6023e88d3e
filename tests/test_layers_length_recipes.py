"""HWFA and HWFA2: which layers see what, and how far a stack of windows reaches."""

import numpy as np
import pytest
from support.arrays import assert_close
from support.golden_models import numpy, tiny

from zoo.layers import RotaryEmbedding, Softmax, SoftmaxPlus, hwfa, hwfa2


def test_hwfa_of_the_post():
    """24 layers, 512 tokens: window 16 reaches 346 tokens, 0.676 of them; 17 is the widest, 32 breaks the rule."""
    layers = hwfa(24, 512, window=16)
    assert len(layers) == 24
    for layer in layers[:-1]:
        assert layer.visibility[0].width == 16
        assert layer.normalization == Softmax()
        assert "position" not in layer.given  # the backbone's
    assert layers[-1].given == {"position": None, "normalization": SoftmaxPlus(base=512)}
    assert hwfa(24, 512)[0].visibility[0].width == 17
    with pytest.raises(
        ValueError, match="window=32 in 23 layers reaches 714 tokens; expected at least 2 and at most 17"
    ):
        hwfa(24, 512, window=32)


@pytest.mark.parametrize("num_layers", [2, 3, 7, 24])
@pytest.mark.parametrize("length", [64, 100, 512])
def test_widest_window_of_hwfa(num_layers, length):
    w = hwfa(num_layers, length)[0].visibility[0].width
    assert (w - 1) * (num_layers - 1) + 1 <= 0.75 * length < w * (num_layers - 1) + 1


def test_hwfa2_spreads_its_full_layers():
    """w64-f2 of the post: 2 of 24 layers; trained with rotary positions, read with ReRoPE."""
    layers, longer = hwfa2(24, 512), hwfa2(24, 512, rerope=128)
    full = [i for i, layer in enumerate(layers) if not layer.visibility]
    assert full == [11, 23]
    assert {layer.visibility[0].width for i, layer in enumerate(layers) if i not in full} == {64}
    assert {layers[i].normalization for i in full} == {SoftmaxPlus(base=512)}
    for i, (short, long) in enumerate(zip(layers, longer)):
        assert "position" not in short.given
        assert ("position" in long.given) == (i in full)
    assert longer[11].position.window == 128
    assert longer[11].position.causal
    assert [i for i, layer in enumerate(hwfa2(6, 60, full_layers=[2])) if not layer.visibility] == [2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"full_layers": 0}, "expected 1 to 6"),
        ({"full_layers": [6]}, "expected numbers from 0 to 5"),
        ({"window": 64}, "below the training length 64"),
        ({"rerope": 64}, "rerope=64; expected a window below the training length 64"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        hwfa2(6, 64, **arguments)


def test_errors_of_hwfa():
    with pytest.raises(ValueError, match="num_layers=1; expected at least 2"):
        hwfa(1, 512)
    with pytest.raises(ValueError, match="window=1 in 3 layers"):
        hwfa(4, 512, window=1)
    with pytest.raises(ValueError, match="at most 1"):
        hwfa(60, 64)


@pytest.fixture(scope="module")
def model():
    """Three layers of window 4, then one that sees all; causal."""
    model = tiny("GAUAlpha", num_layers=4, attention_mask="causal", layer_attention=hwfa(4, 16, window=4))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name == "gamma":  # weights near 1/w: the farthest token counts as much as the others
            variable.assign(np.full(variable.shape, 0.1))
        else:
            variable.assign(rng.normal(0, 2 * variable.shape[0] ** -0.5, variable.shape))
    model.token_embedding.embeddings.assign(rng.normal(0, 1, model.token_embedding.embeddings.shape))
    return model


def test_windows_reach_no_further_than_their_sum(model):
    """Token t changes the window layers' features at t .. t + (w − 1)(L − 1) only, the last layer's up to the end."""
    ids = np.random.default_rng(0).integers(5, 100, (1, 16)).astype("int32")
    changed = ids.copy()
    changed[0, 2] += 1
    before, after = (model.hidden_states(a) for a in (ids, changed))
    for depth in range(5):
        moved = np.abs(numpy(after[depth]) - numpy(before[depth])).max((0, 2))
        reach = 2 + 3 * depth if depth < 4 else 15
        assert moved[2 : reach + 1].min() > 1e-4
        assert max([*moved[:2], *moved[reach + 1 :]]) < 1e-6


def test_window_layers_do_not_know_where_they_are(model):
    """Away from the start their features depend on the last (w − 1)(L − 1) + 1 tokens alone."""
    text = np.random.default_rng(1).integers(5, 100, (2, 16)).astype("int32")
    text[1, 4:] = text[0, :12]  # the same tokens 4 places later
    last_window = numpy(model.hidden_states(text)[3])
    assert_close(last_window[1, 4 + 9 :], last_window[0, 9:12], atol=2e-5)


def test_full_layer_has_no_positions(model):
    block = model.get_layer("layer_3").gau.options
    assert block.position is None
    assert block.visibility == ()
    assert isinstance(model.get_layer("layer_0").gau.options.position, RotaryEmbedding)
