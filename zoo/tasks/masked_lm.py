"""Masked language models: pretraining, and going on with it on texts of one's own."""

import keras
import numpy as np

from zoo.data import as_texts
from zoo.data.language_model_rows import mask_tokens
from zoo.models.sizes import checked_length
from zoo.tasks.heads import GatherPositions
from zoo.tasks.language_model import LanguageModel
from zoo.training.records import refuse_name


@keras.saving.register_keras_serializable(package="zoo")
class MaskedLM(LanguageModel):
    """Logits over the vocabulary at every position, see `TokenHead`.

    `fit` and `evaluate` take texts, list of str: 15 % of their tokens are hidden, others in every epoch (arXiv 1810.04805),
    and what was there is to be told. So a backbone learns the language of a field before it is fine-tuned on few labels:

        model = zoo.MaskedLM.from_preset("roformer_v2_mini_zh", masked_positions=True)
        model.fit(texts, validation_data=held_out, epochs=3)
        model.backbone.save_to_preset("my_backbone")

    They also take what Keras takes, such as `zoo.data.MaskedRows`, packed rows for pretraining. `evaluate` of texts hides the
    same tokens each time: `cross_entropy` (nats a hidden token), `perplexity` and `tokens`.

    Args:
        backbone: a zoo backbone.
        masked_positions: bool. Adds the input `masked_positions` int `[B, P]`: only these places go through the head,
            which saves most of its cost in pretraining.
        output_transform: None; `"orthogonal"`, a trained matrix that starts orthogonal; `"swap_halves"` or `"shuffle"` of
            the features, without weights; or `"untied"`, an output embedding of its own. For pretraining from nothing.
        max_length: int or None, tokens a text is cut to; None means what the backbone was built for, at most 512.

    Inputs: those of the backbone. Output: float32 `[B, n, V]`, logits; `[B, P, V]` with masked_positions.

    A "[MASK]" typed into a text is spelled out like any other word. To fill one in, put its id between the parts:

        before, after = tokenizer.content_ids(["今天", "气很好"])
        ids = [tokenizer.cls_token_id, *before, tokenizer.mask_token_id, *after, tokenizer.sep_token_id]
        logits = model.predict({"token_ids": np.array([ids])})[0, 1 + len(before)]
        words = [tokenizer.id_to_token(one) for one in np.argsort(-logits)[:5]]
    """

    def __init__(self, backbone, masked_positions=False, output_transform=None, max_length=None, name=None):
        refuse_name(type(self), backbone)
        self.masked_positions = masked_positions
        self.take_transform(output_transform)
        self._given_length = max_length if max_length is None else checked_length(max_length)
        self.max_length = self.length_of_rows(backbone, max_length)
        super().__init__(backbone, name=name)
        self.tokenizer = backbone.tokenizer

    def extra_inputs(self):
        if not self.masked_positions:
            return {}
        return {"masked_positions": keras.Input((None,), dtype="int32", name="masked_positions")}

    def task_config(self):
        length = {} if self._given_length is None else {"max_length": self._given_length}
        return {"masked_positions": self.masked_positions, **self.transform_config(), **length}

    def head(self, backbone, x, masked_positions=None):
        if masked_positions is not None:
            x = self.layer(GatherPositions, name="gather_positions")(x, masked_positions)
        return self.token_logits(backbone, x)

    def as_records(self, x, labelled=None):
        return as_texts(x, labelled=False)

    def examples(self, records):
        if self.known_tokenizer().mask_token is None:
            raise ValueError(
                "MaskedLM: the tokenizer has no mask token; give it one, zoo.Tokenizer(..., mask_token='[MASK]')"
            )
        return _HiddenTokens(self.rows_of(records.text), self)

    def predict_records(self, x, batch_size, verbose):
        """Of arrays alone: which token is asked for, a text does not say."""
        raise TypeError(
            "predict of texts would give logits over the whole vocabulary for every token; how to ask for one token stands "
            "at zoo.MaskedLM, evaluate(texts) gives the cross entropy of hidden tokens, predict(tokenizer(texts)) the logits "
            "all the same"
        )


class _HiddenTokens:
    """Texts of which some tokens are hidden, see `zoo.training.records.Examples`; which, the rows of a batch decide."""

    def __init__(self, tokens, model, rate=0.15):
        self.tokens, self.rate, self.lengths, self.buckets = tokens, rate, tokens.lengths, model.buckets
        self.at_positions, self.tokenizer = model.masked_positions, model.tokenizer
        self.special_ids = [self.tokenizer.token_to_id(token) for token in self.tokenizer.special_tokens.values()]

    def collate(self, batch):
        """(inputs, labels, weights) of a `zoo.data.Batch`; an epoch has other batches and so hides other tokens."""
        inputs, tokenizer = self.tokens.batch(batch.indices, batch.length), self.tokenizer
        ids, rng = inputs["token_ids"], np.random.default_rng(batch.indices)
        masked, positions, labels, weights = mask_tokens(
            ids, rng, tokenizer.mask_token_id, tokenizer.vocabulary_size, self.special_ids, self.rate
        )
        # The number of places is that of the longest row; they stand in random order, so the first few do for a shorter one.
        count = np.maximum(1, np.round(self.rate * self.lengths[batch.indices]))[:, None]
        weights = weights * (np.arange(positions.shape[1]) < count)
        hidden = np.where(weights > 0, np.take_along_axis(masked, positions, axis=1), labels)
        np.put_along_axis(masked, positions, hidden, axis=1)
        weights = (weights * batch.weights[:, None]).astype("float32")
        inputs = {**inputs, "token_ids": masked}
        if self.at_positions:
            return {**inputs, "masked_positions": positions}, labels, weights
        everywhere = np.zeros(ids.shape, "float32")
        np.put_along_axis(everywhere, positions, weights, axis=1)
        return inputs, ids, everywhere
