"""Time and memory of attention against the length: exact, mixed chunks (FLASH), linear, and as a recurrence.

    KERAS_BACKEND=torch python benchmarks/length/linear_time.py                 # 512 to 8,192 tokens, about 5 min
    KERAS_BACKEND=torch python benchmarks/length/linear_time.py --forms=recurrence --sizes=8192,32768

Each form and length runs in a process of its own on one thread: one sequence of width 256, prediction. Time is that of
the processor, the least of several runs, so that a busy machine disturbs it little; memory is what the first run adds
to the process at its peak (Linux). Prints a line for each with the ratio to the one before (half the length), writes
them to --out as JSON, and beside it the picture. The bar: FLASH and linear attention at most 2.3 for every doubling.
"""

import ctypes
import json
import os
import subprocess
import sys
import time

from absl import app, flags

FORMS = ["exact", "flash", "flash causal", "linear", "linear causal", "recurrence"]
SIZES = flags.DEFINE_list("sizes", ["512", "1024", "2048", "4096", "8192"], "Tokens.")
CHOSEN = flags.DEFINE_list("forms", FORMS, f"Some of {', '.join(FORMS)}.")
OUT = flags.DEFINE_string("out", "linear_time.json", "Where the numbers go; the picture gets its name with .png.")
ONLY = flags.DEFINE_string("only", None, "Measure one form at the first size, print JSON, end.")
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's mallopt
WIDTH, EXPANDED, KEY, HEADS, BLOCK = 256, 512, 128, 4, 512


def attention(form):
    """A function of a float32 tensor `[1, n, 256]`."""
    from zoo.layers import GatedAttentionUnit, LinearAttention, MixedChunkAttention, recurrent_attention

    if form == "recurrence":
        # One head, bare: what is measured are its scores and its loop.
        return lambda x: recurrent_attention(
            x[..., :64], x[..., 64:128], x[..., 128:192], None, False, None, BLOCK, BLOCK
        )
    causal = form.endswith("causal")
    if form == "exact":
        return GatedAttentionUnit(EXPANDED, KEY, position="rotary")
    if form.startswith("flash"):
        return MixedChunkAttention(EXPANDED, KEY, 256, causal, position="rotary")
    return LinearAttention(HEADS, WIDTH // HEADS, causal=causal, position="rotary")


def runner(function):
    """The same function from NumPy to the end of its computation, without gradients, compiled where that is usual."""
    import keras
    from keras import ops

    if keras.backend.backend() == "torch":
        import torch

        def eager(x):
            with torch.inference_mode():
                return function(torch.from_numpy(x))

        return eager
    from zoo.backend import compiled

    inner = compiled(function)
    return lambda x: ops.convert_to_numpy(inner(ops.convert_to_tensor(x)))


def memory(field):
    """A line of /proc/self/status in MB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def measure(form, size):
    import numpy as np

    run = runner(attention(form))
    rng = np.random.default_rng(0)
    run(rng.standard_normal((1, 16, WIDTH)).astype("float32"))  # builds, loads kernels
    x = rng.standard_normal((1, size, WIDTH)).astype("float32")
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # the peak starts again from here
    before = memory("VmRSS")
    run(x)
    grown = memory("VmHWM") - before
    # From here on freed memory is kept, as in a long-lived process: fetching large blocks anew costs as much as small
    # tensors take to compute, and would bend the curve where tensors pass the threshold.
    for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1)):
        ctypes.CDLL(None).mallopt(option, value)
    run(x)
    times, start = [], time.perf_counter()
    while len(times) < 7 or time.perf_counter() - start < 3:
        begun = time.process_time()
        run(x)
        times.append(time.process_time() - begun)
    return {"form": form, "tokens": size, "ms": 1e3 * min(times), "peak_mb": grown}


def in_own_process(form, size):
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    one["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    # glibc would keep freed blocks of up to 32 MB and hide them from the second measurement on
    one |= {"MALLOC_MMAP_THRESHOLD_": str(2**20), "MALLOC_TRIM_THRESHOLD_": str(2**20)}
    command = [sys.executable, __file__, f"--only={form}", f"--sizes={size}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **one})
    if done.returncode:
        raise RuntimeError(f"{form} at {size} tokens: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def picture(rows):
    """Time and memory on logarithmic axes, where the slope is the power of n."""
    from matplotlib.figure import Figure

    colours = dict(zip(FORMS, ("#D55E00", "#0072B2", "#56B4E9", "#009E73", "#999933", "#CC79A7")))
    figure = Figure(figsize=(8.2, 3.8), dpi=150, layout="constrained")
    for axes, key, name in zip(figure.subplots(1, 2), ("ms", "peak_mb"), ("time, ms", "memory added, MB")):
        for form in dict.fromkeys(row["form"] for row in rows):
            chosen = [row for row in rows if row["form"] == form]
            label = form if key == "ms" else None
            points = [row["tokens"] for row in chosen], [row[key] for row in chosen]
            axes.loglog(*points, "o-", color=colours[form], markersize=4, label=label)
        axes.set(xlabel="tokens", ylabel=name)
        sizes = sorted({row["tokens"] for row in rows})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E5E5", linewidth=0.7)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def main(_):
    if ONLY.value:
        print(json.dumps(measure(ONLY.value, int(SIZES.value[0]))))
        return
    print(f"backend {os.environ.get('KERAS_BACKEND', '(keras.json)')}, width {WIDTH}, one thread")
    print(f"{'form':>14} {'tokens':>7} {'ms':>9} {'ratio':>6} {'MB':>8} {'ratio':>6}")
    rows = []
    for form in CHOSEN.value:
        last = None
        for size in map(int, SIZES.value):
            row = in_own_process(form, size)
            ratios = [row[key] / last[key] if last else float("nan") for key in ("ms", "peak_mb")]
            print(
                f"{form:>14} {size:7,} {row['ms']:9.1f} {ratios[0]:6.2f} {row['peak_mb']:8.1f} {ratios[1]:6.2f}",
                flush=True,
            )
            last = row
            rows.append(row)
    with open(OUT.value, "w") as file:
        json.dump(rows, file, indent=1)
    picture(rows).savefig(os.path.splitext(OUT.value)[0] + ".png")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    app.run(main)
