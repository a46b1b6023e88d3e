"""RoFormer (Su et al., arXiv 2104.09864) and RoFormerV2 (kexue.fm/archives/8998): BERT with rotary positions."""

import keras

from zoo.layers.dropout import Dropout
from zoo.layers.norm import LayerNorm, RMSNorm
from zoo.models.bert import BERT


@keras.saving.register_keras_serializable(package="zoo")
class RoFormer(BERT):
    """BERT whose positions are rotations of query and key.

    Changes against `BERT`: no position table; rotary embedding in the attention; ε of the norms is 1e-7.

    Args: see `BERT`. `max_sequence_length` is the length of pretraining, not a limit.
    """

    hugging_face: dict = {
        "model_type": "roformer",
        "prefix": "roformer.",
        "fields": {"norm_type": "layer_norm", "use_bias": True},
        "defaults": {"max_position_embeddings": 1536},
        "classes": {(): "RoFormerModel", ("mlm_dense",): "RoFormerForMaskedLM"},
        "embedding_size": True,
        "written": {"rotary_value": False},
    }
    pair_segment_ids = "zeros"  # the lineage fine-tunes its rotary models with segment 0 for both texts

    def __init__(self, *args, position="rotary", norm_epsilon=1e-7, **kwargs):
        super().__init__(*args, position=position, norm_epsilon=norm_epsilon, **kwargs)

    def embed(self, token_ids, segment_ids, positions):
        x = self.token_and_segment(token_ids, segment_ids)
        x = self.layer(LayerNorm, epsilon=self.norm_epsilon, name="embedding_norm")(x)
        x = self.layer(Dropout, self.dropout, name="embedding_dropout")(x)
        return self.map_embedding(x)

    @classmethod
    def matches_tf(cls, names):
        return not BERT.matches_tf(names) and any(name.endswith("LayerNorm/gamma") for name in names)

    @classmethod
    def tf_weight_map(cls):
        return {ours: theirs for ours, theirs in super().tf_weight_map().items() if not ours.startswith("position_")}


@keras.saving.register_keras_serializable(package="zoo")
class RoFormerV2(RoFormer):
    """RoFormer without biases, with a norm that has no parameters, and a simpler head.

    Changes against `RoFormer`: no bias anywhere; RMS norm without gain; dropout before the norm of the embedding;
    activation ReLU; the masked-LM head is the token embedding alone; no pooler; initialised by fan-in with the gain
    L^(-1/2), see `kernel_initializer`.

    Args: see `BERT`.
    """

    norm = "rms_norm"
    use_bias = False
    mlm_transform = False
    has_pooler = False
    hugging_face = {  # no class of transformers: the folders of JunnYu/RoFormer_pytorch
        "model_type": "roformer",
        "prefix": "roformer.",
        "fields": {"norm_type": "rms_norm", "use_bias": False},
        "defaults": {"max_position_embeddings": 1536},
    }
    keras_hub = {
        "classes": ("keras_hub>RoformerV2Backbone",),
        "layers": {
            "attention/query": "roformer_v2_encoder{}/attention_layer/q_dense",
            "attention/key": "roformer_v2_encoder{}/attention_layer/k_dense",
            "attention/value": "roformer_v2_encoder{}/attention_layer/v_dense",
            "attention/output": "roformer_v2_encoder{}/attention_layer/o_dense",
            "feedforward/inner": "roformer_v2_encoder{}/feedforward_intermediate_dense",
            "feedforward/outer": "roformer_v2_encoder{}/feedforward_output_dense",
        },
        # Gains of norms that keras-hub trains and the original has not.
        "ones": ("roformer_norm", "roformer_v2_encoder{}/attention_norm", "roformer_v2_encoder{}/feedforward_norm"),
        "fields": {"use_bias": False, "max_wavelength": 10000},
        "activations": ("relu", "gelu", "silu", "tanh"),
        "arguments": {"attention_dropout": 0.0, "norm_epsilon": 1e-7},
    }
    gain_root = 2  # a block is quadratic in its weights: gain^2 = 1/L keeps the update of L blocks bounded

    def __init__(self, *args, activation="relu", **kwargs):
        super().__init__(*args, activation=activation, **kwargs)

    def initializer(self, mode):
        # Truncated normal whose realised variance is gain² / fan. The original guesses which axis is the fan from
        # the shape (rows > 10000 or < 10 mean an embedding), so that a vocabulary of 6000 would be initialised with
        # 1/6000 instead of 1/d. Here kernels use their rows and embeddings their columns, whatever the sizes.
        gain = self.num_layers ** (-1 / self.gain_root)
        return keras.initializers.VarianceScaling(gain**2, mode, "truncated_normal")

    def kernel_initializer(self):
        """σ = gain / sqrt(fan_in), truncated at 2σ; kernels are `[fan_in, out]`."""
        return self.initializer("fan_in")

    def embedding_initializer(self):
        """σ = gain / sqrt(d) for tables `[rows, d]`."""
        return self.initializer("fan_out")

    def embed(self, token_ids, segment_ids, positions):
        x = self.token_and_segment(token_ids, segment_ids)
        x = self.layer(Dropout, self.dropout, name="embedding_dropout")(x)
        x = self.layer(RMSNorm, epsilon=self.norm_epsilon, name="embedding_norm")(x)
        return self.map_embedding(x)

    @classmethod
    def matches_tf(cls, names):
        parts = ("GAU_alpha/", "bert/embeddings/position_embeddings")
        return not any(name.startswith(parts) or name.endswith("LayerNorm/gamma") for name in names)

    @classmethod
    def tf_weight_map(cls):
        heads = ("pooler/", "next_sentence/", "mlm_")
        return {
            ours: theirs
            for ours, theirs in super().tf_weight_map().items()
            if not ours.startswith(heads) and not ours.endswith(("/bias", "/gamma", "/beta"))
        }
