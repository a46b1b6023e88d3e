"""Stop before a NaN does harm, and say where it came from."""

import math

import keras

from zoo.backend import latest_values, refuse_non_finite
from zoo.backend.arguments import PlainNumbers
from zoo.callbacks.first_non_finite import first_non_finite


class NonFiniteError(FloatingPointError):
    """A loss, gradient, metric or output is NaN or infinite."""


class StopOnNaN(PlainNumbers, keras.callbacks.Callback):
    """Ends a training whose loss, gradient or metric is NaN or infinite, before it changes a weight or a moment.

        matcher.fit(pairs, callbacks=[zoo.callbacks.StopOnNaN(), zoo.callbacks.Resume("run")])

    The check is part of the compiled step, one sum over each gradient. After a failure the step is computed once more,
    op by op, to name the first tensor that is not finite. Standing before callbacks that keep the best model, it ends
    the training before they see a metric that is NaN.

    Under float16 a gradient that overflows is no failure: the loss scale is halved, the step is left out, and training
    goes on. It ends if the loss itself is not finite, or a gradient still is not with a loss scale below 1.

    Args:
        data: what `fit` trains on, to name rows and tensors; zoo's models fill it in. Otherwise a sequence of batches.

    Raises:
        NonFiniteError: names the epoch, the step, the rows of its batch and the tensor.
    """

    def __init__(self, data=None):
        super().__init__()
        self.data = data

    def on_train_begin(self, logs=None):
        if refuse_non_finite(self.model.optimizer) and self.model.train_function is not None:
            self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._updates, self._step = epoch, self._made(), None

    def on_train_batch_begin(self, batch, logs=None):
        self._step = batch

    def on_train_batch_end(self, batch, logs=None):
        # `batch` is the last of a call of several steps, and counts steps that a short epoch no longer has.
        steps = min(batch + 1, self.params.get("steps") or batch + 1) - self._step
        updates, finite = self._made(), math.isfinite((logs or {}).get("loss", 0.0))
        scales = latest_values(self.model, "dynamic_scale")
        if scales:
            refused = min(scales) < 1.0
        else:
            refused = updates is not None and updates - self._updates < steps
        self._updates = updates
        if refused or not finite:
            raise NonFiniteError(self._message(batch, finite))

    def on_epoch_end(self, epoch, logs=None):
        wrong = [f"{name} is {value}" for name, value in (logs or {}).items() if not math.isfinite(value)]
        if wrong:
            raise NonFiniteError(
                f"epoch {epoch}: {', '.join(wrong)}, after all its steps; no best model is overwritten"
            )

    def _made(self):
        counters = latest_values(self.model, "iteration")
        return max(counters) if counters else None

    def _message(self, batch, finite):
        where = f"epoch {self._epoch}, step {batch}"
        if self._step != batch:
            where = f"epoch {self._epoch}, one of the steps {self._step} to {batch}"
        what = "a gradient is not finite" if finite else "the loss is not finite"
        if self.data is None or self._step != batch:
            tensor = "give StopOnNaN the data, a sequence of batches, to have the tensor named"
        else:
            rows = self.data.rows_of(batch) if hasattr(self.data, "rows_of") else None
            if rows is not None:
                where += f", rows {_listed(rows)} of the training data"
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            served = self.data.batch_at(batch) if hasattr(self.data, "batch_at") else self.data[batch]
            tensor = first_non_finite(self.model, served)
        return f"{where}: {what}. {tensor}. The update was not applied: the weights are those before this step"


def _listed(rows):
    shown = ", ".join(str(int(row)) for row in rows[:64])
    return shown + (f" and {len(rows) - 64} more" if len(rows) > 64 else "")
