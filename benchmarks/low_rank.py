"""Training step and optimizer bytes of LowRank, beside full Adam and Keras' own LoRA layers, on RoFormerV2-small.

    KERAS_BACKEND=torch python benchmarks/low_rank.py                      # 32 rows of 64 tokens, rank 8
    KERAS_BACKEND=jax python benchmarks/low_rank.py --dtype=mixed_bfloat16 --out=benchmarks/low_rank.json

Each way is a process of its own with a model of random weights; the ways take turns, --rounds times, and a turn is
--steps steps. Prints medians over the turns and the ratios to full Adam within the same round; `--out` keeps them, and a
table of all that it keeps beside it (.md).
"""

import json
import os
import statistics
import subprocess
import sys
import time

from absl import app, flags
from records import made_on, merge, write

ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each way.")
STEPS = flags.DEFINE_integer("steps", 5, "Steps of a turn.")
BATCH = flags.DEFINE_integer("batch", 32, "Rows of a batch.")
LENGTH = flags.DEFINE_integer("length", 64, "Tokens of a row.")
LAYERS = flags.DEFINE_integer("layers", 6, "Layers; 6 in RoFormerV2-small.")
RANK = flags.DEFINE_integer("rank", 8, "r.")
DTYPE = flags.DEFINE_string("dtype", "float32", "Dtype policy.")
JIT = flags.DEFINE_enum("jit", "auto", ["auto", "true", "false"], "jit_compile of compile().")
WAYS = flags.DEFINE_list("ways", ["adam", "low_rank", "low_rank_frozen", "lora_layers"], "What to measure, Adam first.")
OUT = flags.DEFINE_string("out", None, "JSON file that gets the numbers beside those of other backends and flags.")
SETTING = (DTYPE, JIT, RANK, LAYERS, BATCH, LENGTH)  # what makes numbers another row
ONLY = flags.DEFINE_string("only", None, "Be the process of one way: a turn for each line of input, JSON for answer.")


def compiled(way):
    """A matching model with its optimizer: CoSENT over the cosines of pairs of rows."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    backbone = zoo.RoFormerV2(
        vocabulary_size=12000,
        num_layers=LAYERS.value,
        num_heads=6,
        hidden_dim=384,
        intermediate_dim=1536,
        max_sequence_length=512,
        dtype=DTYPE.value,
    )
    model = zoo.RepresentationMatcher(backbone, tokenizer=None)
    optimizer = keras.optimizers.Adam(1e-4)
    if way.startswith("low_rank"):
        optimizer = zoo.optimizers.LowRank(optimizer, rank=RANK.value)
    if way == "low_rank_frozen":
        zoo.freeze(backbone, "(?<!kernel)$")
    if way == "lora_layers":
        zoo.freeze(backbone, "")
        for layer in backbone._flatten_layers():
            if isinstance(layer, keras.layers.Dense):
                layer.enable_lora(RANK.value)
    model.compile(optimizer, zoo.losses.CoSENT(), jit_compile={"auto": "auto", "true": True, "false": False}[JIT.value])
    return model


def answer(way):
    """One line of JSON, then one for each line read: seconds a step."""
    import keras
    import numpy as np

    model = compiled(way)
    rng = np.random.default_rng(0)
    shape = (BATCH.value // 2, 2, LENGTH.value)
    inputs = {
        "token_ids": rng.integers(5, 12000, shape).astype("int32"),
        "segment_ids": np.zeros(shape, "int32"),
        "padding_mask": np.ones(shape, bool),
    }
    labels = rng.integers(0, 2, shape[0]).astype("float32")
    for _ in range(2):
        model.train_on_batch(inputs, labels)
    trained = model.optimizer.variables
    bytes_ = sum(int(np.prod(v.shape)) * np.dtype(str(v.dtype).removeprefix("torch.")).itemsize for v in trained)
    print(json.dumps({"backend": keras.backend.backend(), "optimizer_bytes": bytes_}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(STEPS.value):
            float(model.train_on_batch(inputs, labels))
        print(json.dumps((time.perf_counter() - start) / STEPS.value), flush=True)


def started(way):
    flags_ = [f"--{f.name}={f.value}" for f in (STEPS, *SETTING)]
    process = subprocess.Popen(
        [sys.executable, __file__, f"--only={way}", *flags_],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, told(process, way)


def told(process, way):
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the process of {way!r} ended with code {process.wait()}; its error is above")
    return json.loads(line)


def main(_):
    if ONLY.value:
        answer(ONLY.value)
        return
    processes, seen = {}, {}
    for way in WAYS.value:
        processes[way], seen[way] = started(way)
        seen[way]["seconds"] = []
    for _ in range(ROUNDS.value):
        for way, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            seen[way]["seconds"].append(told(process, way))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    first = seen[WAYS.value[0]]
    print(f"backend {first['backend']}, {DTYPE.value}, jit {JIT.value}, rank {RANK.value}")
    print(f"{'way':>16} {'ms a step':>10} {'ratio':>7} {'optimizer MiB':>14} {'ratio':>7}")
    for way, numbers in seen.items():
        ratios = [a / b for a, b in zip(numbers["seconds"], first["seconds"])]
        numbers["ms_per_step"] = 1e3 * statistics.median(numbers["seconds"])
        numbers["step_ratio"] = statistics.median(ratios)
        numbers["bytes_ratio"] = numbers["optimizer_bytes"] / first["optimizer_bytes"]
        print(
            f"{way:>16} {numbers['ms_per_step']:10.1f} {numbers['step_ratio']:7.3f} "
            f"{numbers['optimizer_bytes'] / 2**20:14.2f} {numbers['bytes_ratio']:7.4f}"
        )
    if OUT.value:
        made = made_on()
        setting = {"backend": first["backend"], **{f.name: f.value for f in SETTING}}
        rows = [{**setting, **made, "way": way, **numbers} for way, numbers in seen.items()]
        write(os.path.splitext(OUT.value)[0] + ".md", table(merge(OUT.value, rows, tuple(setting))))


def table(rows):
    """Markdown of all that is stored."""
    lines = ["`benchmarks/low_rank.py`: RoFormerV2-small, or as many layers of it; ratios are to the first way.", ""]
    lines += [
        "| backend, dtype, jit | rank | layers | rows x tokens | way | ms a step | ratio | optimizer MiB | ratio | day |"
    ]
    lines += ["| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |"]
    for row in rows:
        lines.append(
            f"| {row['backend']}, {row['dtype']}, {row['jit']} | {row['rank']} | {row['layers']} | {row['batch']} x "
            f"{row['length']} | {row['way']} | {row['ms_per_step']:.1f} | {row['step_ratio']:.3f} | "
            f"{row['optimizer_bytes'] / 2**20:.2f} | {row['bytes_ratio']:.2%} | {row['date']}, {row['cores']} cores of "
            f"{row['processor']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    app.run(main)
