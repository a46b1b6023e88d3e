"""Labels and weights of next-token training, token by token."""

import numpy as np
import pytest

from zoo.data.corpus import PackedRows, TokenStream
from zoo.data.language_model_rows import NextTokenRows, next_token_targets

pytestmark = pytest.mark.neutral

IDS = np.array([[2, 7, 8, 3, 9, 3], [2, 5, 3, 6, 0, 0]], "int32")
MASK = IDS != 0


def test_every_real_token_is_a_label_once():
    labels, weights = next_token_targets(IDS, MASK)
    found = [[(i, label) for i, (label, w) in enumerate(zip(*row)) if w] for row in zip(labels, weights)]
    assert found == [[(0, 7), (1, 8), (2, 3), (3, 9), (4, 3)], [(0, 5), (1, 3), (2, 6)]]
    assert labels.dtype == np.int32 and weights.dtype == np.float32


def test_targets_alone_by_segments():
    """The last token of the source predicts the first of the target."""
    segments = np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]])
    labels, weights = next_token_targets(IDS, MASK, segments)
    assert weights.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0]]
    assert labels[weights > 0].tolist() == [9, 3, 6]


def test_rows_of_a_stream():
    make = lambda seed: PackedRows(TokenStream(np.arange(10, 110, dtype="uint16")), 8, 2, 3, seed)
    rows = make(4)
    data = NextTokenRows(rows, batch_size=3, steps=2)
    inputs, labels, weights = data[1]
    assert inputs["token_ids"].tolist() == rows.batch(1, 3)[0].tolist()
    assert labels[:, :-1].tolist() == inputs["token_ids"][:, 1:].tolist()
    assert weights.tolist() == [[1] * 6 + [0, 0]] * 3 and (labels[weights > 0] >= 10).all(), (
        "no row teaches where it ends"
    )
    data.epoch = 1
    assert data[0][0]["token_ids"].tolist() == rows.batch(2, 3)[0].tolist()
    assert data.num_batches == 2
    assert data.identity() == NextTokenRows(rows, 3, 2).identity()
    assert data.identity()["content"] != NextTokenRows(make(5), 3, 2).identity()["content"]
