"""Write golden.json of a bundled preset: texts, their ids, and embeddings or scores, which every backend must give.

KERAS_BACKEND=torch python benchmarks/preset_golden.py --preset=roformer_v2_tiny_zh
"""

import itertools
import json
import os

from absl import app, flags
from recipe import matcher_of

from zoo.formats.catalogue import bundled_folder

F = flags.FLAGS
flags.DEFINE_string("preset", None, "Name of a bundled preset; without it nothing is written.")
TEXTS = [
    "怎么修改登录密码？",
    "密码忘了如何找回",
    "今天天气很好，我们去公园玩。",
    "iPhone 15 多少钱",
    "快递三天了还没到！！！",
    "",
    "我想把话费从这个号转到另一个号，" * 8,
]


def main(_):
    if F.preset is None:  # `make bench` runs every file here
        return print("preset_golden: no --preset, nothing is written")
    matcher = matcher_of(F.preset, dtype="float32")
    task = type(matcher).__name__
    golden = {
        "task": task,
        "pooling": matcher.pooling,
        "texts": TEXTS,
        "token_ids": [matcher.tokenizer.encode(text, max_length=matcher.max_length)[0] for text in TEXTS],
    }
    if task == "InteractionMatcher":
        golden["scores"] = [round(float(x), 6) for x in matcher.score(list(itertools.pairwise(TEXTS)))]
    else:
        golden["embeddings"] = [[round(float(x), 6) for x in row] for row in matcher.encode(TEXTS)]
    path = os.path.join(bundled_folder(F.preset), "golden.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False)
    print(f"{path}: {os.path.getsize(path):,} bytes")


if __name__ == "__main__":
    app.run(main)
