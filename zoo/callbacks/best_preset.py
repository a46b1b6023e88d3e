"""The best model so far, as a preset."""

import math
import re

import keras

from zoo.backend.arguments import PlainNumbers
from zoo.store import check_target


class BestPreset(PlainNumbers, keras.callbacks.Callback):
    """Saves the model as a preset whenever an epoch ends better than all before; NaN is never better.

    The folder always holds one whole preset (see `save_to_preset`), also when the training is killed while saving.

    Args:
        folder: path of the preset.
        monitor: str, a name in the logs, such as `"val_spearman"` or `"val_loss"`.
        mode: `"max"` or `"min"`: whether more or less is better; None: less where the name says loss, entropy, perplexity
            or error, else more.

    Raises:
        PresetError, ValueError: before the first step: the folder holds files that zoo did not write; in the `fit` of zoo's
            tasks, the metric is none that the validation gives. Elsewhere such a metric is an error after the first epoch.

    Attributes:
        best: float or None. best_epoch: int or None.
    """

    def __init__(self, folder, monitor, mode=None):
        super().__init__()
        if mode not in ("max", "min", None):
            raise ValueError(f"mode={mode!r}; expected 'max', 'min' or None")
        mode = mode or ("min" if re.search("loss|entropy|perplexity|error", monitor) else "max")
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.best = self.best_epoch = None

    def on_train_begin(self, logs=None):
        check_target(self.folder, ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "README.md"))
        self.best = self.best_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in (logs or {}):
            raise ValueError(f"monitor={self.monitor!r} is not among the metrics: {', '.join(logs or {})}")
        value = float(logs[self.monitor])
        if math.isnan(value):
            return
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.model.save_to_preset(self.folder)
            self.best, self.best_epoch = value, epoch
