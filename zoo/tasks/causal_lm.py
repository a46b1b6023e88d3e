"""Causal language models: training on raw texts, perplexity, generation."""

import warnings
from collections.abc import Collection, Sequence

import keras
import numpy as np

from zoo import samplers
from zoo.backend import made_once
from zoo.backend.near_names import near
from zoo.data import as_pairs, as_texts
from zoo.data.language_model_rows import NextTokenRows, next_token_targets
from zoo.data.raw_rows import has_text, plain_rows
from zoo.generation import decoding
from zoo.models.checked_ids import check_ids
from zoo.samplers import Greedy, Sampler
from zoo.tasks.language_model import LanguageModel
from zoo.text.token_rows import unreadable_message, unreadable_rows
from zoo.training.records import check_numbers, refuse_name


@keras.saving.register_keras_serializable(package="zoo")
class CausalLM(LanguageModel):
    """Logits of the next token at every place, through the backbone's own token embedding, see `TokenHead`.

    A backbone with `attention_mask="causal"` continues texts: records are str, "[CLS] text [SEP]". One with
    `attention_mask="unilm"` answers texts: records are (source, target), "[CLS] source [SEP] target [SEP]" with segment
    ids 0 and 1; the source is read in both directions, and only the target is learned (arXiv 1905.03197). Any checkpoint
    of the lineage does: `zoo.CausalLM.from_preset(name, attention_mask="causal")`.

    `fit` and `evaluate` also take int `[N, n]`, packed rows of token ids in which 0 is padding, and what Keras takes, such
    as `zoo.data.NextTokenRows`. `evaluate` gives `cross_entropy` (nats a learned token), `perplexity` and `tokens`.

    Args:
        backbone: a zoo backbone, causal or UniLM.
        max_length: int or None, tokens a training row is cut to; None means what the backbone was built for, at most 512.
        output_transform: see `zoo.MaskedLM`.

    Inputs: those of the backbone. Output: float32 `[B, n, V]`, logits of token i + 1 at place i.
    """

    def __init__(self, backbone, max_length=None, output_transform=None, name=None):
        refuse_name(type(self), backbone)
        if backbone.attention_mask == "bidirectional":
            raise ValueError(
                f"CausalLM over a {type(backbone).__name__} with attention_mask='bidirectional', which sees the token that "
                "it has to predict; give attention_mask='causal' or 'unilm' (from_preset takes it too)"
            )
        self.take_transform(output_transform)
        self.max_length = self.length_of_rows(backbone, max_length)
        super().__init__(backbone, name=name)
        self.tokenizer = backbone.tokenizer

    def head(self, backbone, x):
        return self.token_logits(backbone, x)

    def task_config(self):
        return {"max_length": self.max_length, **self.transform_config()}

    @property
    def is_unilm(self):
        return self.backbone.attention_mask == "unilm"

    # Training

    def named_records(self, x, y=None):
        if isinstance(x, NextTokenRows):
            self._refuse_rows()
        packed = isinstance(x, np.ndarray) and y is None and not has_text(x)
        return (x, {None: x}) if packed else super().named_records(x, y)

    def as_records(self, x, labelled=None):
        if isinstance(x, np.ndarray) and not has_text(x):
            self._refuse_rows()
            check_ids(self, x)
            return _Packed(x)
        return as_pairs(x, labelled=False) if self.is_unilm else as_texts(x, labelled=False)

    def examples(self, records):
        if isinstance(records, _Packed):
            return _NextTokens(records, self.is_unilm, None)
        tokens = self.rows_of(records.columns[0], records.text_b if self.is_unilm else None)
        return _NextTokens(tokens, self.is_unilm, self.buckets)

    def predict_records(self, x, batch_size, verbose):
        """Of arrays alone: the logits of many texts over a vocabulary fill a memory."""
        raise TypeError(
            "predict of texts would give logits over the whole vocabulary for every token; generate(prompts, ...) continues "
            "texts, evaluate(texts) gives their perplexity, predict(tokenizer(texts)) the logits all the same"
        )

    def _refuse_rows(self):
        if self.is_unilm:
            raise ValueError(
                "packed rows for a UniLM, which learns the targets of (source, target) records alone and reads everything "
                "else in both directions; give records, or load the model with attention_mask='causal'"
            )

    # Generation

    def generate(
        self,
        prompts: Sequence,
        max_new_tokens: int,
        sampler: Sampler | None = None,
        end: int | Collection[int] | None = None,
        seed: int = 0,
    ) -> list[str] | list[list[int]]:
        """Continuations of prompts (causal), or targets of sources (UniLM), with cached keys and values.

        Args:
            prompts: list of str, or list of lists of token ids, which are taken as they are.
            max_new_tokens: int.
            sampler: of `zoo.samplers`: `Greedy()` (None), `Beam(width)`, `TopK(k, temperature)`, `TopP(p, temperature)`.
            end: token id or ids that end a text; None means the tokenizer's separator, () none.
            seed: int, of samplers that draw.

        Returns:
            list of str for str, without the prompt; else list of lists of int, without the end.
        """
        check_numbers("generate", max_new_tokens=max_new_tokens, seed=seed)
        sampler = _checked_sampler(sampler)
        texts = [
            one for one in ([end] if isinstance(end, str) else end if np.iterable(end) else []) if isinstance(one, str)
        ]
        if texts:
            raise TypeError(
                f"generate(end={end!r:.60}): expected a token id or several, model.tokenizer.token_to_id({texts[0]!r})"
            )
        rows, are_texts = self._prompts(prompts)
        longest = max(map(len, rows), default=0) + max_new_tokens - 1  # nothing is computed of the last one
        if longest > self.backbone.max_sequence_length and self.backbone.has_position_table:
            raise ValueError(
                f"a prompt with {max_new_tokens} new tokens needs {longest} positions, the {type(self.backbone).__name__} "
                f"knows {self.backbone.max_sequence_length}; shorten the prompts or ask for fewer tokens"
            )
        if end is None:
            end = () if self.tokenizer is None else (self.tokenizer.sep_token_id,)
        if not rows:
            return []
        decoder = decoding.Decoder(self, made_once(self, "_decoding_steps", lambda: decoding.steps_of(self)))
        ends = (int(end),) if np.ndim(end) == 0 else tuple(map(int, end))
        new = decoding.generate(decoder, rows, max_new_tokens, sampler, ends, seed)
        return [self.known_tokenizer().decode(row) for row in new] if are_texts else new

    def _prompts(self, prompts):
        """Lists of token ids, and whether the prompts were texts."""
        prompts = plain_rows(prompts, "prompts", "str, or of lists of token ids")
        if len(prompts) and isinstance(prompts[0], str):
            texts = as_texts(prompts, labelled=False).text
            tokenizer = self.known_tokenizer()
            # a text goes on where its separator would stand, a source ends with it
            cut = None if self.is_unilm else -1
            rows = [tokenizer.encode(text)[0] for text in texts]
            unreadable = unreadable_rows(tokenizer, texts, rows)
            if unreadable.any():
                warnings.warn(unreadable_message(unreadable, texts), stacklevel=3)
            return [row[:cut] for row in rows], True
        rows = []
        for index, prompt in enumerate(prompts):
            ids = np.asarray(prompt if hasattr(prompt, "__len__") else [prompt])
            if ids.ndim != 1 or ids.dtype.kind not in "iu" and len(ids) or not hasattr(prompt, "__len__"):
                raise TypeError(f"prompts[{index}] is {prompt!r:.60}; expected a str or a list of token ids")
            rows.append(row := ids.tolist())
            if not row or min(row) < 0 or max(row) >= self.backbone.vocabulary_size:
                raise ValueError(
                    f"prompts[{index}] is {row!r:.60}; expected at least one token id, each from 0 to "
                    f"{self.backbone.vocabulary_size - 1}"
                )
        return rows, False


def _checked_sampler(sampler):
    """A sampler; the error for anything else says which is meant."""
    if sampler is None:
        return Greedy()
    if isinstance(sampler, Sampler) or hasattr(sampler, "search") and not isinstance(sampler, type):
        return sampler
    name = sampler.__name__ if isinstance(sampler, type) else sampler
    known = [one for one, kind in vars(samplers).items() if isinstance(kind, type) and issubclass(kind, Sampler)]
    found = near(name, [one for one in known if one != "Sampler"], 1) if isinstance(name, str) else []
    made = f"{found[0]}({'' if found[0] == 'Greedy' else '...'})" if found else "Greedy()"
    raise TypeError(f"generate(sampler={sampler!r:.60}): expected a sampler, such as zoo.samplers.{made}")


class _Packed:
    """Rows of token ids `[N, n]` of one length, as `TokenRows` gives them."""

    def __init__(self, token_ids):
        if token_ids.ndim != 2 or token_ids.dtype.kind not in "iu" or not token_ids.size:
            raise ValueError(f"packed rows of shape {token_ids.shape}, {token_ids.dtype}; expected integers [N, n]")
        self.token_ids = token_ids
        self.lengths = np.full(len(token_ids), token_ids.shape[1], "int64")
        self.cut = np.zeros(len(token_ids), bool)  # that is up to who packed them

    def __len__(self):
        return len(self.token_ids)

    def batch(self, rows, length):
        token_ids = self.token_ids[rows].astype("int32")
        return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": token_ids != 0}


class _NextTokens:
    """Rows of tokens as examples: every token is the label of the place before it, see `zoo.training.records.Examples`."""

    def __init__(self, tokens, is_unilm, buckets):
        self.tokens, self.is_unilm, self.lengths, self.buckets = tokens, is_unilm, tokens.lengths, buckets

    def collate(self, batch):
        inputs = self.tokens.batch(batch.indices, batch.length)
        segments = inputs["segment_ids"] if self.is_unilm else None
        labels, weights = next_token_targets(inputs["token_ids"], inputs["padding_mask"], segments)
        cut = np.flatnonzero(self.tokens.cut[batch.indices])
        weights[cut, self.lengths[batch.indices][cut] - 2] = 0  # the separator after a cut is none of the text's
        return inputs, labels, weights * batch.weights[:, None]
