"""How the models compute: Keras layers written with `keras.ops` alone.

Letters in shapes: `B` batch, `n` length (`m` keys where they differ from queries), `d` hidden size, `H` heads,
`s` key size of a head, `e` expanded width of a gated attention unit, `L` layers, `V` vocabulary.
Masks are explicit arguments: `padding_mask` bool `[B, n]`, True at real tokens; `attention_mask` bool, True
where a query may see a key. Keras' implicit mask is not used: it is lost in additions.
"""

from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import GAUBlock, TransformerBlock
from zoo.layers.embedding import PositionEmbedding, SegmentEmbedding, TokenEmbedding
from zoo.layers.feedforward import FeedForward
from zoo.layers.gated_attention import GatedAttentionUnit
from zoo.layers.masks import AttentionMask, PaddingMask, causal_mask, unilm_mask
from zoo.layers.norm import ConditionalLayerNorm, LayerNorm, RMSNorm
from zoo.layers.pooling import Pooling
from zoo.layers.rotary import RotaryEmbedding, interleaved_to_half_split
from zoo.layers.scale_offset import ScaleOffset
from zoo.layers.score_normalizers import Softmax, SoftmaxPlus, SquaredReLU

__all__ = [
    "AttentionMask",
    "ConditionalLayerNorm",
    "FeedForward",
    "GAUBlock",
    "GatedAttentionUnit",
    "LayerNorm",
    "MultiHeadAttention",
    "PaddingMask",
    "Pooling",
    "PositionEmbedding",
    "RMSNorm",
    "RotaryEmbedding",
    "ScaleOffset",
    "SegmentEmbedding",
    "Softmax",
    "SoftmaxPlus",
    "SquaredReLU",
    "TokenEmbedding",
    "TransformerBlock",
    "causal_mask",
    "interleaved_to_half_split",
    "unilm_mask",
]
