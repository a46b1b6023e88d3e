"""A learning rate that warms up and decays."""

import math

import keras
from keras import ops

from zoo.backend.arguments import Configured


@keras.saving.register_keras_serializable(package="zoo")
class WarmupDecay(Configured, keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to `peak`, then falls to `end` at `total_steps`, and stays there.

        zoo.optimizers.WarmupDecay(2e-5, total_steps=epochs * steps_per_epoch)  # a tenth of the steps warms up

    The first step is step 0. With `gradient_accumulation_steps=k` Keras counts batches: k to an update.

    Args:
        peak: float, the highest learning rate.
        total_steps: int, steps of the whole training, warm-up included.
        warmup_steps: int or None, steps until the rate is `peak`.
        warmup_share: float in [0, 1) or None, the same as a share of `total_steps`, rounded down. Neither given means 0.1.
        end: float, the last learning rate.
        shape: `"linear"` or `"cosine"` (half a period), of the decay.

    Attributes:
        warmup: int, steps of the warm-up.

    Raises:
        ValueError: both kinds of warm-up, a warm-up as long as the training, another shape, or a negative rate.

    Source: linear decay, Devlin et al., arXiv 1810.04805; cosine, Loshchilov and Hutter, arXiv 1608.03983.
    """

    def __init__(
        self, peak, total_steps, warmup_steps=None, warmup_share=None, end=0.0, shape="linear", name="warmup_decay"
    ):
        super().__init__()
        if warmup_steps is not None and warmup_share is not None:
            raise ValueError(f"warmup_steps={warmup_steps} and warmup_share={warmup_share}; expected one of them")
        share = 0.1 if warmup_share is None else warmup_share
        # The small number: 0.07 of 100 is 7, also where floats make it 7.000000000000001 or 6.999999999999999.
        warmup = math.floor(share * total_steps + 1e-6) if warmup_steps is None else warmup_steps
        if not 0 <= warmup < total_steps:
            raise ValueError(f"{warmup} steps of warm-up, total_steps={total_steps}; expected 0 <= warm-up < total")
        if peak < 0 or end < 0 or shape not in ("linear", "cosine"):
            raise ValueError(
                f"peak={peak}, end={end}, shape={shape!r}; expected rates of at least 0, and 'linear' or 'cosine'"
            )
        self.peak, self.total_steps, self.end, self.shape, self.name = peak, total_steps, end, shape, name
        self.warmup_steps, self.warmup_share = warmup_steps, warmup_share
        self.warmup = warmup

    def __call__(self, step):
        share = share_of_peak(ops.cast(step, "float32"), self.total_steps, self.warmup, self.shape)
        return ops.where(step < self.warmup, self.peak * share, self.end + (self.peak - self.end) * share)

    get_config = Configured.described_arguments  # Keras' class has none


def share_of_peak(step, total, warmup, shape):
    """From 0 at step 0 to 1 after `warmup` steps, and back to 0 at step `total`: scalar, of numbers or scalar tensors."""
    done = ops.clip((step - warmup) / (total - warmup), 0.0, 1.0)
    falling = 1.0 - done if shape == "linear" else 0.5 * (1.0 + ops.cos(math.pi * done))
    return ops.where(step < warmup, step / ops.maximum(ops.cast(warmup, "float32"), 1.0), falling)
