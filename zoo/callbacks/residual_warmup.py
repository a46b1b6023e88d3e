"""Residual branches that are let in gradually: RoFormerV2's schedule of training."""

import keras

from zoo.backend.arguments import PlainNumbers
from zoo.layers.residuals import AlphaResidual


class ResidualWarmup(PlainNumbers, keras.callbacks.Callback):
    """Raises α of every `zoo.layers.AlphaResidual` of a model linearly from 0 to 1 (kexue.fm/archives/8998).

    Batch t of training, counted from 0 by the optimizer, runs with α = min(t / steps, 1); a training that is resumed
    goes on where it was. α is a variable: nothing is compiled again.

    Args:
        steps: int, updates until α is 1.

    Raises:
        ValueError: steps is below 1, or the model has no `AlphaResidual`.
    """

    def __init__(self, steps):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps}; expected at least 1")
        self.steps = steps
        self._residuals, self._alpha = [], None

    def on_train_begin(self, logs=None):
        self._residuals = [layer for layer in self.model._flatten_layers() if isinstance(layer, AlphaResidual)]
        self._alpha = None
        if not self._residuals:
            raise ValueError(f"{self.model.name} has no AlphaResidual, whose α would grow; build its blocks with one")

    def on_train_batch_begin(self, batch, logs=None):
        if self._alpha == 1:
            return  # done; saves JAX the copying below
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()  # JAX' trainer keeps the variables in a state of its own between epochs
        self._alpha = min(int(self.model.optimizer.iterations) / self.steps, 1.0)
        for layer in self._residuals:
            layer.alpha.assign(self._alpha)
