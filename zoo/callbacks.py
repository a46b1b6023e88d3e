"""Callbacks: training that survives being killed."""

import json

import keras
import numpy as np
from keras import ops

from zoo.backend import random_state, set_random_state


class Resume(keras.callbacks.Callback):
    """Saves the whole state of a training at the end of each epoch, and goes on from it after a restart.

    The state is every variable of the model and its optimizer, seeds and generators of dropout included, and the number
    of finished epochs. It is written as arrays and JSON, as a whole or not at all. Use:

        resume = zoo.callbacks.Resume("run")
        model.fit(data, epochs=10, initial_epoch=resume.restore(model), callbacks=[resume])

    Args:
        folder: path, made where it does not exist.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder, self._generators = folder, {}

    def restore(self, model):
        """Put a compiled model into the saved state, if there is one.

        Returns:
            int, the number of finished epochs: `initial_epoch` of `fit`.

        Raises:
            PresetError: the state is of another model or optimizer.
        """
        import os

        from zoo.store import Folder, PresetError

        if not os.path.isdir(self.folder):
            return 0
        folder = Folder(self.folder)
        if not folder.sealed:  # killed before the first state was whole
            return 0
        folder.verify()
        arrays, state = dict(folder.safetensors("state.safetensors")), folder.json("state.json")
        generators = {name[7:]: arrays.pop(name) for name in list(arrays) if name.startswith("random/")}
        variables = _variables(model)
        for name, variable in variables.items():
            if name not in arrays or tuple(arrays[name].shape) != tuple(variable.shape):
                found = tuple(arrays[name].shape) if name in arrays else "missing"
                raise PresetError(
                    f"{self.folder}/state.safetensors: {name} ({variable.path}) is {found}, expected "
                    f"{tuple(variable.shape)}; the state is of another model or optimizer"
                )
        if len(arrays) != len(variables):
            raise PresetError(f"{self.folder}/state.safetensors: {len(arrays)} variables, expected {len(variables)}")
        for name, variable in variables.items():
            variable.assign(_restored(np.asarray(arrays[name]), variable))
        self._generators = generators
        return int(state["epoch"])

    def on_epoch_begin(self, epoch, logs=None):
        # Not in `restore`: before its first epoch `fit` traces the model, which draws random numbers.
        set_random_state(self._generators)
        self._generators = {}

    def on_epoch_end(self, epoch, logs=None):
        from zoo.store import safetensors_bytes, write_folder

        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        arrays = {name: _stored(variable) for name, variable in _variables(self.model).items()}
        arrays |= {f"random/{name}": state for name, state in random_state().items()}
        write_folder(
            self.folder,
            {
                "state.safetensors": safetensors_bytes(arrays),
                "state.json": json.dumps({"epoch": epoch + 1}).encode(),
            },
        )


def _variables(model):
    """Every variable that training changes, by a name that is the same in the next process."""
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    metrics = {id(variable) for variable in model.metrics_variables}
    own = [variable for variable in model.variables if id(variable) not in metrics]
    own += [variable for variable in optimizer.variables if id(variable) not in {id(v) for v in own}]
    return {f"v{index:05d}": variable for index, variable in enumerate(own)}


def _stored(variable):
    array = np.asarray(ops.convert_to_numpy(variable.value))
    # safetensors readers know no uint32 everywhere; its bits are kept as int32
    return array.view("int32") if array.dtype == np.uint32 else array


def _restored(array, variable):
    return array.view("uint32") if keras.backend.standardize_dtype(variable.dtype) == "uint32" else array
