"""What matchers and classifiers share: Keras' verbs on raw strings."""

import contextlib
import warnings
from collections import Counter

import keras
import numpy as np
from keras import ops

from zoo.backend import compiles_each_shape, concurrently, give_back_freed_memory, padding_is_left_out
from zoo.callbacks import NonFiniteError, arranged
from zoo.callbacks.arranging import listed
from zoo.data import BUCKETS, Batches, BatchPlan, PredictionPlan, length_buckets
from zoo.layers.pooling import Pooling
from zoo.losses import InfoNCE
from zoo.models.backbone import check_distribution
from zoo.models.preset import Preset
from zoo.models.sizes import checked_length
from zoo.optimizers import EvaluateAverages, ExcludeFromDecay, FusedAdamW
from zoo.text.keras_hub import KerasHubTokenizer
from zoo.text.token_rows import Encoded
from zoo.training.checks import check_training
from zoo.training.gradient_cache import fit_big_batches
from zoo.training.records import is_records, refuse_with_records

QUIET = 2048  # more texts than this at a time show a progress bar


class TextTask(Preset, keras.Model):
    """A backbone, a pooling and a way from raw strings to batches and back.

    A subclass says how records become rows of tokens (`encode_records`), what the model computes from them
    (`call`), and what its numbers mean (`score`, `evaluate`, ...).

    Args:
        backbone: a zoo backbone, or a keras-hub text backbone.
        tokenizer: `zoo.Tokenizer`, None for the one the backbone was loaded with, or a keras-hub preprocessor.
        pooling: see `zoo.layers.Pooling`.
        max_length: int or None, tokens a row is cut to; None means what the backbone was built for, at most 512.
        segment_ids: `"pair"` (0 and 1, as BERT was pretrained), `"zeros"` (as this lineage fine-tunes its rotary
            models), or None for the family's own.
    """

    fresh_head = True
    head_in_loss = False  # whether the loss holds trained weights that `call` does not use

    def __init__(self, backbone, tokenizer, pooling, max_length, segment_ids, name):
        check_distribution()
        super().__init__(name=name)
        self.backbone = backbone
        tokenizer = getattr(backbone, "tokenizer", None) if tokenizer is None else tokenizer
        self.tokenizer = KerasHubTokenizer(tokenizer) if hasattr(tokenizer, "sequence_length") else tokenizer
        longest = min(512, getattr(backbone, "max_sequence_length", 512))
        self.max_length = checked_length(longest if max_length is None else max_length)
        self.segment_ids = getattr(backbone, "pair_segment_ids", "pair") if segment_ids is None else segment_ids
        self._cut_reported = None  # within `fit` a bool: whether it has warned of cut texts yet
        if self.segment_ids not in ("pair", "zeros"):
            raise ValueError(f"segment_ids={segment_ids!r}; expected 'pair', 'zeros' or None")
        self.pooling = pooling
        self.dtype_policy = backbone.dtype_policy
        self.hidden_dim = hidden_width(backbone)
        self.pooling_layer = Pooling(pooling, dtype=backbone.dtype_policy, name="pooling")
        self.pooling_layer.build((None, None, self.hidden_dim))
        self._first_last = None
        if pooling == "first_last_mean":
            if not hasattr(backbone, "hidden_states"):
                raise ValueError(f"pooling 'first_last_mean' needs a zoo backbone, {type(backbone).__name__} is none")
            self._first_last = backbone.first_and_last
        self.built = True

    # From tokens to vectors

    def pool(self, inputs, training=None):
        """Sentence vectors float32 `[B, d]` of token arrays `[B, n]`."""
        inputs, mask = {name: inputs[name] for name in self.backbone.input if name in inputs}, inputs["padding_mask"]
        first, takes = None, getattr(self.backbone, "blocks_take", lambda argument: False)
        flat = padding_is_left_out(self, mask, training) and takes("tokens")
        if self.pooling == "cls" and takes("first_only"):
            hidden = self.backbone.first_state(inputs, flat, training=training)
        elif flat:
            states, tokens = self.backbone.flat_states(inputs, training=training)
            hidden = tokens.padded(states[-1])
            if self._first_last is not None:
                first = tokens.padded(states[0])
        elif self._first_last is not None:
            first, hidden = self._first_last(inputs, training=training)
        else:
            hidden = self.backbone(inputs, training=training)
            hidden = hidden["sequence_output"] if isinstance(hidden, dict) else hidden
        if self.pooling == "comparison":
            return self.pooling_layer(hidden, mask, second_text=self._second_text(inputs["token_ids"]))
        return self.pooling_layer(hidden, mask, first)

    def _second_text(self, token_ids):
        """True from behind the first [SEP] of a row on, bool `[B, n]`; segment ids need not tell the texts apart."""
        sep_token_id = getattr(self.tokenizer, "sep_token_id", None)
        if sep_token_id is None:
            raise ValueError(
                "pooling 'comparison' finds the second text by [SEP], so it needs tokenizer=zoo.Tokenizer(...)"
            )
        separators = ops.cast(ops.equal(token_ids, sep_token_id), "int32")
        return ops.greater(ops.cumsum(separators, axis=1), separators)

    # From strings to tokens

    def tokens_of(self, texts, seconds=None):
        """`Encoded` rows of single texts or packed pairs; warns of those that `max_length` cuts."""
        if self.tokenizer is None:
            raise ValueError(
                f"{type(self).__name__} has no tokenizer: use from_preset, or pass tokenizer=zoo.Tokenizer(...)"
            )
        encoded = Encoded(self.tokenizer, texts, seconds, self.max_length, self.segment_ids)
        if encoded.cut.any() and not self._cut_reported:
            warnings.warn(encoded.cut_message(self.backbone), stacklevel=2)
            self._cut_reported = None if self._cut_reported is None else True
        return encoded

    @contextlib.contextmanager
    def _one_report(self):
        """Inside, only the first cut is reported: `fit` tokenizes the validation records again after each epoch."""
        self._cut_reported = False
        try:
            yield
        finally:
            self._cut_reported = None

    @property
    def buckets(self):
        """Lengths that batches are padded to, or None for the longest row of each batch, where shapes cost nothing."""
        return length_buckets(self.max_length, BUCKETS) if compiles_each_shape(self) else None

    def encode_records(self, records):
        """(`Encoded`, row numbers int `[N, ...]`) of records: which rows of tokens each record is made of."""
        raise NotImplementedError(f"{type(self).__name__}.encode_records")

    def as_records(self, x, labelled=None):
        """Records from whatever the user gave; the error names the index of a bad one."""
        raise NotImplementedError(f"{type(self).__name__}.as_records")

    # Training

    def default_optimizer(self):
        """See `fine_tuning_optimizer`."""
        return fine_tuning_optimizer(self.hidden_dim)

    def default_loss(self):
        raise NotImplementedError(f"{type(self).__name__}.default_loss")

    def compile(self, optimizer=None, loss=None, **kwargs):
        """Keras' compile with defaults: see `default_optimizer` and `default_loss`."""
        loss = self.default_loss() if loss is None else loss
        # Rows that only fill up a batch have weight 0, which Keras hides from what is called `metrics`.
        if kwargs.get("metrics"):
            kwargs["weighted_metrics"] = [*kwargs.pop("metrics"), *(kwargs.get("weighted_metrics") or [])]
        super().compile(optimizer=optimizer or self.default_optimizer(), loss=loss, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, *_columns(y, y_pred), sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, *_columns(y, y_pred), sample_weight)

    def fit(
        self,
        x,
        y=None,
        batch_size=32,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_data=None,
        seed=0,
        micro_batch_size=None,
        initial_epoch=0,
        **kwargs,
    ):
        """Train on records of raw strings (or, as `keras.Model.fit`, on arrays and datasets).

        Rows are shuffled by `seed` and the epoch, in batches of nearly equal length. With labelled
        `validation_data` each epoch ends with `evaluate` on all of it (`val_spearman`, `val_accuracy`, ...), where its
        labels are 0 and 1 at the threshold that is fitted on it then, and once more when training is over. A threshold
        from before belongs to weights that are no more, so training drops it.

        Args:
            x: records, see the class; a `zoo.data` type or a list of tuples.
            validation_data: records.
            seed: int, of the order.
            micro_batch_size: int or None. The loss is that of the whole batch, computed exactly from parts of this
                size that fit in memory (gradient caching, arXiv 2101.06983).

        Returns:
            `keras.callbacks.History`.

        Raises:
            TypeError, ValueError: records that are none, labels that the loss or the validation cannot mean, options of
                Keras that mean nothing with records; all before anything is trained.
        """
        if not is_records(x):
            check_training(self)
            return super().fit(
                x, y, batch_size=batch_size, epochs=epochs, verbose=verbose,
                callbacks=arranged([_Epochs(self), *listed(callbacks)], x),
                validation_data=validation_data, initial_epoch=initial_epoch, **kwargs,
            )  # fmt: skip
        refuse_with_records("fit", y, kwargs)
        if not self.compiled:
            self.compile()
        records = self.as_records(x)
        if not len(records):
            raise ValueError("no records to train on: x is empty")
        self.check_labels(records)
        check_training(self)
        if micro_batch_size is not None and self.head_in_loss:
            raise ValueError(
                "micro_batch_size trains what the model computes, and this head of classes is part of the loss; its loss "
                "couples no rows: use a smaller batch_size and an optimizer with gradient_accumulation_steps"
            )
        validation = None if validation_data is None else self._validation_records(validation_data)
        with self._one_report():
            return self._fit_records(
                records, validation, batch_size, micro_batch_size, seed, epochs=epochs, verbose=verbose,
                callbacks=listed(callbacks), initial_epoch=initial_epoch,
            )  # fmt: skip

    def _fit_records(
        self,
        records,
        validation,
        batch_size,
        micro_batch_size,
        seed,
        epochs,
        verbose,
        callbacks,
        initial_epoch,
    ):
        encoded, rows = self.encode_records(records)
        labels = np.zeros(len(records), "float32") if records.labels is None else self.targets(records.labels)
        texts = self.distinct(records)
        plan = BatchPlan(encoded.lengths[rows], batch_size, self.buckets, seed=seed, last="pad", no_duplicates=texts)
        if texts is not None:
            self._warn_of_left_out(plan, texts, initial_epoch)

        def collate(batch):
            return encoded.batch(rows[batch.indices], batch.length), labels[batch.indices], batch.weights

        # Before others, which can monitor val_*, but after what puts averages of the weights into the model.
        averages = [callback for callback in callbacks if isinstance(callback, EvaluateAverages)]
        others = [callback for callback in callbacks if callback not in averages]
        data = Batches(plan, collate, epoch=initial_epoch)
        callbacks = arranged([data.follow(), *averages, _Epochs(self, validation), *others], data)
        if micro_batch_size is None:
            history = super().fit(
                data, epochs=epochs, verbose=verbose, callbacks=callbacks, shuffle=False, initial_epoch=initial_epoch
            )
        else:
            history = fit_big_batches(self, plan, collate, micro_batch_size, epochs, initial_epoch, callbacks, verbose)
        if validation is not None:
            self.after_fit(validation)
        return history

    def _warn_of_left_out(self, plan, texts, epoch):
        if len(left_out := plan.left_out(epoch)):
            (text, count), *_ = Counter(text for row in texts for text in set(row)).most_common(1)
            groups = ", or zoo.losses.InfoNCE(grouped=True) with the number of a row's meaning as its label"
            warnings.warn(
                f"{len(left_out):,} of {len(texts):,} rows sit out each epoch: {type(self.loss).__name__} takes no text "
                f"twice in a batch, and {text!r:.60} stands in {count:,} rows while there are {len(plan):,} batches; use "
                f"a smaller batch_size{groups if isinstance(self.loss, InfoNCE) else ''}",
                stacklevel=4,
            )

    def weights_changed(self):
        """Drop what held for the weights before."""

    def validate(self, validation):
        """Metrics on the validation records after an epoch."""
        return self.evaluate_records(validation, batch_size=64, verbose=0)

    def after_fit(self, validation):
        """What is settled on the validation records once training is over."""

    def _validation_records(self, x):
        """What is wrong with validation records is said before an epoch is trained, and that it is theirs."""
        if hasattr(x, "__len__") and not len(x):
            raise ValueError("validation_data is empty; expected labelled records, or None to train without")
        try:
            records = self.as_records(x, labelled=True)
            self.check_validation(records)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None
        return records

    def check_validation(self, records):
        """Refuse labels that `evaluate` cannot mean."""

    def targets(self, labels):
        """Labels as the loss takes them."""
        return np.asarray(labels, "float32")

    def check_labels(self, records):
        """Refuse labels that the loss cannot mean."""

    def distinct(self, records):
        """Per record the texts of which none may stand twice in a batch, or None."""
        return None

    def evaluate(self, x=None, y=None, batch_size=64, verbose="auto", **kwargs):
        """Metrics over all of the records at once, as a dict; for arrays and datasets Keras' own evaluate.

        Raises:
            TypeError, ValueError: as `fit`.
        """
        if not is_records(x):
            return super().evaluate(x, y, batch_size=batch_size, verbose=verbose, **kwargs)
        if kwargs.pop("return_dict", True) is not True:
            raise ValueError("evaluate(return_dict=False): the metrics of records are a dict; take the ones you need")
        refuse_with_records("evaluate", y, kwargs)
        return self.evaluate_records(self.as_records(x, labelled=True), batch_size, verbose)

    def run(self, encoded, rows, batch_size, verbose="auto"):
        """Outputs of the model for rows of tokens, in the order of `rows`, from batches sorted by length.

        Args:
            encoded: `Encoded`. rows: int `[N, ...]`.

        Returns:
            float32 array `[N, ...]`.
        """
        # Few rows are filled up to a power of two, so that calls of any size share few compiled shapes.
        last = "pad" if compiles_each_shape(self) else "keep"
        if last == "pad":
            batch_size = min(batch_size, 1 << max(len(rows) - 1, 0).bit_length())
        plan = PredictionPlan(encoded.lengths[rows], batch_size, self.buckets, last=last)
        bar = None
        if verbose == 1 or (verbose == "auto" and len(rows) > QUIET):
            bar = keras.utils.Progbar(len(plan), unit_name="batch")

        def predict(batch):
            return np.asarray(self.predict_on_batch(encoded.batch(rows[batch.indices], batch.length)))

        outputs = []
        for output in concurrently(predict, list(plan)):
            outputs.append(output)
            if bar is not None:
                bar.update(len(outputs))
        return plan.restore(outputs)

    def check_finite(self, outputs, what):
        """Outputs `[N, ...]` as they are.

        Raises:
            NonFiniteError: one is NaN or infinite, of which a class or a decision would be made silently.
        """
        wrong = np.flatnonzero(~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)) if len(outputs) else ()
        if len(wrong):
            mend = "its weights hold NaN, or grew too large in training: go back to a sound preset"
            if self.compute_dtype != "float32":
                mend = f"{self.compute_dtype} may have overflowed: try from_preset(..., dtype='float32')"
            raise NonFiniteError(
                f"{type(self).__name__}'s output for {what}[{wrong[0]}] is NaN or infinite, and {len(wrong):,} of "
                f"{len(outputs):,} are, under dtype policy {self.dtype_policy.name!r}: {mend}"
            )
        return outputs

    def get_config(self):
        return {"backbone": keras.saving.serialize_keras_object(self.backbone), **self.task_config()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config)


class _Epochs(keras.callbacks.Callback):
    """Of every `fit`: drops what held for older weights, puts `val_*` of the whole validation set into the logs."""

    def __init__(self, task, validation=None):
        super().__init__()
        self.task, self.validation = task, validation

    def on_epoch_begin(self, epoch, logs=None):
        self.task.weights_changed()

    def on_epoch_end(self, epoch, logs=None):
        give_back_freed_memory()
        if self.validation is not None:
            logs.update({f"val_{name}": value for name, value in self.task.validate(self.validation).items()})


def _columns(y, y_pred):
    """Scores and labels `[B]` as `[B, 1]`: of `[B]` Keras takes the mean over all rows before it looks at weights."""
    if y is not None and len(y_pred.shape) == 1:
        y, y_pred = (ops.expand_dims(x, -1) if len(x.shape) == 1 else x for x in (y, y_pred))
    return y, y_pred


def fine_tuning_optimizer(width):
    """AdamW, 2e-5 at width 768 and more for narrower models, no decay on norms and biases."""
    return ExcludeFromDecay(FusedAdamW(2e-5 * 768 / width, weight_decay=0.01))


def hidden_width(backbone):
    """d of a backbone: of ours, or read off a keras-hub one's symbolic output."""
    output = backbone.output
    output = output["sequence_output"] if isinstance(output, dict) else output
    return int(output.shape[-1])


def head_initializer(backbone):
    """The backbone's own kernel initialiser; Keras' default for foreign backbones."""
    return backbone.kernel_initializer() if hasattr(backbone, "kernel_initializer") else "glorot_uniform"


def unit(vectors):
    """Rows divided by their length; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, 1e-12)


def flatten_texts(inputs):
    """Token arrays `[B, k, n]` as `[B · k, n]`."""
    return {name: ops.reshape(x, (-1, ops.shape(x)[-1])) for name, x in inputs.items()}
