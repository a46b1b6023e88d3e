"""What the SHA-256 of every file adds to loading a preset, in processor time: the bundled preset, and one of 103 MB.

    KERAS_BACKEND=torch python benchmarks/preset_loading.py

Torch, one thread of a shared 2-core machine, 22 November 2026 (processor time is not stretched by the other processes):

    roformer_v2_tiny_zh      2.4 MB   load  118 ms   of which SHA-256   1.3 ms    1.1 %
    12 layers of width 384 103.4 MB   load 1122 ms   of which SHA-256  57.8 ms    5.1 %
"""

import hashlib
import pathlib
import tempfile
import time

from absl import app

import zoo
from zoo.formats.catalogue import bundled_folder

REPEATS = 5


def least_seconds(function):
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def row(name, folder):
    contents = [path.read_bytes() for path in pathlib.Path(folder).iterdir()]
    load = least_seconds(lambda: zoo.RoFormerV2.from_preset(folder))
    sha256 = least_seconds(lambda: [hashlib.sha256(content).hexdigest() for content in contents])
    print(
        f"{name:22s} {sum(map(len, contents)) / 1e6:5.1f} MB   load {1000 * load:4.0f} ms   of which SHA-256 "
        f"{1000 * sha256:5.1f} ms   {100 * sha256 / load:4.1f} %"
    )


def main(_):
    row("roformer_v2_tiny_zh", bundled_folder("roformer_v2_tiny_zh"))
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"num_layers": 12, "num_heads": 6, "hidden_dim": 384, "intermediate_dim": 1536}
        zoo.RoFormerV2(vocabulary_size=12000, **sizes).save_to_preset(folder)
        row("12 layers of width 384", folder)


if __name__ == "__main__":
    app.run(main)
