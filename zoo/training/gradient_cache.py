"""Exact training on batches larger than memory (gradient caching, Gao et al., arXiv 2101.06983).

A loss that couples the rows of a batch, such as CoSENT or InfoNCE, is not the mean of the losses of its parts, so that
ordinary gradient accumulation trains something else. Here: (1) outputs of all parts, without keeping activations;
(2) the loss of the whole batch and its gradient by those outputs, which are small; (3) each part once more, backward
from its piece of that gradient. The sum of (3) is the gradient of the one big batch.
"""

import keras
import numpy as np
from keras import ops

from zoo.backend import MicroSteps, random_state, set_random_state
from zoo.callbacks import Resume


def fit_big_batches(model, plan, collate, micro_batch_size, epochs, initial_epoch=0, callbacks=None, verbose="auto"):
    """Train like `fit`, one optimizer step a big batch.

    Args:
        model: a compiled `zoo.tasks.text_task.TextTask`. Metrics that it was compiled with see the whole batch.
        plan: `zoo.data.BatchPlan` of the big batches.
        collate: from a `Batch` to (inputs, labels, weights).
        micro_batch_size: int, rows that fit in memory.

    Returns:
        `keras.callbacks.History`.
    """
    if micro_batch_size < 1:
        raise ValueError(f"micro_batch_size={micro_batch_size}; expected at least 1")
    resume = next((callback for callback in callbacks or () if isinstance(callback, Resume)), None)
    callbacks = keras.callbacks.CallbackList(
        callbacks,
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=1 if verbose == "auto" else verbose,
        epochs=epochs,
        steps=len(plan),
    )
    model.stop_training = False
    callbacks.on_train_begin()
    step = BigBatchStep(model)  # not earlier: a callback may have changed the optimizer
    if resume is not None and resume.start is not None:
        initial_epoch, done = resume.start
        if done:  # metrics make their variables when they are first computed; these get the values from before
            batch = plan(initial_epoch)[0]
            part = type(batch)(batch.indices[:micro_batch_size], batch.length, batch.weights[:micro_batch_size])
            inputs, labels, weights = collate(part)
            model.compute_metrics(None, *map(ops.convert_to_tensor, (labels, model(inputs), weights)))
    mean = next(metric for metric in model.metrics if metric.name == "loss")
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        done = 0 if resume is None else resume.done
        for number, batch in enumerate(plan(epoch)):
            callbacks.on_train_batch_begin(number)
            if number < done:
                callbacks.on_train_batch_end(number)
                continue
            _, labels, weights = collate(batch)
            parts = []
            for part in plan.micro_batches(batch, micro_batch_size):
                inputs, _, _ = collate(type(batch)(batch.indices[part.indices], part.length, part.weights))
                parts.append((part.indices, part.weights, inputs))
            loss = step(parts, labels, weights)
            mean.update_state(loss, len(batch.rows))
            callbacks.on_train_batch_end(number, step.metrics(labels, weights))
            if model.stop_training:
                break
        callbacks.on_epoch_end(epoch, model.get_metrics_result())
        if model.stop_training:
            break
    if model.optimizer.built:
        model.optimizer.finalize_variable_values(model.trainable_variables)  # averages become the weights, as in fit
    callbacks.on_train_end()
    return model.history


class BigBatchStep:
    """One optimizer step on a big batch given in parts.

    Args:
        model: a compiled `zoo.tasks.text_task.TextTask`.
    """

    def __init__(self, model):
        self.model = model
        self.micro = MicroSteps(model)
        self._outputs = None  # of the last batch

    def __call__(self, parts, labels, weights=None):
        """Train on one batch; returns the loss before the step."""
        loss, gradients = self.gradients(parts, labels, weights)
        self.micro.update(gradients)
        return loss

    def metrics(self, labels, weights=None):
        """What the metrics given to `compile` say so far, the last batch included: dict of floats."""
        y, y_pred, weights = (None if x is None else ops.convert_to_tensor(x) for x in (labels, self._outputs, weights))
        logs = self.model.compute_metrics(None, y, y_pred, weights)
        return {name: float(value) for name, value in logs.items()}

    def gradients(self, parts, labels, weights=None):
        """Loss of the whole batch and its gradients.

        Args:
            parts: list of (rows int `[m]` of the batch, weights `[m]`, inputs): a weight of 0 marks a repeated row that
                only keeps the shape.
            labels: `[B]`. weights: `[B]` or None.

        Returns:
            float, list of tensors in the order of `model.trainable_variables`.
        """
        seeds = _seeds(self.model)
        before, before_globally = [ops.convert_to_numpy(seed.value) for seed in seeds], random_state()
        outputs = None
        for rows, real, inputs in parts:
            y = self.micro.forward(inputs)
            if outputs is None:
                outputs = np.zeros((len(labels), *y.shape[1:]), "float32")
            outputs[rows[real > 0]] = y[real > 0]

        self._outputs = outputs
        value, upstream = self.micro.loss(outputs, labels, weights)
        scale = float(ops.convert_to_numpy(self.micro.optimizer.scale_loss(ops.ones(()))))  # of float16
        if getattr(self.micro.optimizer, "refuses_non_finite", False) and not np.isfinite(value):
            scale = float("nan")  # see `zoo.backend.refuse_non_finite`
        for seed, state in zip(seeds, before):
            seed.assign(state)  # the second pass draws the dropout masks of the first
        set_random_state(before_globally)
        total = None
        for rows, real, inputs in parts:
            piece = upstream[rows] * np.reshape(scale * real, (-1,) + (1,) * (upstream.ndim - 1)).astype("float32")
            gradients = self.micro.backward(inputs, piece)
            total = gradients if total is None else [a + b for a, b in zip(total, gradients)]
        return value, total


def _seeds(model):
    """States of the model's seed generators: what is a variable but no weight and no metric."""
    skip = {id(variable) for variable in (*model.weights, *model.metrics_variables)}
    return [variable for variable in model.variables if id(variable) not in skip]
