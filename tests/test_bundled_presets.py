"""The presets that come with zoo give the same ids and embeddings on every backend."""

import itertools
import json
import os

import numpy as np
import pytest

import zoo
import zoo.store
from zoo.formats.catalogue import bundled_folder

NAMES = [preset.name for preset in zoo.presets() if preset.on_disk]


@pytest.fixture(scope="module", params=NAMES)
def preset(request):
    with open(os.path.join(bundled_folder(request.param), "golden.json"), encoding="utf-8") as file:
        golden = json.load(file)
    task = golden.get("task", "RepresentationMatcher")  # of a bare backbone too
    return getattr(zoo, task).from_preset(request.param, dtype="float32"), golden


def test_there_is_a_bundled_preset():
    assert "roformer_v2_tiny_zh" in NAMES


@pytest.mark.filterwarnings("ignore:.*lose their ends")  # one text is long on purpose
def test_D13_ids_and_numbers_equal_the_golden(preset):
    matcher, golden = preset
    ids = [matcher.tokenizer.encode(text, max_length=matcher.max_length)[0] for text in golden["texts"]]
    assert ids == golden["token_ids"]
    if "scores" in golden:
        np.testing.assert_allclose(
            matcher.score(list(itertools.pairwise(golden["texts"]))), golden["scores"], atol=1e-4
        )
    else:
        np.testing.assert_allclose(matcher.encode(golden["texts"]), golden["embeddings"], atol=1e-5)


def test_paraphrases_are_nearer_than_strangers(preset):
    matcher, _ = preset
    near, far = matcher.score([("怎么改密码", "密码如何修改"), ("怎么改密码", "今天天气很好")])
    assert near > far


def test_folder_is_sealed_with_a_card(preset):
    for name in NAMES:
        assert zoo.store.Folder(bundled_folder(name), links=True).verify()
        with open(os.path.join(bundled_folder(name), "README.md"), encoding="utf-8") as file:
            card = file.read()
        assert all(word in card for word in ("Training", "Data", "research", "Limits", "python examples/"))
