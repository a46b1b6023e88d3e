"""The stored corpus: what is written is read, whole or not at all, in the layout of earlier runs."""

import os

import numpy as np
import pytest

from zoo.data.corpus import TokenStream, load_corpus, save_corpus

pytestmark = pytest.mark.neutral

IDS = np.arange(200, dtype="uint16")


def test_split():
    stream = TokenStream(IDS, IDS % 2 == 0)
    train, heldout = stream.split(0.01)
    assert train.ids.tolist() == list(range(198)) and heldout.ids.tolist() == [198, 199]
    assert heldout.word_starts.tolist() == [True, False] and len(train.word_starts) == len(train) == 198
    assert TokenStream(IDS).split(0.5)[1].word_starts is None
    with pytest.raises(ValueError, match=r"shape \(3,\) for ids of shape \(200,\)"):
        TokenStream(IDS, np.ones(3, bool))


def test_round_trip(tmp_path):
    path = tmp_path / "run" / "tokens.npz"
    assert load_corpus(path) is None
    save_corpus(path, ["[PAD]", "好"], TokenStream(IDS, IDS % 2 == 0), TokenStream(IDS[:5]))
    assert os.listdir(path.parent) == ["tokens.npz"], "nothing unfinished is left"
    vocabulary, train, heldout = load_corpus(path, words=True)
    assert vocabulary == ["[PAD]", "好"] and train.ids.dtype == np.uint16
    assert np.array_equal(train.ids, IDS) and np.array_equal(train.word_starts, IDS % 2 == 0)
    assert np.array_equal(heldout.ids, IDS[:5]) and heldout.word_starts is None
    assert load_corpus(path)[1].word_starts is None


def test_a_corpus_without_words(tmp_path):
    """The layout of runs from before there were words: stream, heldout, vocabulary."""
    np.savez(tmp_path / "tokens.npz", stream=IDS, heldout=IDS[:5], vocabulary=np.array(["a", "b"]))
    assert len(load_corpus(tmp_path / "tokens.npz")[1]) == 200
    with pytest.raises(ValueError, match="tokenized without word starts"):
        load_corpus(tmp_path / "tokens.npz", words=True)
