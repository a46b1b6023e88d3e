"""Generation with a cache: a prompt is read in one step, then every new token in a step of its own.

All shapes are fixed while a text grows, so that the step is compiled once. Prompts are padded on the left: all rows then
share one index, and positions are counted from each row's own beginning.
"""

import numpy as np
from keras import ops

from zoo.backend import compiled, compiled_step

PROMPT, CAPACITY = 16, 64  # lengths are rounded up to multiples: few shapes, whatever the prompts


def steps_of(model):
    """The compiled functions of a `Decoder`: they keep nothing of a call, so all calls share them."""
    return compiled_step(_step_of(model), model.weights), compiled(_reorder)


class Decoder:
    """Reads tokens into the caches of a language model and gives the logits of what follows, in one call of `generate`.

    Args:
        model: `zoo.CausalLM`. steps: of `steps_of(model)`.
    """

    def __init__(self, model, steps):
        self.backbone = model.backbone
        self._step, self._reorder = steps
        self._cache = None

    def prefill(self, prompts, max_new_tokens, beams=1):
        """Begin anew.

        Args:
            prompts: list of B lists of int. max_new_tokens: int. beams: int, w.

        Returns:
            float32 array `[B * w, V]`, logits of the first new token, the beams of a row beside each other.
        """
        lengths = np.array([len(prompt) for prompt in prompts])
        width = _rounded(lengths.max(), PROMPT)
        capacity = _rounded(width + max_new_tokens, CAPACITY)
        token_ids = np.zeros((len(prompts), width), "int32")
        for row, prompt in enumerate(prompts):
            token_ids[row, width - len(prompt) :] = prompt
        self._key_positions = np.arange(capacity, dtype="int32") - (width - lengths[:, None]).astype("int32")
        self._index = 0
        # UniLM: the source is read in both directions, what is generated looks back
        two_way = np.ones((width, capacity), "bool") if self.backbone.attention_mask == "unilm" else None
        self._cache = self.backbone.empty_cache(len(prompts), capacity)
        logits = self._advance(token_ids, np.zeros_like(token_ids), two_way)
        if beams > 1:
            self._take(np.repeat(np.arange(len(prompts)), beams))
        return np.repeat(logits, beams, axis=0)

    def next(self, token_ids, parents=None):
        """Logits float32 `[B * w, V]` of what follows the tokens int `[B * w]`, which go on from the rows `parents`."""
        if parents is not None and (parents != np.arange(len(parents))).any():
            self._take(parents)
        token_ids = np.asarray(token_ids, "int32")[:, None]
        segments = np.full_like(token_ids, self.backbone.attention_mask == "unilm")
        return self._advance(token_ids, segments, None)

    def _advance(self, token_ids, segment_ids, attention_mask):
        count = token_ids.shape[1]
        positions = self._key_positions[:, self._index : self._index + count]
        arrays = [token_ids, segment_ids, positions, self._key_positions, self._key_positions >= 0, attention_mask]
        tensors = [None if array is None else ops.convert_to_tensor(array) for array in arrays]
        logits, self._cache = self._step(self._cache, self._index, *tensors)
        self._index += count
        return ops.convert_to_numpy(logits)

    def _take(self, rows):
        """Go on from these rows of the cache."""
        self._key_positions = self._key_positions[rows]
        self._cache = self._reorder(self._cache, ops.convert_to_tensor(rows.astype("int32")))


def generate(decoder, prompts, max_new_tokens, sampler, end, seed):
    """New token ids after each prompt, list of B lists of int without the end.

    Args:
        decoder: `Decoder`. prompts: list of B lists of int.
        sampler: see `zoo.samplers`. end: collection of token ids. seed: int.
    """
    search = sampler.search(len(prompts), end, max_new_tokens, np.random.default_rng(seed))
    logits = decoder.prefill(prompts, max_new_tokens, sampler.beams)
    for left in reversed(range(max_new_tokens)):
        token_ids, parents = search.advance(logits)
        if search.done or not left:
            break
        logits = decoder.next(token_ids, parents)
    return search.results()


def _step_of(model):
    def step(cache, index, token_ids, segment_ids, positions, key_positions, padding_mask, attention_mask):
        hidden_states, cache = model.backbone.step(
            token_ids,
            cache,
            index,
            segment_ids=segment_ids,
            positions=positions,
            key_positions=key_positions,
            padding_mask=padding_mask,
            attention_mask=attention_mask,
        )
        return model.token_logits(model.backbone, hidden_states[:, -1:])[:, 0], cache

    return step


def _reorder(cache, rows):
    return tuple(tuple(ops.take(part, rows, axis=0) for part in layer) for layer in cache)


def _rounded(length, step):
    return int(-(-length // step) * step)
