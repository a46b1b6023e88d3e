"""Learning rates by layer."""

import re

import keras

from zoo.backend.variables import named_by
from zoo.optimizers.wrapper import OptimizerWrapper

LAYER = r"(?:^|[/_])layer_{}/"  # of zoo ("layer_3/attention/...") and of keras-hub ("transformer_layer_3/...")


@keras.saving.register_keras_serializable(package="zoo")
class LayerwiseLearningRate(OptimizerWrapper):
    """Multiplies the steps of variables, and so their learning rates and decays, by factors chosen by path.

        zoo.optimizers.LayerwiseLearningRate(keras.optimizers.AdamW(5e-5), {"classifier/": 10, "embedding": 0})

    A variable that several patterns match gets the product of their factors. Those with the factor 1 cost nothing; the
    others are held twice for the duration of a step.

    Args:
        optimizer: see `OptimizerWrapper`.
        multipliers: dict, from a regular expression searched in the variable's path, as in `zoo.freeze`, to a factor of at
            least 0. See `layer_decay`.

    Raises:
        ValueError: a factor is negative; at the build: a pattern matches no trainable variable.

    Source: bert4keras, `optimizers.py`, `extend_with_parameter_wise_lr`.
    """

    def __init__(self, optimizer, multipliers, name="layerwise_learning_rate"):
        super().__init__(optimizer, name=name)
        if wrong := {pattern: factor for pattern, factor in multipliers.items() if not factor >= 0}:
            raise ValueError(f"multipliers {wrong}; expected factors of at least 0")
        self.multipliers = {pattern: float(factor) for pattern, factor in multipliers.items()}

    def build(self, variables):
        if self.built:
            return
        factors, unused = [1.0] * len(variables), set(self.multipliers)
        for index, variable in enumerate(variables):
            for pattern, factor in self.multipliers.items():
                if named_by(pattern, variable.path):
                    factors[index] *= factor
                    unused.discard(pattern)
        if unused:
            raise ValueError(
                f"LayerwiseLearningRate: no trainable variable matches {sorted(unused)}; paths look like "
                + ", ".join(variable.path for variable in variables[:3])
            )
        super().build(variables)
        self._factors = tuple(factors)

    def factor(self, variable):
        return self._factors[self._get_variable_index(variable)]

    def corrects(self, variable):
        return self.factor(variable) != 1

    def corrected(self, variable, before, gradient, learning_rate):
        return before + self.factor(variable) * (variable - before)


def layer_decay(model, rate):
    """Factors for `LayerwiseLearningRate` that fall with the distance from the output.

    Of L layers, layer i gets rate^(L - i), the embeddings get rate^(L + 1), and heads get 1.

    Args:
        model: keras.Model, of zoo or keras-hub, with the variables frozen that shall be.
        rate: float, e.g. 0.9.

    Returns:
        dict from patterns to factors.

    Source: discriminative fine-tuning, Howard and Ruder, arXiv 1801.06146; ELECTRA's layerwise decay, arXiv 2003.10555.
    """
    layers = {
        int(match[1]) for variable in model.weights if (match := re.search(LAYER.format(r"(\d+)"), variable.path))
    }
    if not layers:
        raise ValueError(f"layer_decay: no weight of {type(model).__name__} has layer_0/, layer_1/, ... in its path")
    number = 1 + max(layers)
    factors = {LAYER.format(index): rate ** (number - index) for index in sorted(layers)}
    factors["embedding"] = rate ** (number + 1)
    paths = [variable.path for variable in model.trainable_variables]
    return {pattern: factor for pattern, factor in factors.items() if any(named_by(pattern, path) for path in paths)}
