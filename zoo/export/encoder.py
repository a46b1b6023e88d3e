"""A backbone as operations of an ONNX graph, from token ids to hidden states, built from its layers and weights.

Not traced: tracing fails on two of three backends, and the graph is the same from each of them.
"""

import numpy as np

from zoo.backend.variables import to_numpy
from zoo.export.attention import Places, Weights, check
from zoo.formats.families import family
from zoo.layers import activations
from zoo.layers.blocks import GAUBlock, TransformerBlock
from zoo.layers.residuals import AlphaResidual, DeepNorm

FAMILIES = ("BERT", "ELECTRA", "ALBERT", "NEZHA", "RoFormer", "RoFormerV2", "GAUAlpha")
_ACTIVATIONS = ("linear", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")


def check_backbone(backbone):
    """Refuse what this module has no operations for.

    Raises:
        ValueError: another family, mask or option, by name; or weights computed in less than float32.
    """
    name = type(backbone).__name__
    if name not in FAMILIES or family(name) is not type(backbone):
        raise ValueError(f"a {name} cannot be exported to ONNX; known are {', '.join(FAMILIES)}")
    if backbone.compute_dtype != "float32":
        raise ValueError(
            f"this {name} computes in {backbone.compute_dtype}, an export in float32, so that they could not be compared; "
            "load it with from_preset(..., dtype='float32') and export that"
        )
    if backbone.attention_mask == "unilm":
        raise ValueError(f"a {name} with attention_mask='unilm' cannot be exported to ONNX; load it as 'bidirectional'")
    if backbone.custom_position_ids:
        raise ValueError(f"a {name} with custom_position_ids=True cannot be exported to ONNX; load it without")
    for index, block in enumerate(backbone.blocks):
        if type(block) not in (TransformerBlock, GAUBlock):
            raise ValueError(f"layer_{index} is a {type(block).__name__}, which cannot be exported to ONNX")
        check(_attention(block).options, f"layer_{index}")
        if type(block.residual.option) not in (type(None), DeepNorm, AlphaResidual):
            raise ValueError(f"layer_{index}: the residual {block.residual.option!r} cannot be exported to ONNX")
    _activation_name(backbone.activation)


def _attention(block):
    return block.gau if isinstance(block, GAUBlock) else block.attention


def _activation_name(activation):
    known = {activations.get(name): name for name in _ACTIVATIONS}
    function = activations.get(activation)
    if function not in known:
        raise ValueError(
            f"the activation {activation!r} cannot be exported to ONNX; known are {', '.join(_ACTIVATIONS)}"
        )
    return known[function]


class Encoder:
    """The operations of a backbone.

    Args:
        graph: `Graph`. backbone: a backbone of zoo, see `check_backbone`.
        token_ids: name of the ids, int64 `[B, n]`. mask: name of the mask, int64 `[B, n]`, 1 at real tokens.
        segment_ids: name of the segment ids, int64 `[B, n]`, or None where they are all 0.

    Attributes:
        first, last: names of the embedding output and of the last hidden state, float32 `[B, n, d]`.
        places: `Places`.
    """

    def __init__(self, graph, backbone, token_ids, mask, segment_ids=None):
        check_backbone(backbone)
        self.graph, self.backbone = graph, backbone
        length = graph.op("Gather", graph.op("Shape", token_ids), np.int64(1))
        self.places = Places(graph, length, graph.cast(mask), backbone.attention_mask == "causal")
        self.first = self.last = self._embedding(token_ids, segment_ids)
        for block in backbone.blocks:
            self.last = (self._unit if isinstance(block, GAUBlock) else self._transformer)(block, self.last)

    def weight(self, variable, change=None):
        """A variable of the model, perhaps with its columns in another order."""
        array = to_numpy(variable)
        return self.graph.weight(variable.path, array if change is None else change(array))

    def dense(self, x, layer, change=None, activation=True):
        """φ(x W + b)."""
        x = self.graph.op("MatMul", x, self.weight(layer.kernel, change))
        if layer.bias is not None:
            x = self.graph.op("Add", x, self.weight(layer.bias, change))
        return self.activation(x, layer.activation) if activation and layer.activation is not None else x

    def activation(self, x, function):
        """φ(x)."""
        g, name = self.graph, _activation_name(function)
        if name in ("gelu", "gelu_tanh"):
            return g.op("Gelu", x, approximate="tanh" if name == "gelu_tanh" else "none")
        if name == "silu":
            return g.op("Mul", x, g.op("Sigmoid", x))
        return x if name == "linear" else g.op(name.capitalize(), x)

    def norm(self, x, layer):
        """LayerNorm, or RMSNorm without a gain."""
        g = self.graph
        if hasattr(layer, "gamma"):
            gamma, beta = self.weight(layer.gamma), self.weight(layer.beta)
            return g.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=float(layer.epsilon))
        mean = g.op("ReduceMean", g.op("Mul", x, x), g.axes(-1), keepdims=1)
        return g.op("Div", x, g.op("Sqrt", g.op("Add", mean, np.float32(layer.epsilon))))

    def residual(self, x, branch, residual):
        """x + F(x), or what takes its place."""
        g = self.graph
        if isinstance(residual, DeepNorm):
            x = g.op("Mul", x, np.float32(residual.alpha))
        elif isinstance(residual, AlphaResidual):
            branch = g.op("Mul", branch, self.weight(residual.alpha))
        return g.op("Add", x, branch)

    def _embedding(self, token_ids, segment_ids):
        g, layers = self.graph, {layer.name: layer for layer in self.backbone.layers}
        table = layers["token_embedding"].embeddings
        segments = layers["segment_embedding"].embeddings if "segment_embedding" in layers else None
        if segments is not None and segment_ids is None:  # one row for all tokens: a part of the table
            x = g.op("Gather", self.weight(table, lambda rows: rows + to_numpy(segments)[0]), token_ids)
        else:
            x = g.op("Gather", self.weight(table), token_ids)
            if segments is not None:
                x = g.op("Add", x, g.op("Gather", self.weight(segments), segment_ids))
        if "position_embedding" in layers:
            x = g.op("Add", x, g.op("Gather", self.weight(layers["position_embedding"].embeddings), self.places.index))
        x = self.norm(x, layers["embedding_norm"])
        return self.dense(x, layers["embedding_mapping"]) if "embedding_mapping" in layers else x

    def _transformer(self, block, x):
        g, attention = self.graph, block.attention
        heads, width = attention.num_heads, attention.head_dim
        weights = Weights(self.places, attention, heads, rank=4)

        def split(layer, size, change=None):
            y = g.op("Reshape", self.dense(x, layer, change), g.axes(0, 0, heads, size))
            return g.op("Transpose", y, perm=[0, 2, 1, 3])  # [B, H, n, size]

        query = split(attention.query_dense, attention.key_dim, weights.arranged)
        key = split(attention.key_dense, attention.key_dim, weights.arranged)
        value = split(attention.value_dense, width)
        scores, sees = weights(query, key)
        mixed = g.op("Mul", weights.mixed(scores, value, width), sees)
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.axes(0, 0, heads * width))
        branch = self.dense(mixed, attention.output_dense)
        x = self.norm(self.residual(x, branch, block.attention_residual), block.attention_norm)
        branch = self.dense(self.dense(x, block.feedforward.inner), block.feedforward.outer)
        return self.norm(self.residual(x, branch, block.feedforward_residual), block.feedforward_norm)

    def _unit(self, block, x):
        g, unit = self.graph, block.gau
        expanded, size = unit.expanded_dim, unit.key_dim
        weights = Weights(self.places, unit, 1, rank=3)

        def arranged(array):
            """The columns of z, which queries and keys share, as scores want them."""
            return np.concatenate([array[..., : 2 * expanded], weights.arranged(array[..., 2 * expanded :])], axis=-1)

        shared = self.dense(x, unit.input_dense, arranged)
        gate, value, z = g.op("Split", shared, g.axes(expanded, expanded, size), axis=-1, outputs=3)
        query, key = (self._scaled(z, scale, weights.arranged) for scale in (unit.query_scale, unit.key_scale))
        scores, sees = weights(query, key)
        mixed = g.op("Mul", weights.mixed(scores, value, expanded), sees)
        branch = self.dense(g.op("Mul", gate, mixed), unit.output_dense)
        return self.norm(self.residual(x, branch, block.gau_residual), block.gau_norm)

    def _scaled(self, z, layer, arranged):
        """z γ + β."""
        z = self.graph.op("Mul", z, self.weight(layer.gamma, arranged))
        return self.graph.op("Add", z, self.weight(layer.beta, arranged)) if layer.use_offset else z
