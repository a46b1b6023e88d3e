"""Each hot path beside its two floors: operations over the measured matmul rate, bytes over the measured bandwidth.

    KERAS_BACKEND=torch python benchmarks/hot_paths.py                           # float32 and mixed_bfloat16
    KERAS_BACKEND=jax python benchmarks/hot_paths.py --dtypes=float32 --out=benchmarks/hot_paths.json

Parts of RoFormerV2-small and of a GAU of the same width on 32 rows of 64 tokens, as `predict_on_batch` and as a whole
training step (forward, both gradients, SGD), on as many cores as the backend takes. The floor of a part is the larger of
its two; a step is taken as three times the forward. Bytes are those of inputs, outputs and weights, each once: what lies
between is what fusing would save. The last line is the share of tokenization in `encode`. Medians; an idle machine.
"""

import json
import os
import statistics
import time

import numpy as np
from absl import app, flags
from records import processor

DTYPES = flags.DEFINE_list("dtypes", ["float32", "mixed_bfloat16"], "Dtype policies.")
RUNS = flags.DEFINE_integer("runs", 15, "Runs of each part.")
OUT = flags.DEFINE_string("out", None, "JSON file that gets the rows of this backend beside those of others.")
B, N, D, HEADS, INNER, V = 32, 64, 384, 6, 1536, 12000
EXPANDED, KEY = 768, 128  # of the GAU
T = B * N  # tokens


def parts(dtype):
    """Name -> (layer, inputs, operations, numbers read and written) of a forward pass."""
    import zoo
    from zoo import layers

    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, N, D)).astype("float32")
    heads = rng.normal(size=(B, N, HEADS, D // HEADS)).astype("float32")
    ids = rng.integers(0, V, (B, N)).astype("int32")
    policy = {"dtype": dtype}
    attention = {"num_heads": HEADS, "head_dim": D // HEADS, "position": "rotary", "use_bias": False}
    scores = 2 * B * HEADS * N * N * (D // HEADS) * 2
    yield "projection, bias and GELU", layers.Dense(INNER, "gelu", **policy), x, 2 * T * D * INNER, T * (D + INNER)
    yield "rotary embedding", layers.RotaryEmbedding(**policy), heads, 6 * T * D, 2 * T * D
    yield "layer norm", layers.LayerNorm(**policy), x, 8 * T * D, 2 * T * D
    yield "RMS norm", layers.RMSNorm(**policy), x, 4 * T * D, 2 * T * D
    yield "token embedding", layers.TokenEmbedding(V, D, **policy), ids, 0, 2 * T * D + V * D
    yield (
        "multi-head attention",
        layers.MultiHeadAttention(**attention, **policy),
        x,
        2 * T * 4 * D * D + scores,
        2 * T * D + 4 * D * D,
    )
    yield (
        "feed-forward",
        layers.FeedForward(INNER, use_bias=False, **policy),
        x,
        4 * T * D * INNER,
        2 * T * D + 2 * D * INNER,
    )
    yield (
        "gated attention unit",
        layers.GatedAttentionUnit(EXPANDED, KEY, position="rotary", use_bias=False, **policy),
        x,
        2 * T * D * (3 * EXPANDED + KEY) + 2 * B * N * N * (KEY + EXPANDED),
        2 * T * D + D * (3 * EXPANDED + KEY),
    )
    backbone = zoo.RoFormerV2(V, 6, HEADS, D, INNER, **policy)
    whole = 6 * (2 * T * (4 * D * D + 2 * D * INNER) + scores)
    yield "RoFormerV2-small", backbone, {"token_ids": ids}, whole, 2 * T * D + V * D + 6 * (4 * D * D + 2 * D * INNER)


def median(function):
    for _ in range(3):
        function()
    times = []
    for _ in range(RUNS.value):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rates(dtype):
    """Operations a second of a matrix product, bytes a second of a sum of two arrays too large for the caches."""
    import keras
    from keras import ops

    from zoo.backend import compiled

    compute = keras.DTypePolicy(dtype).compute_dtype
    a, b = (ops.cast(keras.random.normal((2048, 2048), seed=i), compute) for i in (0, 1))
    product = compiled(ops.matmul)
    large = keras.random.normal((1 << 25,), seed=0)
    add = compiled(ops.add)
    seconds = median(lambda: ops.convert_to_numpy(product(a, b)[0, 0]))
    return 2 * 2048**3 / seconds, 3 * 4 * (1 << 25) / median(lambda: ops.convert_to_numpy(add(large, large)[0]))


def measured(layer, x):
    """Seconds of a prediction and of a training step."""
    import keras
    from keras import ops

    model = layer
    if not isinstance(layer, keras.Model):
        inputs = keras.Input(x.shape[1:], dtype=str(x.dtype))
        model = keras.Model(inputs, layer(inputs))
    predict = median(lambda: model.predict_on_batch(x))
    if not model.trainable_weights:
        return predict, None
    y = np.zeros((B, 1), "float32")
    model.compile(keras.optimizers.SGD(1e-6), lambda labels, outputs: ops.mean(ops.cast(outputs, "float32")))
    return predict, median(lambda: model.train_on_batch(x, y))


def tokenization():
    """Share of tokenization in encoding the bundled questions with the bundled preset."""
    import zoo

    faq = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples", "data", "faq_zh")
    pairs = zoo.data.read_pairs(os.path.join(faq, "train.tsv"))
    texts = pairs.text_a + pairs.text_b
    matcher = zoo.RepresentationMatcher.from_preset("roformer_v2_tiny_zh", dtype="mixed_bfloat16")
    return median(lambda: matcher.tokens_of(texts)) / median(lambda: matcher.encode(texts, verbose=0))


def main(_):
    import keras

    backend, rows = keras.backend.backend(), []
    print(f"{processor()}, {os.cpu_count()} cores, {backend}")
    for dtype in DTYPES.value:
        flops, bandwidth = rates(dtype)
        print(f"{dtype}: {flops / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s")
        size = np.dtype("float32").itemsize if dtype == "float32" else 2
        for name, layer, x, operations, numbers in parts(dtype):
            floor = max(operations / flops, size * numbers / bandwidth)
            predict, step = measured(layer, x)
            rows.append(
                {"backend": backend, "dtype": dtype, "part": name, "floor_ms": 1e3 * floor, "forward_ms": 1e3 * predict,
                 "step_ms": None if step is None else 1e3 * step, "forward_over_floor": predict / floor,
                 "step_over_floor": None if step is None else step / (3 * floor)}
            )  # fmt: skip
            training = "" if step is None else f", step {1e3 * step:8.2f} ms, {step / (3 * floor):5.1f} times its floor"
            print(
                f"{name:>26}: floor {1e3 * floor:7.2f} ms, forward {1e3 * predict:7.2f} ms, "
                f"{predict / floor:5.1f} times{training}",
                flush=True,
            )
    print(f"tokenization: {tokenization():.1%} of encode")
    if OUT.value:
        known = {"rows": []}
        if os.path.exists(OUT.value):
            with open(OUT.value, encoding="utf-8") as file:
                known = json.load(file)
        others = [
            row for row in known["rows"] if (row["backend"], row["dtype"]) not in {(backend, d) for d in DTYPES.value}
        ]
        with open(OUT.value, "w", encoding="utf-8") as file:
            json.dump({"processor": processor(), "rows": others + rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    app.run(main)
