"""Freezing weights by name."""

import keras
import pytest
from support.golden_models import TOKEN_IDS, numpy, tiny

import zoo
from zoo.backend.variables import named_by, weights_of


def test_freezes_what_matches_and_thaws_it():
    model = tiny("RoFormerV2")
    matched = zoo.freeze(model, r"embedding|layer_0/attention")
    assert matched == [
        path for path in weights_of(model) if "embedding" in path or path.startswith("layer_0/attention")
    ]
    assert [v.path for v in model.trainable_variables] == [path for path in weights_of(model) if path not in matched]
    assert zoo.freeze(model, r"^layer_0/attention/(query|key)/", frozen=False) == [
        "layer_0/attention/query/kernel",
        "layer_0/attention/key/kernel",
    ]
    assert len(model.trainable_variables) == len(model.weights) - len(matched) + 2


def test_freezes_through_a_head():
    """The backbone's weights have the same paths in a task."""
    backbone = tiny("BERT")
    model = zoo.MaskedLM(backbone)
    zoo.freeze(model, r"^(token|segment|position)_embedding/|^layer_")
    trainable = {v.path for v in model.trainable_variables}
    assert trainable == {path for path in weights_of(model) if path.startswith(("mlm_", "embedding_norm/"))}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("layer_1", ["layer_1/kernel"]),
        ("layer_1|bias", ["layer_1/kernel", "layer_1_bias"]),
        (r"layer_\d+", ["layer_1/kernel", "layer_10/kernel", "layer_11/kernel", "layer_1_bias"]),
        (r"layer_\d/", ["layer_1/kernel"]),
        ("1/", ["layer_1/kernel"]),
        ("(?i)LAYER_1|LAYER_10", ["layer_1/kernel", "layer_10/kernel", "layer_1_bias"]),
        ("", ["layer_1/kernel", "layer_10/kernel", "layer_11/kernel", "layer_1_bias"]),
        ("(?<!kernel)$", ["layer_1_bias"]),
        ("ker", ["layer_1/kernel", "layer_10/kernel", "layer_11/kernel"]),
    ],
)
def test_numbers_of_a_path_are_whole(pattern, paths):
    """Layer 1 is not the beginning of layer 10."""
    known = ["layer_1/kernel", "layer_10/kernel", "layer_11/kernel", "layer_1_bias"]
    if pattern == "layer_1":
        known = known[:3]
    assert [path for path in known if named_by(pattern, path)] == paths


def test_layer_1_of_twelve():
    model = tiny("RoFormerV2", num_layers=12)
    assert {path.split("/")[0] for path in zoo.freeze(model, "layer_1")} == {"layer_1"}
    rates = zoo.optimizers.LayerwiseLearningRate("sgd", {"layer_1": 0.5})
    rates.build(model.weights)
    chosen = {v.path.split("/")[0] for v in model.weights if rates.corrects(v)}
    assert chosen == {"layer_1"}


def test_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(
        ValueError, match=r"no weight of RoFormerV2 matches 'layer_9/'; paths look like token_embedding"
    ):
        zoo.freeze(tiny("RoFormerV2"), "layer_9/")


def test_frozen_weights_stay_and_the_others_move():
    """After training steps with weight decay, which must not touch them either."""
    model = zoo.MaskedLM(tiny("RoFormerV2", num_layers=1, dropout=0.0, attention_dropout=0.0))
    frozen = zoo.freeze(model, "embedding|/query/")
    before = {path: numpy(v) for path, v in weights_of(model).items()}
    model.compile(
        optimizer=keras.optimizers.AdamW(0.1, weight_decay=0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(TOKEN_IDS, TOKEN_IDS, batch_size=4, epochs=2, verbose=0)
    for path, variable in weights_of(model).items():
        unchanged = (numpy(variable) == before[path]).all()
        assert unchanged == (path in frozen), path
