"""What a causal language model is trained on: every token is the label of the place before it."""

import numpy as np

from .dataset import digest
from .numbered import NumberedBatches


def next_token_targets(token_ids, padding_mask, segment_ids=None):
    """Labels and weights of the places of a batch.

    Args:
        token_ids: int `[B, n]`. padding_mask: bool `[B, n]`, True at real tokens.
        segment_ids: int `[B, n]` or None. Where given, only tokens of segment 1 are learned (UniLM's target).

    Returns:
        labels int32 `[B, n]`, weights float32 `[B, n]`; the last place has weight 0.
    """
    labels, weights = np.zeros_like(token_ids, "int32"), np.zeros(np.shape(token_ids), "float32")
    learned = np.asarray(padding_mask, "bool")
    if segment_ids is not None:
        learned = learned & (np.asarray(segment_ids) == 1)
    labels[:, :-1], weights[:, :-1] = token_ids[:, 1:], learned[:, 1:]
    return labels, weights


class NextTokenRows(NumberedBatches):
    """Packed rows for `zoo.CausalLM`; batch i of epoch e is a function of the seed of the rows alone.

    Args:
        rows: `PackedRows`.
        batch_size: int, rows a batch. steps: int, batches an epoch.

    Batches are ({token_ids `[B, n]`}, labels `[B, n]`, weights `[B, n]`). The [SEP] at the end of a row has weight 0: the
    text goes on there, and learning it would teach to end at place n. Without `follow()` among the callbacks of `fit`
    every epoch is the first: right for validation.
    """

    def __init__(self, rows, batch_size, steps):
        super().__init__(steps)
        self.rows, self.batch_size = rows, batch_size

    def identity(self):
        """What tells this data from other data, JSON values."""
        return {"batches": self.steps, "batch size": self.batch_size, "content": digest(self.numbered(0))[:16]}

    def numbered(self, number):
        token_ids, _ = self.rows.batch(number, self.batch_size)
        labels, weights = next_token_targets(token_ids, np.ones_like(token_ids, "bool"))
        weights[:, -2] = 0
        return {"token_ids": token_ids}, labels, weights
