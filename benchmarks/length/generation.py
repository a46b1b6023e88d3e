"""Generation with and without a cache: time of every new token, and the ratio at each length.

    KERAS_BACKEND=torch python benchmarks/length/generation.py                  # 128, 256 and 512 tokens, some minutes

A fresh GAU language model (12 units of width 384) and a fresh transformer of the same size continue a prompt of 16 tokens
greedily. Without a cache each new token costs a call of the whole model on all tokens so far, its output layer on the
last one alone; where shapes are compiled (JAX) the input is padded to the final length, since a shape for each length
would cost seconds. Time is by the clock, the median of several runs after one that compiles: run it on a machine that
does nothing else. The bar: with a cache at least 10 times as fast at 512 tokens. Writes --out as JSON.
"""

import json
import statistics
import time
from functools import partial

import numpy as np
from absl import app, flags

LENGTHS = flags.DEFINE_list("lengths", ["128", "256", "512"], "New tokens.")
RUNS = flags.DEFINE_integer("runs", 3, "Runs with a cache; half as many, at least one, without.")
BATCH = flags.DEFINE_integer("batch", 1, "Prompts at a time.")
OUT = flags.DEFINE_string("out", "generation.json", "Where the numbers go.")
PROMPT = 16
SIZES = {"vocabulary_size": 8000, "hidden_dim": 384, "max_sequence_length": 128, "attention_mask": "causal"}


def models():
    """Name -> language model."""
    import zoo

    yield "GAU", zoo.CausalLM(zoo.GAUAlpha(num_layers=12, expanded_dim=768, **SIZES))
    yield (
        "transformer",
        zoo.CausalLM(zoo.RoFormerV2(num_layers=6, num_heads=6, intermediate_dim=1536, **SIZES)),
    )


def without_cache(model):
    """A function that generates as `CausalLM.generate` does, computing everything anew for each token."""
    from keras import ops

    from zoo.backend import compiles_each_shape

    fixed = compiles_each_shape(model)

    def generate(prompts, count):
        rows = np.zeros((len(prompts), PROMPT + count), "int32")
        rows[:, :PROMPT] = prompts
        for place in range(PROMPT, PROMPT + count):
            seen = rows if fixed else rows[:, :place]
            hidden_states = model.backbone.predict_on_batch({"token_ids": seen})
            last = ops.convert_to_tensor(hidden_states[:, place - 1 : place])
            logits = ops.convert_to_numpy(ops.stop_gradient(model.token_logits(model.backbone, last)))
            rows[:, place] = logits[:, 0].argmax(axis=-1)
        return rows[:, PROMPT:].tolist()

    return generate


def seconds(function, runs):
    """Median time of some runs after one that compiles, and what the last run gave."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def main(_):
    import keras

    keras.utils.set_random_seed(1)
    prompts = np.random.default_rng(0).integers(5, SIZES["vocabulary_size"], (BATCH.value, PROMPT)).tolist()
    rows = []
    for name, model in models():
        plain = without_cache(model)
        for length in map(int, LENGTHS.value):
            cached, new = seconds(partial(model.generate, prompts, length, end=()), RUNS.value)
            uncached, same = seconds(partial(plain, prompts, length), max(1, RUNS.value // 2))
            rows.append(
                {"backend": keras.backend.backend(), "model": name, "parameters": model.count_params(), "tokens": length,
                 "cached_ms": 1e3 * cached / length, "uncached_ms": 1e3 * uncached / length, "ratio": uncached / cached,
                 "same_tokens": float(np.mean(np.array(new) == np.array(same)))}
            )  # fmt: skip
            print(
                f"{name:>12} {length:5} tokens: {rows[-1]['cached_ms']:8.2f} ms a token with a cache, "
                f"{rows[-1]['uncached_ms']:8.2f} without: {rows[-1]['ratio']:6.1f} times as fast, "
                f"{rows[-1]['same_tokens']:.1%} of the tokens the same",
                flush=True,
            )
    with open(OUT.value, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    app.run(main)
