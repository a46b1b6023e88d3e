"""Resume: a training that was killed goes on as if nothing had happened."""

import contextlib
from typing import Any

import keras

from zoo.backend import pass_over, random_state, set_random_state
from zoo.backend.arguments import PlainNumbers
from zoo.callbacks.interruption import Interruption
from zoo.callbacks.training_state import (
    TrainingState,
    appended,
    callback_states,
    from_json,
    history_of,
    load_state,
    put_back,
    put_back_metrics,
    restore_callback_states,
    save_state,
    stopped_early,
)
from zoo.optimizers import EvaluateAverages
from zoo.store import PresetError

EVENTS = ("set_model", "set_params") + tuple(
    f"on_{what}_{when}" for what in ("train", "epoch", "train_batch", "test", "test_batch") for when in ("begin", "end")
)


class CallbackWrapper(PlainNumbers, keras.callbacks.Callback):
    """Passes every event on to the callbacks inside it, in their order; a subclass decides what they hear of.

    Args:
        callbacks: sequence of `keras.callbacks.Callback`.
    """

    def __init__(self, callbacks=()):
        super().__init__()
        self.callbacks = list(callbacks)


def _passed_on(event):
    def pass_on(self, *arguments, **keywords):
        getattr(super(CallbackWrapper, self), event)(*arguments, **keywords)
        # Not a keras.callbacks.CallbackList: it copies the logs, and a callback inside may add to them for all.
        for callback in self.callbacks:
            getattr(callback, event)(*arguments, **keywords)

    return pass_on


for _event in EVENTS:
    setattr(CallbackWrapper, _event, _passed_on(_event))


class Resume(CallbackWrapper):
    """Saves the whole state of a training, and goes on from it when the same script is started again.

        matcher.fit(pairs, epochs=3, callbacks=[zoo.callbacks.Resume("run", every_steps=500)])

    On a CPU the second part of the training is, bit for bit, what it would have been without the break. The state is
    every variable of the model and its optimizer (moments, accumulated gradients, averages, loss scale, schedule), the
    seeds and generators of dropout, the place in the data, the running means of the epoch, the history, and what
    EarlyStopping, ModelCheckpoint, ReduceLROnPlateau and `BestPreset` remember. It is written as a whole or not at all.
    Ctrl-C ends the training after its step, with the state saved; a second Ctrl-C ends it at once.

    A finished training is not trained further, unless `epochs` has grown; a new one needs a new folder.

    Args:
        folder: path, made where it does not exist.
        every_steps: int or None. Save also inside epochs, each time so many batches are done.
        callbacks: other callbacks of this training. zoo's models find them among those of `fit`; with another
            `keras.Model` name them here and give `fit` the Resume alone, so that they are saved and hear of no batch
            twice.
        data: what `fit` trains on, found in the same way. Data are told apart by `data.identity(epoch)`, if it has
            that; the order of its batches must depend on the epoch alone.

    Raises:
        PresetError: when training begins: the state is damaged, or of another model, optimizer or data.
    """

    def __init__(self, folder, every_steps=None, callbacks=(), data=None):
        super().__init__(callbacks)
        self.own = tuple(self.callbacks)  # those of `fit` are added for each training
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"every_steps={every_steps}; expected None or at least 1")
        self.folder, self.every_steps, self.data = folder, every_steps, data
        self._interruption = Interruption()
        self._state: Any = None
        self.done = 0

    def restore(self, model):
        """Put a compiled model into the saved state, if there is one; `fit` does so by itself.

        Returns:
            int, the number of finished epochs.

        Raises:
            PresetError: the state is of another model or optimizer.
        """
        state = load_state(self.folder)
        if state is None:
            return 0
        put_back(state, model, self.folder)
        return state.epoch

    @property
    def start(self):
        """(epoch, batches of it that are done) of the state that training goes on from, or None."""
        return None if self._state is None else (self._state.epoch, self._state.position)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._history, self._saved_at, self._inside = ([], {}), 0, False
        self._state, self.done = load_state(self.folder), 0
        if self._state is not None:
            self._check_data()
            put_back(self._state, self.model, self.folder)
            restore_callback_states(self.callbacks, self._state.fields.get("callbacks", ()), self._state.arrays)
            self._history = history_of(self._state)
            if stopped_early(self.callbacks):
                self._state.epoch, self._state.position = self.params["epochs"], 0
            self.model._initial_epoch = self._state.epoch  # as keras.callbacks.BackupAndRestore does
        self._interruption.listen(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self._saved_at, self._inside = epoch, 0, False
        if (state := self._state) is not None:
            self._show_history()
            self.model._initial_epoch = None
            self.done = state.position
            if state.position:
                # What follows the last saved batch is restored there: to read an epoch's data draws numbers on torch.
                pass_over(self.model, state.position, lambda: put_back_metrics(state, self.model))
            else:
                # Not earlier: `fit` traces the model before its first epoch, which draws random numbers.
                set_random_state(state.group("random"))
            self._state = None if not state.position else state
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        if batch >= self.done:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if batch < self.done:
            if batch + 1 >= self.done:
                set_random_state(self._state.group("random"))
                self._saved_at, self._state = self.done, None
            self._grant_interruption()
            return
        super().on_train_batch_end(batch, logs)
        position, steps = batch + 1, self.params.get("steps")
        if steps is not None and position >= steps:
            return  # the end of the epoch is near
        self._inside = self.model.stop_training
        due = self.every_steps is not None and position - self._saved_at >= self.every_steps
        if due or self._inside or self._interruption.asked:
            self._save(self.epoch, position)
            self._saved_at = position
        self._grant_interruption()

    def on_epoch_end(self, epoch, logs=None):
        self.done = 0
        super().on_epoch_end(epoch, logs)
        if not self._inside:  # else a callback has ended the training inside the epoch, which was saved there
            self._history = appended(self._history, epoch, logs or {})
            with trained_weights(self.callbacks, epoch):
                self._save(epoch + 1, 0)
        self._grant_interruption()

    def on_train_end(self, logs=None):
        self._interruption.stop()
        self._show_history()
        self.model._initial_epoch = self._state = None
        super().on_train_end(logs)

    def _save(self, epoch, position):
        records, arrays = callback_states(self.callbacks)
        arrays |= {f"random/{name}": state for name, state in random_state().items()}
        epochs, values = self._history
        fields = {"callbacks": records, "epochs": epochs, "logs": values, "data": self._identity()}
        save_state(self.folder, TrainingState(epoch, position, arrays, fields), self.model)

    def _identity(self):
        return self.data.identity() if hasattr(self.data, "identity") else None

    def _check_data(self):
        saved, here = self._state.fields.get("data"), self._identity()
        if saved and here and saved != here:
            raise PresetError(
                f"{self.folder}: the state is of training on {_listed(saved)}; this is training on {_listed(here)}. "
                "Resume with the same data, seed and batch size, or start in another folder"
            )

    def _show_history(self):
        """Let `fit` return the epochs before the break too."""
        if self._state is not None and getattr(self.model, "history", None) is not None:
            epochs, values = history_of(self._state)
            self.model.history.epoch = epochs
            self.model.history.history = {name: [from_json(v) for v in column] for name, column in values.items()}

    def _grant_interruption(self):
        if self._interruption.asked:
            self._interruption.stop()
            raise KeyboardInterrupt(f"the state of the training is in {self.folder}; started again, it goes on")


def _listed(identity):
    return ", ".join(f"{name} {value}" for name, value in identity.items())


def prepare_callbacks(callbacks, data=None):
    """Callbacks as `keras.Model.fit` takes them: a `Resume` around all others, the data known to those that ask.

    What belongs to one training is set anew for the next, so the same objects serve any number of them.

    Args:
        callbacks: None, a callback, or a list of them.
        data: what `fit` trains on, for callbacks that have an attribute `data` and were given None there.

    Returns:
        list of callbacks.

    Raises:
        ValueError: more than one `Resume`.
    """
    callbacks = as_list(callbacks)
    for callback in callbacks:
        if hasattr(callback, "data") and (callback.data is None or getattr(callback, "data_of_fit", False)):
            callback.data, callback.data_of_fit = data, True
    around = [callback for callback in callbacks if isinstance(callback, Resume)]
    if len(around) > 1:
        folders = ", ".join(str(resume.folder) for resume in around)
        raise ValueError(f"{len(around)} Resume callbacks, of {folders}; a training has one state: expected one")
    for resume in around:
        resume.callbacks = [*resume.own, *(callback for callback in callbacks if callback not in (resume, *resume.own))]
    return around or callbacks


arranged = prepare_callbacks  # its name until 0.1


def as_list(callbacks):
    """None, a callback or a sequence of them as a list."""
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []


@contextlib.contextmanager
def trained_weights(callbacks, epoch):
    """Within, at the end of an epoch, a model has the weights that are trained; after, what callbacks had put there."""
    swapping = [
        callback for callback in callbacks if isinstance(callback, (EvaluateAverages, keras.callbacks.SwapEMAWeights))
    ]
    for callback in reversed(swapping):
        callback.on_epoch_begin(epoch)
    try:
        yield
    finally:
        for callback in swapping:
            callback.on_epoch_end(epoch)
