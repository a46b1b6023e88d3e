"""What a bundled preset costs its user: megabytes, seconds to load, sentences a second.

    KERAS_BACKEND=torch python benchmarks/preset_speed.py
    KERAS_BACKEND=torch python benchmarks/preset_speed.py --texts=sentences.txt --dtype=float32

--texts: one text a line, default the bundled questions. Loading is from_preset after the imports, encoding the whole call
from strings to vectors; medians of alternating runs. Wants an idle machine. LCQMC's dev texts, torch, two cores of an AMD
EPYC, 22 November 2026 (as a script, which keeps the memory it frees; without that 8 % fewer of gau_alpha_mini_zh):

    torch, mixed_bfloat16: 7,624 texts of 13 characters
    gau_alpha_mini_zh                9.7 MB  load  0.18 s    1,612 sentences/s
    roformer_v2_mini_zh              9.4 MB  load  0.17 s    1,952 sentences/s
    roformer_v2_mini_zh_matching     9.4 MB  load  0.17 s    1,906 sentences/s
    roformer_v2_tiny_zh              2.4 MB  load  0.06 s    5,243 sentences/s
"""

import os
import statistics
import time

import keras
from absl import flags
from recipe import FAQ

import zoo

TEXTS = flags.DEFINE_string("texts", None, "File of texts.")
DTYPE = flags.DEFINE_string("dtype", "mixed_bfloat16", "Dtype policy.")
RUNS = flags.DEFINE_integer("runs", 5, "Runs of each preset.")


def texts():
    """Distinct texts, in the order of the file."""
    if TEXTS.value:
        with open(TEXTS.value, encoding="utf-8") as file:
            return list(dict.fromkeys(line.strip() for line in file if line.strip()))
    pairs = zoo.data.read_pairs(os.path.join(FAQ, "train.tsv"))
    return list(dict.fromkeys([*pairs.text_a, *pairs.text_b]))


def seconds(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main(_):
    sentences = texts()
    length = statistics.mean(map(len, sentences))
    print(f"{keras.backend.backend()}, {DTYPE.value}: {len(sentences):,} texts of {length:.0f} characters")
    load = lambda name: zoo.RepresentationMatcher.from_preset(name, dtype=DTYPE.value)
    names = [p.name for p in zoo.presets() if p.on_disk and not p.name.endswith("_interaction")]
    times = {name: {"load": [], "encode": []} for name in names}
    for run in range(RUNS.value + 1):
        for name in names:
            loading, matcher = seconds(lambda name=name: load(name))
            encoding, _ = seconds(lambda matcher=matcher: matcher.encode(sentences, verbose=0))
            if run:  # the first compiles
                times[name]["load"].append(loading)
                times[name]["encode"].append(encoding)
    for name in names:
        folder = zoo.formats.catalogue.bundled_folder(name)
        size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder)) / 1e6
        rate = len(sentences) / statistics.median(times[name]["encode"])
        print(
            f"{name:30s} {size:5.1f} MB  load {statistics.median(times[name]['load']):5.2f} s  {rate:7,.0f} sentences/s"
        )


if __name__ == "__main__":
    zoo.command_line.run(main)
