"""Embeddings: rows by id, with gradients that add up where an id is repeated."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close
from support.layer_checks import BACKEND, built, call, check_layer, gradients, numpy

from zoo.layers import PositionEmbedding, SegmentEmbedding, TokenEmbedding

IDS = np.array([[1, 1, 4], [1, 0, 4]], "int32")  # repeated within a row and between rows


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def token_embedding_and_one_hot(rng):
    """The same 6 x 5 table as an embedding of ids and as a dense layer of one-hot rows."""
    embedding, dense = TokenEmbedding(6, 5), keras.layers.Dense(5, use_bias=False)
    embedding.build((None, None)), dense.build((None, None, 6))
    table = rng.standard_normal((6, 5)).astype("float32")
    embedding.embeddings.assign(table), dense.kernel.assign(table)
    one_hot = np.eye(6, dtype="float32")[IDS]
    return (embedding, {"inputs": IDS}), (dense, {"inputs": one_hot})


def test_lookup_and_tied_output(rng):
    layer = built(TokenEmbedding(6, 5), {"inputs": IDS})
    table = numpy(layer.embeddings)
    assert_close(layer(IDS), table[IDS], atol=0)
    x = rng.standard_normal((2, 3, 5)).astype("float32")
    logits = layer(x, reverse=True)
    assert_close(logits, x @ table.T, atol=1e-6)
    assert layer.compute_output_spec(keras.KerasTensor((None, 3, 5)), reverse=True).shape == (None, 3, 6)


def test_gradient_is_dense_and_that_of_a_one_hot_product(rng):
    (embedding, ids), (dense, one_hot) = token_embedding_and_one_hot(rng)
    upstream = rng.standard_normal((2, 3, 5)).astype("float32")
    ours, theirs = gradients(embedding, ids, upstream)[0], gradients(dense, one_hot, upstream)[0]
    assert tuple(ours.shape) == (6, 5)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        assert isinstance(ours, tf.Tensor)  # not IndexedSlices
    assert_close(ours, theirs, atol=1e-6)


def test_half_precision_casts_rows_and_adds_their_gradients_up_in_float32():
    """256 gradients of 1 and one of 1/256: in bfloat16 the small one would be lost, as every second of them."""
    layer = built(TokenEmbedding(3, 2, dtype="mixed_bfloat16"), {"inputs": IDS % 3})
    rows = layer(np.array([[0, 2]], "int32"))
    assert keras.backend.standardize_dtype(rows.dtype) == "bfloat16"
    assert_close(
        ops.cast(rows, "float32")[0], ops.cast(ops.cast(numpy(layer.embeddings)[[0, 2]], "bfloat16"), "float32"), atol=0
    )
    upstream = np.ones((1, 257, 2), "float32")
    upstream[0, -1] = 1 / 256
    gradient = gradients(layer, {"inputs": np.zeros((1, 257), "int32")}, ops.cast(upstream, "bfloat16"))[0]
    assert_close(gradient, np.array([[256 + 1 / 256] * 2, [0, 0], [0, 0]]), atol=0)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adafactor", "sgd_with_global_clipnorm"])
def test_trains_as_a_one_hot_product(rng, optimizer):
    """Three steps with repeated ids; Keras' own Embedding is off by 0.4 after Adam on TensorFlow."""
    make = {
        "adam": lambda: keras.optimizers.Adam(0.1),
        "adamw": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.01),
        "adafactor": lambda: keras.optimizers.Adafactor(0.1),
        "sgd_with_global_clipnorm": lambda: keras.optimizers.SGD(0.1, global_clipnorm=1.0),
    }[optimizer]
    upstreams = rng.standard_normal((3, 2, 3, 5)).astype("float32")
    tables = []
    for layer, inputs in token_embedding_and_one_hot(rng):
        optimize = make()
        before = numpy(layer.trainable_variables[0])
        for upstream in upstreams:
            optimize.apply(gradients(layer, inputs, upstream), layer.trainable_variables)
        tables.append(numpy(layer.trainable_variables[0]))
    assert np.abs(tables[0] - before).max() > 0.1
    assert_close(tables[0], tables[1], atol=2e-6)


def test_lookup_and_tied_output_share_one_gradient(rng):
    """d/dE of x_in E_id and of x Eᵀ add up."""

    class Tied(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.embedding = TokenEmbedding(6, 5)

        def build(self, shape):
            self.embedding.build(shape)

        def call(self, ids):
            return self.embedding(self.embedding(ids), reverse=True)

    layer = built(Tied(), {"ids": IDS})
    table, upstream = numpy(layer.embedding.embeddings), rng.standard_normal((2, 3, 6)).astype("float32")
    one_hot = np.eye(6)[IDS]
    expected = np.einsum("bnv,bnd->vd", upstream, table[IDS]) + np.einsum("bnk,bnv,vd->kd", one_hot, upstream, table)
    assert_close(gradients(layer, {"ids": IDS}, upstream)[0], expected, atol=1e-5)


def test_segment_embedding(rng):
    x = rng.standard_normal((2, 3, 5)).astype("float32")
    segments = np.array([[0, 0, 1], [1, 1, 0]], "int32")
    inputs = {"x": x, "segment_ids": segments}
    layer = built(SegmentEmbedding(2), inputs)
    table = numpy(layer.embeddings)
    assert_close(call(layer, inputs), x + table[segments], atol=1e-6)
    assert_close(layer(x), x + table[0], atol=1e-6)  # no segments are segment 0
    gradient = gradients(layer, inputs, np.ones_like(x))[0]
    assert_close(gradient, [[3.0] * 5, [3.0] * 5], atol=1e-6)


def test_position_embedding(rng):
    x = rng.standard_normal((2, 3, 5)).astype("float32")
    layer = built(PositionEmbedding(7), {"x": x})
    table = numpy(layer.embeddings)
    assert_close(layer(x), x + table[:3], atol=1e-6)
    positions = np.array([[6, 6, 0], [1, 2, 3]])
    for kind in ("int32", "float32"):  # a backbone hands positions over as float32
        assert_close(layer(x, positions.astype(kind)), x + table[positions], atol=1e-6)
    with pytest.raises(ValueError, match="the input has 8 positions, the model was built for 7"):
        layer(np.zeros((1, 8, 5), "float32"))


def test_logits_are_float32_in_half_precision(rng):
    layer = TokenEmbedding(6, 5, dtype="mixed_bfloat16")
    hidden = layer(IDS)
    assert keras.backend.standardize_dtype(hidden.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(layer(hidden, reverse=True).dtype) == "float32"
    assert keras.backend.standardize_dtype(layer.embeddings.dtype) == "float32"


@pytest.mark.parametrize("kind", ["token", "segment", "position"])
def test_layer_contract(tmp_path, rng, kind):
    x = rng.standard_normal((2, 3, 5)).astype("float32")
    layer, inputs = {
        "token": (TokenEmbedding(6, 5), {"inputs": IDS}),
        "segment": (SegmentEmbedding(2), {"x": x, "segment_ids": (IDS > 1).astype("int32")}),
        "position": (PositionEmbedding(7), {"x": x, "positions": IDS.astype("float32")}),
    }[kind]
    check_layer(layer, inputs, tmp_path, weights=1)
