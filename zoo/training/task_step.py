"""One step of the optimizer from the losses of several tasks over one backbone."""

import numpy as np
from keras import ops

from zoo.backend import MicroSteps, compiled, gradient_function, gram_matrix, weighted_sum


class TaskStep:
    """Each task's loss and gradients, compiled by themselves, then their combination, then one update.

    n tasks cost n forward and backward passes, each over the task's own rows, as if they were trained apart, and one
    update. In memory are two gradients of the whole model, or, where a factor depends on other tasks' gradients, n + 1.

    Args:
        model: a compiled `zoo.MultiTask` inside `fit`.
    """

    def __init__(self, model):
        self.model, self.ways = model, model.combine
        self.micro = MicroSteps(model)
        self.micro.built_optimizer()
        shared = {id(variable) for variable in model.backbone.trainable_variables}
        self.variables = {name: task.trainable_variables for name, task in model.tasks.items()}
        self.shared = {name: [id(v) in shared for v in own] for name, own in self.variables.items()}
        self.functions = {
            name: gradient_function(model, model.objective(name), own) for name, own in self.variables.items()
        }
        self._gram, self._sum = compiled(gram_matrix), compiled(weighted_sum)

    def __call__(self, inputs, labels, weights):
        """Train on one step's batches, dicts by task. Returns the losses before it, dict of floats."""
        names = [name for name in self.functions if len(labels[name])]
        losses, total = {}, {}
        for group in [names] if self.ways.needs_all else [[name] for name in names]:
            gradients = {}
            for name in group:
                losses[name], gradients[name] = self.functions[name](inputs[name], labels[name], weights[name])
            self._add(total, gradients, *self._factors(losses, gradients))
        zero = lambda variable: ops.zeros(variable.shape, variable.dtype)  # the head of a task that is not in this step
        self.micro.update([total[id(v)] if id(v) in total else zero(v) for v in self.model.trainable_variables])
        return losses

    def _factors(self, losses, gradients):
        """Factors of the gradients of some tasks, for shared weights and for the others."""
        names = list(gradients)
        known = np.array([losses[name] for name in names])
        gram = None
        if self.ways.needs_gram:
            shared = [[g for g, both in zip(gradients[name], self.shared[name]) if both] for name in names]
            scale = float(ops.convert_to_numpy(self.model.optimizer.scale_loss(ops.ones(()))))  # of float16
            gram = ops.convert_to_numpy(self._gram(shared)).astype("float64") / scale**2
        if not np.isfinite(known).all() or (gram is not None and not np.isfinite(gram).all()):
            return (
                np.ones(len(names)),
            ) * 2  # what is not finite goes to the optimizer, which knows what to do with it
        return self.ways.factors(names, known, gram, *self.model.reference_losses(names, known))

    def _add(self, total, gradients, shared_factors, own_factors):
        """total += Σ factor · gradient, tensors by the id of their variable."""
        for number, (name, found) in enumerate(gradients.items()):
            for is_shared, factor in ((True, shared_factors[number]), (False, own_factors[number])):
                ids, parts = [], []
                for variable, gradient, both in zip(self.variables[name], found, self.shared[name]):
                    if both is is_shared:
                        ids.append(id(variable))
                        parts.append(gradient)
                if all(one in total for one in ids):
                    parts = self._sum([[total[one] for one in ids], parts], np.array([1.0, factor], "float32"))
                elif factor != 1:
                    parts = self._sum([parts], np.array([factor], "float32"))
                total.update(zip(ids, parts))
