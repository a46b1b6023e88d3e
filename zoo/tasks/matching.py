"""Text matchers: representation (two texts, two vectors, cosine) and interaction (one packed pair, one score).

Su, "CoSENT (2): how large is the gap between feature-based and interaction-based matching?", kexue.fm/archives/8860.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from zoo.data import Records, Triplets, as_pairs, as_texts, as_triplets
from zoo.data.labels import refuse_label_texts
from zoo.data.raw_rows import plain_rows
from zoo.formats import sentence_transformers
from zoo.formats.families import task_name
from zoo.losses import CoSENT, cosine_similarity, needs
from zoo.metrics import accuracy
from zoo.metrics.threshold import check_decision
from zoo.models.preset import resolve
from zoo.models.sizes import check_config
from zoo.store import PresetError
from zoo.tasks import comparison
from zoo.tasks.classification import check_classes
from zoo.tasks.ranking import RankMixin
from zoo.tasks.text_task import TextTask, dense_head, flatten_texts, head_initializer, unit
from zoo.tasks.threshold import ThresholdMixin


@keras.saving.register_keras_serializable(package="zoo")
class RepresentationMatcher(RankMixin, ThresholdMixin, TextTask):
    """Each text by itself to a vector, pairs by the cosine of their vectors (bi-encoder).

    All texts of a batch go through the backbone together, so that both sides see the same weights and shapes.
    Records are `(text_a, text_b, label)` with labels of any order (0/1, grades, scores), `(text_a, text_b)` for
    losses that need none (InfoNCE), or triplets `(text, its_match, negative)`.

    Args:
        backbone: a zoo backbone, or a keras-hub text backbone.
        tokenizer: `zoo.Tokenizer` or None (the backbone's).
        pooling: `"mean"`, `"cls"`, `"max"`, `"first_last_mean"` or `"attention"`.
        num_classes: int or None. With classes there is the Sentence-BERT head, a softmax over [u, v, |u − v|] that is
            trained instead of the cosine (arXiv 1908.10084); scores are cosines all the same. The classes themselves
            come from `class_probabilities`.
        max_length, segment_ids: see `zoo.TextClassifier`.
        decision: stored threshold, see `fit_threshold`, or a number.

    Inputs when called: token arrays `[B, k, n]`, k texts a row. Output: float32 `[B, k, d]` embeddings, not normalised.
    """

    metric_outputs = "cosine"

    def __init__(
        self,
        backbone,
        tokenizer=None,
        pooling="mean",
        num_classes=None,
        max_length=None,
        segment_ids=None,
        decision=None,
        name=None,
    ):
        comparison.refuse(pooling)
        super().__init__(backbone, tokenizer, pooling, max_length, segment_ids, name)
        self.num_classes, self.head_in_loss = num_classes, num_classes is not None
        self.decision = check_decision(decision)
        if num_classes is not None:
            check_config(type(self).__name__, num_classes=num_classes)
            self.classifier = keras.layers.Dense(
                num_classes, kernel_initializer=head_initializer(backbone), dtype="float32", name="classifier"
            )
            self.classifier.build((None, 3 * self.hidden_dim))

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike,
        dtype: Any = None,
        load_weights: bool = True,
        keep_tokens: Sequence[int] | np.ndarray | None = None,
        pre_tokenize: Callable[[str], list[str]] | None = None,
        lowercase: bool | None = None,
        family: str | None = None,
        **overrides: Any,
    ) -> Self:
        """As `Preset.from_preset`; of a sentence-transformers folder also its pooling and its limit of tokens.

        Raises:
            PresetError: as there; the folder computes its embeddings by something that this matcher has not.
        """
        stated = sentence_transformers.matcher_options(resolve(preset))
        folded = stated.pop("lowercase", False)
        options = {**stated, **overrides}
        model = super().from_preset(
            preset, dtype, load_weights, keep_tokens, pre_tokenize, lowercase, family, **options
        )
        if stated and load_weights:
            model.backbone.trained_as = task_name(RepresentationMatcher)
        if folded and not getattr(model.tokenizer, "lowercase", True):
            raise PresetError(
                f"{preset}/{sentence_transformers.TRANSFORMER}: do_lower_case is true, the vocabulary is cased; "
                f"from_preset(..., lowercase=True) lower-cases texts, or pass lowercased ones to a matcher made by hand from "
                f"zoo.Backbone.from_preset"
            )
        return model

    def call(self, inputs, training=None):
        self.check_inputs(inputs)
        texts = ops.shape(inputs["token_ids"])[1]
        vectors = self.pool(flatten_texts(inputs), training=training)
        return ops.reshape(vectors, (-1, texts, self.hidden_dim))

    def class_logits(self, embeddings):
        """Logits `[B, C]` of the Sentence-BERT head for embeddings `[B, 2, d]`."""
        u, v = embeddings[:, 0], embeddings[:, 1]
        return self.classifier(ops.concatenate([u, v, ops.abs(u - v)], axis=-1))

    # Training

    def default_loss(self):
        """CoSENT, or the softmax of the head where there are classes."""
        if self.num_classes is not None:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        return CoSENT()

    def loss_outputs(self):
        return "cosine" if self.num_classes is None else "classes"

    def loss_input(self, embeddings):
        """What the loss takes: logits of the head, embeddings, or the cosine of the two texts of a row."""
        if self.num_classes is not None:
            return self.class_logits(embeddings)
        if needs.inputs_of(self.loss) == "embeddings":
            return embeddings
        return cosine_similarity(embeddings[:, 0], embeddings[:, 1])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, y, self.loss_input(y_pred), sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # Metrics given to `compile` see what `score` gives. Not the logits of the head: JAX computes metrics where
        # weights have no value.
        return super().compute_metrics(x, y, cosine_similarity(y_pred[:, 0], y_pred[:, 1]), sample_weight)

    def check_labels(self, records):
        if self.num_classes is None:
            needs.check_labels(self.loss, records.labels)
        elif records.labels is None:
            raise ValueError("the head of classes needs labelled pairs, (text_a, text_b, label)")
        else:
            check_classes(records.labels, self.num_classes)

    def distinct(self, records):
        return needs.distinct_texts(self.loss, list(zip(*records.columns)), records.labels)

    # Data

    def as_records(self, x, labelled=None):
        rows = plain_rows(x, "pairs", "(text_a, text_b, label) tuples")
        if not isinstance(rows, Triplets):
            if self.num_classes is not None or not _are_triplets(rows):
                return as_pairs(rows, labelled)
            rows = as_triplets(rows)
            refuse_label_texts(rows)
        if labelled:
            raise ValueError("evaluation needs labelled pairs, (text_a, text_b, label); got triplets")
        return rows

    def encode_records(self, records):
        """Every distinct text once: `TokenRows` and row numbers `[N, k]`."""
        texts = list(dict.fromkeys(text for column in records.columns for text in column))
        place = {text: row for row, text in enumerate(texts)}
        rows = np.array([[place[text] for text in column] for column in records.columns], "int64").T
        return self.tokenize(texts), rows.reshape(len(records), len(records.columns))

    # Use

    def encode(
        self, texts: Sequence[str], batch_size: int = 64, normalize: bool = True, verbose: str | int = "auto"
    ) -> np.ndarray:
        """Sentence embeddings, in the order of the texts.

        On torch's CPU batches run in threads, one for each core: while this runs, other threads of the process may
        have fewer of torch's threads (`torch.set_num_threads`, which torch has once for all); the number is put back.
        TensorFlow and JAX hang in a process that was made by a fork of one that used them: let a pool of processes start
        anew, `multiprocessing.get_context("spawn")`, and load the matcher in each.

        Args:
            texts: list of str.
            normalize: bool, rows of length 1 (their products are cosines).
            verbose: `"auto"` shows a progress bar from some thousand texts on, 1 always, 0 never.

        Returns:
            float32 `[N, d]`.

        Raises:
            TypeError, ValueError: see `zoo.data.as_texts`; the message names the index of a text that is no str.
            NonFiniteError: a vector is NaN or infinite, here and wherever texts are scored.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts; for one text: encode([text])[0]")
        texts = as_texts(texts, labelled=False).text
        vectors = self.check_finite(self._vectors(texts, batch_size, verbose), "texts")
        return unit(vectors) if normalize else vectors

    def _vectors(self, texts, batch_size, verbose):
        """Float32 `[N, d]`; every distinct text is computed once."""
        if not texts:
            return np.zeros((0, self.hidden_dim), "float32")
        unique = list(dict.fromkeys(texts))
        rows = np.arange(len(unique))[:, None]
        vectors = self.run(self.tokenize(unique), rows, batch_size, verbose)[:, 0]
        place = {text: row for row, text in enumerate(unique)}
        return vectors[[place[text] for text in texts]]

    def score(self, pairs: Sequence, batch_size: int = 64, verbose: str | int = "auto") -> np.ndarray:
        """Cosines float32 `[N]` of pairs `(text_a, text_b)`, in their order; every distinct text is encoded once."""
        return cosines(self.pair_embeddings(as_pairs(pairs), batch_size, verbose))

    def similarity(
        self, texts_a: Sequence[str], texts_b: Sequence[str], batch_size: int = 64, verbose: str | int = "auto"
    ) -> np.ndarray:
        """Cosines float32 `[N, M]` of every text of the one list with every text of the other."""
        a, b = (self.encode(texts, batch_size, verbose=verbose) for texts in (texts_a, texts_b))
        return np.clip(a @ b.T, -1.0, 1.0)

    def class_probabilities(self, pairs: Sequence, batch_size: int = 64, verbose: str | int = "auto") -> np.ndarray:
        """Probabilities float32 `[N, C]` by the Sentence-BERT head of pairs `(text_a, text_b)`, in their order.

        Raises:
            ValueError: the matcher was made without `num_classes`.
        """
        if self.num_classes is None:
            raise ValueError("this matcher has no head of classes; one is made by num_classes=...")
        return self._head_probabilities(self.pair_embeddings(as_pairs(pairs), batch_size, verbose))

    def pair_embeddings(self, pairs, batch_size, verbose):
        """Embeddings float32 `[N, 2, d]` of `zoo.data.Pairs`, not normalised."""
        vectors = self._vectors(pairs.text_a + pairs.text_b, batch_size, verbose)
        return self.check_finite(np.stack([vectors[: len(pairs)], vectors[len(pairs) :]], axis=1), "pairs")

    def _head_probabilities(self, embeddings):
        self.warn_if_untrained()
        parts = [np.zeros((0, self.num_classes), "float32")]
        for start in range(0, len(embeddings), 4096):  # [u, v, |u − v|] of all pairs need not fit beside them
            logits = self.class_logits(ops.convert_to_tensor(embeddings[start : start + 4096]))
            parts.append(ops.convert_to_numpy(ops.softmax(logits)))
        return self.check_finite(np.concatenate(parts), "pairs")

    def score_labelled(self, pairs, batch_size, verbose, with_loss=False):
        """Cosines of labelled pairs; with a head of classes, whose labels the pairs have, also its `head_accuracy`."""
        embeddings = self.pair_embeddings(pairs, batch_size, verbose)
        loss = self.loss_of_pairs(pairs, embeddings) if with_loss else {}
        if self.num_classes is None or not set(np.unique(pairs.labels)) <= set(range(self.num_classes)):
            return cosines(embeddings), loss
        best = self._head_probabilities(embeddings).argmax(axis=1)
        return cosines(embeddings), {"head_accuracy": accuracy(pairs.labels, best), **loss}

    def task_config(self):
        return {
            "pooling": self.pooling,
            "num_classes": self.num_classes,
            "max_length": self.max_length,
            "segment_ids": self.segment_ids,
            "decision": self.decision,
        }


@keras.saving.register_keras_serializable(package="zoo")
class InteractionMatcher(RankMixin, ThresholdMixin, TextTask):
    """Both texts in one input, "[CLS] a [SEP] b [SEP]", and one score from it (cross-encoder).

    Records are `(text_a, text_b, label)`. With labels 0/1 the default loss is binary cross entropy, so that the
    sigmoid of a score is a probability; `zoo.losses.CoSENT(scale=1.0)` ranks any ordered labels
    (kexue.fm/archives/9341).

    Args:
        backbone, tokenizer, max_length, segment_ids, dropout: see `zoo.TextClassifier`.
        pooling: as in `zoo.layers.Pooling`; `"cls"` in the lineage. `"comparison"` starts as 20 (cosine − ½)
            of the two texts' means, so from all that a backbone has learned as a representation matcher.
        decision: stored threshold, see `fit_threshold`, or a number.

    Inputs when called: token arrays `[B, n]` of packed pairs. Output: float32 `[B]`, free scores.
    """

    def __init__(
        self,
        backbone,
        tokenizer=None,
        pooling="cls",
        dropout=0.1,
        max_length=None,
        segment_ids=None,
        decision=None,
        name=None,
    ):
        super().__init__(backbone, tokenizer, pooling, max_length, segment_ids, name)
        self.dropout, self.decision = dropout, check_decision(decision)
        self.dropout_layer, self.classifier = dense_head(self, 1, dropout)
        if pooling == comparison.NAME:
            self.random_head = False
            comparison.start_as_cosine(self.classifier, self.hidden_dim)

    def call(self, inputs, training=None):
        self.check_inputs(inputs)
        pooled = self.dropout_layer(self.pool(inputs, training=training), training=training)
        return self.classifier(pooled)[:, 0]

    def default_loss(self):
        """Binary cross entropy on the score."""
        return keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight")

    def check_labels(self, records):
        if records.labels is None:
            raise ValueError("an interaction matcher is trained on labelled pairs, (text_a, text_b, label)")
        if needs.inputs_of(self.loss) == "embeddings":
            raise ValueError(
                f"{type(self.loss).__name__} compares vectors of texts, which an interaction matcher has not: it gives one "
                "score a pair, for zoo.losses.CoSENT(scale=1.0) or the default loss"
            )
        needs.check_labels(self.loss, records.labels)

    def as_records(self, x, labelled=None):
        return as_pairs(x, labelled)

    def score(self, pairs: Sequence, batch_size: int = 64, verbose: str | int = "auto") -> np.ndarray:
        """Scores float32 `[N]` of pairs `(text_a, text_b)`, in their order; unbounded."""
        return self.outputs_of(as_pairs(pairs), batch_size, verbose)

    def task_config(self):
        return {
            "pooling": self.pooling,
            "dropout": self.dropout,
            "max_length": self.max_length,
            "segment_ids": self.segment_ids,
            "decision": self.decision,
        }


def _are_triplets(rows):
    """Whether rows hold three texts each; three values of which any last one is no text are a labelled pair."""
    return (
        len(rows) > 0
        and not isinstance(rows, Records)
        and all(isinstance(row, Sequence | np.ndarray) and len(row) == 3 and isinstance(row[2], str) for row in rows)
    )


def cosines(embeddings):
    """Cosines float32 `[N]` of the two vectors of each row of `[N, 2, d]`."""
    a, b = unit(embeddings[:, 0]), unit(embeddings[:, 1])
    return np.clip(np.einsum("nd,nd->n", a, b), -1.0, 1.0)
