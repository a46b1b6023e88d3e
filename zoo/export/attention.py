"""Attention weights of `zoo.layers.AttentionOptions` as operations of an ONNX graph.

What is known by name is written; any other option, and those of your own, are refused by name. Rotations turn halves in
place of neighbours: the columns of the kernels of queries and keys are permuted once, which changes no score.
"""

import math

import numpy as np

from zoo.backend.variables import to_numpy
from zoo.layers.masks import Direction, Window
from zoo.layers.rerope import LeakyReRoPE, ReRoPE
from zoo.layers.rotary import RelativePosition, RotaryEmbedding
from zoo.layers.score_biases import KERPLE, ALiBi, Sandwich
from zoo.layers.score_normalizers import MASKED, Softmax, SoftmaxPlus, SquaredReLU
from zoo.layers.score_products import EPSILON, CosA, KeyNorm, LogN, QueryNorm

_ROTATING = (RotaryEmbedding, ReRoPE, LeakyReRoPE)
_KNOWN = (
    Softmax, SoftmaxPlus, SquaredReLU, KeyNorm, QueryNorm, CosA, LogN, ALiBi, KERPLE, Sandwich, Window, Direction,
    RelativePosition, *_ROTATING,
)  # fmt: skip


def check(options, where):
    """Refuse options that have no operations here.

    Args:
        options: `AttentionOptions`. where: str, the layer that errors name.
    """
    for part in options.parts():
        if type(part) not in _KNOWN:
            raise ValueError(
                f"{where}: attention with {part!r} cannot be exported; known are "
                f"{', '.join(sorted(known.__name__ for known in _KNOWN))}. Keep the model by save_to_preset"
            )


def halves(array, heads=1):
    """Neighbouring features 2i, 2i + 1 of every head brought to i, i + s/2: `[..., H s]`."""
    *rest, width = array.shape
    pairs = array.reshape(*rest, heads, width // heads // 2, 2)
    return pairs.swapaxes(-1, -2).reshape(array.shape)


class Places:
    """What all layers of a graph share: how many places a row has, and which of them hold tokens.

    Args:
        graph: `Graph`. length: name of n, int64 scalar. mask: name of the mask, float32 `[B, n]` of 0 and 1.
        causal: bool, whether every query sees only what stands before it.
    """

    def __init__(self, graph, length, mask, causal):
        self.graph, self.length, self.mask, self.causal = graph, length, mask, causal
        self._made = {}

    def once(self, key, make):
        """What `make()` gave when this key was first asked for."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def index(self):
        """0 .. n-1, int64 `[n]`."""
        return self.once("index", lambda: self.graph.op("Range", np.int64(0), self.length, np.int64(1)))

    @property
    def positions(self):
        """0 .. n-1, float32 `[n]`."""
        return self.once("positions", lambda: self.graph.cast(self.index))

    @property
    def distance(self):
        """i − j, float32 `[n, n]`."""

        def make():
            g = self.graph
            return g.op(
                "Sub", g.op("Unsqueeze", self.positions, g.axes(1)), g.op("Unsqueeze", self.positions, g.axes(0))
            )

        return self.once("distance", make)

    def angles(self, rotary, key_dim, factor=1.0, shift=0.0):
        """(cos, sin) of positions · factor + shift, each `[n, s/2]`."""

        def make():
            g, positions = self.graph, self.positions
            if factor != 1.0:
                positions = g.op("Mul", positions, np.float32(factor))
            if shift:
                positions = g.op("Add", positions, np.float32(shift))
            # as the running backend computes them: a digit more or less of a frequency is seen at place 500
            theta = to_numpy_array(rotary.frequencies(key_dim))
            angles = g.op("Mul", g.op("Unsqueeze", positions, g.axes(1)), g.constant(theta))
            return g.op("Cos", angles), g.op("Sin", angles)

        config = {name: value for name, value in rotary.argument_values().items() if name != "pairing"}
        return self.once(("angles", repr(config), key_dim, factor, shift), make)

    def visible(self, rules, heads, rank):
        """Which keys a query sees, float32 of 0 and 1: `[B, (1,) 1, n]`, or with rules `[B, (1 or H,) n, n]`."""

        def make():
            g = self.graph
            seen = g.op("Unsqueeze", self.mask, g.axes(*range(1, rank - 1)))
            parts = [self._rule(rule, heads, rank) for rule in rules]
            if self.causal:
                parts.append(self._at_least(self.distance, 0))
            for part in parts:
                seen = g.op("Mul", seen, part)
            return seen

        return self.once(("visible", repr(rules), heads, rank), make)

    def _rule(self, rule, heads, rank):
        g = self.graph
        if isinstance(rule, Window):
            return g.cast(g.op("Less", g.op("Abs", self.distance), np.float32(rule.width)))
        left, right = self._at_least(self.distance, 0), self._at_least(g.op("Neg", self.distance), 0)
        if rule.side == "mixed":
            sides = [g.op("Unsqueeze", side, g.axes(0)) for side in (left, right) for _ in range(heads // 2)]
            return g.op("Concat", *sides, axis=0)
        return left if rule.side == "left" else right

    def _at_least(self, value, limit):
        return self.graph.cast(self.graph.op("GreaterOrEqual", value, np.float32(limit)))

    def count(self, visible):
        """How many keys a query sees, float32 `[B, (.,) . , 1]`."""
        g = self.graph
        return self.once(("count", visible), lambda: g.op("ReduceSum", visible, g.axes(-1), keepdims=1))

    def hidden(self, visible):
        """What is added to scores: 0 where a key is seen, −1e30 where not."""
        g = self.graph
        return self.once(
            ("hidden", visible), lambda: g.op("Mul", g.op("Sub", visible, np.float32(1)), np.float32(-MASKED))
        )

    def any(self, visible):
        """1 for a query that sees a key, else 0, float32 `[B, (.,) ., 1]`."""
        return self.once(("any", visible), lambda: self.graph.op("Min", self.count(visible), np.float32(1)))


class Weights:
    """Attention weights of one layer.

    Args:
        places: `Places`.
        layer: an attention layer of zoo, whose `options` and trained weights are meant.
        heads: int, H. rank: 4 where queries have an axis of heads, else 3.
    """

    def __init__(self, places, layer, heads, rank):
        self.graph, self.places, self.layer = places.graph, places, layer
        self.options, self.heads, self.rank = layer.options, heads, rank
        self.key_dim = layer.key_dim

    @property
    def turned(self):
        """Whether columns of queries and keys are permuted from neighbours to halves."""
        position = self.options.position
        return isinstance(position, _ROTATING) and position.pairing == "interleaved"

    def arranged(self, array):
        """The columns of a kernel, bias or scale of queries or keys as the scores want them."""
        return halves(array, self.heads) if self.turned else array

    def __call__(self, query, key):
        """float32 `[B, (H,) n, n]` of queries and keys `[B, (H,) n, s]`, and 1 for a query that sees a key, else 0."""
        g, options = self.graph, self.options
        visible = self.places.visible(options.visibility, self.heads, self.rank)
        if options.query_key_bias:
            query, key = (
                g.op("Add", x, self._trained(f"{name}_bias", per_head=True))
                for name, x in (("query", query), ("key", key))
            )
        if isinstance(options.product, KeyNorm | CosA):
            key = self._unit(key)
        if isinstance(options.product, QueryNorm | CosA):
            query = self._unit(query)
        scores = self._scores(query, key)
        factor = None
        for part in options.counting():
            factor = self._factor(part, visible) if factor is None else g.op("Mul", factor, self._factor(part, visible))
        scale = options.scale(self.key_dim)
        plus = options.normalization if isinstance(options.normalization, SoftmaxPlus) else None
        if plus:
            length = g.op("Max", self.places.count(visible), np.float32(plus.floor))
            inside = scale if options.score_bias is None else 1.0  # a bias is scaled by the length too, but not by this
            factor = self.places.once(
                ("plus", visible, plus.base, plus.floor, inside),
                lambda: g.op("Mul", g.op("Log", length), np.float32(inside / math.log(plus.base))),
            )
            scale /= inside
        if scale != 1.0:
            scores = g.op("Mul", scores, np.float32(scale))
        if factor is not None and not plus:
            scores = g.op("Mul", scores, factor)
        if options.score_bias is not None:
            scores = g.op("Add", scores, self._bias())
        if plus:
            scores = g.op("Mul", scores, factor)
        any_visible = self.places.any(visible)
        if isinstance(options.normalization, SquaredReLU):
            return self._squared_relu(scores, visible), any_visible
        return g.op("Softmax", g.op("Add", scores, self.places.hidden(visible)), axis=-1), any_visible

    # Parts

    def _trained(self, name, per_head=False):
        variable = self.layer.trained_options[name]
        array = to_numpy(variable)
        if per_head:  # [H, s] -> [H, 1, s], or [1, s] without an axis of heads
            array = self.arranged(array.reshape(-1)).reshape(array.shape)
            array = array[:, None] if self.rank == 4 else array
        return self.graph.weight(variable.path, array)

    def _unit(self, x):
        g = self.graph
        square = g.op("ReduceSum", g.op("Mul", x, x), g.axes(-1), keepdims=1)
        return g.op("Div", x, g.op("Sqrt", g.op("Add", square, np.float32(EPSILON))))

    def _factor(self, part, visible):
        """Factor of the scores from the number of keys."""
        g = self.graph
        logarithm = g.op("Log", g.op("Max", self.places.count(visible), np.float32(1)))
        if isinstance(part, CosA):
            return g.op("Mul", logarithm, np.float32(4))
        return g.op("Max", g.op("Mul", logarithm, np.float32(1 / math.log(part.train_length))), np.float32(1))

    def _product(self, query, key):
        axes = [0, 1, 3, 2] if self.rank == 4 else [0, 2, 1]
        return self.graph.op("MatMul", query, self.graph.op("Transpose", key, perm=axes))

    def _scores(self, query, key):
        position = self.options.position
        if position is None:
            return self._product(query, key)
        if isinstance(position, RelativePosition):
            return self._relative(position, query, key)
        if isinstance(position, LeakyReRoPE):
            return self._leaky(position, query, key)
        return self._product(self._rotated(position, query), self._rotated(position, key))

    def _rotated(self, rotary, x, factor=1.0, shift=0.0):
        g, half = self.graph, self.key_dim // 2
        cos, sin = self.places.angles(rotary, self.key_dim, factor, shift)
        first, second = g.op("Split", x, g.axes(half, half), axis=-1, outputs=2)
        left = g.op("Sub", g.op("Mul", first, cos), g.op("Mul", second, sin))
        right = g.op("Add", g.op("Mul", second, cos), g.op("Mul", first, sin))
        return g.op("Concat", left, right, axis=-1)

    def _leaky(self, position, query, key):
        g, rotary, slope, window = self.graph, position.rotary, position.slope, position.window
        distance, limit = self.places.distance, np.float32(window)
        far_key = self._rotated(rotary, key, factor=slope) if slope else key
        far = lambda side: self._product(
            self._rotated(rotary, query, factor=slope, shift=side * window * (1 - slope)), far_key
        )
        near = self._product(self._rotated(rotary, query), self._rotated(rotary, key))
        scores = g.op("Where", g.op("GreaterOrEqual", distance, limit), far(1), near)
        if position.causal:
            return scores
        return g.op("Where", g.op("LessOrEqual", distance, -limit), far(-1), scores)

    def _relative(self, position, query, key):
        letters = "bhns,nms->bhnm" if self.rank == 4 else "bns,nms->bnm"
        vectors = self._distance_vectors(position, self.key_dim)
        return self.graph.op(
            "Add", self._product(query, key), self.graph.op("Einsum", query, vectors, equation=letters)
        )

    def _distance_vectors(self, position, width):
        """r_ij, `[n, n, width]`."""
        g, furthest = self.graph, position.max_distance

        def make():
            # one row after the other: the table of vectors by distance is the layer's own, read off at −M .. M
            places = np.arange(-furthest, furthest + 1, dtype="int32")
            table = to_numpy_array(position.vectors(np.zeros(1, "int32"), places, width))[0]
            table = g.weight(f"relative_{furthest}_{width}", table)
            limited = g.op("Clip", g.op("Neg", self.places.distance), np.float32(-furthest), np.float32(furthest))
            rows = g.op("Cast", g.op("Add", limited, np.float32(furthest)), to=g.onnx.TensorProto.INT64)
            return g.op("Gather", table, rows)

        return self.places.once(("vectors", furthest, width), make)

    def mixed(self, weights, value, width):
        """A v, `[B, (H,) n, width]`."""
        g, position = self.graph, self.options.position
        mixed = g.op("MatMul", weights, value)
        if position is None or not position.in_values:
            return mixed
        letters = "bhnm,nme->bhne" if self.rank == 4 else "bnm,nme->bne"
        return g.op("Add", mixed, g.op("Einsum", weights, self._distance_vectors(position, width), equation=letters))

    def _bias(self):
        """Bias of the scores, `[H, n, n]` or `[n, n]`; no head axis where queries have none."""
        g, bias = self.graph, self.options.score_bias
        shape = (-1, 1, 1) if self.rank == 4 else (-1, 1)
        per_head = lambda values: g.constant(np.asarray(values, "float32").reshape(shape))
        gaps = g.op("Abs", self.places.distance)
        if isinstance(bias, ALiBi):
            slopes = bias.slopes or [2 ** (-8 * h / self.heads) for h in range(1, self.heads + 1)]
            return g.op("Mul", gaps, per_head(-np.asarray(slopes)))
        if isinstance(bias, Sandwich):
            return self._sandwich(bias)
        r1, r2 = (to_numpy(self.layer.trained_options[f"kerple_{name}"]).astype("float64") for name in ("r1", "r2"))
        strength = per_head(-np.logaddexp(r1, 0))
        if bias.kind == "logarithmic":
            growth = g.op("Log", g.op("Add", g.op("Mul", gaps, per_head(np.logaddexp(r2, 0))), np.float32(1)))
        else:
            growth = g.op("Pow", gaps, per_head(2 / (1 + np.exp(-r2))))
        return g.op("Mul", growth, strength)

    def _sandwich(self, bias):
        g = self.graph
        cos, sin = self.places.angles(bias.rotary, bias.size)
        sinusoids = g.op("Concat", cos, sin, axis=-1)
        product = g.op("MatMul", sinusoids, g.op("Transpose", sinusoids, perm=[1, 0]))
        return g.op("Mul", product, np.float32(bias.strength))

    def _squared_relu(self, scores, visible):
        g, rule = self.graph, self.options.normalization
        positive = g.op("Relu", scores)
        weights = g.op("Mul", g.op("Mul", positive, positive), visible)
        if rule.length is not None:
            return g.op("Mul", weights, np.float32(1 / float(rule.length) ** (2 if rule.squared_length else 1)))
        length = g.op("Max", self.places.count(visible), np.float32(1))
        return g.op("Div", weights, g.op("Mul", length, length) if rule.squared_length else length)


def to_numpy_array(tensor):
    """A tensor of the backend as a float32 array."""
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor), "float32")
