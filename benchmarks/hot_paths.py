"""Each hot path beside its two floors: operations over the measured matmul rate, bytes over the measured bandwidth.

    KERAS_BACKEND=torch python benchmarks/hot_paths.py                           # float32 and mixed_bfloat16
    KERAS_BACKEND=jax python benchmarks/hot_paths.py --dtypes=float32 --out=benchmarks/hot_paths.json

Parts of RoFormerV2-small and of a GAU of the same width on 32 rows of 64 tokens, as `predict_on_batch` and as a whole
training step (forward, gradients of weights and input, SGD of both), on as many cores of a CPU as the backend takes. The
floor is the larger of the two. Operations of a step are three times those of the forward: a product has two gradients.
Bytes are those that even one fused kernel moves: inputs, weights and outputs once each, and in a step the updates of
inputs and weights; of an embedding table only the rows that occur. Medians beside the fastest runs of product and sum;
what is below its floor shows a mistake in the measurement and is said. The last line is the share of tokenization in
`encode`. An idle machine.
"""

import concurrent.futures
import os
import statistics
import sys
import time

import numpy as np
from absl import flags
from recipe import FAQ
from records import made_on, merge

import zoo

DTYPES = flags.DEFINE_list("dtypes", ["float32", "mixed_bfloat16"], "Dtype policies.")
RUNS = flags.DEFINE_integer("runs", 15, "Runs of each part.")
OUT = flags.DEFINE_string("out", None, "JSON file that gets the rows of this backend beside those of others.")
B, N, D, HEADS, INNER, V = 32, 64, 384, 6, 1536, 12000
EXPANDED, KEY = 768, 128  # of the GAU
T = B * N  # tokens


def parts(dtype):
    """(name, layer, inputs, operations of a forward pass)"""
    from zoo import layers

    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, N, D)).astype("float32")
    heads = rng.normal(size=(B, N, HEADS, D // HEADS)).astype("float32")
    ids = rng.integers(0, V, (B, N)).astype("int32")
    policy = {"dtype": dtype}
    attention = {"num_heads": HEADS, "head_dim": D // HEADS, "position": "rotary", "use_bias": False}
    scores = 2 * B * HEADS * N * N * (D // HEADS) * 2
    yield "projection, bias and GELU", layers.Dense(INNER, "gelu", **policy), x, 2 * T * D * INNER
    yield "rotary embedding", layers.RotaryEmbedding(**policy), heads, 6 * T * D
    yield "layer norm", layers.LayerNorm(**policy), x, 8 * T * D
    yield "RMS norm", layers.RMSNorm(**policy), x, 4 * T * D
    yield "token embedding", layers.TokenEmbedding(V, D, **policy), ids, 0
    yield "multi-head attention", layers.MultiHeadAttention(**attention, **policy), x, 2 * T * 4 * D * D + scores
    yield "feed-forward", layers.FeedForward(INNER, use_bias=False, **policy), x, 4 * T * D * INNER
    yield (
        "gated attention unit",
        layers.GatedAttentionUnit(EXPANDED, KEY, position="rotary", use_bias=False, **policy),
        x,
        2 * T * D * (3 * EXPANDED + KEY) + 2 * B * N * N * (KEY + EXPANDED),
    )
    backbone = zoo.RoFormerV2(V, 6, HEADS, D, INNER, **policy)
    yield "RoFormerV2-small", backbone, {"token_ids": ids}, 6 * (2 * T * (4 * D * D + 2 * D * INNER) + scores)


def times(function):
    """Seconds of each of the runs."""
    for _ in range(3):
        function()
    seconds = []
    for _ in range(RUNS.value):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def matmul_rate(dtype):
    """Operations a second of a matrix product, the fastest run: a floor is made of what the machine can do."""
    import keras
    from keras import ops

    from zoo.backend import affine, compiled

    compute = keras.DTypePolicy(dtype).compute_dtype
    a, b = (ops.cast(keras.random.normal((2048, 2048), seed=i), compute) for i in (0, 1))
    product = compiled(lambda a, b: affine(a, b, None))  # that of projections, which may be faster than ops.matmul
    return 2 * 2048**3 / min(times(lambda: float(product(a, b)[0, 0])))


def bandwidth():
    """Bytes a second of a sum into an array that is there already, on all cores, the fastest run.

    The arrays are as large as those of a part, since those too lie in a cache from one run to the next; a fresh result
    would measure how fast the system hands out pages.
    """
    rng, cores, sums = np.random.default_rng(0), os.cpu_count(), 8
    a, b, out = (rng.normal(size=T * D).astype("float32") for _ in range(3))
    shares = [slice(i * T * D // cores, (i + 1) * T * D // cores) for i in range(cores)]

    def add(share):
        for _ in range(sums):  # so that waking a thread does not count
            np.add(a[share], b[share], out=out[share])

    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        seconds = min(times(lambda: list(pool.map(add, shares))))
    return sums * (a.nbytes + b.nbytes + out.nbytes) / seconds


def moved(layer, x, outputs):
    """Bytes that a forward pass and a step have to read and write; `outputs` is their number."""
    activation, weight = (4 if name == "float32" else 2 for name in (layer.compute_dtype, layer.variable_dtype))
    weights = layer.count_params()
    if isinstance(x, dict) or x.dtype == "int32":
        ids = x["token_ids"] if isinstance(x, dict) else x
        weights -= (V - np.unique(ids).size) * D
        read = updated = ids.nbytes  # ids have no update, but a step reads them for forward and table
    else:
        read, updated = activation * x.size, 2 * activation * x.size
    return read + weight * weights + activation * outputs, updated + 2 * weight * weights + activation * outputs


def measured(layer, x):
    """Seconds of a prediction and of a training step, and the bytes that each has to move."""
    import keras
    from keras import ops

    class Held(keras.layers.Layer):
        """The input as a weight: like the output of an earlier part, it gets a gradient."""

        def build(self, shape):
            self.value = self.add_weight(x.shape, initializer=lambda shape, dtype: ops.cast(x, dtype))

        def call(self, batch):
            return ops.convert_to_tensor(self.value)

    model = layer
    if not isinstance(layer, keras.Model):
        inputs = keras.Input(x.shape[1:], batch_size=B, dtype=str(x.dtype))
        model = keras.Model(inputs, layer(inputs))
    trained, given = model, x
    if not isinstance(x, dict) and x.dtype == "float32":
        batch, given = keras.Input((1,), batch_size=B), np.zeros((B, 1), "float32")
        trained = keras.Model(batch, layer(Held(dtype=layer.compute_dtype)(batch)))
    predict = statistics.median(times(lambda: model.predict_on_batch(x)))
    # A gradient with numbers of its own: that of a mean is one number, which a compiler may carry through the products.
    y = np.random.default_rng(1).normal(size=model.predict_on_batch(x).shape).astype("float32")
    trained.compile(keras.optimizers.SGD(1e-6), lambda y, outputs: ops.mean(y * ops.cast(outputs, "float32")))
    step = statistics.median(times(lambda: trained.train_on_batch(given, y)))
    return (predict, step), moved(layer, x, y.size)


def tokenization():
    """Share of tokenization in encoding the bundled questions with the bundled preset."""
    pairs = zoo.data.read_pairs(os.path.join(FAQ, "train.tsv"))
    texts = pairs.text_a + pairs.text_b
    matcher = zoo.RepresentationMatcher.from_preset("roformer_v2_tiny_zh", dtype="mixed_bfloat16")
    return statistics.median(times(lambda: matcher.tokenize(texts))) / statistics.median(
        times(lambda: matcher.encode(texts, verbose=0))
    )


def main(_):
    import keras

    backend, rows, below = keras.backend.backend(), [], []
    made = made_on()
    print(f"{made['processor']}, {made['cores']} cores, {backend}")
    bytes_per_s = bandwidth()
    for dtype in DTYPES.value:
        rates = {"gflop_per_s": matmul_rate(dtype) / 1e9, "gb_per_s": bytes_per_s / 1e9}
        print(f"{dtype}: {rates['gflop_per_s']:.0f} GFLOP/s, {rates['gb_per_s']:.1f} GB/s")
        for name, layer, x, operations in parts(dtype):
            row = {"backend": backend, "dtype": dtype, "part": name, **made, **rates}
            shown = []
            for kind, factor, seconds, size in zip(("forward", "step"), (1, 3), *measured(layer, x)):
                floor = max(factor * operations / rates["gflop_per_s"], size / rates["gb_per_s"]) / 1e6
                over = 1e3 * seconds / floor
                row |= {f"{kind}_floor_ms": floor, f"{kind}_ms": 1e3 * seconds, f"{kind}_over_floor": over}
                shown.append(f"{kind} {1e3 * seconds:8.2f} ms, {over:5.1f} times its floor of {floor:7.2f} ms")
                if over < 1:
                    shown.append("BELOW ITS FLOOR")
                    below.append(f"{name} {dtype} {kind}: {over:.2f}")
            rows.append(row)
            print(f"{name:>26}: {', '.join(shown)}", flush=True)
    print(f"tokenization: {tokenization():.1%} of encode")
    if OUT.value:
        merge(OUT.value, rows, ("backend", "dtype"))
    if below:
        print("BELOW THEIR FLOORS, so that these floors are none:", *below, sep="\n    ", file=sys.stderr)


if __name__ == "__main__":
    zoo.command_line.run(main)
