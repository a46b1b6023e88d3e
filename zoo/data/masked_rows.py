"""Batches for masked-LM pretraining as Keras reads them."""

import numpy as np

from .dataset import digest
from .masking import mask_tokens
from .numbered import NumberedBatches


class MaskedRows(NumberedBatches):
    """Packed rows under fresh masks; batch i of epoch e is a function of the seed alone.

    Whole words are masked where the rows know their words.

    Args:
        rows: `PackedRows`.
        tokenizer: `zoo.Tokenizer`.
        batch_size: int, rows a batch. steps: int, batches an epoch.
        seed: int.

    Batches are ({token_ids `[B, n]`, masked_positions `[B, P]`}, labels `[B, P]`, weights `[B, P]`). Without `follow()`
    among the callbacks of `fit` every epoch is the first: right for validation.
    """

    def __init__(self, rows, tokenizer, batch_size, steps, seed=0):
        super().__init__(steps)
        self.rows, self.tokenizer, self.batch_size, self.seed = rows, tokenizer, batch_size, seed
        self.special_ids = [tokenizer.token_to_id(token) for token in tokenizer.special_tokens.values()]

    def identity(self):
        """What tells this data from other data, JSON values."""
        content = digest(self.numbered(0))[:16]
        return {"batches": self.steps, "batch size": self.batch_size, "seed": self.seed, "content": content}

    def numbered(self, number):
        token_ids, word_starts = self.rows.batch(number, self.batch_size)
        ids, positions, labels, weights = mask_tokens(
            token_ids,
            np.random.default_rng([self.seed, number]),
            self.tokenizer.mask_token_id,
            self.tokenizer.vocabulary_size,
            self.special_ids,
            word_starts=word_starts,
        )
        return {"token_ids": ids, "masked_positions": positions}, labels, weights
