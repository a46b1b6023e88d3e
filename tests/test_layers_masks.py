"""Masks: which keys a query may see."""

import keras
import numpy as np
import pytest
from keras import ops
from support.layer_checks import check_layer, numpy

from zoo.layers import AttentionMask, PaddingMask, causal_mask, unilm_mask
from zoo.layers.masks import align, visible_keys

SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])


def test_causal_mask():
    assert numpy(causal_mask(5)).tolist() == np.tril(np.ones((5, 5))).tolist()


def test_unilm_mask_equals_its_definition():
    """A key is visible if it is source (segment 0), or not later than the query."""
    mask = numpy(unilm_mask(SEGMENTS))
    for b, i, j in np.ndindex(mask.shape):
        assert mask[b, i, j] == (SEGMENTS[b, j] == 0 or j <= i)


@pytest.mark.parametrize("case, padding, mask", [("-1", True, False), ("-1_boolbias", True, True)])
def test_masked_scores_equal_bert4keras(golden, case, padding, mask):
    """The original's -inf stand where `visible_keys` is False, and it leaves the other scores alone."""
    arrays = golden("ops")
    expected = arrays[f"masking/x4_neginf_axis{case}"]
    visible = visible_keys(
        arrays["masking/mask"] if padding else None,
        ops.convert_to_tensor(arrays["masking/bool_bias"]) if mask else None,
        rank=4,
    )
    assert visible.shape == arrays[f"masking/x4_neginf_axis{case}/mask"].shape
    assert (numpy(visible) == arrays[f"masking/x4_neginf_axis{case}/mask"]).all()
    visible = np.broadcast_to(numpy(visible) > 0, expected.shape)
    assert (np.isneginf(expected) == ~visible).all()
    assert (expected[visible] == arrays["masking/x4"][visible]).all()


def test_boolean_mask_alone_equals_bert4keras(golden):
    arrays = golden("ops")
    visible = numpy(visible_keys(None, ops.convert_to_tensor(arrays["masking/bool_bias"]), rank=4))
    assert (np.isneginf(arrays["masking/x4_neginf_boolbias_only"]) == (visible == 0)).all()
    assert visible_keys(None, None, rank=4) is None


def test_visible_keys_is_the_and_of_both_masks():
    padding = np.array([[1, 1, 0], [1, 0, 0]])  # integers are as good as booleans
    for rank, shape in ((3, (2, 3, 3)), (4, (2, 1, 3, 3))):
        for mask in (np.tril(np.ones((3, 3))), np.tril(np.ones((2, 3, 3)))):
            visible = numpy(visible_keys(padding, ops.convert_to_tensor(mask), rank))
            assert visible.shape == shape
            assert (visible.reshape(2, 3, 3) == np.tril(np.ones((3, 3))) * padding[:, None]).all()


def test_align_puts_in_the_head_axis():
    assert align(np.zeros((2, 5, 7)), 4).shape == (2, 1, 5, 7)
    assert align(np.zeros((2, 5, 7)), 3).shape == (2, 5, 7)
    assert align(np.zeros((5, 7)), 4).shape == (5, 7)
    assert align(np.zeros((2, 3, 5, 7)), 4).shape == (2, 3, 5, 7)


@pytest.mark.parametrize("shape, rank", [((7,), 4), ((1, 2, 3, 5, 7), 4), ((2, 3, 5, 7), 3)])
def test_mask_of_wrong_rank_is_an_error(shape, rank):
    with pytest.raises(ValueError, match=r"mask or bias has shape .*expected \[n, m\]"):
        align(np.zeros(shape), rank)


def test_derived_padding_mask_is_the_originals():
    """Id 0 is padding wherever it stands, except at the first position."""
    token_ids = np.array([[5, 0, 7, 0], [0, 3, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    expected = [[1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert numpy(PaddingMask()(token_ids)).tolist() == expected


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_given_padding_mask_is_taken_as_it_is(dtype):
    given = np.array([[0, 1, 1], [0, 0, 0]]).astype(dtype)
    mask = PaddingMask()(np.array([[5, 6, 0], [0, 1, 2]]), given)
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    assert numpy(mask).tolist() == given.astype(float).tolist()


def test_layer_contract(tmp_path):
    token_ids = np.array([[5, 0, 7, 0, 1]] * 4, "int32")
    segments = {"token_ids": token_ids, "segment_ids": SEGMENTS.astype("int32")}
    common = {"tmp_path": tmp_path, "output_dtype": "bool", "weights": 0}
    check_layer(PaddingMask(), {"token_ids": token_ids, "padding_mask": SEGMENTS > 0}, **common)
    check_layer(AttentionMask("unilm"), segments, **common)


def test_attention_mask_by_name():
    ids = np.ones((4, 5), "int32")
    assert numpy(AttentionMask("causal")(ids)).tolist() == numpy(causal_mask(5)).tolist()
    assert numpy(AttentionMask("unilm")(ids, SEGMENTS)).tolist() == numpy(unilm_mask(SEGMENTS)).tolist()
    assert numpy(AttentionMask("unilm")(ids)).all()  # all source: everybody sees everybody
    assert AttentionMask("causal").compute_output_spec(keras.KerasTensor((None, 5))).shape == (5, 5)
    with pytest.raises(ValueError, match="attention_mask='prefix'; expected 'bidirectional', 'causal' or 'unilm'"):
        AttentionMask("prefix")
