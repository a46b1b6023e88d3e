"""Slow weights behind fast ones."""

import keras
from keras import ops

from zoo.optimizers.wrapper import OptimizerWrapper


@keras.saving.register_keras_serializable(package="zoo")
class Lookahead(OptimizerWrapper):
    """Every k updates moves slow weights a part of the way to the fast ones, which go on from there.

        slow <- slow + α (w - slow),    w <- slow

    The slow weights start at the weights before the first step, as in the paper; bert4keras starts them at 0.

    Args:
        optimizer: see `OptimizerWrapper`.
        steps: int, k.
        step_size: float, α.

    Source: Zhang et al., arXiv 1907.08610; bert4keras, `optimizers.py`, `extend_with_lookahead`.
    """

    remembers_weights = True

    def __init__(self, optimizer, steps=5, step_size=0.5, name="lookahead"):
        super().__init__(optimizer, name=name)
        if steps < 1 or not 0 < step_size <= 1:
            raise ValueError(f"steps={steps}, step_size={step_size}; expected at least 1, and above 0 up to 1")
        self.steps, self.step_size = steps, step_size

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._slow = self.add_copies(variables, "slow")

    def step(self, gradients, variables):
        updated, updates = self.step_and_count(gradients, variables, self._slow)
        meet = ops.logical_and(updated, updates % self.steps == 0)
        for variable, slow in zip(self._trainable_variables, self._slow):
            fast, behind = ops.convert_to_tensor(variable), ops.convert_to_tensor(slow)
            moved = behind + self.step_size * (ops.cast(fast, slow.dtype) - behind)
            slow.assign(ops.where(meet, moved, behind))
            variable.assign(ops.where(meet, ops.cast(moved, variable.dtype), fast))
