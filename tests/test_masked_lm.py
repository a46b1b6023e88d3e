"""MaskedLM on raw texts: which tokens are hidden, what is learned, what evaluate says."""

import keras
import numpy as np
import pytest
from support.tiny_models import TEXTS, backbone

import zoo
from zoo.data import Batch
from zoo.tasks.masked_lm import _HiddenTokens


def model(masked_positions=False, **options):
    keras.utils.set_random_seed(0)
    return zoo.MaskedLM(backbone(), masked_positions=masked_positions, **options)


def hidden_of_each(lm):
    """Tokens that are hidden in each text: 15 % of its length with [CLS] and [SEP], one at least."""
    return [max(1, round(0.15 * len(lm.tokenizer.encode(text)[0]))) for text in TEXTS]


@pytest.mark.parametrize("masked_positions", [False, True])
def test_uniform_logits_cost_ln_V_for_15_percent_of_each_text(masked_positions):
    lm = model(masked_positions)
    embeddings = lm.backbone.token_embedding.embeddings
    embeddings.assign(np.zeros(embeddings.shape))
    found = lm.evaluate(TEXTS, batch_size=5)
    assert found["tokens"] == sum(hidden_of_each(lm))
    np.testing.assert_allclose(found["cross_entropy"], np.log(120), rtol=1e-6)
    np.testing.assert_allclose(found["perplexity"], 120, rtol=1e-5)


def test_both_heads_say_the_same():
    whole, places = model(), model(masked_positions=True)
    places.set_weights(whole.get_weights())
    assert whole.evaluate(TEXTS)["cross_entropy"] == pytest.approx(places.evaluate(TEXTS)["cross_entropy"], rel=1e-5)


def test_hidden_tokens():
    lm = model(masked_positions=True)
    hidden = _HiddenTokens(lm.rows_of(TEXTS), lm)

    def collate(*rows):
        return hidden.collate(Batch(np.array(rows), 16, np.ones(len(rows), "float32")))

    inputs, labels, weights = collate(0, 5)
    plain = hidden.tokens.batch(np.array([0, 5]), 16)["token_ids"]
    for row, text in enumerate((0, 5)):
        chosen = inputs["masked_positions"][row][weights[row] > 0]
        assert len(set(chosen)) == len(chosen) == hidden_of_each(lm)[text]
        assert not set(hidden.special_ids) & set(plain[row][chosen])  # neither special tokens nor padding
        np.testing.assert_array_equal(labels[row][weights[row] > 0], plain[row][chosen])
        rest = np.setdiff1d(np.arange(16), chosen)
        np.testing.assert_array_equal(inputs["token_ids"][row][rest], plain[row][rest])
    np.testing.assert_array_equal(collate(0, 5)[0]["token_ids"], inputs["token_ids"])
    # In another batch, as in another epoch, others are hidden.
    assert len({tuple(collate(8, k)[0]["masked_positions"][0]) for k in range(6)}) > 1


def test_training_learns_and_validates():
    lm = model()
    texts = TEXTS * 12
    before = lm.evaluate(TEXTS)["cross_entropy"]
    lm.compile(keras.optimizers.Adam(2e-2))
    history = lm.fit(texts, validation_data=TEXTS, epochs=4, batch_size=24, verbose=0).history
    assert history["val_loss"] == history["val_cross_entropy"]
    assert history["val_cross_entropy"][-1] < 0.8 * before


def test_preset_keeps_the_length(tmp_path):
    lm = model(max_length=6)
    lm.save_to_preset(tmp_path / "lm")
    again = zoo.MaskedLM.from_preset(tmp_path / "lm")
    assert again.max_length == 6 and "max_length" not in model().task_config()
    with pytest.warns(UserWarning, match="lose their ends"):
        assert again.evaluate(TEXTS) == pytest.approx(lm.evaluate(TEXTS), rel=1e-5)


def test_refusals():
    lm = model()
    with pytest.raises(TypeError, match=r"at zoo\.MaskedLM"):
        lm.predict(TEXTS)
    lm.tokenizer = None
    with pytest.raises(ValueError, match="no tokenizer"):
        lm.fit(TEXTS)
