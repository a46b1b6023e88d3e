"""Time and memory of CoSENT, loss and gradient, on the current backend.

    KERAS_BACKEND=jax python benchmarks/cosent_loss.py                # batches of 64 to 65,536 pairs
    KERAS_BACKEND=torch python benchmarks/cosent_loss.py --peer       # beside the matrix of all pairs

Prints a line a batch size: milliseconds (median of 20 runs after 3, compiled; torch runs eagerly) and the
growth of the process's peak memory over the smallest batch, each size in a process of its own. `--peer` adds
the form that writes the B x B matrix down, as the original does, up to --peer_limit, and where it is installed the
sorted form of sentence-transformers, on torch whatever the backend here.
"""

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from absl import app, flags

SIZES = flags.DEFINE_list("sizes", ["64", "256", "1024", "4096", "16384", "65536"], "Pairs in a batch.")
PEER = flags.DEFINE_bool("peer", False, "Also the form that makes a B x B matrix.")
PEER_LIMIT = flags.DEFINE_integer("peer_limit", 8192, "Largest batch of that form; 8,192 pairs take some GB.")
LEVELS = flags.DEFINE_integer("levels", 6, "Label levels in the batch.")
ONLY = flags.DEFINE_string(
    "only", None, "Measure one form, 'zoo', 'matrix' or 'peer', at the first size, print JSON, end."
)


def all_pairs(labels, scores):
    """CoSENT as it is usually written."""
    from keras import ops

    scores = 20.0 * scores
    differences = scores[None, :] - scores[:, None]  # [B, B]
    ordered = labels[:, None] > labels[None, :]
    terms = ops.reshape(ops.where(ordered, differences, -1e12), (-1,))
    return ops.logsumexp(ops.concatenate([ops.zeros((1,)), terms]))


def sentence_transformers_step():
    """The same of sentence-transformers' own loss, given scores in the place of embeddings."""
    import torch
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    loss = CoSENTLoss(None, similarity_fct=lambda scores, _: scores)

    def eager(labels, scores):
        scores = torch.tensor(scores, requires_grad=True)
        loss.compute_loss_from_embeddings([scores, scores], torch.tensor(labels)).backward()
        return scores.grad

    return eager


def step(loss):
    """A function of NumPy labels and scores that computes the loss and its gradient to the end, compiled."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        compiled = jax.jit(jax.value_and_grad(loss, argnums=1))
        return lambda labels, scores: jax.block_until_ready(compiled(labels, scores))
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def compiled(labels, scores):
            with tf.GradientTape() as tape:
                tape.watch(scores)
                value = loss(labels, scores)
            return value, tape.gradient(value, scores)

        return lambda labels, scores: compiled(tf.constant(labels), tf.constant(scores))[1].numpy()
    import torch

    def eager(labels, scores):
        scores = torch.tensor(scores, requires_grad=True)
        loss(torch.tensor(labels), scores).backward()
        return scores.grad

    return eager


def measure(form, size):
    import numpy as np

    from zoo.losses import CoSENT

    run = sentence_transformers_step() if form == "peer" else step(CoSENT() if form == "zoo" else all_pairs)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, LEVELS.value, size).astype("int32")
    scores = rng.uniform(-1, 1, size).astype("float32")
    start = time.perf_counter()
    run(labels, scores)
    first = time.perf_counter() - start
    times = []
    for _ in range(22):
        start = time.perf_counter()
        run(labels, scores)
        times.append(time.perf_counter() - start)
    return {
        "ms": 1e3 * statistics.median(times[2:]),
        "first_s": first,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_own_process(form, size):
    command = [sys.executable, __file__, f"--only={form}", f"--sizes={size}", f"--levels={LEVELS.value}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(_):
    if ONLY.value:
        print(json.dumps(measure(ONLY.value, int(SIZES.value[0]))))
        return
    installed = importlib.util.find_spec("sentence_transformers") is not None
    forms = ["zoo", "matrix", *["peer"] * installed] if PEER.value else ["zoo"]
    print(f"backend {os.environ.get('KERAS_BACKEND', '(keras.json)')}, {LEVELS.value} label levels")
    print(f"{'pairs':>8} {'form':>7} {'ms':>9} {'peak +MB':>9} {'first s':>8}")
    floor = {}
    for size in map(int, SIZES.value):
        for form in forms:
            if form == "matrix" and size > PEER_LIMIT.value:
                continue
            seen = in_own_process(form, size)
            grown = seen["peak_mb"] - floor.setdefault(form, seen["peak_mb"])
            print(f"{size:8,} {form:>7} {seen['ms']:9.2f} {grown:9.1f} {seen['first_s']:8.2f}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    app.run(main)
