"""Pooling, normalisation and heads of tasks as operations of an ONNX graph, and the whole graph of a model."""

import numpy as np

from zoo.backend.variables import backbone_of, to_numpy
from zoo.export.encoder import Encoder
from zoo.export.graph import Graph

HIDDEN_STATE = "last_hidden_state"
# Name of a task -> (name of what its graph gives, its axes behind the batch).
OUTPUTS = {
    "RepresentationMatcher": ("sentence_embedding", "width"),
    "InteractionMatcher": ("scores", None),
    "TextClassifier": ("logits", "classes"),
}
_AXES = ["batch", "length"]


def build(model, task, with_hidden_state=False):
    """The ONNX graph of a model, weights inside.

    Inputs int64 `[batch, length]`, both of any size: `input_ids`; `attention_mask`, 1 at real tokens; `token_type_ids`,
    where texts of a pair differ by their segments. Output float32: `sentence_embedding` `[batch, d]` of length 1,
    `scores` `[batch]`, `logits` `[batch, C]`, or for a backbone `last_hidden_state` `[batch, length, d]`.

    Args:
        model: a backbone, or a task over one.
        task: name of the task, a key of `OUTPUTS`, or None for a backbone.
        with_hidden_state: bool, a task's `last_hidden_state` as a first output too.

    Returns:
        `onnx.ModelProto`.

    Raises:
        ValueError: a family or option that has no operations here, by name.
    """
    graph, backbone = Graph(), backbone_of(model)
    token_ids, mask = graph.input("input_ids", _AXES), graph.input("attention_mask", _AXES)
    segments = graph.input("token_type_ids", _AXES) if needs_segments(model, task) else None
    encoder = Encoder(graph, backbone, token_ids, mask, segments)
    if task is None or with_hidden_state:
        graph.output(HIDDEN_STATE, encoder.last, [*_AXES, backbone.hidden_dim])
    if task is not None:
        pooled = _Pooling(encoder, model, token_ids).pooled()
        name, _ = OUTPUTS[task]
        if task == "RepresentationMatcher":
            graph.output(name, _unit(graph, pooled), ["batch", model.hidden_dim])
        else:
            logits = _dense(graph, pooled, model.classifier)
            if task == "InteractionMatcher":
                graph.output(name, graph.op("Squeeze", logits, graph.axes(1)), ["batch"])
            else:
                graph.output(name, logits, ["batch", model.num_classes])
    metadata = {"zoo.family": type(backbone).__name__, "zoo.task": task or ""}
    return graph.model(f"zoo_{(task or type(backbone).__name__).lower()}", metadata)


def needs_segments(model, task):
    """Whether the graph has segment ids for an input: where a model has segments, and rows that may have the second."""
    if not backbone_of(model).num_segments or task == "RepresentationMatcher":
        return False
    return task is None or model.segment_ids == "pair"


def _dense(graph, x, layer):
    """x W + b of the head."""
    x = graph.op("MatMul", x, graph.weight(f"head/{layer.kernel.path}", to_numpy(layer.kernel)))
    return graph.op("Add", x, graph.weight(f"head/{layer.bias.path}", to_numpy(layer.bias)))


def _unit(graph, vectors):
    """Rows of length 1; a zero vector stays zero."""
    square = graph.op("ReduceSum", graph.op("Mul", vectors, vectors), graph.axes(1), keepdims=1)
    return graph.op("Div", vectors, graph.op("Max", graph.op("Sqrt", square), np.float32(1e-12)))


class _Pooling:
    """One vector a row, see `zoo.layers.Pooling`."""

    def __init__(self, encoder, task, token_ids):
        self.graph, self.encoder, self.task, self.token_ids = encoder.graph, encoder, task, token_ids
        self.mask = encoder.places.mask

    def pooled(self):
        """float32 `[B, d]`, or `[B, 2 d]` of a comparison."""
        return getattr(self, f"_{self.task.pooling}")(self.encoder.last)

    def _cls(self, x):
        return self.graph.op("Gather", x, np.int64(0), axis=1)

    def _mean(self, x, mask=None):
        g = self.graph
        weights = g.op("Unsqueeze", self.mask if mask is None else mask, g.axes(2))
        total = g.op("ReduceSum", g.op("Mul", x, weights), g.axes(1), keepdims=0)
        return g.op("Div", total, g.op("Max", g.op("ReduceSum", weights, g.axes(1), keepdims=0), np.float32(1)))

    def _first_last_mean(self, x):
        g = self.graph
        return g.op("Mul", g.op("Add", self._mean(self.encoder.first), self._mean(x)), np.float32(0.5))

    def _max(self, x):
        g = self.graph
        hidden = g.op("Unsqueeze", self._hidden(), g.axes(2))
        top = g.op("ReduceMax", g.op("Add", x, hidden), g.axes(1), keepdims=0)
        return g.op("Mul", top, g.op("ReduceMax", self.mask, g.axes(1), keepdims=1))

    def _attention(self, x):
        g = self.graph
        query = g.weight("pooling/query", to_numpy(self.task.pooling_layer.query)[:, None])
        scores = g.op("Squeeze", g.op("MatMul", x, query), g.axes(2))
        weights = g.op("Mul", g.op("Softmax", g.op("Add", scores, self._hidden()), axis=-1), self.mask)
        return g.op("ReduceSum", g.op("Mul", x, g.op("Unsqueeze", weights, g.axes(2))), g.axes(1), keepdims=0)

    def _comparison(self, x):
        g = self.graph
        separators = g.op(
            "Cast", g.op("Equal", self.token_ids, np.int64(self.task.tokenizer.sep_token_id)), to=7
        )  # int64
        second = g.cast(g.op("Greater", g.op("CumSum", separators, np.int64(1)), separators))
        first = g.op("Sub", np.float32(1), second)
        u, v = (self._rms(self._mean(x, g.op("Mul", self.mask, part))) for part in (first, second))
        return g.op("Concat", g.op("Mul", u, v), g.op("Abs", g.op("Sub", u, v)), axis=-1)

    def _hidden(self):
        """0 at tokens, −1e30 elsewhere, `[B, n]`."""
        return self.encoder.places.hidden(self.mask)

    def _rms(self, x):
        g = self.graph
        mean = g.op("ReduceMean", g.op("Mul", x, x), g.axes(-1), keepdims=1)
        return g.op("Div", x, g.op("Sqrt", g.op("Max", mean, np.float32(1e-12))))
