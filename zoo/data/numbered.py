"""Datasets whose batches have numbers: training that goes on finds its place by the epoch alone."""

import keras


class NumberedBatches(keras.utils.PyDataset):
    """Batches that are functions of their number; those of epoch e begin at e · steps.

    Without `follow()` among the callbacks of `fit` every epoch is the first: right for validation. A subclass fills in
    `numbered`.

    Args:
        steps: int, batches an epoch.
    """

    def __init__(self, steps):
        super().__init__()
        self.steps, self.epoch = steps, 0

    @property
    def num_batches(self):
        return self.steps

    def follow(self):
        """The callback that tells the data which epoch `fit` is in."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    def __getitem__(self, index):
        return self.numbered(self.epoch * self.steps + index)

    def numbered(self, number):
        """The batch of a number, as Keras takes it."""
        raise NotImplementedError(f"{type(self).__name__}.numbered")
