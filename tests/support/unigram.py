"""A small Unigram tokenizer.json as XLM-R's kin has it, and the best segmentation by dynamic programming in Python."""

import json
import pathlib

import numpy as np

CHARSMAP = json.loads((pathlib.Path(__file__).parents[1] / "goldens/unigram_charsmap.json").read_text("utf-8"))[
    "charsmap"
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = (
    "▁ ▁今天 今天 天气 ▁天气 很好 好 今 天 气 很 密码 ▁密码 码 密 "
    "▁how ▁ho how w ▁the the ▁pass pass word ▁change er < / > s m2 é ？ , ."
).split()
LETTERS = "abcdefghijklmnopqrstuvwxyzABC0123456789"
TEXTS = [
    "今天天气很好", "密码怎么change？", "how  to change the password", "", " ", "  今天 天气 ", "ＡＢＣ １２", "㎡ 3㎡",
    "cafe\u0301", "天\t气\n好",
    "the the  the", "x\u3000y", "龘龘今天龘", "😀 pass", "a" * 300, "▁今天", "\ufffd今", "\u200b天气",
]  # fmt: skip


def content(normalizer="charsmap", mask="<mask>", separators=2, segment=0, seed=0):
    """The content of a tokenizer.json with random log probabilities; the mask is an added token behind the pieces."""
    rng = np.random.default_rng(seed)
    pieces = [[token, 0.0] for token in SPECIAL]
    pieces += [
        [piece, -float(score)]
        for piece, score in zip(dict.fromkeys([*WORDS, *LETTERS]), rng.uniform(2, 9, 99), strict=False)
    ]
    normalizers = {
        "charsmap": {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
        "nfkc": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Nmt"},
                {"type": "NFKC"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        None: None,
    }
    special = lambda token, segment=0: {"SpecialToken": {"id": token, "type_id": segment}}  # noqa: E731
    text = lambda name, segment=0: {"Sequence": {"id": name, "type_id": segment}}  # noqa: E731
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [*enumerate(SPECIAL), *([(len(pieces), mask)] if mask else [])]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": token, **flags} for index, token in added],
        "normalizer": normalizers[normalizer],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("<s>"), text("A"), special("</s>")],
            "pair": [
                special("<s>"),
                text("A"),
                *[special("</s>")] * separators,
                text("B", segment),
                special("</s>", segment),
            ],
            "special_tokens": {
                token: {"id": token, "ids": [index], "tokens": [token]} for index, token in ((0, "<s>"), (2, "</s>"))
            },
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": False},
    }


def best_pieces(word, pieces):
    """Ids of the most probable segmentation of a word; an unknown character costs 10 more than the least probable piece."""
    scores = {piece: (score, index) for index, (piece, score) in enumerate(pieces) if piece not in SPECIAL}
    unknown = min(score for _, score in pieces) - 10
    best = [(0.0, ())]
    for end in range(1, len(word) + 1):
        options = []
        for start in range(end):
            if word[start:end] in scores:
                score, index = scores[word[start:end]]
                options.append((best[start][0] + score, (*best[start][1], index)))
        options.append((best[end - 1][0] + unknown, (*best[end - 1][1], 3)))
        best.append(max(options, key=lambda option: option[0]))
    ids = best[-1][1]
    return [
        one for place, one in enumerate(ids) if one != 3 or place == 0 or ids[place - 1] != 3
    ]  # unknown ones are joined
