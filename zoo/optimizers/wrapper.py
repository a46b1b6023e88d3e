"""The base of optimizers that change what another optimizer does."""

import keras
from keras import ops

from zoo.backend import allow_no_decay, dense_gradient
from zoo.backend.arguments import PlainNumbers, constructor_arguments, described

HALF = ("float16", "bfloat16")


class OptimizerWrapper(PlainNumbers, keras.optimizers.Optimizer):
    """Lets another optimizer take its step, then corrects the step or follows the weights.

    Wrappers stack, the outermost acts last. Clipping, weight decay, gradient accumulation and the learning rate are the
    innermost optimizer's. Under `mixed_float16` Keras puts its `LossScaleOptimizer` around the whole.

    A subclass that corrects steps fills in `corrects` and `corrected`; one that follows the weights overrides `step`.

    Args:
        optimizer: `keras.optimizers.Optimizer`, another wrapper, or its name.

    Raises:
        ValueError: the inner optimizer is a `LossScaleOptimizer`, or averages weights that this one would still correct.
    """

    follows_averages = False  # whether the averages of an inner optimizer stay right
    remembers_weights = False  # whether weights go back to, or towards, values of earlier steps

    def __init__(self, optimizer, name=None):
        super().__init__(learning_rate=0.0, name=name)
        optimizer = keras.optimizers.get(optimizer)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            raise ValueError(
                f"{type(self).__name__} got a LossScaleOptimizer, which has to be outermost: "
                f"LossScaleOptimizer({type(self).__name__}(...)); under mixed_float16 compile() adds it by itself"
            )
        if any(inner.use_ema for inner in chain(optimizer)) and not self.follows_averages:
            raise ValueError(
                f"{type(self).__name__} got {type(optimizer).__name__} with an average of weights, which it would take "
                f"before this correction: ExponentialMovingAverage({type(self).__name__}(...)) instead"
            )
        if not isinstance(optimizer, OptimizerWrapper):
            allow_no_decay(optimizer)
        self.inner = optimizer

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.inner.build(variables)

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        if not self.built:
            self.build(variables)
        self.step([dense_gradient(gradient) for gradient in grads], variables)
        self._iterations.assign_add(1)

    def step(self, gradients, variables):
        """One step: the inner optimizer's, then `corrected` for the variables that `corrects` names."""
        chosen = [(g, v) for g, v in zip(gradients, variables) if g is not None and self.corrects(v)]
        before = [ops.copy(variable) for _, variable in chosen]
        rate = getattr(self.inner, "learning_rate", None)  # MultiOptimizer has none
        rate = None if rate is None else ops.copy(ops.convert_to_tensor(rate))  # of this step, not the next
        self.inner.apply(gradients, variables)
        for (gradient, variable), old in zip(chosen, before):
            variable.assign(self.corrected(variable, old, gradient, rate))

    def corrects(self, variable):
        """Whether steps of a variable are corrected."""
        return False

    def corrected(self, variable, before, gradient, learning_rate):
        """New value of a variable.

        Args:
            variable: has its value after the inner optimizer's step, decay and constraints included.
            before: tensor, its value before that.
            gradient: tensor as the inner optimizer got it, not clipped.
            learning_rate: scalar tensor, of this step.
        """
        raise NotImplementedError(f"{type(self).__name__}.corrected")

    def rounded(self, variables):
        """Those of the variables whose steps are added to their own values, and rounded to their own type."""
        return variables

    def add_copies(self, variables, name):
        """One variable each for values of model variables; float32 where those are in half precision."""
        return [
            self.add_variable(
                variable.shape,
                dtype="float32" if keras.backend.standardize_dtype(variable.dtype) in HALF else variable.dtype,
                name=f"{variable.path.replace('/', '_')}_{name}",
            )
            for variable in variables
        ]

    def step_and_count(self, gradients, variables, copies):
        """The inner optimizer's step, for subclasses that follow the weights.

        Before the first step the copies are set to the weights as they are then: weights may have been loaded since
        the build.

        Returns:
            (bool, int) scalar tensors: whether this step updated the weights, which of `gradient_accumulation_steps`
            only the last does, and the number of updates so far.
        """
        before = ops.copy(ops.convert_to_tensor(self.inner.iterations))
        for variable, copy in zip(self._trainable_variables, copies):
            copy.assign(ops.where(before == 0, ops.cast(variable, copy.dtype), ops.convert_to_tensor(copy)))
        self.inner.apply(gradients, variables)
        updates = ops.convert_to_tensor(self.inner.iterations)
        return ops.not_equal(updates, before), updates

    # What Keras asks an optimizer for is the inner one's.

    @property
    def variables(self):
        return self._variables + self.inner.variables

    @property
    def iterations(self):
        return self.inner.iterations

    @property
    def learning_rate(self):
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.inner.learning_rate = value

    @property
    def loss_scale_factor(self):
        return self.inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value):
        if hasattr(self, "inner"):  # Keras' constructor sets it too
            self.inner.loss_scale_factor = value

    def finalize_variable_values(self, var_list):
        self.inner.finalize_variable_values(var_list)

    def save_own_variables(self, store):
        # Not the inner optimizer's: Keras walks down to it by itself.
        for index, variable in enumerate(self._variables):
            store[str(index)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        if len(store.keys()) == len(self._variables):  # otherwise the state of an optimizer that was never built
            for index, variable in enumerate(self._variables):
                variable.assign(store[str(index)])

    def get_config(self):
        arguments = constructor_arguments(type(self), keras.optimizers.Optimizer)
        config = {name: described(getattr(self, name)) for name in arguments if name != "optimizer"}
        return {"optimizer": described(self.inner), **config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        inner = keras.saving.deserialize_keras_object(config.pop("optimizer"), custom_objects=custom_objects)
        return cls(inner, **config)


def chain(optimizer):
    """An optimizer and those inside it, outermost first."""
    optimizers = [optimizer]
    while inner := getattr(optimizers[-1], "inner", getattr(optimizers[-1], "inner_optimizer", None)):
        optimizers.append(inner)
    return optimizers
