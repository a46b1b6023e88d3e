"""Dynamic masking for masked language models (80/10/10: Devlin et al., arXiv 1810.04805)."""

import numpy as np


def mask_tokens(token_ids, rng, mask_token_id, vocabulary_size, special_ids, rate=0.15, word_starts=None):
    """Choose tokens to predict, and hide them: 80 % become [MASK], 10 % another token, 10 % stay.

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
