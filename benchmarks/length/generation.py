"""Generation with and without a cache: time of every new token, and the ratio at each length.

    KERAS_BACKEND=torch python benchmarks/length/generation.py          # 128 and 512 tokens, 1 and 8 prompts, a minute

A fresh GAU language model (12 units of width 384) and a fresh transformer of the same size continue prompts of 16 tokens
greedily. Without a cache each new token costs a call of the whole model on all tokens so far, its output layer on the
last one alone: timed at 16 places spread evenly over the text, the new token compared with that of the cache. Where
shapes are compiled (JAX) the input is padded to the final length, since a shape for each length would cost seconds.

Two floors bound the ratio. Without a cache a token costs 2 P n operations, n half the length, for P weights; with one it
reads P weights once for all prompts, and the keys and values of each. For one prompt on two cores (170 GFLOP/s, 20 GB/s)
that is 38 and 4 ms at 512 tokens, so 10 is the most that can be had; with 8 prompts it is four times that.
Times are by the clock, medians, after a run that compiles: run it on a machine that does nothing else.
"""

import json
import statistics
import time

import numpy as np
from absl import app, flags

LENGTHS = flags.DEFINE_list("lengths", ["128", "512"], "New tokens.")
BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Prompts at a time.")
RUNS = flags.DEFINE_integer("runs", 3, "Runs with a cache.")
OUT = flags.DEFINE_string("out", "generation.json", "Where the numbers go.")
PROMPT, PLACES = 16, 16
SIZES = {"vocabulary_size": 8000, "hidden_dim": 384, "max_sequence_length": 128, "attention_mask": "causal"}


def models():
    """Name -> language model."""
    import zoo

    yield "GAU", zoo.CausalLM(zoo.GAUAlpha(num_layers=12, expanded_dim=768, **SIZES))
    yield (
        "transformer",
        zoo.CausalLM(zoo.RoFormerV2(num_layers=6, num_heads=6, intermediate_dim=1536, **SIZES)),
    )


def with_cache(model, prompts, count):
    """Seconds a token, the median of some runs, and the texts int `[B, PROMPT + count]`."""
    times = []
    for _ in range(2 + RUNS.value):  # torch runs a shape once before it traces it
        start = time.perf_counter()
        new = model.generate(prompts.tolist(), count, end=())
        times.append((time.perf_counter() - start) / count)
    return statistics.median(times[2:]), np.concatenate([prompts, np.array(new)], axis=1)


def without_cache(model, texts):
    """Seconds a token, the mean over `PLACES` lengths, and the share of tokens that are those of the texts."""
    from keras import ops

    from zoo.backend import compiles_each_shape

    fixed = compiles_each_shape(model)

    def next_tokens(place):
        seen = np.where(np.arange(texts.shape[1]) < place, texts, 0) if fixed else texts[:, :place]
        hidden_states = model.backbone.predict_on_batch({"token_ids": seen.astype("int32")})
        last = ops.convert_to_tensor(hidden_states[:, place - 1 : place])
        logits = ops.convert_to_numpy(ops.stop_gradient(model.token_logits(model.backbone, last)))
        return logits[:, 0].argmax(axis=-1)

    times, same = [], []
    for place in np.linspace(PROMPT, texts.shape[1] - 1, PLACES).astype(int):
        next_tokens(place)
        start = time.perf_counter()
        found = next_tokens(place)
        times.append(time.perf_counter() - start)
        same.append(np.mean(found == texts[:, place]))
    return statistics.mean(times), float(np.mean(same))


def main(_):
    import keras

    keras.utils.set_random_seed(1)
    rows = []
    for name, model in models():
        for batch in map(int, BATCHES.value):
            prompts = np.random.default_rng(0).integers(5, SIZES["vocabulary_size"], (batch, PROMPT))
            for length in map(int, LENGTHS.value):
                cached, texts = with_cache(model, prompts, length)
                uncached, same = without_cache(model, texts)
                rows.append(
                    {"backend": keras.backend.backend(), "model": name, "parameters": model.count_params(),
                     "prompts": batch, "tokens": length, "cached_ms": 1e3 * cached, "uncached_ms": 1e3 * uncached,
                     "ratio": uncached / cached, "same_tokens": same}
                )  # fmt: skip
                print(
                    f"{name:>12}, {batch} prompts, {length:4} tokens: {1e3 * cached:7.2f} ms a token with a cache, "
                    f"{1e3 * uncached:8.2f} without: {uncached / cached:5.1f} times as fast, {same:.1%} the same tokens",
                    flush=True,
                )
    with open(OUT.value, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    app.run(main)
