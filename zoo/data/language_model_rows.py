"""Packed rows as batches of language models: masked tokens or next tokens, numbered, so that a training finds its place."""

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from .dataset import digest


class NumberedBatches(keras.utils.PyDataset):
    """Batches that are functions of their number; those of epoch e begin at e · steps.

    Without `epoch_callback()` among the callbacks of `fit` every epoch is the first: right for validation. A subclass fills in
    `numbered_batch`.

    Args:
        steps: int, batches an epoch.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.epoch = steps, 0

    @property
    def num_batches(self) -> int:
        return self.steps

    def epoch_callback(self) -> keras.callbacks.Callback:
        """The callback that tells the data which epoch `fit` is in."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    follow = epoch_callback  # its name until 0.1

    def __getitem__(self, index: int) -> tuple:
        return self.numbered_batch(self.epoch * self.steps + index)

    def numbered_batch(self, number: int) -> tuple:
        """The batch of a number, as Keras takes it."""
        raise NotImplementedError(f"{type(self).__name__}.numbered_batch")


# Masked language models


def mask_tokens(
    token_ids: ArrayLike,
    rng: np.random.Generator,
    mask_token_id: int,
    vocabulary_size: int,
    special_ids: ArrayLike,
    rate: float = 0.15,
    word_starts: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose tokens to predict, and hide them: 80 % become [MASK], 10 % another token, 10 % stay (arXiv 1810.04805).

    Every row gets the same number of places, round(rate · n), so that shapes are static; a row with fewer candidates
    fills up with places of weight 0.

    Args:
        token_ids: int `[B, n]`.
        rng: `numpy.random.Generator`.
        mask_token_id, vocabulary_size: int. special_ids: ids that are never chosen and never drawn.
        rate: float.
        word_starts: bool `[B, n]` or None. With it whole words are chosen (whole-word masking): a token that starts
            no word belongs to the word before it.

    Returns:
        masked int32 `[B, n]`, positions int32 `[B, P]`, labels int32 `[B, P]`, weights float32 `[B, P]`.
    """
    token_ids = np.asarray(token_ids, "int32")
    rows, length = token_ids.shape
    count = max(1, round(rate * length))
    keys = rng.random((rows, length))
    if word_starts is not None:
        # All tokens of a word share the key of its first one, so that they are chosen together; adding their index
        # keeps them in a run when the last word chosen does not fit whole.
        first = np.maximum.accumulate(np.where(word_starts, np.arange(length), 0), axis=1)
        keys = np.take_along_axis(keys, first, axis=1)
    keys[np.isin(token_ids, special_ids)] = np.inf
    positions = np.argsort(keys, axis=1, kind="stable")[:, :count].astype("int32")
    weights = np.isfinite(np.take_along_axis(keys, positions, axis=1)).astype("float32")
    labels = np.take_along_axis(token_ids, positions, axis=1)

    fate = rng.random((rows, count))
    ordinary = np.setdiff1d(np.arange(vocabulary_size), special_ids)
    drawn = rng.choice(ordinary, (rows, count))
    hidden = np.where(fate < 0.8, mask_token_id, np.where(fate < 0.9, drawn, labels))
    masked = token_ids.copy()
    np.put_along_axis(masked, positions, np.where(weights > 0, hidden, labels).astype("int32"), axis=1)
    return masked, positions, labels, weights


class MaskedRows(NumberedBatches):
    """Packed rows under fresh masks; batch i of epoch e is a function of the seed alone.

    Whole words are masked where the rows know their words.

    Args:
        rows: `PackedRows`.
        tokenizer: `zoo.Tokenizer`.
        batch_size: int, rows a batch. steps: int, batches an epoch.
        seed: int.

    Batches are ({token_ids `[B, n]`, masked_positions `[B, P]`}, labels `[B, P]`, weights `[B, P]`). Without `epoch_callback()`
    among the callbacks of `fit` every epoch is the first: right for validation.
    """

    def __init__(self, rows: Any, tokenizer: Any, batch_size: int, steps: int, seed: int = 0) -> None:
        super().__init__(steps)
        self.rows, self.tokenizer, self.batch_size, self.seed = rows, tokenizer, batch_size, seed
        self.special_ids = [tokenizer.token_to_id(token) for token in tokenizer.special_tokens.values()]

    def identity(self) -> Any:
        """What tells this data from other data, JSON values."""
        content = digest(self.numbered_batch(0))[:16]
        return {"batches": self.steps, "batch size": self.batch_size, "seed": self.seed, "content": content}

    def numbered_batch(self, number: int) -> tuple:
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


# Causal language models


def next_token_targets(
    token_ids: np.ndarray, padding_mask: np.ndarray, segment_ids: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of the places of a batch: every token is the label of the place before it.

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
    text goes on there, and learning it would teach to end at place n. Without `epoch_callback()` among the callbacks of `fit`
    every epoch is the first: right for validation.
    """

    def __init__(self, rows: Any, batch_size: int, steps: int) -> None:
        super().__init__(steps)
        self.rows, self.batch_size = rows, batch_size

    def identity(self) -> Any:
        """What tells this data from other data, JSON values."""
        return {"batches": self.steps, "batch size": self.batch_size, "content": digest(self.numbered_batch(0))[:16]}

    def numbered_batch(self, number: int) -> tuple:
        token_ids, _ = self.rows.batch(number, self.batch_size)
        labels, weights = next_token_targets(token_ids, np.ones_like(token_ids, "bool"))
        weights[:, -2] = 0
        return {"token_ids": token_ids}, labels, weights
