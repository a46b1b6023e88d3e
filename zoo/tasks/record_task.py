"""Keras' verbs on raw records: fit, evaluate and predict of every task that reads texts."""

import contextlib
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.backend import give_back_freed_memory
from zoo.backend.near_names import did_you_mean
from zoo.callbacks import BestPreset, prepare_callbacks
from zoo.callbacks.resume import as_list
from zoo.data.records import joined
from zoo.optimizers import DecayOverFit, EvaluateAverages
from zoo.optimizers.wrapper import chain
from zoo.text.token_rows import unreadable_message
from zoo.training.checks import check_training
from zoo.training.gradient_cache import cached_train_function
from zoo.training.mixture import Mixture
from zoo.training.progress import resolved
from zoo.training.records import RecordBatches, TokensOnly, check_numbers, named_records, refuse_with_records

# Callbacks that compare a metric with its best.
_MONITORS = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau, keras.callbacks.ModelCheckpoint)


class RecordTask(TokensOnly):
    """A `keras.Model` that is trained on raw records; mixed in before it.

    A subclass says what its records are (`as_records`), how they become rows of tokens (`examples`), and what its
    outputs mean (`predict_records`, `evaluate_records`). Several sets of records are a dict from their names.
    """

    # Of the keras.Model that this is mixed into
    backbone: keras.Model
    compile: Callable
    compiled: bool
    loss: Callable
    compute_loss: Callable
    optimizer: keras.optimizers.Optimizer
    trainable_variables: list

    validation_metrics: tuple = ()  # names of what `validate` may give of a set
    texts_go = "raw texts go into fit, evaluate and predict, and become token ids by model.tokenizer(texts)"
    head_in_loss = False  # whether the loss holds trained weights that `call` does not use
    default_batch_size = 64  # of evaluate and predict
    _micro_batch_size = None  # inside a `fit` that was given one
    _reported = None  # within `fit` a set: what it has warned of yet, "cut" or "unreadable" texts

    # What a subclass says

    def as_records(self, x, labelled=None):
        """Records from whatever the user gave; the error names the index of a bad one."""
        raise NotImplementedError(f"{type(self).__name__}.as_records")

    def examples(self, records):
        """`zoo.training.records.Examples` of records."""
        raise NotImplementedError(f"{type(self).__name__}.examples")

    def evaluate_records(self, records, batch_size, verbose):
        """Metrics over all records, a dict of numbers."""
        raise NotImplementedError(f"{type(self).__name__}.evaluate_records")

    def predict_records(self, x, batch_size, verbose):
        """What the task says of raw records, in their order."""
        raise NotImplementedError(f"{type(self).__name__}.predict_records")

    def check_labels(self, records):
        """Refuse labels that the loss cannot mean."""

    def check_validation(self, records, several=False):
        """Refuse labels that `evaluate` cannot mean; several: the records are one of several sets."""

    def distinct(self, records):
        """Per record the texts of which none may stand twice in a batch, or None."""
        return None

    def validate(self, sets):
        """Metrics of each validation set after an epoch, dict of dicts."""
        return {name: self.evaluate_records(records, self.default_batch_size, 0) for name, records in sets.items()}

    def flat_metrics(self, found):
        """Metrics of several sets by one name each, dict of floats, from those of each set, dict of dicts.

        By `name` of a single set; of several by `set_name`, and the mean of each that all sets have.
        """
        if None in found:
            return found[None]
        first, *others = found.values()
        common = [name for name in first if all(name in other for other in others)]
        means = {name: float(np.mean([row[name] for row in found.values()])) for name in common}
        return {f"{one}_{name}": value for one, row in found.items() for name, value in row.items()} | means

    def after_fit(self, sets):
        """What is fitted to the validation sets once training is over."""

    def set_threshold_metric(self, metric):
        """What a threshold is to make best; only matchers have one."""
        if metric is not None:
            raise TypeError(f"fit(threshold_metric={metric!r}): {type(self).__name__} has no threshold, matchers have")

    def mean_loss(self, labels, outputs):
        """Mean of the compiled loss over batches of 64 rows, in a fixed random order.

        Args:
            labels: `[N]`, as the loss takes them. outputs: array `[N, ...]`, what the model computes.
        """
        order = np.random.default_rng(0).permutation(len(labels))
        total = 0.0
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            y, y_pred = ops.convert_to_tensor(labels[rows]), ops.convert_to_tensor(outputs[rows])
            loss = self.compute_loss(None, y, y_pred, None, training=False)
            total += len(rows) * float(ops.convert_to_numpy(loss))
        return total / len(order)

    def _check_monitors(self, callbacks, validation):
        """Refuse before training what callbacks would find out after an epoch: a metric that is none, which way is better."""
        callbacks = [*as_list(callbacks), *(inner for one in as_list(callbacks) for inner in getattr(one, "own", ()))]
        logged = self._logged_in_validation(validation)
        if all(
            type(one).__module__.split(".")[0] in ("keras", "zoo") for one in callbacks
        ):  # others may log what they like
            for one in callbacks:
                if isinstance(one, BestPreset) and one.monitor.startswith("val_") and one.monitor not in logged:
                    guess = did_you_mean(one.monitor, logged)
                    raise ValueError(
                        f"fit: BestPreset watches {one.monitor!r}, which is not among the metrics: "
                        + (
                            f"{guess and guess + ' '}There are {', '.join(logged)}"
                            if logged
                            else "give validation_data"
                        )
                    )
        if validation is None:
            return
        for one in callbacks:
            if not isinstance(one, _MONITORS) or one.mode != "auto" or not getattr(one, "save_best_only", True):
                continue
            known = {"loss", *self._metric_names()}
            if one.monitor.removeprefix("val_") not in known:
                better = "min" if re.search("loss|entropy|perplexity|error", one.monitor) else "max"
                raise ValueError(
                    f"fit: {type(one).__name__}({one.monitor!r}) does not say whether more is better, and Keras does not know "
                    f"it of this metric: {type(one).__name__}({one.monitor!r}, mode={better!r})"
                )

    def _logged_in_validation(self, validation):
        """Names that the logs may have of the validation sets, list of str."""
        if validation is None:
            return []
        rows = {name: dict.fromkeys(self.validation_metrics, 0.0) for name in validation}
        return [f"val_{name}" for name in self.flat_metrics(rows)]

    def _metric_names(self):
        """Names of the metrics given to `compile`, whose direction Keras knows."""
        compiled = getattr(self, "_compile_metrics", None)
        given = [getattr(compiled, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
        return [one if isinstance(one, str) else getattr(one, "name", "") for part in given for one in as_list(part)]

    def weights_changed(self):
        """Drop what held for the weights before."""

    def check_training(self):
        """Refuse weights that cannot be trained."""
        check_training(self, stacklevel=4)

    # Keras' verbs

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_data: Any = None,
        seed: int = 0,
        micro_batch_size: int | None = None,
        initial_epoch: int = 0,
        mixture: Any = None,
        threshold_metric: str | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train on records of raw strings (or, as `keras.Model.fit`, on arrays and datasets).

        Rows are shuffled by `seed` and the epoch, in batches of nearly equal length. With labelled
        `validation_data` each epoch ends with `evaluate` on all of it (`val_spearman`, `val_accuracy`, ...) and, where the
        loss can mean its labels, `val_loss`, the mean over batches of 64; where its
        labels are 0 and 1 at the threshold that is fitted on it then, and once more when training is over. A threshold
        from before belongs to weights that are no more, so training drops it. The `loss` of an epoch is the mean over its
        steps, each of which moves the weights once: the last batch counts as much as any other, though it may be shorter.

        Without an optimizer of your own (`compile()`) the learning rate warms up over a tenth of this fit's steps and
        decays to 0 at its end; a second `fit` does so again, see `zoo.optimizers.DecayOverFit`.

        Args:
            x: records, see the class; a `zoo.data` type or a list of tuples. Or several sets, a dict from name to
                records: each batch is of one set, so that a loss compares no labels of two.
            validation_data: records, or a dict from name to records, which gives `val_<name>_spearman`, ... and
                `val_spearman`, ..., the means over the sets; the threshold is fitted on the first set of labels 0 and 1.
            seed: int, of the order.
            micro_batch_size: int or None. The loss is that of the whole batch, computed exactly from parts of this
                size that fit in memory (gradient caching, arXiv 2101.06983).
            mixture: `zoo.training.Mixture`, how often each of several sets comes; None: `Mixture()`.
            threshold_metric: of matchers, `"accuracy"` or `"f1"`: what their threshold makes best on the validation set,
                `"f1"` where matches are rare; None: that of the threshold before, else `"accuracy"`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            TypeError, ValueError: records that are none, labels that the loss or the validation cannot mean, options of
                Keras that mean nothing with records; all before anything is trained.
        """
        x, named = self.named_records(x, y)
        batch_size = 32 if batch_size is None else batch_size  # as Keras takes it
        check_numbers("fit", batch_size=batch_size, epochs=epochs, initial_epoch=initial_epoch, seed=seed)
        _check_callbacks(callbacks)
        self.set_threshold_metric(threshold_metric)
        if named is not None:
            refuse_with_records("fit", y, kwargs)
        elif y is None and isinstance(x, dict | np.ndarray):
            raise ValueError(f"{type(self).__name__}.fit: arrays need labels beside them, fit(x, y); {self.texts_go}")
        if not self.compiled:
            self.compile()
        if named is not None:
            sets = self._training_sets(named)
        if mixture is not None and not isinstance(mixture, Mixture):
            meant = f"alpha={mixture}" if isinstance(mixture, float | int) else "..."
            raise TypeError(f"fit(mixture={mixture!r:.60}): expected zoo.training.Mixture({meant})")
        if mixture is not None and named is None:
            raise TypeError("fit takes mixture with several sets of records, a dict from name to records")
        self.check_training()
        validation_data, validation = self._validation_sets(validation_data)
        if validation_data is not None and validation is None:
            kwargs["validation_data"] = validation_data
        self._check_micro_batch_size(micro_batch_size)
        if validation_data is None or validation is not None:
            self._check_monitors(callbacks, validation)
        with self._one_report():
            if named is None:
                data, follow, kwargs = x, [], {"y": y, "batch_size": batch_size, **kwargs}
            else:
                data = self._batches(sets, batch_size, seed, initial_epoch, mixture)
                self._warn_of_left_out(data)
                follow, kwargs = [data.epoch_callback()], {"shuffle": False, **kwargs}
            # Before others, which can monitor val_*, but after what puts averages of the weights into the model.
            averages = [callback for callback in as_list(callbacks) if isinstance(callback, EvaluateAverages)]
            others = [callback for callback in as_list(callbacks) if callback not in averages]
            callbacks = prepare_callbacks([*follow, *averages, _Epochs(self, validation, initial_epoch), *others], data)
            with self._in_parts(micro_batch_size):
                history = super().fit(
                    data,
                    epochs=epochs,
                    verbose=resolved(verbose),
                    callbacks=callbacks,
                    initial_epoch=initial_epoch,
                    **kwargs,
                )
            if validation is not None:
                self.after_fit(validation)
        return history

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any
    ) -> Any:
        """Metrics over all of the records at once, as a dict; for arrays and datasets Keras' own evaluate.

        Several sets, a dict from name to records, give a dict from name to metrics.

        Raises:
            TypeError, ValueError: as `fit`.
        """
        x, named = self.named_records(x, y)
        batch_size = self._size_of_batches("evaluate", batch_size)
        if named is None:
            return super().evaluate(x, y, batch_size=batch_size, verbose=resolved(verbose, 0), **kwargs)
        if kwargs.pop("return_dict", True) is not True:
            raise ValueError("evaluate(return_dict=False): the metrics of records are a dict; take the ones you need")
        refuse_with_records("evaluate", y, kwargs)
        found = {
            name: self.evaluate_records(self.as_records(part, labelled=True), batch_size, verbose)
            for name, part in named.items()
        }
        return found[None] if None in found else found

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any) -> Any:
        """What the class says of raw records, see `predict_records`; for arrays and datasets Keras' own predict."""
        x, named = self.named_records(x)
        batch_size = self._size_of_batches("predict", batch_size)
        if named is None:
            return super().predict(x, batch_size=batch_size, verbose=resolved(verbose, 0), **kwargs)
        refuse_with_records("predict", None, kwargs)
        found = {name: self.predict_records(part, batch_size, verbose) for name, part in named.items()}
        return found[None] if None in found else found

    def batches(
        self, x: Any, batch_size: int = 32, seed: int = 0, epoch: int = 0, mixture: Any = None
    ) -> RecordBatches:
        """The batches that `fit` would read, `zoo.training.records.RecordBatches`. Arguments as in `fit`."""
        _, named = self.named_records(x)
        if named is None:
            raise TypeError(f"batches takes records or a dict from name to records, got {type(x).__name__}")
        return self._batches(self._training_sets(named), batch_size, seed, epoch, mixture)

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            config["optimizer"]["built"] = self.optimizer.built
        return config

    def compile_from_config(self, config):
        """Compiled as the model that Keras has kept; an optimizer that had a state is ready for it."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if config["optimizer"].get("built", True):
            self.optimizer.build(self.trainable_variables)

    def named_records(self, x, y=None):
        """(x, its raw records by the name of their set), see `zoo.training.records.named_records`."""
        return named_records(x)

    def _size_of_batches(self, verb, batch_size):
        batch_size = self.default_batch_size if batch_size is None else batch_size
        check_numbers(verb, batch_size=batch_size)
        return batch_size

    # Records to batches

    def _batches(self, sets, batch_size, seed, epoch, mixture):
        records = joined(sets)
        sizes = None if None in sets else {name: len(part) for name, part in sets.items()}
        distinct = self.distinct(records)
        return RecordBatches(self.examples(records), batch_size, seed, epoch, distinct, sizes, mixture)

    def _training_sets(self, named):
        sets = {}
        for name, x in named.items():
            with _naming(None if name is None else f"set {name!r}"):
                sets[name] = self.as_records(x)
                if not len(sets[name]):
                    raise ValueError("no records to train on: x is empty")
                self.check_labels(sets[name])
        return sets

    def _validation_sets(self, x):
        """What is wrong with validation records is said before an epoch is trained, and that it is theirs."""
        if x is None:
            return None, None
        x, named = self.named_records(x)
        for name, part in (named or {}).items():
            named[name] = self._validation_set(name, part)
        return x, named

    def _validation_set(self, name, part):
        where = "validation_data" if name is None else f"validation_data[{name!r}]"
        if hasattr(part, "__len__") and not len(part):
            raise ValueError(f"{where} is empty; expected labelled records, or None to train without")
        with _naming(where):
            records = self.as_records(part, labelled=True)
            self.check_validation(records, several=name is not None)
        return records

    def _warn_of_left_out(self, data):
        if len(left_out := data.left_out()):
            (text, count), *_ = Counter(text for row in data.distinct for text in set(row)).most_common(1)
            warnings.warn(
                f"{len(left_out):,} of {len(data.distinct):,} rows sit out each epoch: {type(self.loss).__name__} takes no "
                f"text twice in a batch, and {text!r:.60} stands in {count:,} rows while there are {len(data.plan):,} "
                f"batches; use a smaller batch_size{getattr(self.loss, 'repeats_hint', '')}",
                stacklevel=3,
            )

    @contextlib.contextmanager
    def _one_report(self):
        """Inside, each loss is reported once: `fit` tokenizes the validation records again after each epoch."""
        self._reported = set()
        try:
            yield
        finally:
            self._reported = None

    def warn_of_lost(self, tokens, texts, stacklevel=3):
        """Warn of rows that `max_length` cuts, and of texts of unknown tokens alone: once a call, and once a `fit`."""
        reported = set() if self._reported is None else self._reported
        if tokens.cut.any() and "cut" not in reported:
            warnings.warn(tokens.cut_message(self.backbone), stacklevel=stacklevel)
            reported.add("cut")
        if tokens.unreadable.any() and "unreadable" not in reported:
            warnings.warn(unreadable_message(tokens.unreadable, texts), stacklevel=stacklevel)
            reported.add("unreadable")

    # Big batches in parts

    def _check_micro_batch_size(self, size):
        if size is None:
            return
        check_numbers("fit", micro_batch_size=size)
        if self.head_in_loss:
            raise ValueError(
                "micro_batch_size trains what the model computes, and this head of classes is part of the loss; its loss "
                "couples no rows: use a smaller batch_size and an optimizer with gradient_accumulation_steps"
            )

    @contextlib.contextmanager
    def _in_parts(self, size):
        """Inside, Keras' fit takes the steps of `zoo.training.gradient_cache`; with None its own."""
        if size is not None:
            self._micro_batch_size, self.train_function = size, None
        try:
            yield
        finally:
            if size is not None:
                self._micro_batch_size = self.train_function = None

    def make_train_function(self, force=False):
        if self._micro_batch_size is None:
            return super().make_train_function(force)
        self.train_function = cached_train_function(self, self._micro_batch_size)
        return self.train_function


class _Epochs(keras.callbacks.Callback):
    """Of every `fit`: drops what held for older weights, puts `val_*` of the whole validation sets into the logs, and
    tells optimizers that decay over the fit how long it is.
    """

    def __init__(self, task, validation=None, initial_epoch=0):
        super().__init__()
        self.task, self.validation, self.initial_epoch = task, validation, initial_epoch

    def on_train_begin(self, logs=None):
        for optimizer in self._decaying():
            optimizer.begin_fit()

    def on_epoch_begin(self, epoch, logs=None):
        self.task.weights_changed()
        # Here, since a state that `Resume` has put back may be of fewer epochs.
        for optimizer in self._decaying():
            optimizer.set_steps((self.params["epochs"] - self.initial_epoch) * (self.params["steps"] or 0))

    def _decaying(self):
        return [one for one in chain(self.task.optimizer) if isinstance(one, DecayOverFit)]

    def on_epoch_end(self, epoch, logs=None):
        give_back_freed_memory()
        if self.validation is not None:
            found = self.task.flat_metrics(self.task.validate(self.validation))
            logs.update({f"val_{name}": value for name, value in found.items()})


def _check_callbacks(callbacks):
    """Refuse what Keras would call only when the first epoch begins, or ends."""
    for index, callback in enumerate([] if isinstance(callbacks, keras.callbacks.CallbackList) else as_list(callbacks)):
        if not isinstance(callback, keras.callbacks.Callback):
            made = f"; make one: {callback.__name__}(...)" if isinstance(callback, type) else ""
            raise TypeError(f"fit: callbacks[{index}] is {callback!r:.80}, expected a keras.callbacks.Callback{made}")


@contextlib.contextmanager
def _naming(where):
    """Errors about records say which these are."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if where is None:
            raise
        raise type(error)(f"{where}: {error}") from None
