"""A callback around others: it decides what they hear of."""

import keras


class Surrounding(keras.callbacks.Callback):
    """Passes every event on to the callbacks inside it, in their order.

    Args:
        callbacks: sequence of `keras.callbacks.Callback`.
    """

    def __init__(self, callbacks=()):
        super().__init__()
        self.callbacks = list(callbacks)

    def tell(self, event, *arguments):
        # Not a keras.callbacks.CallbackList: it copies the logs, and a callback inside may add to them for all.
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)

    def set_model(self, model):
        super().set_model(model)
        self.tell("set_model", model)

    def set_params(self, params):
        super().set_params(params)
        self.tell("set_params", params)

    def on_train_begin(self, logs=None):
        self.tell("on_train_begin", logs)

    def on_train_end(self, logs=None):
        self.tell("on_train_end", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.tell("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.tell("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self.tell("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self.tell("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs=None):
        self.tell("on_test_begin", logs)

    def on_test_end(self, logs=None):
        self.tell("on_test_end", logs)

    def on_test_batch_begin(self, batch, logs=None):
        self.tell("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self.tell("on_test_batch_end", batch, logs)
