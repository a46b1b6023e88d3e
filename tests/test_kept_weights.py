"""An error in one of Keras' verbs loses nothing that was trained."""

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, backbone, matcher

import zoo

IDS = np.array([[2, 10, 3], [2, 7, 3], [4, 5, 6], [2, 8, 9]], "int32")
WRONG = {"tokens": IDS}


def masked_lm():
    model = zoo.MaskedLM(backbone())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(IDS, IDS, verbose=0)
    return model


def failing_batches():
    yield {"token_ids": IDS}, IDS
    yield WRONG, IDS


VERBS = {
    "predict": lambda model: model.predict(WRONG, verbose=0),
    "evaluate": lambda model: model.evaluate(WRONG, IDS, verbose=0),
    "fit": lambda model: model.fit(WRONG, IDS, verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(WRONG),
    "test_on_batch": lambda model: model.test_on_batch(WRONG, IDS),
    "train_on_batch": lambda model: model.train_on_batch(WRONG, IDS),
    "predict of a second batch": lambda model: model.predict(failing_batches(), verbose=0),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_masked_lm(verb, tmp_path):
    model = masked_lm()
    before, optimizer = (
        model.get_weights(),
        [np.array(v) for v in map(keras.ops.convert_to_numpy, model.optimizer.variables)],
    )
    wanted = model.predict({"token_ids": IDS}, verbose=0)
    with pytest.raises(Exception, match="token"):  # of what kind is Keras' to say
        VERBS[verb](model)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for now, then in zip(model.optimizer.variables, optimizer, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(now), then)
    np.testing.assert_array_equal(model.predict({"token_ids": IDS}, verbose=0), wanted)
    model.save_to_preset(tmp_path / "kept")
    model.fit(IDS, IDS, verbose=0)


def test_a_matcher():
    model = matcher()
    model.fit(PAIRS, verbose=0)
    wanted = model.score(PAIRS, verbose=0)
    with pytest.raises(Exception, match="."):
        model.predict({"input_ids": IDS}, verbose=0)
    np.testing.assert_array_equal(model.score(PAIRS, verbose=0), wanted)
    model.fit(PAIRS, verbose=0)
