"""Pretraining batches: a function of seed, epoch and index; whole when followed, fixed when not."""

import keras
import numpy as np

import zoo
from zoo.data.corpus import PackedRows, TokenStream
from zoo.data.language_model_rows import MaskedRows

TOKENIZER = zoo.Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好我去公园玩"])


def rows(seed=0, word_starts=None):
    ids = np.random.default_rng(1).integers(5, 15, 14 * 40).astype("uint16")
    stream = TokenStream(ids, word_starts)
    return MaskedRows(
        PackedRows(stream, 16, TOKENIZER.cls_token_id, TOKENIZER.sep_token_id, seed), TOKENIZER, 4, 3, seed
    )


def test_batches_depend_on_seed_epoch_and_index_alone():
    a, b = rows(), rows()
    a.epoch = b.epoch = 2
    (x, labels, weights), (again, *_) = a[1], b[1]
    assert all(np.array_equal(x[name], again[name]) for name in x)
    assert x["token_ids"].shape == (4, 16) and x["masked_positions"].shape == labels.shape == weights.shape == (4, 2)
    b.epoch = 3
    assert not np.array_equal(x["token_ids"], b[1][0]["token_ids"])
    assert not np.array_equal(x["token_ids"], rows(seed=1)[1][0]["token_ids"])


def test_labels_are_what_stood_at_the_masked_positions():
    data = rows()
    (x, labels, weights), plain = data[0], data.rows.batch(0, 4)[0]
    assert (weights == 1).all()
    assert np.array_equal(np.take_along_axis(plain, x["masked_positions"], axis=1), labels)


def test_whole_words_are_masked_where_the_rows_know_them():
    """Words of two: both places of a row are one word."""
    (x, _, _) = rows(word_starts=np.arange(14 * 40) % 2 == 0)[0]
    positions = x["masked_positions"]
    assert (positions[:, 1] == positions[:, 0] + 1).all() and (positions[:, 0] % 2 == 1).all()


def test_fit_follows_the_epochs():
    seen = []

    class Spy(MaskedRows):
        def __getitem__(self, index):
            seen.append(self.epoch)
            return super().__getitem__(index)

    data = rows()
    data.__class__ = Spy
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.0}
    model = zoo.MaskedLM(zoo.RoFormerV2(vocabulary_size=15, **sizes), masked_positions=True)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=False)
    model.fit(data, epochs=3, shuffle=False, callbacks=[data.epoch_callback()], verbose=0)
    assert seen[-1] == 2 and {1, 2} <= set(seen)
