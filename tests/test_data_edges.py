"""Rows D1 to D17 of SECURITY.md: data and inference. Where one module answers for a row, its tests stand beside it.

Here is what crosses modules: models of every kind on the same texts, backends and precisions against one stored golden.
"""

import pathlib

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.preset_formats import CLASSES, folder, lines
from support.tiny_models import PAIRS, TEXTS, backbone, scatter_weights

import zoo
from zoo.data import read_pairs
from zoo.metrics import roc_auc, spearman

FAQ = pathlib.Path(__file__).resolve().parent.parent / "examples" / "data" / "faq_zh"


@pytest.fixture(scope="module")
def classifier():
    return zoo.TextClassifier.from_preset(folder(1))


@pytest.fixture(scope="module")
def interaction():
    return scatter_weights(zoo.InteractionMatcher(backbone()))


# D4: texts of nothing


@pytest.mark.filterwarnings("ignore:.* hold nothing but unknown tokens")
def test_D04_a_text_of_nothing_alone_or_in_a_batch(classifier, interaction):
    """White space, control characters, unknown ones: finite outputs, the same alone as beside others."""
    odd = ["", " \t\u3000", "\x00\x01", "龘龘", "\u200d", "[PAD]"]
    for outputs, rows in (
        (classifier.predict, odd),
        (interaction.score, [(one, "今天") for one in odd] + [("今天", one) for one in odd]),
    ):
        together = outputs([*rows, *(TEXTS if rows is odd else [pair[:2] for pair in PAIRS])])[: len(rows)]
        assert np.isfinite(together).all()
        assert_close(np.concatenate([outputs([row]) for row in rows]), together, atol=1e-5)
    for wrong in ([*TEXTS, None], [*TEXTS, 3]):
        with pytest.raises(TypeError, match=str(len(TEXTS))):
            classifier.predict(wrong)


# D7: batches and padding


@pytest.mark.parametrize(("policy", "atol"), [("float32", 1e-5), ("mixed_bfloat16", 2e-3)])
def test_D07_alone_in_a_batch_of_64_or_padded_to_512(policy, atol):
    backbone_ = scatter_weights(backbone(max_sequence_length=512, dtype=policy))
    model = zoo.RepresentationMatcher(backbone_)
    texts = [*TEXTS, *(f"{a}{b}" for a in TEXTS for b in TEXTS)][:64]
    batch = model.encode(texts, batch_size=64)
    assert_close(model.encode(texts[5:6]), batch[5:6], atol)
    tokens = model.tokenizer(texts[:4], pad_to=512)
    padded = keras.ops.convert_to_numpy(model.predict_on_batch({name: x[:, None] for name, x in tokens.items()}))[:, 0]
    assert_close(padded / np.linalg.norm(padded, axis=1, keepdims=True), batch[:4], atol)


# D10: a metric is that of the whole set


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_D10_metrics_are_of_the_whole_set(batch_size, interaction):
    labels = np.array([pair[2] for pair in PAIRS])
    scores = interaction.score(PAIRS, batch_size=64)
    reported = interaction.evaluate(PAIRS, batch_size=batch_size)
    assert reported["auc"] == pytest.approx(roc_auc(labels, scores), abs=1e-12)
    assert reported["spearman"] == pytest.approx(spearman(labels, scores), abs=1e-12)


# D13, R11: one golden, whatever the backend


def test_R11_D13_presets_of_every_released_format_give_their_golden(golden):
    """Logits within 1e-4 and the same best class of 1,000 lines, for ever and on every backend."""
    from zoo.formats.zoo_preset import FORMAT

    for number in range(1, FORMAT + 1):
        model = zoo.TextClassifier.from_preset(folder(number))
        assert model.verified and model.class_names == CLASSES
        tokens = model.tokenizer(lines(), max_length=model.max_length)
        logits = keras.ops.convert_to_numpy(model.predict_on_batch(tokens))
        expected = golden(f"preset_format_{number}/golden")["logits"]
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        best = expected.argmax(axis=1)
        assert (logits.argmax(axis=1) == best).all()
        assert set(best) == set(range(len(CLASSES))), "a golden of one class would say nothing"


# D14: precision and compilation


@pytest.fixture(scope="module")
def faq():
    pairs = read_pairs(FAQ / "test.tsv")
    return pairs.take(np.arange(0, len(pairs), 3))


@pytest.fixture(scope="module")
def exact(faq):
    return zoo.RepresentationMatcher.from_preset("roformer_v2_tiny_zh", dtype="float32").score(faq)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_D14_half_precision_costs_no_fifth_of_a_point(policy, faq, exact):
    model = zoo.RepresentationMatcher.from_preset("roformer_v2_tiny_zh", dtype=policy)
    assert differences(faq.labels, model.score(faq), exact).max() < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_D14_compiling_costs_no_fifth_of_a_point(policy, faq, exact):
    model = zoo.RepresentationMatcher.from_preset("roformer_v2_tiny_zh", dtype=policy)
    model.compile(run_eagerly=True, jit_compile=False)
    assert differences(faq.labels, model.score(faq), exact).max() < 0.002


def differences(labels, scores, exact):
    """Of Spearman's rho and AUC, from those of float32 and compiled."""
    return np.abs([metric(labels, scores) - metric(labels, exact) for metric in (spearman, roc_auc)])


# D6: a hundred thousand odd strings


@pytest.mark.slow
@pytest.mark.neutral
@pytest.mark.parametrize("lowercase", [True, False])
def test_D06_a_hundred_thousand_odd_strings(lowercase):
    import random

    from test_tokenizer import RICH_VOCABULARY, oracle_tokens, random_text

    rng, known = random.Random(20220301), set(RICH_VOCABULARY)
    tokenizer = zoo.Tokenizer(RICH_VOCABULARY, lowercase=lowercase)
    for _ in range(100_000):
        text = random_text(rng)
        assert tokenizer.tokenize(text) == oracle_tokens(text, known, lowercase), ascii(text)
