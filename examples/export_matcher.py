"""A matcher as one ONNX file: written from the bundled preset, used without Keras, its scores beside the model's.

    python examples/export_matcher.py --folder=my_export [--format=openvino] [--quantize=int8]

The folder is all that a program without Keras needs: `zoo.runtime.load("my_export")`.
"""

import pathlib
import tempfile

from absl import flags

import zoo
from zoo import command_line

PAIRS = [
    ("怎么修改登录密码", "登录密码怎么修改"),
    ("怎么修改登录密码", "忘记密码了怎么办"),
    ("订单什么时候发货", "什么时候能发货"),
    ("订单什么时候发货", "怎么申请退款"),
    ("可以开发票吗", "能不能开具发票"),
]

flags.DEFINE_string("preset", "roformer_v2_mini_zh_matching", "Name or folder of a matcher's preset.")
flags.DEFINE_string("folder", None, "Where the export goes; without one it is thrown away.")
flags.DEFINE_enum("format", "onnx", ["onnx", "openvino", "sentence_transformers"], "What is written.")
flags.DEFINE_enum("quantize", None, ["int8"], "A quarter of the size; a graph of float32 without it.")


def main(argv):
    options = flags.FLAGS
    with tempfile.TemporaryDirectory() as place:
        show(options.preset, options.folder or place, options.format, options.quantize)


def show(preset, folder, format, quantize):
    """Export a matcher and print what model and export say of `PAIRS`."""
    matcher = zoo.RepresentationMatcher.from_preset(preset)
    report = matcher.export(folder, format=format, quantize=quantize)
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>12,}  {path.relative_to(folder)}")
    print(f"\nlargest difference on {report['canaries']} canaries: {report['largest_difference']:.1e}")
    print(f"least cosine: {report['least_cosine']:.6f}\n")

    exported = zoo.runtime.load(folder)  # in a process of its own: NumPy, tokenizers and onnxruntime, no Keras
    rows = zip(PAIRS, matcher.score(PAIRS), exported.score(PAIRS), exported.classify(PAIRS))
    print("  model   export  match")
    for (a, b), of_model, of_export, decision in rows:
        print(f"{of_model:7.4f}  {of_export:7.4f}  {'yes' if decision else 'no ':3}  {a} | {b}")


if __name__ == "__main__":
    command_line.run(main)
