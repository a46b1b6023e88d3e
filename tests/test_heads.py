"""Heads of the pretrained checkpoints: masked LM and next sentence."""

import json

import keras
import numpy as np
import pytest
from conftest import GOLDENS
from support.arrays import assert_close
from support.golden_models import TINY, TOKEN_IDS, batch, load, numpy, tiny

import zoo
from zoo.backend.variables import weights_of
from zoo.formats.families import by_layer
from zoo.formats.tensorflow.checkpoint import TFCheckpoint
from zoo.store import Folder

WITH_HEAD = ("roformer_v2_mlm", "gau_alpha", "roformer", "bert")


@pytest.fixture(scope="module")
def masked_lm():
    loaded = {}
    return lambda name: loaded[name] if name in loaded else loaded.setdefault(name, load(name, "MaskedLM"))


@pytest.mark.parametrize("case", ["l7", "l12", "odd"])
@pytest.mark.parametrize("name", WITH_HEAD)
def test_logits_equal_bert4keras(golden, masked_lm, name, case):
    arrays, model = golden(f"{name}/golden"), masked_lm(name)
    assert_close(model(batch(arrays, case)), arrays[f"out64/{case}/mlm_logits"], atol=2e-5)


@pytest.mark.parametrize("attention_mask, key", [("causal", "out_lm"), ("unilm", "out_unilm")])
@pytest.mark.parametrize("name", WITH_HEAD)
def test_language_models_equal_bert4keras(golden, name, attention_mask, key):
    arrays, model = golden(f"{name}/golden"), load(name, "MaskedLM", attention_mask=attention_mask)
    for case in ("l7", "odd"):
        assert_close(model(batch(arrays, case)), arrays[f"{key}/mlm_logits/{case}"], atol=2e-5)


@pytest.mark.parametrize("name", ["roformer_v2_mlm", "bert"])
def test_compiled_logits_equal_bert4keras(golden, name):
    arrays, model = golden(f"{name}/golden"), load(name, "MaskedLM", attention_mask="unilm")
    model.compile(jit_compile=keras.backend.backend() != "torch")
    out = model.predict(batch(arrays, "l12"), verbose=0)
    assert_close(out, arrays["out_unilm/mlm_logits/l12"], atol=2e-5)


@pytest.mark.parametrize("case", ["l7", "l16", "odd"])
def test_next_sentence_equals_bert4keras(golden, case):
    arrays = golden("bert/golden")
    model = load("bert", "NextSentence")
    logits = model(batch(arrays, case))
    assert_close(keras.ops.softmax(logits), arrays[f"out64/{case}/nsp_proba"], atol=2e-5)
    assert_close(model.pooled(batch(arrays, case)), arrays[f"out64/{case}/pooler"], atol=2e-5)


def test_roformer_pooler_equals_bert4keras(golden):
    """Its checkpoint has a pooler but no next-sentence head: the pooler is loaded into a head built by hand."""
    arrays = golden("roformer/golden")
    model = zoo.NextSentence(load("roformer"))
    checkpoint = TFCheckpoint(Folder(str(GOLDENS / "roformer")))
    for weight in ("kernel", "bias"):
        weights_of(model)[f"pooler/{weight}"].assign(np.asarray(checkpoint[f"bert/pooler/dense/{weight}"]))
    assert_close(model.pooled(batch(arrays, "l7")), arrays["out64/l7/pooler"], atol=2e-5)


@pytest.mark.parametrize("name", ["roformer_v2_mlm", "bert"])
def test_kept_tokens_are_the_rows_of_the_logits(golden, name):
    """Cutting the vocabulary cuts the output and its bias in the same order."""
    arrays = golden(f"{name}/golden")
    kept = arrays["in/keep_tokens/keep_tokens"]
    inputs = batch(arrays, "keep_tokens")
    small = load(name, "MaskedLM", keep_tokens=kept.tolist())
    whole = load(name, "MaskedLM")
    original = {**inputs, "token_ids": kept[inputs["token_ids"]], "padding_mask": inputs["token_ids"] != 0}
    given = {**inputs, "padding_mask": inputs["token_ids"] != 0}
    assert_close(small(given), numpy(whole(original))[..., kept], atol=1e-5)


def test_masked_positions_are_rows_of_the_logits(golden):
    arrays = golden("bert/golden")
    model = load("bert", "MaskedLM", masked_positions=True)
    positions = np.array([[0, 3], [6, 6], [1, 2], [5, 0]])
    out = model({**batch(arrays, "l7"), "masked_positions": positions})
    assert_close(out, np.take_along_axis(arrays["out64/l7/mlm_logits"], positions[..., None], 1), atol=2e-5)


def test_output_is_tied_to_the_input_embedding(golden):
    """A changed row changes its own logit; there is no second table."""
    model = load("roformer_v2_mlm", "MaskedLM")
    assert [v.path for v in model.weights] == [v.path for v in model.backbone.weights]
    inputs = batch(golden("roformer_v2_mlm/golden"), "l7")
    before = numpy(model(inputs))
    table = numpy(model.backbone.token_embedding.embeddings).copy()
    unused = next(i for i in range(5, 120) if i not in inputs["token_ids"])
    table[unused] += 1
    model.backbone.token_embedding.embeddings.assign(table)
    changed = np.abs(numpy(model(inputs)) - before).max((0, 1)) > 1e-4
    assert np.flatnonzero(changed).tolist() == [unused]


@pytest.mark.parametrize("family", TINY)
def test_weights_of_the_heads(family):
    """BERT, ALBERT, NEZHA and RoFormer transform, norm and add a bias; the V2 line maps back to the embedding width at most."""
    model = zoo.MaskedLM(tiny(family, embedding_dim=24))
    head = set(weights_of(model)) - set(weights_of(model.backbone))
    if family in ("BERT", "ALBERT", "RoFormer", "NEZHA", "ELECTRA"):
        assert head == {"mlm_dense/kernel", "mlm_dense/bias", "mlm_norm/gamma", "mlm_norm/beta", "mlm_bias/bias"}
    else:
        assert head == {"mlm_mapping/kernel"}
    assert model(TOKEN_IDS).shape == (4, 7, 120)


@pytest.mark.parametrize("family", TINY)
def test_config_round_trip(family):
    tasks = [zoo.MaskedLM, zoo.NextSentence] if family in ("BERT", "ALBERT", "RoFormer", "NEZHA") else [zoo.MaskedLM]
    for task in tasks:
        model = task(tiny(family))
        twin = task.from_config(json.loads(json.dumps(model.get_config())))
        assert twin.get_config() == model.get_config()
        weights = weights_of(twin)
        assert list(weights) == list(weights_of(model))
        for path, variable in weights_of(model).items():
            weights[path].assign(variable)
        assert_close(twin(TOKEN_IDS), model(TOKEN_IDS), atol=0)


@pytest.mark.parametrize("name", WITH_HEAD)
def test_names_map_every_weight(name):
    model = load(name, "MaskedLM")
    table = type(model.backbone).tf_weight_map()
    assert all(by_layer(table, path) for path in weights_of(model))


def test_logits_are_float32_in_half_precision():
    """Logits of half precision cannot be compared over a vocabulary."""
    for task, family in ((zoo.MaskedLM, "BERT"), (zoo.MaskedLM, "GAUAlpha"), (zoo.NextSentence, "BERT")):
        out = task(tiny(family, dtype="mixed_bfloat16"))(TOKEN_IDS)
        assert keras.backend.standardize_dtype(out.dtype) == "float32"


@pytest.mark.parametrize("family", ["RoFormerV2", "GAUAlpha"])
def test_version_two_has_no_pooler(family):
    with pytest.raises(
        ValueError, match=f"{family} has no pooler; next-sentence heads exist for BERT, ALBERT, NEZHA and RoFormer"
    ):
        zoo.NextSentence(tiny(family))
