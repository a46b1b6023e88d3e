"""Words that the bundled masked-LM heads can never predict, and the time that it takes to know.

KERAS_BACKEND=torch python benchmarks/unargmaxable.py [--presets=...]
"""

import time

from absl import app, flags

import zoo
from zoo.analysis import unargmaxable

F = flags.FLAGS
flags.DEFINE_list("presets", "roformer_v2_tiny_zh,roformer_v2_mini_zh,gau_alpha_mini_zh", "Names or folders.")


def main(_):
    for name in F.presets:
        head = zoo.MaskedLM.from_preset(name)
        start = time.perf_counter()
        report = unargmaxable(head, verbose=1)
        print(f"{name}: {report}, {time.perf_counter() - start:.0f} s")
        words = [head.backbone.tokenizer.id_to_token(int(i)) for i in report.unargmaxable[:20]]
        print("never predicted:", " ".join(words) or "none")


if __name__ == "__main__":
    app.run(main)
