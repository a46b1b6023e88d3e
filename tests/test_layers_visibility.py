"""Windows and directions: who sees whom, token by token."""

import math

import numpy as np
import pytest
from support.arrays import assert_close
from support.attention_oracle import allowed
from support.layer_checks import built, numpy

from zoo.backend.arguments import described
from zoo.layers import Direction, GatedAttentionUnit, MultiHeadAttention, Visibility, Window, causal_mask, options
from zoo.layers.attention_options import AttentionOptions

RULES = [[Window(1)], [Window(3)], [Direction("left")], [Direction("right")], [Direction("mixed")]]
RULES += [[Window(2), Direction("mixed")], [Window(4), Direction("left")]]


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")


def sees(layer, x, **options):
    """bool `[n, n]`: whether the output at i changes when token j does."""
    before, out = numpy(layer(x, **options)), np.zeros((x.shape[1], x.shape[1]), bool)
    for j in range(x.shape[1]):
        changed = x.copy()
        changed[:, j] += 3
        out[:, j] = np.abs(numpy(layer(changed, **options)) - before).max((0, 2)) > 1e-6
    return out


@pytest.mark.parametrize("rules", RULES, ids=repr)
def test_rules_equal_the_loop(rules):
    here, there = np.arange(4) + 3, np.arange(9)
    expected = np.zeros((4, 4, 9), bool)
    for h, i, j in np.ndindex(expected.shape):
        expected[h, i, j] = allowed(rules, here[i], there[j], h, 4)
    found = np.logical_and.reduce([np.broadcast_to(numpy(r.visible(here, there, 4)), (4, 4, 9)) for r in rules])
    assert (found == expected).all()


def test_window_in_a_layer_shows_neighbours_only(x):
    distance = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    layer = built(MultiHeadAttention(2, 4, attention_options={"visibility": Window(2)}), {"query": x})
    assert (sees(layer, x) == (distance < 2)).all()
    assert (sees(layer, x, attention_mask=causal_mask(6)) == np.tril(distance < 2)).all()


def test_window_of_the_whole_input_is_none(x):
    wide, plain = (
        built(GatedAttentionUnit(10, 4, position="rotary", attention_options=o), {"query": x})
        for o in ({"visibility": Window(6)}, None)
    )
    assert_close(wide(x), plain(x), atol=1e-6)


def test_window_counts_tokens_whatever_their_positions(x):
    layer = built(
        MultiHeadAttention(2, 4, position="rotary", attention_options={"visibility": [Window(2)]}), {"query": x}
    )
    distance = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    assert (sees(layer, x, positions=np.arange(6) * 7) == (distance < 2)).all()


def test_mixed_heads_look_to_one_side_each(x):
    """The first half of the heads are causal attention, the others the same from the right."""
    mixed, plain = (
        built(MultiHeadAttention(4, 2, attention_options=o), {"query": x})
        for o in ({"visibility": Direction("mixed")}, None)
    )
    q, k, v = plain.project(x, x, x)
    left, right = (numpy(plain.mix(q, k, v, 4, attention_mask=m)) for m in (np.tri(6) > 0, np.tri(6).T > 0))
    found = numpy(mixed.mix(q, k, v, 4))
    assert_close(found[:, :2], left[:, :2], atol=1e-6)
    assert_close(found[:, 2:], right[:, 2:], atol=1e-6)


def test_weights_of_one_direction_have_full_rank():
    """det A = Π a_ii > 0, however low the rank of the scores."""
    q, k = np.random.default_rng(0).standard_normal((2, 1, 7, 2)).astype("float32")
    for side in ("left", "right"):
        a = numpy(AttentionOptions(visibility=Direction(side)).attention_weights(q, k, 1))[0]
        assert np.linalg.det(a) == pytest.approx(math.prod(np.diag(a)), rel=1e-4)
        assert np.diag(a).min() > 0


@pytest.mark.parametrize("rules", RULES, ids=repr)
def test_config_comes_back(rules):
    assert [options.get(described(rule), Visibility) for rule in rules] == rules


def test_errors(x):
    for width in (0, -3, 2.5):
        with pytest.raises(ValueError, match="expected an int >= 1"):
            Window(width)
    with pytest.raises(ValueError, match="side='both'; expected 'left', 'right' or 'mixed'"):
        Direction("both")
    for make in (
        lambda o: MultiHeadAttention(3, 4, attention_options=o),
        lambda o: GatedAttentionUnit(10, 4, attention_options=o),
    ):
        with pytest.raises(ValueError, match=r"Direction\('mixed'\) needs an even number of heads, got [13]"):
            make({"visibility": Direction("mixed")})
    with pytest.raises(ValueError, match=r"Window\(width=2\) in cross attention"):
        GatedAttentionUnit(10, 4, cross_attention=True, attention_options={"visibility": Window(2)})
    layer = MultiHeadAttention(2, 4, attention_options={"visibility": Window(2)})
    with pytest.raises(ValueError, match=r"Window\(width=2\) in cross attention"):
        layer(x, x[:, :3])
