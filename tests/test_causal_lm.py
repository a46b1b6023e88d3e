"""Causal language models: goldens, what is learned, perplexity, presets, what is refused."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.golden_models import batch, load
from support.tiny_models import PAIRS, TEXTS, backbone, scatter_weights

import zoo
from zoo.data.corpus import PackedRows, TokenStream
from zoo.data.language_model_rows import NextTokenRows
from zoo.samplers import Beam, TopP

SOURCES = [(a, b) for a, b, _ in PAIRS]


def causal(**options):
    return scatter_weights(zoo.CausalLM(backbone("GAUAlpha", attention_mask="causal", **options)))


def test_prompts_that_nobody_can_read_are_told(model, unilm):
    for one in (model, unilm):
        with pytest.warns(UserWarning, match="1 of 2 texts hold nothing but unknown tokens, such as '♜♞'"):
            assert len(one.generate(["今天", "♜♞"], 2, end=())) == 2
        assert len(one.generate(["今天♜", ""], 2, end=())) == 2


@pytest.fixture(scope="module")
def model():
    return causal()


@pytest.fixture(scope="module")
def unilm():
    return scatter_weights(zoo.CausalLM(backbone("RoFormerV2", attention_mask="unilm", max_sequence_length=32)))


@pytest.mark.parametrize("attention_mask, key", [("causal", "out_lm"), ("unilm", "out_unilm")])
@pytest.mark.parametrize("name", ["gau_alpha", "bert"])
def test_logits_equal_bert4keras(golden, name, attention_mask, key):
    arrays, model = golden(f"{name}/golden"), load(name, "CausalLM", attention_mask=attention_mask)
    assert_close(model(batch(arrays, "l7")), arrays[f"{key}/mlm_logits/l7"], atol=2e-5)


def mean_loss(model, rows, learned):
    """Mean of −ln p over the learned tokens in float64, row by row without padding; and their number."""
    losses = []
    for (ids, segments), wanted in zip(rows, learned):
        inputs = {"token_ids": np.array([ids + [0] * (16 - len(ids))], "int32")}
        inputs["segment_ids"] = np.array([segments + [segments[-1]] * (16 - len(ids))], "int32")
        logits = model.predict_on_batch(inputs)[0].astype("float64")
        log_sum = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
        losses += [log_sum[i - 1] - logits[i - 1, ids[i]] for i in range(1, len(ids)) if wanted[i]]
    return np.mean(losses), len(losses)


def test_perplexity_of_texts(model):
    rows = [model.tokenizer.encode(text) for text in TEXTS]
    expected, tokens = mean_loss(model, rows, [[True] * len(ids) for ids, _ in rows])
    found = model.evaluate(TEXTS, batch_size=4)
    assert found["tokens"] == tokens == sum(len(ids) - 1 for ids, _ in rows)
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(expected), rel=1e-4)


def test_only_targets_count_in_a_unilm(unilm):
    rows = [unilm.tokenizer.encode(*pair) for pair in SOURCES]
    expected, tokens = mean_loss(unilm, rows, [[segment == 1 for segment in segments] for _, segments in rows])
    found = unilm.evaluate(SOURCES, batch_size=4)
    assert found["tokens"] == tokens == sum(sum(segments) for _, segments in rows)
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-5)


def test_a_cut_text_does_not_teach_its_end(model):
    short = zoo.CausalLM(model.backbone, max_length=6)
    short.tokenizer = model.tokenizer
    texts = ["今天天气不错", "我去"]
    rows = [model.tokenizer.encode(text) for text in texts]
    kept = rows[0][0][:5]  # and no separator in the place of what was cut
    expected, tokens = mean_loss(model, [(kept, [0] * 5), rows[1]], [[True] * 5, [True] * 4])
    with pytest.warns(UserWarning, match="1 of 2 records have more than max_length=6 tokens, the longest 8"):
        found = short.evaluate(texts)
    assert found["tokens"] == tokens == 4 + 3
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-5)


def test_packed_rows_leave_out_padding(model):
    tokens = model.tokenizer(TEXTS, max_length=16, pad_to=16)["token_ids"]
    assert model.evaluate(tokens)["cross_entropy"] == pytest.approx(model.evaluate(TEXTS)["cross_entropy"], rel=1e-5)


def test_training_memorises_texts_and_generates_them():
    model = zoo.CausalLM(backbone("GAUAlpha", attention_mask="causal", hidden_dim=32))
    model.compile(keras.optimizers.Adam(0.02))
    losses = model.fit(TEXTS[2:6], batch_size=4, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.5 < losses[0]
    assert losses[-1] == pytest.approx(model.evaluate(TEXTS[2:6])["cross_entropy"], abs=0.1)
    assert model.generate(["我去"], 8) == ["公园玩"]
    assert model.generate(["我去"], 8, Beam(3)) == ["公园玩"]
    assert model.generate(["人", "我去"], 8, TopP(0.3)) == ["民", "公园玩"]
    assert model.generate(["我去"], 2) == ["公园"]


def test_unilm_learns_answers():
    model = zoo.CausalLM(backbone("RoFormerV2", attention_mask="unilm", hidden_dim=32))
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(SOURCES[2:5], batch_size=4, epochs=60, verbose=0)
    known = lambda text: model.tokenizer.decode(model.tokenizer.encode(text)[0])  # one character is no token
    assert model.generate([a for a, _ in SOURCES[2:5]], 9) == [known(b) for _, b in SOURCES[2:5]]


def test_fit_on_packed_rows_and_streams():
    stream = TokenStream(np.random.default_rng(0).integers(5, 120, 400).astype("uint16"))
    rows = PackedRows(stream, 16, 2, 3, seed=1)
    texts = np.concatenate([rows.batch(i, 4)[0] for i in range(3)])[:, :-1]  # without the [SEP], which the text has not
    losses = []
    for data in (NextTokenRows(rows, 4, 3), texts):
        model = causal()
        model.compile(keras.optimizers.SGD(0.0))
        losses.append(model.fit(data, batch_size=4, verbose=0).history["loss"][0])
        losses.append(model.evaluate(texts)["cross_entropy"])
    assert np.ptp(losses) < 1e-4


def test_default_compile_trains(unilm):
    copy = zoo.CausalLM.from_config(unilm.get_config())
    copy.tokenizer = unilm.tokenizer
    before = copy.get_weights()
    copy.fit(SOURCES, batch_size=8, verbose=0)
    assert any((a != b).any() for a, b in zip(before, copy.get_weights()))


def test_preset_round_trip(model, tmp_path):
    model.save_to_preset(tmp_path / "p")
    twin = zoo.CausalLM.from_preset(tmp_path / "p")
    assert twin.get_config()["max_length"] == model.max_length == 16
    assert twin.generate(["今天"], 5) == model.generate(["今天"], 5)
    encoder = zoo.MaskedLM.from_preset(tmp_path / "p", attention_mask="bidirectional")
    assert encoder.backbone.attention_mask == "bidirectional"


def test_a_masked_lm_becomes_a_causal_one(tmp_path):
    """The head is the same; only what the tokens see differs: in one layer the last token sees as much."""
    masked = scatter_weights(zoo.MaskedLM(backbone("RoFormer", num_layers=1)))
    masked.save_to_preset(tmp_path / "p")
    model = zoo.CausalLM.from_preset(tmp_path / "p", attention_mask="causal")
    ids = np.array([[2, 7, 9, 11]], "int32")
    assert_close(model(ids)[:, -1], masked(ids)[:, -1], atol=1e-5)
    assert np.abs(keras.ops.convert_to_numpy(model(ids) - masked(ids)))[:, 0].max() > 0.01
    weights = zoo.backend.variables.weights_of(masked)
    for path, variable in zoo.backend.variables.weights_of(model).items():
        assert_close(variable, weights[path], atol=0)


def test_refusals(model, unilm):
    with pytest.raises(ValueError, match="sees the token that it has to predict; give attention_mask='causal'"):
        zoo.CausalLM(backbone())
    with pytest.raises(TypeError, match=r"prompts is the str '今天', expected a sequence of str.*\[data\]"):
        model.generate("今天", 3)
    with pytest.raises(ValueError, match=r"prompts\[1\] is \[\]; expected at least one token id, each from 0 to 119"):
        model.generate([[2], []], 3)
    for number in (0, 2.5, True):
        with pytest.raises(ValueError, match=r"generate\(max_new_tokens=.*\): expected a whole number of at least 1"):
            model.generate([[2]], number)
    for slip, meant in (
        ("greedy", r"Greedy\(\)"),
        ("beam", r"Beam\(\.\.\.\)"),
        (zoo.samplers.TopK, r"TopK\(\.\.\.\)"),
        (3, r"Greedy\(\)"),
    ):
        with pytest.raises(TypeError, match=rf"expected a sampler, such as zoo\.samplers\.{meant}"):
            model.generate([[2]], 3, slip)
    with pytest.raises(TypeError, match=r"token_to_id\('\[SEP\]'\)"):
        model.generate([[2]], 3, end="[SEP]")
    for prompts in ([None], [3], [[1.5]], [[2], "今天"], [("今天", "明天")]):
        with pytest.raises(TypeError, match=r"prompts\[.\] is .*; expected a str or a list of token ids"):
            model.generate(prompts, 3)
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        model.generate(["今天", None], 3)
    assert model.generate(np.array(["今天"], object), 3) == model.generate(["今天"], 3)
    bert = zoo.CausalLM(backbone("BERT", attention_mask="causal"))
    with pytest.raises(ValueError, match="a prompt with 16 new tokens needs 17 positions, the BERT knows 16"):
        bert.generate([[2, 3]], 16)
    assert len(bert.generate([[2, 3]], 15, end=())[0]) == 15, "of the last token nothing is computed"
    bert.tokenizer = None
    with pytest.raises(ValueError, match="CausalLM has no tokenizer"):
        bert.fit(["今天"])
    with pytest.raises(ValueError, match="x is empty"):
        model.fit([])
    rows = PackedRows(TokenStream(np.arange(5, 105, dtype="uint16")), 8, 2, 3, 0)
    for call, x in (
        ("fit", NextTokenRows(rows, 2, 1)),
        ("fit", np.ones((2, 8), "int32")),
        ("evaluate", np.ones((2, 8), int)),
    ):
        with pytest.raises(ValueError, match="packed rows for a UniLM, which learns the targets"):
            getattr(unilm, call)(x)
    with pytest.raises(ValueError, match=r"packed rows of shape \(3,\), float64; expected integers"):
        model.evaluate(np.zeros(3))
    assert model.generate([], 3) == []
