"""`zoo.runtime`: exported models without Keras, with the manners of the models they come from."""

import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.paths import ROOT
from support.tiny_models import PAIRS, TEXTS, backbone, scatter_weights
from support.unigram import content as unigram_content

import zoo
import zoo.store
from zoo import runtime
from zoo.store import PresetError


@pytest.fixture(scope="module")
def model():
    model = zoo.RepresentationMatcher(backbone("RoFormerV2"), max_length=16)
    scatter_weights(model).fit_threshold(PAIRS)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export")
    model.export(path)
    return path


def test_no_keras_and_no_backend_comes_with_it(folder):
    script = f"""
import sys, json, zoo.runtime
matcher = zoo.runtime.load({str(folder)!r})
vectors = matcher.encode({TEXTS!r})
decisions = matcher.classify({[pair[:2] for pair in PAIRS]!r})
report = zoo.export.verify({str(folder)!r})
heavy = set("keras torch jax tensorflow onnx scipy sklearn pandas transformers".split()) & set(sys.modules)
print(json.dumps([sorted(heavy), vectors.tolist(), decisions.tolist(), report["canaries"]]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    heavy, vectors, decisions, canaries = json.loads(done.stdout)
    assert heavy == [] and canaries > 20
    exported = runtime.load(folder)
    np.testing.assert_allclose(vectors, exported.encode(TEXTS), atol=1e-6)
    assert decisions == exported.classify(PAIRS).tolist()


def test_it_is_the_model(model, folder):
    exported = runtime.load(folder, threads=1)
    texts = [*TEXTS, TEXTS[0], "", "a" * 300, "\ud800 half a pair"]
    with pytest.warns(UserWarning, match="lose their ends|unknown tokens"):
        expected = model.encode(texts)
    np.testing.assert_allclose(exported.encode(texts, batch_size=5), expected, atol=2e-6)
    np.testing.assert_allclose(exported.score(PAIRS), model.score(PAIRS), atol=4e-6)
    assert exported.classify(PAIRS).tolist() == model.classify(PAIRS).tolist()
    assert exported.encode([]).shape == (0, 16) and exported.score([]).shape == (0,)
    assert "RoFormerV2" in repr(exported)


@pytest.mark.parametrize(
    "wrong", ["text", [3], [None], ["a", b"b"], [("a", 1)], {"a": 1}, None], ids=lambda wrong: f"{wrong!r}"
)
def test_wrong_texts_are_refused_as_by_the_model(model, folder, wrong):
    check_same_error(model.encode, runtime.load(folder).encode, wrong)


@pytest.mark.parametrize("wrong", ["text", ["text"], [("a",)], [("a", None)], [("a", "b", "c")], [("a", "b", 1, 2)], 3])
def test_wrong_pairs_are_refused_as_by_the_model(model, folder, wrong):
    check_same_error(model.score, runtime.load(folder).score, wrong)


def check_same_error(of_the_model, of_the_export, wrong):
    with pytest.raises((TypeError, ValueError)) as expected:
        of_the_model(wrong)
    with pytest.raises(type(expected.value)) as found:
        of_the_export(wrong)
    assert str(found.value) == str(expected.value)


def test_texts_that_are_cut_are_told_once(folder):
    exported = runtime.load(folder)
    with pytest.warns(UserWarning, match="1 of 2 records have more than max_length=16 tokens"):
        exported.encode(["今天" * 40, "今天"])
    exported.encode(["今天" * 41])


def test_threads_share_one_model(folder):
    exported, found = runtime.load(folder), {}

    def work(index):
        found[index] = exported.encode(TEXTS[index:] + TEXTS[:index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = exported.encode(TEXTS)
    for index, vectors in found.items():
        np.testing.assert_allclose(vectors, np.roll(expected, -index, axis=0), atol=1e-6)


def test_no_threshold_is_said(tmp_path):
    zoo.RepresentationMatcher(backbone(), max_length=16).export(tmp_path)
    with pytest.raises(ValueError, match="no threshold yet: call fit_threshold"):
        runtime.load(tmp_path).classify(PAIRS)


@pytest.mark.parametrize("options", [{}, {"added_tokens": [{"content": "公园", "piece": False}]}, {"lowercase": False}])
def test_tokenizers_of_every_kind(options, tmp_path):
    model = zoo.RepresentationMatcher(backbone(), max_length=16)
    vocabulary = list(model.tokenizer.vocabulary)
    if "added_tokens" in options:
        vocabulary[-1] = "公园"
    else:
        vocabulary[-1] = vocabulary[-2]  # a token that repeats, whose first id no text has
    model.tokenizer = zoo.Tokenizer(vocabulary, **options)
    model.export(tmp_path)
    theirs = runtime.load(tmp_path).tokenizer
    for text in (*TEXTS, "The CAT 公园", "\ue000"):
        assert theirs.encode(text) == model.tokenizer.encode(text)


def test_a_unigram_tokenizer(tmp_path):
    ours = zoo.UnigramTokenizer(unigram_content())
    model = zoo.RepresentationMatcher(backbone("BERT", vocabulary_size=ours.vocabulary_size), ours, max_length=16)
    scatter_weights(model).export(tmp_path)
    exported = runtime.load(tmp_path)
    texts = ["abc cab", "</s> <s>", "b a"]
    assert [exported.tokenizer.encode(text) for text in texts] == [ours.encode(text) for text in texts]


# Folders


def test_what_is_no_export_is_refused(folder, tmp_path):
    with pytest.raises(PresetError, match="no such folder"):
        runtime.load(tmp_path / "none")
    with pytest.raises(PresetError, match="has no zoo_export.json.*from_preset"):
        runtime.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(PresetError, match="manifest.json is missing"):
        runtime.load(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "zoo_export.json"])
def test_a_damaged_file_is_named(folder, name, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(PresetError, match=f"{name}: damaged or edited"):
        runtime.load(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zoo_export": 2}, "zoo_export is 2, this zoo reads 1"),
        ({"task": "CausalLM"}, "task 'CausalLM'"),
        ({"surprise": 1}, "unknown or missing fields"),
        ({"engine": "another"}, "engine 'another'"),
        ({"decision": {"threshold": 0.5}}, "decision="),
    ],
)
def test_a_description_that_is_not_known_is_refused(folder, change, words, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    description = json.loads((copy / "zoo_export.json").read_text())
    (copy / "zoo_export.json").write_text(json.dumps(description | change))
    zoo.store.seal(copy)
    with pytest.raises(ValueError, match=words):
        runtime.load(copy)
