"""Texts on which an export is compared with its model, and outputs of both."""

import numpy as np

TEXTS = (
    "",
    "a",
    "怎么修改登录密码？",
    "忘记密码了怎么办",
    "今天天气很好，我们去公园玩吧。",
    "How do I reset my password?",
    "A man is playing a guitar.",
    "THE QUICK BROWN FOX jumps over the lazy dog, 3.14 times!",
    "Ünïcödé, naïve café, Ångström",
    "ΣΊΣΥΦΟΣ και Σίσυφος ΑΣ.",
    "北京大学的学生 like to play 足球 and 篮球",
    "Привет, как дела?",
    "한국어 문장입니다.",
    "日本語の文章です。テスト、テスト！",
    "مرحبا بالعالم",
    "price: $9.99 (-10%) <tag> & more",
    "👨‍👩‍👧 emoji 🎉 and ️variation",
    "tab\there\nnew line\u3000wide\u200bzero",
    "\ue000private\ufffdreplacement",
    "x" * 300,
    "word " * 120,
    "长文本" * 200,
)
PAIRS = tuple(zip(TEXTS, TEXTS[1:] + TEXTS[:1]))
_SHAPES = ((1, 2), (1, 7), (3, 12), (2, 31))


def token_arrays(vocabulary_size, num_segments, longest):
    """Batches for a backbone without a tokenizer: ids, segments and masks, padded on the right and inside."""
    rng = np.random.default_rng(0)
    batches = []
    for rows, length in _SHAPES:
        shape = (rows, min(length, longest))
        mask = rng.random(shape) < 0.8
        mask[:, 0] = True
        batches.append(
            {
                "token_ids": rng.integers(0, vocabulary_size, shape).tolist(),
                "segment_ids": rng.integers(0, max(num_segments, 1), shape).tolist(),
                "padding_mask": mask.tolist(),
            }
        )
    return batches
