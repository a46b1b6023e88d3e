"""The training that benchmarks of matchers share: that of examples/text_matching.py."""

import keras

import zoo


def optimizer(steps, learning_rate):
    """AdamW, linear warm-up over a tenth of the steps, cosine to nearly nothing."""
    warm_up = {"warmup_target": learning_rate, "warmup_steps": steps // 10}
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - steps // 10, alpha=0.02, **warm_up)
    return zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
