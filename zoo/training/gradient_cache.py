"""Exact training on batches larger than memory (gradient caching, Gao et al., arXiv 2101.06983).

A loss that couples the rows of a batch, such as CoSENT or InfoNCE, is not the mean of the losses of its parts, so that
ordinary gradient accumulation trains something else. Here: (1) outputs of all parts, without keeping activations;
(2) the loss of the whole batch and its gradient by those outputs, which are small; (3) each part once more, backward
from its piece of that gradient. The sum of (3) is the gradient of the one big batch.
"""

import numpy as np
from keras import ops

from zoo.backend import MicroSteps, random_state, set_random_state
from zoo.data import BUCKETS, Batch, BatchPlan, length_buckets
from zoo.training.host_steps import host_train_function


def cached_train_function(model, micro_batch_size):
    """What Keras' `fit` calls for each batch, as `make_train_function` makes it: one step of the optimizer on all of it.

    Args:
        model: a compiled `zoo.tasks.text_task.TextTask` inside `fit`, on batches (inputs, labels, weights) of token
            arrays. Metrics that it was compiled with see the whole batch.
        micro_batch_size: int, rows that fit in memory.
    """

    def make_step():
        step = BigBatchStep(model)
        mean = next(metric for metric in model.metrics if metric.name == "loss")

        def one_step(inputs, labels, weights):
            loss = step(micro_batches(inputs, weights, micro_batch_size, model.buckets), labels, weights)
            mean.update_state(loss, len(labels))  # as Keras does
            return step.metrics(labels, weights)

        return one_step

    return host_train_function(model, make_step)


def micro_batches(inputs, weights, size, buckets=BUCKETS):
    """A big batch in parts of exactly `size` rows, by length, padded with rows of weight 0.

    Args:
        inputs: dict of token arrays `[B, n]` or `[B, k, n]`, `padding_mask` among them.
        weights: `[B]`, 0 at rows that only fill the batch up, or None.
        buckets: None for parts as long as their longest row.

    Returns:
        list of (rows int `[size]` of the batch, weights `[size]`, inputs of them).
    """
    mask = inputs["padding_mask"]
    rows, length = len(mask), mask.shape[-1]
    plan = BatchPlan(mask.sum(axis=-1), rows, buckets and length_buckets(length, buckets))
    weights = np.ones(rows, "float32") if weights is None else weights
    return [
        (part.indices, part.weights, {name: x[part.indices][..., : part.length] for name, x in inputs.items()})
        for part in plan.micro_batches(Batch(np.arange(rows), length, weights), size)
    ]


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
