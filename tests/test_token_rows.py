"""`TokenRows`: rows without padding, from padded arrays of bounded size; texts that nobody can read."""

import numpy as np
import pytest
from support.tiny_models import PAIRS, TEXTS, matcher, tokenizer

import zoo
from zoo.text.token_rows import TokenRows


@pytest.mark.parametrize("paired", [False, True])
def test_rows_are_the_tokenizers_whatever_the_chunks(monkeypatch, paired):
    """Each row by itself is the oracle; a long text among short ones makes no large array."""
    monkeypatch.setattr("zoo.text.token_rows._PLACES", 40)
    tok, sizes = tokenizer(), []
    texts = [*TEXTS, "天" * 30, "", *TEXTS[::-1]]
    pairs = texts[3:] + texts[:3] if paired else None

    class Watched:
        def __getattr__(self, name):
            return getattr(tok, name)

        def __call__(self, *args, **kwargs):
            batch = tok(*args, **kwargs)
            sizes.append(batch["token_ids"].shape)
            return batch

    rows = TokenRows(Watched(), texts, pairs, max_length=20, segment_ids="pair")
    assert all(count == 1 or count * width <= 40 for count, width in sizes) and len(sizes) > 5
    for row, text in enumerate(texts):
        ids, segments = tok.encode(text, pairs[row] if paired else None, max_length=20)
        batch = rows.batch(np.array([row]), len(ids))
        assert batch["token_ids"][0].tolist() == ids and batch["segment_ids"][0].tolist() == segments
        whole = len(tok.encode(text, pairs[row] if paired else None)[0])
        assert rows.lengths[row] == len(ids) and rows.cut[row] == (whole > 20)


def test_texts_of_unknown_tokens_alone_are_counted():
    tok = tokenizer()
    texts = ["今天", "สวัสดี", "", " ", "\u200b", "☃", "☃今"]
    assert TokenRows(tok, texts).unreadable.tolist() == [False, True, False, False, True, True, False]
    pairs = TokenRows(tok, ["今天", "☃", "今天", ""], ["天气", "今天", "♞", "今天"])
    assert pairs.unreadable.tolist() == [False, True, True, False]
    assert TokenRows(tok, []).unreadable.tolist() == []


def test_they_are_warned_of_once_a_call():
    model = matcher()
    model.compile(jit_compile=False)
    pairs = [("สวัสดี", "ขอบคุณ"), ("☃", "今天")]
    labelled = [(*pair, label) for pair, label in zip(pairs, (1, 0))]
    for call in (
        lambda: model.score(pairs),
        lambda: model.encode([text for pair in pairs for text in pair]),
        lambda: model.fit(labelled, validation_data=labelled, epochs=2, verbose=0),
    ):
        with pytest.warns(UserWarning, match=r"3 of 4 texts hold nothing but unknown tokens, such as 'สวัสดี'") as said:
            call()
        assert [str(one.message) for one in said if "unknown tokens" in str(one.message)] == [str(said[0].message)]
    language_model = zoo.CausalLM(
        model.backbone.__class__.from_config({**model.backbone.get_config(), "attention_mask": "causal"})
    )
    language_model.tokenizer = tokenizer()
    with pytest.warns(UserWarning, match="1 of 2 texts hold nothing but unknown tokens"):
        language_model.evaluate(["☃", PAIRS[0][0]], verbose=0)
