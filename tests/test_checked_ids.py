"""Ids beyond their tables: an error where numbers can be seen, NaN inside compiled functions, never another row."""

import keras
import numpy as np
import pytest
from keras import ops
from support.layer_checks import BACKEND
from support.tiny_models import backbone, matcher

import zoo

GOOD = np.array([[2, 10, 3], [2, 7, 3]], "int32")
WRONG = {
    "token_ids": (
        np.array([[2, 120, 3], [2, -1, 500]]),
        r"token_ids holds -1, 120, 500; the \w+ has a table of 120 rows",
    ),
    "segment_ids": (
        np.array([[0, 0, 2], [0, 1, 1]]),
        r"segment_ids holds 2; the \w+ has a table of 2 rows.*from 0 to 1",
    ),
}


def masked_lm():
    model = zoo.MaskedLM(backbone())
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


VERBS = {
    "fit": lambda model, x: model.fit(x, GOOD, verbose=0),
    "validation": lambda model, x: model.fit({"token_ids": GOOD}, GOOD, validation_data=(x, GOOD), verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, GOOD, verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "train_on_batch": lambda model, x: model.train_on_batch(x, GOOD),
    "test_on_batch": lambda model, x: model.test_on_batch(x, GOOD),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "call": lambda model, x: model(x),
    "call with tensors": lambda model, x: model(keras.tree.map_structure(ops.convert_to_tensor, x)),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_them(verb, name):
    ids, says = WRONG[name]
    model = masked_lm()
    with pytest.raises(ValueError, match=says):
        VERBS[verb](model, {"token_ids": GOOD, name: ids})
    assert np.isfinite(model.predict({"token_ids": GOOD}, verbose=0)).all()


def test_every_model_refuses_them():
    wrong = WRONG["token_ids"][0]
    base = backbone("BERT", custom_position_ids=True)
    ids = {"token_ids": GOOD, "position_ids": np.array([[0, 1, 16], [0, 1, 2]])}
    with pytest.raises(ValueError, match="position_ids holds 16.0; the BERT has a table of 16 rows"):
        base.predict({**ids, "position_ids": ids["position_ids"].astype("float32")}, verbose=0)
    for model in (backbone(), backbone().hidden_states, zoo.CausalLM(backbone(attention_mask="causal"))):
        for inputs in (wrong, [wrong, np.zeros_like(wrong)], {"token_ids": wrong}):
            with pytest.raises(ValueError, match="token_ids holds -1, 120, 500"):
                model(inputs)
    with pytest.raises(ValueError, match="token_ids holds -1, 120, 500"):
        matcher().predict({"token_ids": wrong[:, None], "padding_mask": wrong[:, None] != 0}, verbose=0)
    with pytest.raises(ValueError, match="token_ids holds 120"):
        model.fit(np.array([[2, 5, 120, 3]]), verbose=0)
    # positions without a table are any numbers
    base = backbone("RoFormer", custom_position_ids=True)
    assert np.isfinite(ops.convert_to_numpy(base({"token_ids": GOOD, "position_ids": GOOD * 1000.0}))).all()


@pytest.mark.parametrize("name", WRONG)
def test_compiled_functions_give_nan(name):
    """In a model of one's own, whose inputs nobody can look at; rows that are right stay right."""
    base = backbone()
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "segment_ids")}
    own = keras.Model(inputs, keras.layers.Dense(2)(base(inputs)))
    ids, _ = WRONG[name]
    right = {"token_ids": GOOD, "segment_ids": np.zeros_like(GOOD)}
    wanted = own.predict(right, verbose=0)
    spoilt = {**right, name: np.concatenate([ids[:1], right[name][1:]]).astype("int32")}
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="120 rows|2 rows"):
            own.predict(spoilt, verbose=0)
        return
    found = own.predict(spoilt, verbose=0)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-6)


@pytest.mark.parametrize("ids", [[[5, 6, 120]], [[5, -1, 6]], [[5, -121, 6]]])
def test_a_table_by_itself(ids):
    """Right ids have the gradient of a table, wrong ones never that of another row."""
    layer = zoo.layers.TokenEmbedding(120, 4)
    layer.build((None, None))
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="for a table of 120 rows"):
            layer(np.array(ids))
        return
    rows = ops.convert_to_numpy(layer(np.array(ids)))[0]
    good = [0 <= one < 120 for one in ids[0]]
    np.testing.assert_array_equal(np.isfinite(rows).all(axis=-1), good)
    np.testing.assert_array_equal(np.isnan(rows).all(axis=-1), np.logical_not(good))
