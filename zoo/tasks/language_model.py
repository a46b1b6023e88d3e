"""What masked and causal language models share: training on raw texts, cross entropy and perplexity over all of them."""

import keras
import numpy as np
from keras import ops

from zoo.backend import compiled_step, compiles_each_shape, made_once
from zoo.data import BUCKETS, PredictionPlan, length_buckets
from zoo.losses import TokenCrossEntropy
from zoo.models.sizes import checked_length
from zoo.tasks.heads import TokenHead
from zoo.tasks.record_task import RecordTask
from zoo.tasks.text_task import fine_tuning_optimizer
from zoo.text.token_rows import TokenRows
from zoo.training.records import check_tokenizer


class LanguageModel(RecordTask, TokenHead):
    """A `TokenHead` that is trained on raw records and judged by the cross entropy of the tokens it has to tell.

    A subclass says in `examples` which tokens these are: labels `[B, n]` or `[B, P]` and a weight for each.
    """

    validation_metrics = ("cross_entropy", "perplexity", "tokens", "loss")
    default_batch_size = 32  # of evaluate: logits over the vocabulary take memory

    def length_of_rows(self, backbone, max_length):
        """Tokens a row is cut to: as asked, or what the backbone was built for, at most 512."""
        return checked_length(min(512, backbone.max_sequence_length) if max_length is None else max_length)

    def compile(self, optimizer=None, loss=None, **kwargs):
        """Keras' compile; by default `fine_tuning_optimizer` and the mean cross entropy over the learned tokens."""
        if loss is None:
            loss = TokenCrossEntropy()
        super().compile(optimizer=optimizer or fine_tuning_optimizer(self.backbone.hidden_dim), loss=loss, **kwargs)

    def check_training(self):
        """Left to the fit of `zoo.tasks.heads`."""

    def _check_micro_batch_size(self, size):
        if size is not None:
            raise ValueError(
                "micro_batch_size is of losses that couple the rows of a batch; here use a smaller batch_size and an "
                "optimizer with gradient_accumulation_steps"
            )

    @property
    def buckets(self):
        """Lengths that batches are padded to, or None for the longest row of each batch, where shapes cost nothing."""
        return length_buckets(self.max_length, BUCKETS) if compiles_each_shape(self) else None

    def rows_of(self, texts, text_pairs=None):
        """`TokenRows` of texts; warns of those that `max_length` cuts, or nobody can read."""
        tokens = TokenRows(self.known_tokenizer(), texts, text_pairs, self.max_length, "pair")
        self.warn_of_lost(tokens, texts)
        return tokens

    def known_tokenizer(self):
        """The tokenizer; a ValueError where there is none, or one of another model."""
        self.check_has_tokenizer()
        check_tokenizer(type(self), self.tokenizer, self.backbone)
        return self.tokenizer

    def evaluate_records(self, records, batch_size, verbose):
        """`cross_entropy` (nats a learned token), `perplexity` (its exponential) and `tokens`, over all records or rows."""
        sums = made_once(self, "_sums", lambda: compiled_step(_sums_of(self), self.weights))
        examples, total, tokens = self.examples(records), 0.0, 0.0
        for batch in PredictionPlan(examples.lengths, batch_size, examples.buckets, last="pad"):
            arrays = keras.tree.map_structure(ops.convert_to_tensor, examples.collate(batch))
            (loss, count), _ = sums((), *arrays)
            total, tokens = total + float(loss), tokens + float(count)
        if not tokens:
            raise ValueError("no token to predict: the records are empty")
        return {"cross_entropy": total / tokens, "perplexity": float(np.exp(total / tokens)), "tokens": int(tokens)}

    def validate(self, sets):
        """Also as `val_loss`, which callbacks of Keras watch where they are not told otherwise."""
        return {name: {**found, "loss": found["cross_entropy"]} for name, found in super().validate(sets).items()}


def _sums_of(model):
    """Sum of the weighted cross entropy of a batch, and of its weights."""

    def sums(state, inputs, labels, weights):
        total = TokenCrossEntropy("sum")(labels, model(inputs, training=False), sample_weight=weights)
        return (total, ops.sum(weights)), state

    return sums
