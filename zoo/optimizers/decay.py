"""Which variables decay."""

import keras

from zoo.backend.variables import named_by
from zoo.optimizers.wrapper import OptimizerWrapper, chain

# Gains and biases of zoo's layers, Keras' and keras-hub's: of norms, dense layers and GAU's query and key.
NORMS_AND_BIASES = r"(^|/)(bias|beta|gamma|scale)$"


@keras.saving.register_keras_serializable(package="zoo")
class ExcludeFromDecay(OptimizerWrapper):
    """Leaves variables out of the inner optimizer's weight decay, norms and biases unless told otherwise.

        zoo.optimizers.ExcludeFromDecay(keras.optimizers.AdamW(5e-5, weight_decay=0.01))

    Keras' own `exclude_from_weight_decay` does the work. Called by itself it is forgotten by `get_config`, so that a
    model loaded from a .keras file decays everything; and it sees only a variable's name, not its path.

    Args:
        optimizer: see `OptimizerWrapper`; the innermost one has a `weight_decay`.
        pattern: regular expression, searched in the variable's path.

    Raises:
        ValueError: the innermost optimizer has no weight decay.
    """

    follows_averages = True

    def __init__(self, optimizer, pattern=NORMS_AND_BIASES, name="exclude_from_decay"):
        super().__init__(optimizer, name=name)
        self.pattern = pattern
        if chain(self)[-1].weight_decay is None:
            raise ValueError(
                f"ExcludeFromDecay got {type(chain(self)[-1]).__name__} without weight_decay: nothing decays anyway"
            )

    def build(self, variables):
        if not self.built:
            excluded = [variable for variable in variables if named_by(self.pattern, variable.path)]
            chain(self)[-1].exclude_from_weight_decay(var_list=excluded)
            super().build(variables)
