"""Warm-up and decay over the steps that `fit` knows."""

import keras
from keras import ops

from zoo.optimizers.warmup_decay import WarmupDecay, share_of_peak
from zoo.optimizers.wrapper import OptimizerWrapper, chain


@keras.saving.register_keras_serializable(package="zoo")
class DecayOverFit(OptimizerWrapper):
    """Scales the inner optimizer's learning rate by a `WarmupDecay` over the steps of each `fit` of zoo's tasks.

        matcher.compile(zoo.optimizers.DecayOverFit(zoo.optimizers.FusedAdamW(5e-4)))
        matcher.fit(pairs, epochs=3)  # 0 to 5e-4 in a tenth of the steps, then down to 0 at the last

    The rate is scaled within a step alone: between steps `learning_rate` is the peak, which callbacks may change
    (`ReduceLROnPlateau`, `LearningRateScheduler`). Every `fit` is a training of its own, with `epochs - initial_epoch`
    epochs: a second one warms up and decays again. A training that `zoo.callbacks.Resume` goes on with keeps its place;
    with more epochs than before the rest follows the longer schedule. Steps are batches, also with
    `gradient_accumulation_steps`. Where nothing tells the number of steps (`train_on_batch`, a generator without length)
    the rate is the peak.

    Args:
        optimizer: see `OptimizerWrapper`; its learning rate is a number.
        warmup_share, end, shape: as of `WarmupDecay`; `end` is a share of the peak.

    Raises:
        ValueError: as `WarmupDecay`; the inner optimizer has a schedule of its own.
    """

    follows_averages = True

    def __init__(self, optimizer, warmup_share=0.1, end=0.0, shape="linear", name="decay_over_fit"):
        super().__init__(optimizer, name=name)
        WarmupDecay(1.0, 1, warmup_share=warmup_share, end=end, shape=shape)  # refuses what is none
        if not isinstance(chain(self)[-1].learning_rate, keras.Variable):
            raise ValueError(
                f"DecayOverFit got {type(chain(self)[-1]).__name__} with a schedule of its own; expected a number as its "
                "learning_rate, the peak"
            )
        self.warmup_share, self.end, self.shape = warmup_share, end, shape
        # Variables, so that compiled steps see another fit's numbers, and an interrupted training keeps them.
        self._first = self.add_variable((), initializer="zeros", dtype="int32", name="first_step_of_fit")
        self._steps = self.add_variable((), initializer="zeros", dtype="int32", name="steps_of_fit")
        self._warmup = self.add_variable((), initializer="zeros", dtype="int32", name="warmup_steps_of_fit")

    def begin_fit(self):
        """The next step is the first of a training."""
        # Through NumPy: under JAX both variables would share a buffer, which a compiled step gives away.
        self._first.assign(int(ops.convert_to_numpy(self._iterations)))

    def set_steps(self, steps):
        """Steps of the training that has begun; 0 where they are not known."""
        self._steps.assign(steps)
        self._warmup.assign(WarmupDecay(1.0, max(steps, 1), warmup_share=self.warmup_share).warmup)

    def share(self):
        """The next step's learning rate as a share of the peak, scalar tensor."""
        done = ops.cast(self._iterations, "float32") - ops.cast(self._first, "float32")
        steps, warmup = ops.cast(self._steps, "float32"), ops.cast(self._warmup, "float32")
        share = share_of_peak(done, ops.maximum(steps, 1.0), warmup, self.shape)
        share = ops.where(done < warmup, share, self.end + (1.0 - self.end) * share)
        return ops.where(steps > 0, share, 1.0)

    def step(self, gradients, variables):
        rate = chain(self)[-1].learning_rate
        peak = ops.copy(ops.convert_to_tensor(rate))
        rate.assign(peak * ops.cast(self.share(), peak.dtype))
        try:
            self.inner.apply(gradients, variables)
        finally:
            rate.assign(peak)
