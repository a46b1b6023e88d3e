"""Classes of single texts, or of pairs packed into one input."""

from collections.abc import Sequence

import keras
import numpy as np

from zoo.data import Pairs, Records, as_records, as_texts
from zoo.data.labels import DECIMAL
from zoo.data.raw_rows import plain_rows
from zoo.metrics import accuracy, macro_f1
from zoo.models.sizes import check_config
from zoo.tasks.text_task import TextTask, dense_head


@keras.saving.register_keras_serializable(package="zoo")
class TextClassifier(TextTask):
    """Backbone, pooling, dropout and a dense layer to the classes.

    Records are `(text, label)` or `(text_a, text_b, label)`, the latter packed as "[CLS] a [SEP] b [SEP]"; labels are
    whole numbers from 0.

    Args:
        backbone: a zoo backbone, or a keras-hub text backbone.
        num_classes: int.
        tokenizer: `zoo.Tokenizer`, or None for the one the backbone was loaded with.
        pooling: see `zoo.layers.Pooling`; `"cls"` in the lineage.
        dropout: float, before the head.
        max_length: int or None, tokens a row is cut to (the longer of two texts first); None means what the backbone
            was built for, at most 512.
        segment_ids: `"pair"` (0 and 1, as BERT was pretrained), `"zeros"` (as this lineage fine-tunes its rotary
            models), or None for the family's own.
        class_names: list of different str or None, one a class.

    Inputs when called: token arrays `[B, n]`. Output: float32 `[B, C]`, logits.
    """

    validation_metrics = ("accuracy", "macro_f1", "cross_entropy", "loss")
    metrics_hint = "validation_data gives val_accuracy, val_macro_f1 and val_cross_entropy"

    def __init__(
        self,
        backbone,
        num_classes,
        tokenizer=None,
        pooling="cls",
        dropout=0.1,
        max_length=None,
        segment_ids=None,
        class_names=None,
        name=None,
    ):
        super().__init__(backbone, tokenizer, pooling, max_length, segment_ids, name)
        check_config(type(self).__name__, num_classes=num_classes)
        if class_names is not None:
            check_class_names(class_names, num_classes)
        self.num_classes, self.dropout = num_classes, dropout
        self.class_names = None if class_names is None else list(class_names)
        self.output_shape_of_a_row = (num_classes,)
        self.metric_outputs = "classes" if num_classes > 1 else "score"
        self.dropout_layer, self.classifier = dense_head(self, num_classes, dropout)

    def call(self, inputs, training=None):
        self.check_inputs(inputs)
        return self.classifier(self.dropout_layer(self.pool(inputs, training=training), training=training))

    def default_loss(self):
        """Softmax cross entropy on the logits."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")

    def targets(self, labels):
        return np.asarray(labels, "float32" if self.num_classes == 1 else "int32")

    def check_labels(self, records):
        if records.labels is None:
            self._refuse_label_texts(records, any)
            raise ValueError("a classifier is trained on labelled records, (text, label) or (text_a, text_b, label)")
        names = getattr(records, "class_names", None)
        if names and self.class_names and list(names) != self.class_names[: len(names)]:
            raise ValueError(
                f"the records number the classes {', '.join(names)}, the classifier {', '.join(self.class_names)}, so the "
                f"labels would mean other classes; read them with label={self.class_names!r}"
            )
        check_classes(records.labels, self.num_classes)

    def check_validation(self, records, several=False):
        self.check_labels(records)

    def as_records(self, x, labelled=None):
        rows = plain_rows(x, "records", "(text, label) or (text_a, text_b, label) tuples")
        first = rows[0] if len(rows) and not isinstance(rows, Records) else None
        if isinstance(first, Sequence | np.ndarray) and not isinstance(first, str):
            # A single text with a label and a pair without one are both two values; the second one's type tells.
            if len(first) == 2 and not isinstance(first[1], str):
                return as_texts(rows, labelled)
            if len(first) == 3 and isinstance(first[2], str):
                self._refuse_label(0, first)
        records = as_records(rows)
        if labelled:
            self._refuse_label_texts(records, any)
        if labelled and records.labels is None:
            raise ValueError("expected labelled records, (text, label) or (text_a, text_b, label)")
        return records

    def _refuse_label_texts(self, records, which):
        """Refuse unlabelled pairs of which any or all second texts are labels."""
        if isinstance(records, Pairs) and records.labels is None and len(records):
            names = set(self.class_names or ())
            found = [text in names or DECIMAL.fullmatch(text.strip()) is not None for text in records.text_b]
            if which(found):
                index = found.index(True)
                self._refuse_label(index, records[index])

    def _refuse_label(self, index, row):
        name = row[-1]
        said, mend = "", "its number, from 0"
        names = self.class_names or []
        if name in names:
            said = f", the name of class {names.index(name)}"
            mend = "its number, model.class_names.index(label)"
        elif DECIMAL.fullmatch(name.strip()):
            mend = "a number, int(label)"
        raise TypeError(
            f"records[{index}] is {tuple(row)!r:.100}: its label is the str {name!r}{said}; expected {mend}. Files with names "
            "of classes are read by zoo.data.read_texts(path, label=model.class_names)"
        )

    def predict_records(self, x, batch_size, verbose):
        """Probabilities float32 `[N, C]` of raw texts or pairs."""
        records = self.as_records(x)
        self._refuse_label_texts(records, all)
        return softmax(self.outputs_of(records, batch_size, verbose)).astype("float32")

    def classify(self, x: Sequence, batch_size: int = 64, verbose: str | int = "auto") -> np.ndarray | list[str]:
        """The likeliest class of each record: its name where the classes have names, else int64."""
        best = self.predict(x, batch_size, verbose).argmax(axis=-1)
        return best if self.class_names is None else [self.class_names[index] for index in best]

    def evaluate_records(self, records, batch_size=64, verbose="auto"):
        """Accuracy, macro F1 and mean cross entropy over all records."""
        self.check_labels(records)
        return self.metrics_of(records, self.outputs_of(records, batch_size, verbose))

    def validate(self, sets):
        found = {}
        for name, records in sets.items():
            logits = self.outputs_of(records, self.default_batch_size, 0)
            loss = self.mean_loss(self.targets(records.labels), logits)
            found[name] = {**self.metrics_of(records, logits), "loss": loss}
        return found

    def metrics_of(self, records, logits):
        probabilities = softmax(logits)
        labels, best = np.asarray(records.labels).astype("int64"), probabilities.argmax(axis=-1)
        chosen = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)
        return {
            "accuracy": accuracy(labels, best),
            "macro_f1": macro_f1(labels, best),
            "cross_entropy": float(-np.log(chosen).mean()),
        }

    def task_config(self):
        return {
            "num_classes": self.num_classes,
            "pooling": self.pooling,
            "dropout": self.dropout,
            "max_length": self.max_length,
            "segment_ids": self.segment_ids,
            "class_names": self.class_names,
        }


def check_classes(labels, num_classes):
    """Refuse labels `[N]` that are no class."""
    wrong = np.setdiff1d(labels, np.arange(num_classes))
    if len(wrong):
        raise ValueError(
            f"labels {wrong[:5].tolist()}; {num_classes} classes are whole numbers from 0 to {num_classes - 1}"
        )


def softmax(logits):
    """Float64 `[N, C]`, computed there."""
    logits = np.asarray(logits, "float64")
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return odds / odds.sum(axis=-1, keepdims=True)


def check_class_names(names, num_classes):
    """Refuse names of classes that a preset could not give back."""
    listed = [] if isinstance(names, str | dict | set) else list(names)
    if not listed or not all(isinstance(name, str) for name in listed) or len(set(listed)) < len(listed):
        raise ValueError(f"class_names is {names!r:.100}; expected a list of different strings")
    if len(listed) != num_classes:
        raise ValueError(f"{len(listed)} class_names for num_classes={num_classes}")
