"""A masked-LM head at chosen places gives what the full head gives there."""

import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import backbone, scatter_weights

import zoo


@pytest.mark.parametrize("family", ["BERT", "RoFormerV2"])
def test_chosen_places_of_the_full_logits(family):
    full = scatter_weights(zoo.MaskedLM(backbone(family)))
    chosen = zoo.MaskedLM(full.backbone, masked_positions=True)
    chosen.set_weights(full.get_weights())
    rng = np.random.default_rng(0)
    token_ids = rng.integers(5, 120, (3, 11)).astype("int32")
    token_ids[1, 7:] = 0
    positions = np.array([[0, 5, 10], [6, 6, 1], [9, 2, 0]], "int32")
    logits = np.asarray(full.predict_on_batch({"token_ids": token_ids}))
    at_places = np.asarray(chosen.predict_on_batch({"token_ids": token_ids, "masked_positions": positions}))
    assert logits.shape == (3, 11, 120) and at_places.dtype == np.float32
    assert_close(at_places, np.take_along_axis(logits, positions[..., None], axis=1), atol=1e-5)


def test_config_round_trip_keeps_the_input():
    model = zoo.MaskedLM(backbone(), masked_positions=True)
    copy = zoo.MaskedLM.from_config(model.get_config())
    assert set(copy.input) == set(model.input) > {"masked_positions"}
    assert "masked_positions" not in zoo.MaskedLM(backbone()).input
