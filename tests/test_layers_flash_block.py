"""FLASH inside a backbone: a GAU model that is linear in the length."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.layer_checks import built, numpy, randomise, rebuilt
from support.tiny_models import backbone

import zoo
from zoo.layers import FLASHBlock, GAUBlock


class FLASHAlpha(zoo.GAUAlpha):
    """GAUAlpha on chunks of four tokens."""

    def block(self, index):
        return self.layer(
            FLASHBlock,
            expanded_dim=self.expanded_dim,
            key_dim=self.key_dim,
            chunk_length=4,
            position=self.position,
            name=f"layer_{index}",
        )


@pytest.fixture(scope="module")
def model():
    return randomise(FLASHAlpha(50, 2, hidden_dim=16, key_dim=8, dropout=0.0, custom_position_ids=True))


def test_config():
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")
    block = built(FLASHBlock(10, 4, chunk_length=3, causal=True, position="rotary", norm_epsilon=1e-5), {"x": x})
    twin = rebuilt(block, {"x": x})
    assert (twin.chunk_length, twin.causal, twin.norm_epsilon) == (3, True, 1e-5)
    assert_close(twin(x), block(x), atol=0)
    with pytest.raises(ValueError, match="pairs of tokens"):
        FLASHBlock(10, 4, attention_options={"log_n": None})
    with pytest.raises(ValueError, match="decodes without a cache"):
        block.empty_cache(1, 8)


def test_names_are_those_of_gau_blocks():
    paths = {}
    for cls in (GAUBlock, FLASHBlock):
        block = cls(10, 4, name="layer_0")
        block.build((2, 6, 8))
        paths[cls] = {weight.path for weight in block.weights}
    added = paths[FLASHBlock] - paths[GAUBlock]
    assert paths[GAUBlock] < paths[FLASHBlock]
    assert added == {f"layer_0/gau/linear_{name}_scale/gamma" for name in ("query", "key")}


def test_reads_padded_batches_and_other_positions(model):
    """Padding moves nothing; shifted positions neither, stretched ones do."""
    ids = np.random.default_rng(0).integers(1, 50, (2, 10))
    ids[1, 6:] = 0
    count = np.tile(np.arange(10, dtype="float32"), (2, 1))
    run = lambda ids, positions: numpy(model({"token_ids": ids, "position_ids": positions}))
    out = run(ids, count)
    assert_close(run(ids[1:, :6], count[1:, :6])[0], out[1, :6], atol=1e-5)
    assert_close(run(ids, count + 7.5), out, atol=1e-4)
    stretched = zoo.data.random_position_ids([10, 6], np.random.default_rng(0), limit=64).astype("float32")
    assert np.abs(run(ids, stretched) - out).max() > 1e-2


def test_trains_as_a_masked_language_model():
    """One compiled step by `fit`, with randomised positions as an input."""
    model = FLASHAlpha(50, 1, hidden_dim=16, key_dim=8, dropout=0.0, custom_position_ids=True)
    logits = keras.layers.Dense(50)(model.output)
    trained = keras.Model(model.input, logits)
    trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids = np.random.default_rng(0).integers(1, 50, (4, 9))
    data = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones(ids.shape, bool),
        "position_ids": zoo.data.equal_mean_position_ids(np.full(4, 9), np.random.default_rng(0)),
    }
    losses = trained.fit(data, ids, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_counting_positions_are_the_default():
    """equal_mean_position_ids without a generator, and random ones that use up their limit, count."""
    plain, custom = (backbone(custom_position_ids=custom) for custom in (False, True))
    for old, new in zip(plain.weights, custom.weights):
        new.assign(old)
    ids = np.random.default_rng(0).integers(1, 50, (2, 7))
    expected = plain(ids)
    for positions in (
        zoo.data.equal_mean_position_ids([7, 7]),
        zoo.data.random_position_ids([7, 7], np.random.default_rng(0), limit=7),
    ):
        assert_close(custom({"token_ids": ids, "position_ids": positions}), expected, atol=1e-5)
