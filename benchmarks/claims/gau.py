"""Claims row: GAU-α against RoFormerV2 with as many parameters: quality, speed, memory.

    KERAS_BACKEND=torch python benchmarks/claims/gau.py --data=matching --tokens=run/tokens.npz \\
        --preset=roformer_v2_mini_zh --gau_preset=gau_alpha_mini_zh

Quality is ρ after fine-tuning with CoSENT and the masked loss of the presets on held-out text. Speed and memory are those
of training steps on --batch_tokens tokens in rows of 64 to 512, each in a process of its own; run them alone.
"""

import json
import os
import subprocess
import sys
import time

import keras
import numpy as np
from absl import flags
from claim import Claim, run
from training import of_each_set, percent, representation, trained

import zoo
from zoo.data import MaskedRows, PackedRows, load_corpus

F = flags.FLAGS
flags.DEFINE_string(
    "gau_preset", "gau_alpha_mini_zh", "Name or folder of the pretrained GAU-α; --preset is RoFormerV2."
)
flags.DEFINE_string("tokens", None, "tokens.npz of examples/pretrain_mlm.py, for the held-out loss.")
flags.DEFINE_integer("test_steps", 100, "Batches of 64 rows of held-out text.")
flags.DEFINE_integer("batch_tokens", 8192, "Tokens of a batch whose speed is measured.")
flags.DEFINE_integer("timed_steps", 10, "Steps timed, of which the median counts.")
flags.DEFINE_string("probe", None, "Internal: PRESET,LENGTH to measure in this process.")
LENGTHS = (64, 128, 256, 512)


def masked_loss(preset):
    """Cross entropy of single masked tokens of the held-out text."""
    model = zoo.MaskedLM.from_preset(preset, dtype=F.dtype, masked_positions=True)
    vocabulary, _, heldout = load_corpus(F.tokens)
    tokenizer = zoo.Tokenizer(vocabulary)
    packed = PackedRows(heldout, 128, tokenizer.cls_token_id, tokenizer.sep_token_id, 2)
    model.compile(loss=zoo.losses.TokenCrossEntropy())
    return model.evaluate(MaskedRows(packed, tokenizer, 64, F.test_steps, 2), verbose=0)


def probe(preset, length):
    """Milliseconds of a training step, and by how many MB it is above the memory between steps (Linux)."""
    matcher = zoo.RepresentationMatcher.from_preset(preset, dtype=F.dtype, max_sequence_length=length)
    matcher.compile(keras.optimizers.AdamW(1e-5), zoo.losses.CoSENT())
    rows = max(2, F.batch_tokens // length // 2)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, matcher.backbone.vocabulary_size, (rows, 2, length)).astype("int32")
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones(ids.shape, bool)}
    labels = rng.integers(0, 2, rows).astype("float32")
    float(matcher.train_on_batch(inputs, labels))  # the optimizer's slots, and what is compiled
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak begins anew: of a child process it would be at least its parent's size
    before = memory("VmRSS")
    seconds = []
    for _ in range(F.timed_steps + 1):  # one more to warm up
        start = time.perf_counter()
        float(matcher.train_on_batch(inputs, labels))
        seconds.append(time.perf_counter() - start)
    return {"ms": 1000 * float(np.median(seconds[1:])), "MB": memory("VmHWM") - before}


def memory(field):
    """MB of this process by Linux's account: VmRSS is what it holds, VmHWM the most it held."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(f"{field}:"))


def numbers_of(flag):
    def numbers(seed):
        preset = F[flag].value
        result = {"parameters": zoo.Backbone.from_preset(preset).count_params()}
        result |= {"held-out loss": masked_loss(preset)} if F.tokens else {}
        result |= of_each_set(
            lambda name, train, dev: {
                "ρ": percent(trained(representation(preset), train, seed).evaluate(dev, verbose=0), "spearman")
            }
        )
        for length in LENGTHS:
            measured = json.loads(
                subprocess.run(
                    [sys.executable, os.path.abspath(__file__), *sys.argv[1:], f"--probe={preset},{length}"],
                    check=True, stdout=subprocess.PIPE, text=True,
                ).stdout.splitlines()[-1]
            )  # fmt: skip
            result |= {f"{unit}, {length}": value for unit, value in measured.items()}
        return result

    return numbers


def holds(s):
    a, b = "GAU-α", "RoFormerV2"
    quality = s.beats(a, b, "mean ρ") and s.mean(a, "held-out loss") < s.mean(b, "held-out loss")
    return quality and all(s.mean(a, f"{unit}, 512") < s.mean(b, f"{unit}, 512") for unit in ("ms", "MB"))


if __name__ == "__main__":
    if given := [argument for argument in sys.argv if argument.startswith("--probe=")]:
        F(sys.argv)
        preset, _, length = F.probe.rpartition(",")
        print(json.dumps(probe(preset, int(length))))
        sys.exit()
    run(
        Claim(
            text="With as many parameters, GAU-α is better than RoFormerV2 (most of CLUE), faster, and needs less memory for "
            "long inputs.",
            url="https://kexue.fm/archives/9052",
            criterion="GAU-α's mean ρ is above by more than the joint standard deviation, its held-out loss is lower, and at "
            "512 tokens it is faster and needs less memory.",
            holds=holds,
            variants={"RoFormerV2": numbers_of("preset"), "GAU-α": numbers_of("gau_preset")},
            unit="",
            pictured=["held-out loss", "mean ρ", "ms, 64", "ms, 512", "MB, 64", "MB, 512"],
        )
    )
