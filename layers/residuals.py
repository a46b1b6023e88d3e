"""How a block adds its branch to its input, before the norm.

Post-norm blocks compute Norm(residual(x, F(x))). Plain addition is `DeepNorm(1.0)`.
"""

import keras
from keras import ops

from zoo.backend.arguments import Configured
from zoo.layers.options import Option, register_option

# Sub-layers whose kernels DeepNorm shrinks; query and key keep theirs.
SHRUNK = ("value", "output", "inner", "gate", "outer")


class Residual(Option):
    """How a block adds its branch to its input: called with x and branch, float `[B, n, d]`.

    It gives float `[B, n, d]` in the dtype of the branch. A residual with weights is a Keras layer too, `class
    Mine(Residual, keras.layers.Layer)`: every branch makes its own.
    """

    argument, method = "residual", "__call__"


@register_option
@keras.saving.register_keras_serializable(package="zoo")
class DeepNorm(Residual):
    """x ← α x + F(x), where F starts with weights shrunk by a gain (Wang et al., arXiv 2203.00555).

    One step of training then moves the output of the whole stack as little as that of a shallow one. The gain acts when
    weights are drawn: pass kernels of values, outputs and feed-forwards `initializer(base)`, or `shrink` a fresh model.
    The constructors below give α and the gain; layers are counted as in the paper, one for attention and feed-forward.

    Args:
        alpha: float, α.
        gain: float, β of the paper, λ of kexue.fm/archives/8978.
    """

    def __init__(self, alpha, gain=1.0):
        self.alpha, self.gain = alpha, gain

    def __call__(self, x, branch):
        return ops.cast(x, branch.dtype) * self.alpha + branch

    @classmethod
    def encoder(cls, num_layers):
        """Encoder or decoder alone, N layers: α = (2N)^(1/4), gain = (8N)^(−1/4)."""
        return cls((2 * num_layers) ** 0.25, (8 * num_layers) ** -0.25)

    decoder = encoder

    @classmethod
    def encoder_decoder(cls, encoder_layers, decoder_layers):
        """N encoder and M decoder layers: the option of either.

        The published code of the encoder (torchscale) has gain 1.15 / X with X = (N⁴M)^(1/16), the paper 0.87 / X; 0.87
        is about 1 / 1.15, so one of them is inverted. This follows the paper.
        """
        x = (encoder_layers**4 * decoder_layers) ** (1 / 16)
        return cls(0.81 * x, 0.87 / x), cls((3 * decoder_layers) ** 0.25, (12 * decoder_layers) ** -0.25)

    @classmethod
    def for_optimizer(cls, optimizer, num_layers):
        """α and gain by what a step of the optimizer does with gradients (kexue.fm/archives/8978), N layers.

        `"sgd"`: α = (2N)^(1/4), gain = 1/α; `"adam"`, whose steps do not shrink with the gradient: α = (2N)^(1/2),
        gain = 1/α; `"lamb"`, whose steps are relative to the weights: α = 1, gain = (2N)^(−1/2).
        """
        powers = {"sgd": (0.25, -0.25), "adam": (0.5, -0.5), "lamb": (0.0, -0.5)}
        if optimizer not in powers:
            raise ValueError(f"optimizer={optimizer!r}; expected one of {sorted(powers)}")
        alpha, gain = powers[optimizer]
        return cls((2 * num_layers) ** alpha, (2 * num_layers) ** gain)

    def initializer(self, base="glorot_normal"):
        """The base initializer, its numbers multiplied by the gain."""
        return ScaledInitializer(base, self.gain)

    def shrink(self, model, sublayers=SHRUNK):
        """Multiply the kernels of a freshly drawn model or block by the gain, once.

        Args:
            sublayers: names of the dense layers that are meant.

        Returns:
            int, how many kernels were multiplied.

        Raises:
            ValueError: there is none.
        """
        paths = [(weight, weight.path.split("/")[-2:]) for weight in model.weights]
        kernels = [weight for weight, path in paths if path[-1] == "kernel" and path[0] in sublayers]
        if not kernels:
            raise ValueError(f"{model.name} has no kernels of dense layers named {', '.join(sublayers)}; is it built?")
        for kernel in kernels:
            kernel.assign(kernel * self.gain)
        return len(kernels)


@keras.saving.register_keras_serializable(package="zoo")
class ScaledInitializer(Configured, keras.initializers.Initializer):
    """Another initializer's numbers times a gain.

    Args:
        base: initializer, by name, config or object.
        gain: float.
    """

    def __init__(self, base, gain):
        self.base, self.gain = keras.initializers.get(base), gain

    def __call__(self, shape, dtype=None, **kwargs):
        return self.base(shape, dtype, **kwargs) * self.gain

    def clone(self):
        return ScaledInitializer(self.base.clone(), self.gain)


@register_option
@keras.saving.register_keras_serializable(package="zoo")
class AlphaResidual(Residual, keras.layers.Layer):
    """x ← x + α F(x) with a variable α, which grows from 0 to 1 while RoFormerV2 is trained (kexue.fm/archives/8998).

    α is 1, a plain residual, unless something changes it: `zoo.callbacks.ResidualWarmup` does so by schedule. With
    `AlphaResidual(0.0, trainable=True)` it is trained (ReZero, arXiv 2003.04887).

    Args:
        alpha: float, α of a fresh model.
        trainable: bool.

    Inputs: x and branch, float `[B, n, d]`. Output: float `[B, n, d]` in the dtype of the branch.
    """

    def __init__(self, alpha=1.0, trainable=False, **kwargs):
        super().__init__(trainable=trainable, autocast=False, **kwargs)
        self.initial_alpha = alpha
        # float32 under every policy: steps of a long schedule are smaller than bfloat16 can add
        self.alpha = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(alpha), dtype="float32", name="alpha", autocast=False
        )
        self.built = True

    def build(self, x_shape, branch_shape=None):
        pass

    def call(self, x, branch):
        return ops.cast(x, branch.dtype) + ops.cast(self.alpha, branch.dtype) * branch

    def compute_output_spec(self, x, branch):
        return keras.KerasTensor(x.shape, dtype=branch.dtype)

    def argument_values(self):
        return {**super().argument_values(), "alpha": self.initial_alpha}
