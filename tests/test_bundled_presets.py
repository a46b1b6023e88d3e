"""The presets that come with zoo give the same ids and embeddings on every backend."""

import itertools
import json
import os

import numpy as np
import pytest
from support.paths import ROOT

import zoo
import zoo.store
from zoo.analysis.hubness import report as hub_report
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


@pytest.mark.slow
def test_correction_for_hubs_on_the_faq():
    """Mutual proximity, with the training texts for the queries to come: fewer hubs, and no query loses its question."""
    folder = ROOT / "examples" / "data" / "faq_zh"
    read = lambda name, columns: zoo.data.read_pairs(folder / name, columns, label=None).columns
    ids, questions = read("questions.tsv", ("id", "question"))
    asked, keys = read("queries.tsv", ("text", "id"))
    training = sorted({text for column in read("train.tsv", ("text_a", "text_b")) for text in column})
    matcher = zoo.RepresentationMatcher.from_preset("roformer_v2_mini_zh_matching", dtype="float32")
    corpus, queries, reference = (matcher.encode(list(texts), verbose=0) for texts in (questions, asked, training))
    wanted = np.array([list(ids).index(key) for key in keys])
    recalls, skewness = [], []
    for search in (
        lambda: zoo.retrieval.top_k(queries, corpus, 10),
        lambda: zoo.retrieval.HubCorrection(corpus, "mutual_proximity", reference=reference).top_k(queries, 10),
    ):
        found, _ = search()
        recalls.append((found[:, 0] == wanted).mean())
        skewness.append(
            hub_report(np.bincount(found.ravel(), minlength=len(corpus)), found.size / len(corpus)).skewness
        )
    assert recalls[1] >= recalls[0] > 0.5 and skewness[1] < skewness[0] / 2


def test_cards_tell_the_stored_numbers():
    """Hubs of the matcher as benchmarks/hubness.json has them."""
    with open(ROOT / "benchmarks" / "hubness.json", encoding="utf-8") as file:
        found = json.load(file)
    with open(os.path.join(bundled_folder(found["preset"]), "README.md"), encoding="utf-8") as file:
        card = file.read()
    crowd, faq, inside = found["crowd"], found["faq"], found["faq_in_the_crowd"]
    best = "mutual_proximity, the same"
    for told in (
        f"{crowd['vectors']:,} sentences",
        f"skewness {crowd['skewness']:.1f}",
        f"{100 * crowd['orphans']:.1f} %",
        f"recall@1 {faq['cosine']['recall@1']:.3f} -> {faq[best]['recall@1']:.3f}",
        f"{faq['cosine']['skewness']:.2f} -> {faq[best]['skewness']:.2f}",
        f"{inside['cosine']['recall@1']:.3f} -> {inside['centring']['recall@1']:.3f}",
    ):
        assert told in card, told
