"""How the models compute: Keras layers written with `keras.ops` alone.

Letters in shapes: `B` batch, `n` length (`m` keys where they differ from queries), `d` hidden size, `H` heads,
`s` key size of a head, `e` expanded width of a gated attention unit, `L` layers, `V` vocabulary.
Masks are explicit arguments: `padding_mask` bool `[B, n]`, True at real tokens; `attention_mask` bool, True
where a query may see a key. Keras' implicit mask is not used: it is lost in additions.
"""

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.attention_options import AttentionOptions
from zoo.layers.blocks import FLASHBlock, GAUBlock, TransformerBlock
from zoo.layers.dense import Dense
from zoo.layers.dropout import Dropout
from zoo.layers.embedding import PositionEmbedding, SegmentEmbedding, TokenEmbedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.flash import MixedChunkAttention
from zoo.layers.frequency_scaling import (
    FrequencyScaling,
    NTKAware,
    NTKAwareOld,
    NTKFixed,
    NTKMixed,
    PositionInterpolation,
    YaRN,
)
from zoo.layers.gated_attention import GatedAttentionUnit, ScaleOffset
from zoo.layers.length_recipes import hwfa, hwfa2
from zoo.layers.linear_attention import LinearAttention
from zoo.layers.masks import AttentionMask, Direction, PaddingMask, Visibility, Window, causal_mask, unilm_mask
from zoo.layers.norm import ConditionalLayerNorm, LayerNorm, RMSNorm
from zoo.layers.ntk_dense import NTKDense
from zoo.layers.options import register_option
from zoo.layers.parallel_recurrence import ParallelRNN, parallel_recurrence
from zoo.layers.pooling import Pooling
from zoo.layers.recurrent_attention import recurrent_attention
from zoo.layers.rerope import XPOS, LeakyReRoPE, ReRoPE
from zoo.layers.residuals import AlphaResidual, DeepNorm, Residual
from zoo.layers.rotary import Position, RelativePosition, RotaryEmbedding, interleaved_to_half_split
from zoo.layers.score_biases import KERPLE, ALiBi, Sandwich, ScoreBias
from zoo.layers.score_normalizers import Normalizer, Softmax, SoftmaxPlus, SquaredReLU
from zoo.layers.score_products import (
    CosA,
    KeyNorm,
    LengthScale,
    LogN,
    QueryNorm,
    ScoreProduct,
    log_length_scale,
    scale_for_entropy,
)

__all__ = [
    "ALiBi",
    "AlphaResidual",
    "AttentionMask",
    "AttentionOptions",
    "ConditionalLayerNorm",
    "CosA",
    "DeepNorm",
    "Dense",
    "Direction",
    "Dropout",
    "FLASHBlock",
    "FeedForward",
    "FrequencyScaling",
    "GAUBlock",
    "GatedAttentionUnit",
    "KERPLE",
    "KeyNorm",
    "LayerNorm",
    "LeakyReRoPE",
    "LengthScale",
    "LinearAttention",
    "LogN",
    "MixedChunkAttention",
    "MultiHeadAttention",
    "NTKAware",
    "NTKAwareOld",
    "NTKFixed",
    "NTKMixed",
    "NTKDense",
    "Normalizer",
    "PaddingMask",
    "ParallelRNN",
    "Pooling",
    "Position",
    "PositionEmbedding",
    "PositionInterpolation",
    "QueryNorm",
    "RMSNorm",
    "ReRoPE",
    "RelativePosition",
    "Residual",
    "RotaryEmbedding",
    "Sandwich",
    "ScaleOffset",
    "ScoreBias",
    "ScoreProduct",
    "SegmentEmbedding",
    "Softmax",
    "SoftmaxPlus",
    "SquaredReLU",
    "TokenEmbedding",
    "TransformerBlock",
    "Visibility",
    "Window",
    "XPOS",
    "YaRN",
    "causal_mask",
    "hwfa",
    "hwfa2",
    "interleaved_to_half_split",
    "log_length_scale",
    "parallel_recurrence",
    "recurrent_attention",
    "register_option",
    "scale_for_entropy",
    "unilm_mask",
]


def __getattr__(name):
    from zoo.backend.near_names import no_attribute

    raise no_attribute(__name__, name, __all__)
