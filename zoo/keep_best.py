"""The best epoch of a training judged on several sets, kept as a preset."""

import json
import os

import keras
import numpy as np

from zoo.store import Folder, write_folder


class KeepBest(keras.callbacks.Callback):
    """Evaluates a matcher on every dev set after each epoch; the best epoch so far is the preset in the folder.

    `history/history.json` in the folder has every epoch's loss and metrics. Standing before `zoo.callbacks.Resume` among
    the callbacks, it goes on after a kill as if there had been none.

    Args:
        folder: path, gets the preset.
        dev: dict from a name to labelled `zoo.data.Pairs`.
        metric: str, of `evaluate`, the larger the better; its mean over the sets decides.
        threshold_on: name of the set that the stored threshold is fitted on, labels 0 and 1; None: no threshold.
        initial_epoch: int. Where a resumed training goes on.

    Attributes:
        history: list of dicts with epoch, loss, mean and, by name, the metrics of each set.
    """

    def __init__(self, folder, dev, metric="spearman", threshold_on=None, initial_epoch=0):
        super().__init__()
        if threshold_on is not None and threshold_on not in dev:
            raise ValueError(f"threshold_on={threshold_on!r}, expected one of the sets {', '.join(dev)}")
        self.folder, self.dev, self.metric, self.threshold_on = os.fspath(folder), dict(dev), metric, threshold_on
        self.history = []
        if initial_epoch:
            saved = Folder(os.path.join(self.folder, "history"))
            saved.verify()
            self.history = saved.json("history.json")["epochs"][:initial_epoch]

    def on_epoch_end(self, epoch, logs=None):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        if self.threshold_on is not None:
            self.model.fit_threshold(self.dev[self.threshold_on], verbose=0)
        row = {name: self.model.evaluate(pairs, verbose=0) for name, pairs in self.dev.items()}
        mean = float(np.mean([metrics[self.metric] for metrics in row.values()]))
        self.history.append({"epoch": epoch, "loss": float(logs["loss"]), "mean": mean, **row})
        # nan, of a constant score, is never the best
        if mean >= np.nanmax([-np.inf, *(earlier["mean"] for earlier in self.history)]):
            self.model.save_to_preset(self.folder)
        text = json.dumps({"epochs": self.history}, ensure_ascii=False, indent=1)
        write_folder(os.path.join(self.folder, "history"), {"history.json": text.encode()})
        logs[f"val_{self.metric}"] = mean
