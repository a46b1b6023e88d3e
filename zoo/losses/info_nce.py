"""InfoNCE: tell a text's match from the other texts of the batch."""

import keras
from keras import ops

from zoo.losses.matching_loss import MatchingLoss, weighted_mean
from zoo.losses.ordering import FLOOR
from zoo.losses.similarity import normalize


@keras.saving.register_keras_serializable(package="zoo")
class InfoNCE(MatchingLoss):
    """Cross entropy of choosing text i's own match among all matches and negatives of the batch.

        l_i = -ln( exp(scale cos(u_i, v_i)) / sum over candidates c of exp(scale cos(u_i, c)) ),  mean over i

    Candidates are the matches v_j of all rows and the explicit negatives of all rows.

    Args:
        scale: float > 0, 1/temperature.
        symmetric: bool. Also choose u_i among all u for each v_i, and take the mean of both.
        grouped: bool. y_true tells which rows mean the same (say, by question): they are not negatives of
            each other. Otherwise y_true is not read.
        name: str.

    Inputs:
        | y_true `[B]` | y_pred `[B, k, d]` |
        | --- | --- |
        | `grouped`: integer group of the row; else anything | text, its match, k - 2 explicit negatives |

    Requirements:
        Rows hold matching texts only. Two rows with the same text need one group (`grouped=True`), or a text
        becomes its own negative. Takes memory B times (k - 1) B; larger batches teach more.

    Source:
        van den Oord et al., arXiv 1807.03748; in-batch negatives: Henderson et al., arXiv 1705.00652. SimCSE
        (arXiv 2104.08821) is this loss with both texts the same, encoded twice under different dropout, and
        scale 20.

    Relations:
        On a similarity matrix at hand it is Keras' `SparseCategoricalCrossentropy(from_logits=True)` with
        labels 0 .. B-1. `CoSENT` and `AnglE` learn from graded labels, this loss from matches alone.

    Raises:
        ValueError: scale is not positive; k < 2.
    """

    inputs = "embeddings"
    repeats_hint = ", or zoo.losses.InfoNCE(grouped=True) with the number of a row's meaning as its label"

    def __init__(self, scale=20.0, symmetric=False, grouped=False, name="info_nce"):
        super().__init__(name)
        if not scale > 0:
            raise ValueError(f"InfoNCE: scale is {scale!r}, expected a number > 0 (1/temperature), e.g. 20.")
        self.scale = float(scale)
        self.symmetric = bool(symmetric)
        self.grouped = bool(grouped)

    @property
    def labels(self):
        return "groups" if self.grouped else "matches"

    def distinct_texts(self, rows, labels):
        # A text that stands twice in a batch would be its own negative, unless groups say which texts mean the same.
        return None if self.grouped else rows

    def batch_loss(self, y_true, y_pred, weights):
        y_pred = normalize(y_pred)
        texts, matches = y_pred[:, 0], y_pred[:, 1]  # [B, d] twice
        row = ops.arange(ops.shape(weights)[0], dtype="int32")
        own = row[:, None] == row[None, :]  # [B, B]
        # A negative of another row of the same group may well be that group's own match elsewhere.
        other = (y_true[:, None] != y_true[None, :]) if self.grouped else True
        present = weights > 0
        open_to = own | (present[None, :] & other)

        logits = self.scale * ops.matmul(texts, ops.transpose(matches))
        diagonal = ops.diagonal(logits)  # [B]
        candidates = [ops.where(open_to, logits, FLOOR)]
        for i in range(2, y_pred.shape[1]):
            negatives = self.scale * ops.matmul(texts, ops.transpose(y_pred[:, i]))
            candidates.append(ops.where(open_to, negatives, FLOOR))
        losses = ops.logsumexp(ops.concatenate(candidates, axis=1), axis=1) - diagonal
        if self.symmetric:
            open_to = own | (present[:, None] & other)
            backward = ops.logsumexp(ops.where(open_to, logits, FLOOR), axis=0) - diagonal
            losses = 0.5 * (losses + backward)
        return weighted_mean(losses, weights)
