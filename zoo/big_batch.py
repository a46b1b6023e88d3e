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


def fit_big_batches(model, plan, collate, micro_batch_size, epochs, initial_epoch=0, callbacks=None, verbose="auto"):
    """Train like `fit`, one optimizer step a big batch.

    Args:
        model: a compiled `zoo.text_task.TextTask`.
        plan: `zoo.data.BatchPlan` of the big batches.
        collate: from a `Batch` to (inputs, labels, weights).
        micro_batch_size: int, rows that fit in memory.

    Returns:
        `keras.callbacks.History`.
    """
    if micro_batch_size < 1:
        raise ValueError(f"micro_batch_size={micro_batch_size}; expected at least 1")
    step = BigBatchStep(model)
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
    for epoch in range(initial_epoch, epochs):
        callbacks.on_epoch_begin(epoch)
        total, rows = 0.0, 0
        for number, batch in enumerate(plan(epoch)):
            callbacks.on_train_batch_begin(number)
            _, labels, weights = collate(batch)
            parts = []
            for part in plan.micro_batches(batch, micro_batch_size):
                inputs, _, _ = collate(type(batch)(batch.indices[part.indices], part.length, part.weights))
                parts.append((part.indices, part.weights, inputs))
            loss = step(parts, labels, weights)
            total, rows = total + loss * len(batch.rows), rows + len(batch.rows)
            callbacks.on_train_batch_end(number, {"loss": total / rows})
            if model.stop_training:
                break
        callbacks.on_epoch_end(epoch, {"loss": total / rows})
        if model.stop_training:
            break
    callbacks.on_train_end()
    return model.history


class BigBatchStep:
    """One optimizer step on a big batch given in parts.

    Args:
        model: a compiled `zoo.text_task.TextTask`.
    """

    def __init__(self, model):
        self.model = model
        self.micro = MicroSteps(model)

    def __call__(self, parts, labels, weights=None):
        """Train on one batch; returns the loss before the step."""
        loss, gradients = self.gradients(parts, labels, weights)
        self.micro.update(gradients)
        return loss

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

        value, upstream = self.micro.loss(outputs, labels, weights)
        scale = float(ops.convert_to_numpy(self.micro.optimizer.scale_loss(ops.ones(()))))  # of float16
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
