"""A learning rate made of straight lines."""

import keras
from keras import ops

from zoo.backend.arguments import Configured


@keras.saving.register_keras_serializable(package="zoo")
class PiecewiseLinear(Configured, keras.optimizers.schedules.LearningRateSchedule):
    """Straight lines between given points, from 0 at step 0 unless given, and level after the last.

        PiecewiseLinear(5e-5, {1000: 1, 10000: 0.1})  # warm-up over 1,000 steps, then down to a tenth at step 10,000

    The first step is step 0. With `gradient_accumulation_steps=k` Keras counts batches: k to an update.

    Args:
        learning_rate: float.
        multipliers: dict, from a step to the factor of the learning rate there.

    Raises:
        ValueError: no points, or a step below 0.

    Source: bert4keras, `backend.py`, `piecewise_linear`.
    """

    def __init__(self, learning_rate, multipliers, name="piecewise_linear"):
        super().__init__()
        points = {int(step): float(factor) for step, factor in multipliers.items()}  # JSON makes strings of the steps
        if not points or min(points) < 0:
            raise ValueError(f"multipliers={multipliers}; expected at least one step from 0 on")
        self.learning_rate, self.name = learning_rate, name
        self.multipliers = dict(sorted(points.items()))

    def __call__(self, step):
        points = list({0: 0.0, **self.multipliers}.items())
        step = ops.cast(step, "float32")
        factor = ops.full_like(step, points[-1][1])
        for (start, low), (end, high) in reversed(list(zip(points, points[1:]))):
            line = low + (high - low) * (step - start) / (end - start)
            factor = ops.where(step < end, line, factor)
        return self.learning_rate * factor

    get_config = Configured.described_arguments  # Keras' class has none
