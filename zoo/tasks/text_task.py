"""What matchers and classifiers share: Keras' verbs on raw strings."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.backend import compiles_each_shape, concurrently, made_once, padding_is_left_out, predict_function
from zoo.callbacks import NonFiniteError
from zoo.callbacks.resume import as_list
from zoo.data import BUCKETS, Pairs, PredictionPlan, length_buckets
from zoo.export import export
from zoo.layers.dropout import Dropout
from zoo.layers.pooling import Pooling
from zoo.losses import outputs
from zoo.models.backbone import check_distribution
from zoo.models.preset import Preset
from zoo.models.sizes import check_rates, checked_length
from zoo.optimizers import DecayOverFit, ExcludeFromDecay, FusedAdamW
from zoo.tasks import comparison
from zoo.tasks.keras_config import task_arguments, task_config
from zoo.tasks.record_task import RecordTask
from zoo.text.keras_hub import KerasHubTokenizer
from zoo.text.token_rows import TokenRows
from zoo.training.progress import shows_bar
from zoo.training.records import Examples, check_numbers, check_tokenizer, refuse_name

QUIET = 2048  # more texts than this at a time show a progress bar


class TextTask(RecordTask, Preset, keras.Model):
    """A backbone, a pooling and a way from raw strings to batches and back.

    A subclass says how records become rows of tokens (`encode_records`), what the model computes from them
    (`call`), and what its numbers mean (`score`, `evaluate`, ...); its verbs are those of `RecordTask`.

    Args:
        backbone: a zoo backbone, or a keras-hub text backbone.
        tokenizer: `zoo.Tokenizer`, None for the one the backbone was loaded with, or a keras-hub preprocessor.
        pooling: see `zoo.layers.Pooling`.
        max_length: int or None, tokens a row is cut to; None means what the backbone was built for, at most 512.
        segment_ids: `"pair"` (0 and 1, as BERT was pretrained), `"zeros"` (as this lineage fine-tunes its rotary
            models), or None for the family's own.
    """

    fresh_head = True
    output_shape_of_a_row = ()
    # What metrics given to `compile` see, see `zoo.losses.outputs`, and where to look instead.
    metric_outputs = "score"
    metrics_hint = "validation_data gives val_accuracy at the threshold fitted on it, val_auc and more"

    def __init__(self, backbone, tokenizer, pooling, max_length, segment_ids, name):
        check_distribution()
        refuse_name(type(self), backbone)
        super().__init__(name=name)
        self.backbone = backbone
        tokenizer = getattr(backbone, "tokenizer", None) if tokenizer is None else tokenizer
        self.tokenizer = KerasHubTokenizer(tokenizer) if hasattr(tokenizer, "sequence_length") else tokenizer
        check_tokenizer(type(self), self.tokenizer, backbone)
        longest = min(512, getattr(backbone, "max_sequence_length", 512))
        self.max_length = checked_length(longest if max_length is None else max_length)
        self.segment_ids = getattr(backbone, "pair_segment_ids", "pair") if segment_ids is None else segment_ids
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

    def __call__(self, inputs, *args, **kwargs):
        self.refuse_texts("(...)", inputs)
        self.check_inputs(inputs)  # Keras would wrap an error from `call`
        return super().__call__(inputs, *args, **kwargs)

    def check_inputs(self, inputs):
        """ValueError where arrays are missing; called by every `call`, which is all that Keras' trainer on JAX calls."""
        names = sorted(inputs) if isinstance(inputs, dict) else None
        if names is None or not {"token_ids", "padding_mask"} <= set(names):
            raise ValueError(
                f"{type(self).__name__} got {f'inputs {names}' if names is not None else type(inputs).__name__}; expected "
                f"a dict of token_ids and padding_mask, and of segment_ids where there are two; {self.texts_go}"
            )

    def pool(self, inputs, training=None):
        """Sentence vectors float32 `[B, d]` of token arrays `[B, n]`."""
        inputs, mask = {name: inputs[name] for name in self.backbone.input if name in inputs}, inputs["padding_mask"]
        first, blocks_have = None, getattr(self.backbone, "blocks_have", lambda name: False)
        flat = padding_is_left_out(self, mask, training) and blocks_have("takes_real_tokens")
        if self.pooling == "cls" and blocks_have("first"):
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
        if self.pooling == comparison.NAME:
            return self.pooling_layer(hidden, mask, second_text=comparison.second_text(self, inputs["token_ids"]))
        return self.pooling_layer(hidden, mask, first)

    # From strings to tokens

    def tokenize(self, texts, text_pairs=None):
        """`TokenRows` of single texts or packed pairs; warns of those that `max_length` cuts, or nobody can read."""
        self.check_has_tokenizer()
        check_tokenizer(type(self), self.tokenizer, self.backbone)  # it may have been set since
        tokens = TokenRows(self.tokenizer, texts, text_pairs, self.max_length, self.segment_ids)
        self.warn_of_lost(tokens, texts)
        return tokens

    @property
    def buckets(self):
        """Lengths that batches are padded to, or None for the longest row of each batch, where shapes cost nothing."""
        return length_buckets(self.max_length, BUCKETS) if compiles_each_shape(self) else None

    def encode_records(self, records):
        """(`TokenRows`, row numbers int `[N, ...]`) of records: which rows of tokens each record is made of.

        Here one a record: a text, or a pair packed as "[CLS] a [SEP] b [SEP]".
        """
        text_pairs = records.text_b if isinstance(records, Pairs) else None
        return self.tokenize(records.columns[0], text_pairs), np.arange(len(records))

    def examples(self, records):
        tokens, rows = self.encode_records(records)
        labels = np.zeros(len(records), "float32") if records.labels is None else self.targets(records.labels)
        return Examples(tokens, rows, labels, self.buckets)

    # Training

    def default_optimizer(self):
        """See `fine_tuning_optimizer`."""
        return fine_tuning_optimizer(self.hidden_dim, self.is_trained())

    def default_loss(self):
        raise NotImplementedError(f"{type(self).__name__}.default_loss")

    def loss_outputs(self):
        """What the loss sees, see `zoo.losses.outputs`."""
        return self.metric_outputs

    def compile(self, optimizer=None, loss=None, **kwargs):
        """Keras' compile with defaults: see `default_optimizer` and `default_loss`.

        Raises:
            ValueError: a loss or metric of probabilities, where this model gives logits or cosines; see
                `zoo.losses.outputs`.
        """
        if loss is None:
            loss = self.default_loss()
        else:
            loss = outputs.made(loss)
            outputs.check_loss(loss, self.loss_outputs(), type(self).__name__)
            if isinstance(loss, list | tuple) or (isinstance(loss, dict) and "class_name" not in loss):
                raise ValueError(
                    f"compile: loss is a {type(loss).__name__}; a {type(self).__name__} has one loss: loss=..."
                )
        # Rows that only fill up a batch have weight 0, which Keras hides from what is called `metrics`.
        given = [*as_list(kwargs.pop("metrics", None)), *as_list(kwargs.pop("weighted_metrics", None))]
        outputs.check_metrics(given, self.metric_outputs, type(self).__name__, self.metrics_hint)
        kwargs["weighted_metrics"] = given or None
        super().compile(optimizer=optimizer or self.default_optimizer(), loss=loss, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, *_columns(y, y_pred), sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, *_columns(y, y_pred), sample_weight)

    def targets(self, labels):
        """Labels as the loss takes them."""
        return np.asarray(labels, "float32")

    def outputs_of(self, records, batch_size, verbose):
        """Outputs of the model `[N, ...]` for records of one row of tokens each, in their order."""
        if not len(records):
            return np.zeros((0, *self.output_shape_of_a_row), "float32")
        self.warn_if_untrained()
        tokens, rows = self.encode_records(records)
        return self.check_finite(self.run(tokens, rows, batch_size, verbose), "records")

    def run(self, tokens, rows, batch_size, verbose="auto"):
        """Outputs of the model for rows of tokens, in the order of `rows`, from batches sorted by length.

        Args:
            tokens: `TokenRows`. rows: int `[N, ...]`.

        Returns:
            float32 array `[N, ...]`.
        """
        check_numbers(type(self).__name__, batch_size=batch_size)
        # Few rows are filled up to a power of two, so that calls of any size share few compiled shapes.
        last = "pad" if compiles_each_shape(self) else "keep"
        if last == "pad":
            batch_size = min(batch_size, 1 << max(len(rows) - 1, 0).bit_length())
        plan = PredictionPlan(tokens.lengths[rows], batch_size, self.buckets, last=last)
        bar = None
        if verbose == 1 or (verbose == "auto" and len(rows) > QUIET and shows_bar()):
            bar = keras.utils.Progbar(len(plan), unit_name="batch")

        step = made_once(self, "_predict_step", lambda: predict_function(self))

        def predict(batch):
            return np.asarray(step(tokens.batch(rows[batch.indices], batch.length)))

        outputs = []
        for output in concurrently(predict, list(plan)):
            outputs.append(output)
            if bar is not None:
                bar.update(len(outputs))
        return plan.restore(outputs)

    def export(
        self,
        folder: str | os.PathLike,
        format: str = "onnx",
        quantize: str | None = None,
        dev_pairs: Sequence | None = None,
        verbose: bool | None = None,
    ) -> dict[str, Any]:
        """Write the model with tokenizer, pooling, head and threshold for programs without Keras (extra `onnx`).

        The folder holds one graph, built from the weights, from ids and mask to `sentence_embedding` (unit vectors),
        `scores` or `logits`; tokenizer.json; zoo_export.json, which says the rest; and canaries, on which graph and model
        were compared. `zoo.runtime.load(folder)` uses it, `zoo.export.verify(folder)` compares again.

        Args:
            folder: path; an earlier export in it is replaced.
            format: `"onnx"`; `"openvino"` (the same graph as model.xml and model.bin, extra `openvino`); or, for representation
                matchers, `"sentence_transformers"`: a folder that sentence-transformers loads, where the family is BERT, and
                one with onnx/model.onnx, for text-embeddings-inference and fastembed, where it is another.
            quantize: None, or `"int8"`: products in int8, a quarter of the size.
            dev_pairs: labelled records on which model and export are measured too, or None; for `quantize`.
            verbose: an argument of Keras' verb; nothing is printed either way.

        Returns:
            dict of largest_difference, its limit, least_cosine, canaries (their number), and quality where asked for.

        Raises:
            ValueError: a family, option or tokenizer that cannot be exported, by name.
            PresetError: the graph computes something else than the model; nothing is written.
            ImportError: onnx or onnxruntime is missing.
        """
        return export(self, folder, format, quantize=quantize, dev_pairs=dev_pairs)

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
        return task_config(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**task_arguments(config))


def _columns(y, y_pred):
    """Scores and labels `[B]` as `[B, 1]`: of `[B]` Keras takes the mean over all rows before it looks at weights."""
    if y is not None and len(y_pred.shape) == 1:
        y, y_pred = (ops.expand_dims(x, -1) if len(x.shape) == 1 else x for x in (y, y_pred))
    return y, y_pred


# Times 2e-5 · 768 / width, chosen by `benchmarks/default_recipe.py`: a task that is there already takes gentler steps.
PEAK, PEAK_OF_TRAINED = 2.0, 0.25


def fine_tuning_optimizer(width, trained=False):
    """AdamW, no decay on norms and biases, linear warm-up and decay to 0 over the steps of each `fit`.

    Args:
        width: int, d of the backbone: the peak is 4e-5 at width 768 and more for narrower models.
        trained: bool, whether the weights are of a model that was trained for its task: an eighth of the peak.
    """
    peak = (PEAK_OF_TRAINED if trained else PEAK) * 2e-5 * 768 / width
    return DecayOverFit(ExcludeFromDecay(FusedAdamW(peak, weight_decay=0.01)))


def hidden_width(backbone):
    """d of a backbone: of ours, or read off a keras-hub one's symbolic output."""
    output = backbone.output
    output = output["sequence_output"] if isinstance(output, dict) else output
    return int(output.shape[-1])


def head_initializer(backbone):
    """The backbone's own kernel initialiser; Keras' default for foreign backbones."""
    return backbone.kernel_initializer() if hasattr(backbone, "kernel_initializer") else "glorot_uniform"


def dense_head(task, units, dropout):
    """Dropout and dense layer from the pooled vector of a task to `units` numbers: (Dropout, Dense)."""
    check_rates(type(task).__name__, dropout=dropout)
    classifier = keras.layers.Dense(
        units, kernel_initializer=head_initializer(task.backbone), dtype="float32", name="classifier"
    )
    classifier.build((None, task.pooling_layer.output_width(task.hidden_dim)))
    return Dropout(dropout, dtype="float32", name="dropout"), classifier


def unit(vectors):
    """Rows divided by their length; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, 1e-12)


def flatten_texts(inputs):
    """Token arrays `[B, k, n]` as `[B · k, n]`."""
    return {name: ops.reshape(x, (-1, ops.shape(x)[-1])) for name, x in inputs.items()}
