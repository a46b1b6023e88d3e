"""Several tasks over one backbone, trained together."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.backend.arguments import constructor_arguments
from zoo.backend.near_names import near
from zoo.backend.variables import weights_of
from zoo.formats.families import task as task_class
from zoo.formats.families import task_name, task_names
from zoo.models.preset import Preset
from zoo.tasks.prior_loss import prior_loss
from zoo.tasks.record_task import RecordTask
from zoo.tasks.text_task import TextTask, fine_tuning_optimizer
from zoo.tasks.threshold import ThresholdMixin
from zoo.training import task_weights
from zoo.training.host_steps import host_train_function
from zoo.training.task_batches import TaskBatches
from zoo.training.task_step import TaskStep
from zoo.training.task_weights import TaskWeights, WeightedSum


@keras.saving.register_keras_serializable(package="zoo")
class MultiTask(RecordTask, Preset, keras.Model):
    """Several matchers and classifiers over one backbone, trained together on records of their own.

        backbone = zoo.Backbone.from_preset("roformer_v2_mini_zh")
        tasks = {"match": zoo.RepresentationMatcher(backbone), "topic": zoo.TextClassifier(backbone, num_classes=5)}
        both = zoo.MultiTask(tasks, combine=zoo.training.RealTimeLoss())
        both.fit({"match": pairs, "topic": rows}, validation_data={"match": dev_pairs, "topic": dev_rows})
        tasks["match"].encode(texts)                     # each is an ordinary task, before and after

    Each step has a batch of every task, of `batch_size` rows each, and an epoch is the longest set once; with `mixture=`
    each step is of one task. Losses are those that each task was compiled with, or its default; in the log they are means
    over the steps, `loss` and `val_loss` their sum, weighted where `WeightedSum` says so.

    Args:
        tasks: dict from a name to a task, two or more with the same backbone object (one is allowed).
        combine: how gradients become one update, see `zoo.training.task_weights`: `WeightedSum()` (the default),
            `InitialLoss()`, `PriorLoss()`, `RealTimeLoss()`, `GeneralizedMean(p)`, `GradientNormalization()`, `MinNorm()`,
            `PrimaryTask("match")` of `zoo.training`, or an object of your own with their methods.

    Inputs when called: dict from name to the task's inputs. Output: dict from name to its outputs.
    """

    def __init__(self, tasks, combine=None, name=None):
        if not isinstance(tasks, Mapping):
            raise TypeError(
                f"MultiTask: tasks is the {type(tasks).__name__} {tasks!r:.80}; expected a dict from a name to each task, "
                "zoo.MultiTask({'match': matcher, 'topic': classifier})"
            )
        tasks, combine = dict(tasks), WeightedSum() if combine is None else combine
        backbone = _shared_backbone(tasks)
        if not isinstance(combine, TaskWeights):
            raise TypeError(f"combine={_shown(combine)}; expected an object such as zoo.training.{_meant(combine)}")
        combine.check(list(tasks))
        super().__init__(name=name)
        self.backbone, self.tasks, self.combine = backbone, tasks, combine
        self.dtype_policy = backbone.dtype_policy
        # What each loss was at its task's first step, 0 before: a variable, so that an interrupted training keeps it.
        self.first_losses = self.add_weight(
            shape=(len(tasks),),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            autocast=False,
            name="first_losses",
        )
        self.task_losses = {name: keras.metrics.Mean(name=f"{name}_loss") for name in tasks}
        self._prior_losses = None
        self.built = True

    @classmethod
    def from_backbone(cls, backbone, tasks, combine=None, name=None):
        """From a backbone and descriptions of tasks, see `task_config`."""
        if not isinstance(tasks, dict):
            raise ValueError(
                f"tasks={str(tasks)[:80]}; expected a dict from name to {{'class': name, 'config': arguments}}"
            )
        made = {name: _described_task(backbone, name, entry) for name, entry in tasks.items()}
        return cls(made, _described_combine(combine), name)

    @property
    def tokenizer(self):
        """That of the backbone; setting it sets those of all tasks."""
        return getattr(self.backbone, "tokenizer", None)

    @tokenizer.setter
    def tokenizer(self, tokenizer):
        for task in self.tasks.values():
            task.tokenizer = tokenizer

    def call(self, inputs, training=None):
        return {name: self.tasks[name](x, training=training) for name, x in inputs.items()}

    # Training

    def compile(self, optimizer=None, loss=None, **kwargs):
        """Keras' compile with defaults: the optimizer of `zoo.TextClassifier`, the losses of the tasks.

        Args:
            loss: dict from name to the loss of a task, for those that are to have another than they were compiled with.
        """
        if loss is not None and not isinstance(loss, Mapping):
            raise TypeError(f"compile: loss={loss!r:.80}; expected a dict from the names of the tasks to their losses")
        if unknown := sorted(set(loss or ()) - set(self.tasks)):
            raise ValueError(f"compile: loss for {', '.join(unknown)}; the tasks are {', '.join(self.tasks)}")
        for name in ("metrics", "weighted_metrics", "loss_weights"):
            if kwargs.get(name) is not None:
                mend = (
                    "MultiTask(combine=zoo.training.WeightedSum({...}))"
                    if name == "loss_weights"
                    else "validation_data"
                )
                raise ValueError(f"compile: MultiTask takes no {name}; use {mend}")
        for name, task in self.tasks.items():
            if not task.compiled:
                task.compile(loss=(loss or {}).get(name))
            elif name in (loss or {}):  # all else stays as it was compiled
                metrics = task._compile_metrics and task._compile_metrics._user_weighted_metrics
                task.compile(task.optimizer, loss[name], weighted_metrics=metrics)
        super().compile(optimizer=optimizer or self.default_optimizer(), loss=None, **kwargs)
        self._compile_loss = _LossesOfTasks(self.tasks)

    def default_optimizer(self):
        """See `zoo.tasks.text_task.fine_tuning_optimizer`: the smaller peak where all tasks are trained already."""
        trained = self.is_trained() or all(task.is_trained() for task in self.tasks.values())
        return fine_tuning_optimizer(next(iter(self.tasks.values())).hidden_dim, trained)

    def objective(self, name):
        """Function from inputs, labels and weights of a task to its loss, in training."""
        task = self.tasks[name]

        def loss(inputs, labels, weights):
            return task.compute_loss(inputs, labels, task(inputs, training=True), weights, training=True)

        return loss

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The plain sum of the losses of the tasks that a step has."""
        return sum(
            ops.cast(
                self.tasks[name].compute_loss(x[name], y[name], y_pred[name], sample_weight[name], training), "float32"
            )
            for name in self.tasks
            if y[name].shape[0] != 0
        )

    def make_train_function(self, force=False):
        self.train_function = host_train_function(self, self._make_step)
        return self.train_function

    def _make_step(self):
        step = TaskStep(self)

        def one_step(inputs, labels, weights):
            losses = step(inputs, labels, weights)
            value = self.combine.value(list(losses), np.array(list(losses.values())))
            self._loss_tracker.update_state(value)
            for name, loss in losses.items():
                self.task_losses[name].update_state(loss)
            return {metric.name: float(metric.result()) for metric in (self._loss_tracker, *self.task_losses.values())}

        return one_step

    def reference_losses(self, names, losses):
        """What a way of weighting may ask for: losses of the first step and of the best constant outputs, `[n]` or None."""
        places = [list(self.tasks).index(name) for name in names]
        first = prior = None
        if self.combine.remembers:
            known = ops.convert_to_numpy(self.first_losses).copy()
            known[places] = first = np.where(known[places] == 0, losses, known[places])
            self.first_losses.assign(known.astype("float32"))
        if self.combine.needs_prior:
            prior = np.array([self._prior_losses[name] for name in names])
        return first, prior

    # Records

    def named_records(self, x, y=None):
        if not isinstance(x, Mapping) or not x or set(x) - set(self.tasks):
            names = [name if isinstance(name, str) else repr(name) for name in x] if isinstance(x, Mapping) else None
            shown = type(x).__name__ if names is None else f"a dict of {', '.join(names) or 'nothing'}"
            raise TypeError(
                f"expected a dict from the names of the tasks, {', '.join(self.tasks)}, to their records; got {shown}"
            )
        return x, {name: x[name] for name in self.tasks if name in x}

    def _training_sets(self, named):
        if missing := [name for name in self.tasks if name not in named]:
            raise ValueError(
                f"fit: no records for {', '.join(missing)}; leave a task out of MultiTask to train without it"
            )
        return {name: self.tasks[name]._training_sets({name: records})[name] for name, records in named.items()}

    def _validation_sets(self, x):
        if x is None:
            return None, None
        _, named = self.named_records(x)
        return x, {name: self.tasks[name]._validation_set(name, part) for name, part in named.items()}

    def _check_micro_batch_size(self, size):
        if size is not None:
            raise ValueError("MultiTask takes no micro_batch_size; use an optimizer with gradient_accumulation_steps")

    def _batches(self, sets, batch_size, seed, epoch, mixture):
        parts = {
            name: self.tasks[name]._batches({None: records}, batch_size, seed, epoch, None)
            for name, records in sets.items()
        }
        counts = None
        if mixture is not None:
            if self.combine.needs_all:
                raise ValueError(
                    f"{type(self.combine).__name__} compares the tasks of a step, and mixture= makes steps of one task; leave "
                    "it out"
                )
            counts = mixture.batches({name: len(part.plan) for name, part in parts.items()}, batch_size=1)
        if self.combine.needs_prior:
            self._prior_losses = {name: prior_loss(self.tasks[name], part) for name, part in parts.items()}
        return TaskBatches(parts, seed, epoch, counts)

    def _warn_of_left_out(self, data):
        for name, part in data.parts.items():
            self.tasks[name]._warn_of_left_out(part)

    def _each(self, sets, method):
        return {name: getattr(self.tasks[name], method)({None: records}) for name, records in sets.items()}

    def validate(self, sets):
        return {name: found[None] for name, found in self._each(sets, "validate").items()}

    def flat_metrics(self, found):
        flat = {f"{name}_{metric}": value for name, row in found.items() for metric, value in row.items()}
        if set(found) == set(self.tasks) and all("loss" in row for row in found.values()):
            flat["loss"] = self.combine.value(list(found), np.array([row["loss"] for row in found.values()]))
        return flat

    def after_fit(self, sets):
        self._each(sets, "after_fit")

    def set_threshold_metric(self, metric):
        matchers = [task for task in self.tasks.values() if isinstance(task, ThresholdMixin)]
        if not matchers:
            super().set_threshold_metric(metric)
        for task in matchers:
            task.set_threshold_metric(metric)

    def weights_changed(self):
        for task in self.tasks.values():
            task.weights_changed()

    # Use

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any
    ) -> dict[str, dict[str, float]]:
        """Dict from name to the metrics of that task, of a dict from name to labelled records."""
        return {
            name: self.tasks[name].evaluate(part, y, batch_size, verbose, **kwargs)
            for name, part in self.named_records(x)[1].items()
        }

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any
    ) -> dict[str, Any]:
        """Dict from name to what the task's own `predict` gives, of a dict from name to records."""
        return {
            name: self.tasks[name].predict(part, batch_size, verbose, **kwargs)
            for name, part in self.named_records(x)[1].items()
        }

    # Presets

    def weights_by_path(self):
        """Variables of the backbone by path, those of a task's head as `task/path`."""
        found = weights_of(self.backbone)
        known = {id(variable) for variable in found.values()}
        for name, task in self.tasks.items():
            found |= {f"{name}/{v.path}": v for v in task.weights if id(v) not in known}
        return found

    def task_config(self):
        return {
            "tasks": {
                name: {"class": task_name(type(task)), "config": task.task_config()}
                for name, task in self.tasks.items()
            },
            "combine": _description(self.combine),
        }

    def get_config(self):
        return {"backbone": keras.saving.serialize_keras_object(self.backbone), **self.task_config()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        return cls.from_backbone(keras.saving.deserialize_keras_object(config.pop("backbone")), **config)


class _LossesOfTasks:
    """What Keras' `fit` asks before the first step: it lets losses see a batch's shapes where that has not been done."""

    metrics = ()

    def __init__(self, tasks):
        self.tasks = tasks

    @property
    def built(self):
        return all(task._compile_loss.built for task in self.tasks.values())


def _shared_backbone(tasks):
    """The backbone of some tasks.

    Raises:
        TypeError, ValueError: there is no task, one cannot be trained with others, two have different backbones.
    """
    if not tasks:
        raise ValueError("MultiTask: no tasks; expected a dict from a name to a matcher or classifier")
    for name, task in tasks.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
            raise ValueError(f"MultiTask: {name!r} as name of a task; expected letters, digits and _")
        if not isinstance(task, TextTask):
            raise TypeError(
                f"MultiTask: {name!r} is a {type(task).__name__}; expected a RepresentationMatcher, an InteractionMatcher or a "
                "TextClassifier"
            )
    (first, shared), *others = ((name, task.backbone) for name, task in tasks.items())
    for name, backbone in others:
        if backbone is not shared:
            raise ValueError(
                f"MultiTask: {name!r} has another backbone than {first!r}; make both from one object: backbone = "
                "zoo.Backbone.from_preset(...), then zoo.RepresentationMatcher(backbone), zoo.TextClassifier(backbone, ...)"
            )
    if len({id(task) for task in tasks.values()}) < len(tasks):
        raise ValueError(
            "MultiTask: a task stands under two names; several sets of one task are a dict of records in its fit"
        )
    return shared


def _shown(combine):
    return combine.__name__ if isinstance(combine, type) else repr(combine)[:60]


def _meant(combine):
    """The way of weighting, as code, that is nearest to what somebody gave in its place."""
    name = _shown(combine).strip("'\"").replace("_", "")
    found = near(name, task_weights.NAMES, 1)
    name = found[0] if found else "WeightedSum"
    return f"{name}({'...' if constructor_arguments(getattr(task_weights, name)) and found else ''})"


def _description(combine):
    """JSON form of a way of weighting; only those of zoo can be read again."""
    name = type(combine).__name__
    if name not in task_weights.NAMES or type(combine) is not getattr(task_weights, name):
        raise ValueError(
            f"a MultiTask with combine={name}, a class of your own, cannot be saved; save its tasks one by one: "
            "multi.tasks[name].save_to_preset(folder)"
        )
    return {"class": name, "config": combine.get_config()}


def _described_combine(entry):
    """The way of weighting that a file or caller describes."""
    if entry is None or isinstance(entry, TaskWeights):
        return entry
    _check_entry("combine", entry, task_weights.NAMES)
    return getattr(task_weights, entry["class"])(**entry["config"])


def _described_task(backbone, name, entry):
    """The task over a backbone that a file describes."""
    _check_entry(f"tasks[{name!r}]", entry, task_names(TextTask))
    return task_class(entry["class"])(backbone, **entry["config"])


def _check_entry(what, entry, names):
    whole = isinstance(entry, dict) and set(entry) == {"class", "config"} and isinstance(entry["config"], dict)
    if not whole or entry["class"] not in names:
        raise ValueError(
            f"{what}={str(entry)[:80]}; expected {{'class': name, 'config': arguments}} with one of {', '.join(names)}"
        )
