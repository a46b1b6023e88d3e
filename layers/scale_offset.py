"""Per-feature affine map, the γ and β that give a gated attention unit its query and key."""

import keras


@keras.saving.register_keras_serializable(package="zoo")
class ScaleOffset(keras.layers.Layer):
    """x · γ + β over the last axis.

    Args:
        use_offset: bool, with β.

    Input and output: float `[..., s]`. γ starts at 1, β at 0.
    """

    def __init__(self, use_offset=True, **kwargs):
        super().__init__(**kwargs)
        self.use_offset = use_offset

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma")
        if self.use_offset:
            self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta")

    def call(self, x):
        x = x * self.gamma
        return x + self.beta if self.use_offset else x

    def get_config(self):
        return {**super().get_config(), "use_offset": self.use_offset}
