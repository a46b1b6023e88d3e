"""How the models compute: Keras layers written with `keras.ops` alone.

Letters in shapes: `B` batch, `n` length (`m` keys where they differ from queries), `d` hidden size, `H` heads,
`s` key size of a head, `e` expanded width of a gated attention unit, `L` layers, `V` vocabulary.
Masks are explicit arguments: `padding_mask` bool `[B, n]`, True at real tokens; `attention_mask` bool, True
where a query may see a key. Keras' implicit mask is not used: it is lost in additions.
"""

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.attention_options import AttentionOptions
from zoo.layers.blocks import GAUBlock, TransformerBlock
from zoo.layers.dense import Dense
from zoo.layers.dropout import Dropout
from zoo.layers.embedding import PositionEmbedding, SegmentEmbedding, TokenEmbedding
from zoo.layers.entropy_scale import log_length_scale, scale_for_entropy
from zoo.layers.feedforward import FeedForward
from zoo.layers.flash import MixedChunkAttention
from zoo.layers.flash_block import FLASHBlock
from zoo.layers.frequency_scaling import NTKAware, NTKAwareOld, NTKFixed, NTKMixed, PositionInterpolation, YaRN
from zoo.layers.gated_attention import GatedAttentionUnit
from zoo.layers.length_recipes import hwfa, hwfa2
from zoo.layers.linear_attention import LinearAttention
from zoo.layers.log_n import LogN
from zoo.layers.masks import AttentionMask, PaddingMask, causal_mask, unilm_mask
from zoo.layers.norm import ConditionalLayerNorm, LayerNorm, RMSNorm
from zoo.layers.ntk_dense import NTKDense
from zoo.layers.pooling import Pooling
from zoo.layers.recurrent_attention import recurrent_attention
from zoo.layers.rerope import LeakyReRoPE, ReRoPE
from zoo.layers.residuals import AlphaResidual, DeepNorm
from zoo.layers.rotary import RotaryEmbedding, interleaved_to_half_split
from zoo.layers.scale_offset import ScaleOffset
from zoo.layers.score_biases import KERPLE, ALiBi, Sandwich
from zoo.layers.score_normalizers import Softmax, SoftmaxPlus, SquaredReLU
from zoo.layers.score_products import CosA, KeyNorm, QueryNorm
from zoo.layers.visibility import Direction, Window
from zoo.layers.xpos import XPOS

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
    "GAUBlock",
    "GatedAttentionUnit",
    "KERPLE",
    "KeyNorm",
    "LayerNorm",
    "LeakyReRoPE",
    "LinearAttention",
    "LogN",
    "MixedChunkAttention",
    "MultiHeadAttention",
    "NTKAware",
    "NTKAwareOld",
    "NTKFixed",
    "NTKMixed",
    "NTKDense",
    "PaddingMask",
    "Pooling",
    "PositionEmbedding",
    "PositionInterpolation",
    "QueryNorm",
    "RMSNorm",
    "ReRoPE",
    "RotaryEmbedding",
    "Sandwich",
    "ScaleOffset",
    "SegmentEmbedding",
    "Softmax",
    "SoftmaxPlus",
    "SquaredReLU",
    "TokenEmbedding",
    "TransformerBlock",
    "Window",
    "XPOS",
    "YaRN",
    "causal_mask",
    "hwfa",
    "hwfa2",
    "interleaved_to_half_split",
    "log_length_scale",
    "recurrent_attention",
    "scale_for_entropy",
    "unilm_mask",
]
