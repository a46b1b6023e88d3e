"""Rows without a gradient stay where they are."""

import keras
from keras import ops

from zoo.backend.variables import named_by
from zoo.optimizers.wrapper import OptimizerWrapper, chain


@keras.saving.register_keras_serializable(package="zoo")
class LazyUpdates(OptimizerWrapper):
    """Moves a row of an embedding only in steps whose batch has its token.

    Momentum and decay move every row in every step otherwise, rare tokens away from where their few gradients put them.

    Args:
        optimizer: see `OptimizerWrapper`; without `gradient_accumulation_steps`.
        pattern: regular expression, searched in the variable's path. Rows are those of the last axis but one.

    Raises:
        ValueError: the innermost optimizer accumulates gradients, of which only the last is seen here.

    Source: bert4keras, `optimizers.py`, `extend_with_lazy_optimization`.
    """

    def __init__(self, optimizer, pattern=r"(^|/)token_embedding/", name="lazy_updates"):
        super().__init__(optimizer, name=name)
        self.pattern = pattern
        if steps := chain(self)[-1].gradient_accumulation_steps:
            raise ValueError(
                f"LazyUpdates got an optimizer with gradient_accumulation_steps={steps}; it sees only the last "
                "gradient of each sum and would lose the tokens of the others"
            )

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._lazy = tuple(named_by(self.pattern, variable.path) for variable in variables)

    def corrects(self, variable):
        return self._lazy[self._get_variable_index(variable)]

    def corrected(self, variable, before, gradient, learning_rate):
        return ops.where(ops.any(gradient != 0, axis=-1, keepdims=True), ops.convert_to_tensor(variable), before)
