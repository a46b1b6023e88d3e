"""A training judged on several labelled sets."""

import keras
import numpy as np


class DevSets(keras.callbacks.Callback):
    """Evaluates a matcher on every set after each epoch: `val_<set>_<metric>`, and `val_<metric>`, the mean over the sets.

    Standing first among the callbacks, it is seen by those that log the epoch or keep the best one, such as
    `zoo.callbacks.BestPreset(folder, "val_spearman")`.

    Args:
        dev: dict from a name to labelled `zoo.data.Pairs`.
        metric: str, of `evaluate`, whose mean is logged.
        threshold_on: name of the set that the matcher's threshold is fitted on, labels 0 and 1; None: no threshold.

    Raises:
        ValueError: threshold_on is none of the sets; a set has one label, by which nothing can be ranked.
    """

    def __init__(self, dev, metric="spearman", threshold_on=None):
        super().__init__()
        if threshold_on is not None and threshold_on not in dev:
            raise ValueError(f"threshold_on={threshold_on!r}, expected one of the sets {', '.join(dev)}")
        for name, pairs in dev.items():
            if len(np.unique(pairs.labels)) < 2:
                raise ValueError(f"set {name!r}: all {len(pairs)} labels are the same, so no score ranks it better")
        self.dev, self.metric, self.threshold_on = dict(dev), metric, threshold_on

    def on_epoch_end(self, epoch, logs=None):
        if self.threshold_on is not None:
            self.model.fit_threshold(self.dev[self.threshold_on], verbose=0)
        found = {name: self.model.evaluate(pairs, verbose=0) for name, pairs in self.dev.items()}
        logs.update({f"val_{name}_{key}": value for name, row in found.items() for key, value in row.items()})
        logs[f"val_{self.metric}"] = float(np.mean([row[self.metric] for row in found.values()]))
