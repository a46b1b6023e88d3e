"""GAU-α (Su et al., 2022, kexue.fm/archives/9052): RoFormerV2 with gated attention units for blocks."""

import keras

from zoo.layers.blocks import GAUBlock
from zoo.models.roformer import RoFormerV2


@keras.saving.register_keras_serializable(package="zoo")
class GAUAlpha(RoFormerV2):
    """RoFormerV2 whose attention + feed-forward pairs are single-head gated attention units.

    Changes against `RoFormerV2`: blocks are units (`GAUBlock`), two of which have about the parameters of one
    transformer block; scores scale with log n (`normalization="softmax_plus"`); gain L^(-1/3), since a unit is cubic
    in its weights.

    Args:
        expanded_dim: int or None, e, width of the gate u and the value v; None means 2 · hidden_dim, as in the paper.
        key_dim: int, s, width shared by query and key; 128 in the published model.
        See `BERT` for the rest; there are no num_heads, head_dim and intermediate_dim.
    """

    sizes = (*RoFormerV2.sizes, "expanded_dim")
    hugging_face = {  # no class of transformers: the folders of JunnYu/GAU-alpha-pytorch
        "model_type": "gau_alpha",
        "prefix": "gau_alpha.",
        "fields": {"use_bias": False, "attention_scale": True, "normalization": "softmax_plus"},
        "defaults": {"max_position_embeddings": 1536, "attention_key_size": 128},
    }
    gain_root = 3
    derived_arguments = ("num_heads", "head_dim", "intermediate_dim")  # of the parent; not in this family's config

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        hidden_dim,
        expanded_dim=None,
        key_dim=128,
        activation="silu",
        normalization="softmax_plus",
        **kwargs,
    ):
        self.expanded_dim = 2 * hidden_dim if expanded_dim is None else expanded_dim
        super().__init__(
            vocabulary_size,
            num_layers,
            num_heads=1,
            hidden_dim=hidden_dim,
            intermediate_dim=self.expanded_dim,
            key_dim=key_dim,
            activation=activation,
            normalization=normalization,
            **kwargs,
        )

    def block(self, index):
        return self.layer(
            GAUBlock,
            expanded_dim=self.expanded_dim,
            key_dim=self.key_dim,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            attention_options=self.attention_options(index),
            residual=self._residual.option,
            kernel_initializer=self.kernel_initializer(),
            name=f"layer_{index}",
        )

    @classmethod
    def from_tf_config(cls, config):
        config = super().from_tf_config(config)
        config.pop("num_heads", None)
        config.pop("head_dim", None)
        return {("expanded_dim" if name == "intermediate_dim" else name): value for name, value in config.items()}

    @classmethod
    def matches_tf(cls, names):
        return any(name.startswith("GAU_alpha/") for name in names)

    @classmethod
    def tf_weight_map(cls):
        names = {ours: theirs for ours, theirs in super().tf_weight_map().items() if not ours.startswith("layer_")}
        unit = "GAU_alpha/encoder/layer_{}/gau"
        return names | {
            "layer_{}/gau/input/kernel": f"{unit}/i_dense/kernel",
            "layer_{}/gau/query_scale/gamma": f"{unit}/q_scaleoffset/gamma",
            "layer_{}/gau/key_scale/gamma": f"{unit}/k_scaleoffset/gamma",
            "layer_{}/gau/output/kernel": f"{unit}/o_dense/kernel",
        }

    @classmethod
    def shapes_of_block(cls, block, config):
        width, key = config["hidden_dim"], config["key_dim"]
        expanded = config["expanded_dim"] or 2 * width
        return {
            f"{block}/gau/input/kernel": (width, 2 * expanded + key),
            f"{block}/gau/key_scale/gamma": (key,),
        }
