"""What each special case of a backend is worth: whole jobs with it and without it, in turns.

    KERAS_BACKEND=torch python benchmarks/ablation.py                        # every case and job, float32 and bfloat16
    KERAS_BACKEND=jax python benchmarks/ablation.py --jobs=train --cases=projections --store

A case is one entry of `cases`: a name, the jobs that run through it, and what takes its place. The library has no
switches: a function of `zoo.backend` is replaced by the plain one where it is called. The case "nothing" replaces
nothing and shows the error of the measurement. Every case has a model of its own, so that what is compiled is compiled
with it; in each turn every case runs right after the library as it is. The table gives the median over the turns of
(time without) / (time with). An idle machine.

Jobs: `train`, two steps of fine-tuning RoFormerV2-small as a matcher ("cls" pooling, 32 pairs a step, batches as `fit`
makes them); `encode`, 400 texts by a BERT of MiniLM's shape; `language_model`, two steps of RoFormerV2-small as a
`CausalLM` on 16 rows of 64; `generate`, 32 new tokens after one prompt.
"""

import contextlib
import ctypes
import functools
import os
import statistics
import sys
import time
from unittest import mock

import numpy as np
from absl import app, flags
from records import made_on, merge, write

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))
import small  # noqa: E402  (peers/, which is no package)

DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "bfloat16 is mixed_bfloat16 where something is trained.")
JOBS = flags.DEFINE_list("jobs", ["train", "encode", "language_model", "generate"], "Which jobs.")
CASES = flags.DEFINE_list("cases", None, "Which cases; all by default.")
TURNS = flags.DEFINE_integer("turns", 5, "Turns.")
STORE = flags.DEFINE_bool("store", False, "Write ablation.json and ablation.md.")

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = ("backend", "dtype", "job", "case", "processor")


def cases():
    """(name, jobs, what is replaced: (object, attribute, replacement) or a context)."""
    import keras
    from keras import ops

    import zoo
    from zoo.layers import dense, dropout, embedding, norm, rotary
    from zoo.tasks import text_task

    def product(x, kernel, bias):
        y = ops.matmul(x, kernel)
        return y if bias is None else ops.add(y, bias)

    def rotate_pairs(x, cos, sin):
        even, odd = x[..., 0::2], x[..., 1::2]
        return ops.reshape(ops.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1), ops.shape(x))

    def layer_norm(x, gamma, beta, epsilon):
        wide = ops.cast(x, "float32")
        wide = wide - ops.mean(wide, axis=-1, keepdims=True)
        normal = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
        return ops.cast(normal * ops.cast(gamma, "float32") + ops.cast(beta, "float32"), x.dtype)

    def plain_dropout(x, rate, noise_shape, seed):
        return keras.random.dropout(x, rate, noise_shape=noise_shape, seed=seed)

    blocks_have = zoo.Backbone.blocks_have
    all_tokens = lambda self, name: name != "first" and blocks_have(self, name)
    every = ("train", "encode", "language_model", "generate")
    yield "nothing", every, []
    yield "projections", every, [(dense, "affine", product), (embedding, "affine", product)]
    yield "dropout", ("train",), [(dropout, "dropout", plain_dropout)]
    yield "layer norm", ("encode",), [(norm, "layer_norm", layer_norm)]
    yield "rotation", ("train",), [(rotary, "rotate_pairs", rotate_pairs)]
    yield "padding left out", ("train", "encode"), [(text_task, "padding_is_left_out", lambda *_: False)]
    yield "first token alone", ("train",), [(zoo.Backbone, "blocks_have", all_tokens)]
    yield "fused Adam", ("train",), [(text_task, "FusedAdamW", keras.optimizers.AdamW)]
    yield "batches in threads", ("encode",), [(text_task, "concurrently", map)]
    if keras.backend.backend() == "torch":
        from zoo.generation import decoding

        def plain_step(function, variables):
            import torch

            return torch.no_grad()(function)

        yield "traced step", ("generate",), [(decoding, "compiled_step", plain_step)]
        yield "freed memory kept", ("train", "language_model"), freed_memory_given_back


def is_there(replaced):
    """Whether the backend has something of its own for a case: the plain form is that of `zoo.backend.default`."""
    found = [getattr(place, name) for place, name, _ in replaced] if isinstance(replaced, list) else []
    return not found or any(getattr(one, "__module__", None) != "zoo.backend.default" for one in found)


@contextlib.contextmanager
def freed_memory_given_back():
    """glibc's limits for a process that has freed a large array: 32 MB, and twice as much at the end of the heap."""
    from zoo.backend import keep_freed_memory

    library = ctypes.CDLL(None)
    library.mallopt(-3, 2**25)
    library.mallopt(-1, 2**26)
    library.malloc_trim(0)
    try:
        yield
    finally:
        keep_freed_memory()


@contextlib.contextmanager
def without(replaced):
    """Within, a case is switched off."""
    with contextlib.ExitStack() as stack:
        if isinstance(replaced, list):
            for place in replaced:
                stack.enter_context(mock.patch.object(*place))
        else:
            stack.enter_context(replaced())
        yield


def lengths(count):
    """Tokens of short texts, 5 to 64, half of them up to 16; each two in turn of about the same length, as in pairs."""
    rng = np.random.default_rng(0)
    pairs = np.repeat(rng.lognormal(np.log(16), 0.45, count // 2), 2)
    return (pairs * rng.lognormal(0, 0.15, count)).clip(5, 64).astype(int)


def tokenizer(size=12000):
    import zoo

    return zoo.Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"t{i}" for i in range(size - 5)])


def texts(count):
    rng = np.random.default_rng(1)
    return [" ".join(f"t{i}" for i in rng.integers(0, 11000, length - 2)) for length in lengths(count)]


def train(dtype):
    import zoo
    from zoo.data import BatchPlan

    backbone = zoo.RoFormerV2(**small.arguments(), dtype=dtype)
    matcher = zoo.RepresentationMatcher(backbone, tokenizer(), pooling="cls", max_length=64)
    matcher.compile()
    lines = texts(1280)
    encoded, rows = matcher.encode_records(zoo.data.as_pairs(list(zip(lines[::2], lines[1::2], [0, 1] * 320))))
    plan = list(BatchPlan(encoded.lengths[rows], 32, matcher.buckets, last="pad")(0))[:2]
    batches = [(encoded.batch(rows[batch.indices], batch.length), np.arange(len(batch)) % 2) for batch in plan]
    return lambda: [matcher.train_on_batch(x, y.astype("float32")) for x, y in batches]


def encode(dtype):
    import zoo

    backbone = zoo.BERT(12000, 6, 12, 384, 1536, dtype=dtype.removeprefix("mixed_"))
    matcher, lines = zoo.RepresentationMatcher(backbone, tokenizer(), max_length=64), texts(400)
    return lambda: matcher.encode(lines, verbose=0)


def language_model(dtype, attention_mask="causal"):
    import zoo

    model = zoo.CausalLM(zoo.RoFormerV2(**small.arguments(), attention_mask=attention_mask, dtype=dtype))
    model.compile()
    token_ids, _ = small.batch(16)
    inputs, weights = {"token_ids": token_ids}, (token_ids != 0).astype("float32")
    return lambda: [model.train_on_batch(inputs, token_ids, sample_weight=weights) for _ in range(2)]


def generate(dtype):
    import zoo

    backbone = zoo.RoFormerV2(**small.arguments(), attention_mask="causal", dtype=dtype.removeprefix("mixed_"))
    backbone.tokenizer = tokenizer()
    model = zoo.CausalLM(backbone)
    return lambda: model.generate(["t1 t2 t3"], max_new_tokens=32)


def measure(job, dtype):
    """Rows of the table for one job."""
    import keras

    policy = f"mixed_{dtype}" if dtype != "float32" else dtype
    runs = []
    for name, jobs, replaced in cases():
        wanted = CASES.value is None or name in CASES.value or name == "nothing"
        if job in jobs and wanted and is_there(replaced):
            keras.utils.set_random_seed(0)
            off = functools.partial(without, replaced)
            with off():
                run = globals()[job](policy)
                for _ in range(2):
                    run()
            runs.append((name, off, run))
    plain = runs[0][2]  # of "nothing"
    turns = {name: [] for name, *_ in runs}
    for turn in range(TURNS.value):
        for name, off, run in runs[:: 1 if turn % 2 else -1]:
            on = seconds(plain)
            with off():
                turns[name].append((seconds(run), on))
    for name, *_ in runs:
        ratios = [off / on for off, on in turns[name]]
        median = statistics.median(on for _, on in turns["nothing"])
        yield {
            "backend": keras.backend.backend(), "dtype": dtype, "job": job, "case": name,
            "seconds": round(median, 3), "ratio": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3), "most": round(max(ratios), 3), **made_on(),
        }  # fmt: skip


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def table(rows):
    lines = [
        "`benchmarks/ablation.py`: time of a whole job without a special case over the time with it, median of the turns",
        '(least and most in brackets). "nothing" is the error of the measurement. Of cases that were dropped the rows stay.',
        "",
        "| processor | backend | dtype | job, seconds | case | without / with | note |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: tuple(row[key] for key in ("processor", "backend", "dtype", "job"))):
        job = f"{row['job']}, {row['seconds']:.2f}"
        ratio = f"{row['ratio']:.2f}" + (f" ({row['least']:.2f} to {row['most']:.2f})" if "least" in row else "")
        place = f"{row['processor']}, {row['cores']} cores, {row['date']}"
        cells = (place, row["backend"], row["dtype"], job, row["case"], ratio, row.get("note", ""))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(_):
    import keras

    from zoo.backend import keep_freed_memory

    keep_freed_memory()
    rows = []
    for dtype in DTYPES.value:
        for job in JOBS.value:
            for row in measure(job, dtype):
                print(f"{row['backend']} {dtype} {job} {row['case']}: {row['ratio']} of {row['seconds']} s", flush=True)
                rows.append(row)
            if STORE.value:
                write(f"{HERE}/ablation.md", table(merge(f"{HERE}/ablation.json", rows, KEYS)))
            keras.backend.clear_session()


if __name__ == "__main__":
    app.run(main)
