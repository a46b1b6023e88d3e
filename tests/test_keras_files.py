"""Keras' own ways to keep, copy and send a model: .keras files, pickle, deepcopy, clones, from_config, own models."""

import copy
import json
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from support.paths import ROOT
from support.tiny_models import PAIRS, TEXTS, backbone, matcher, scatter_weights, tokenizer
from support.unigram import content

import zoo
from zoo import optimizers

IDS = np.array([[2, 10, 11, 3, 0], [2, 5, 6, 7, 3]], "int32")
SEGMENTS = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 1, 1]], "int32")


def in_a_file(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


WAYS = {
    "file": in_a_file,
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),  # noqa: S301 - of this very line
    "deepcopy": lambda model, folder: copy.deepcopy(model),
    "config": lambda model, folder: with_weights_of(model, type(model).from_config(through_json(model.get_config()))),
}


def with_weights_of(model, other):
    other.set_weights(model.get_weights())
    return other


def through_json(config):
    return json.loads(json.dumps(config))


def classifier():
    return zoo.TextClassifier(backbone("BERT"), 3, class_names=["a", "b", "c"], max_length=12)


def sentence_bert():
    decision = {"threshold": 0.25, "metric": "f1", "value": 0.75, "pairs": 4, "sha256": "0" * 64}
    return matcher(pooling="first_last_mean", num_classes=2, segment_ids="pair", decision=decision)


def comparison():
    return zoo.InteractionMatcher(backbone("RoFormer"), pooling="comparison", max_length=16)


def masked_lm():
    model = zoo.MaskedLM(backbone("BERT"), masked_positions=True)
    model.tokenizer = tokenizer()
    return model


def next_sentence():
    model = zoo.NextSentence(backbone("RoFormer"))
    model.tokenizer = model.backbone.tokenizer
    return model


def other_tokenizer():
    """A task whose tokenizer is not its backbone's, in capitals and with other options."""
    words = zoo.Tokenizer.from_vocabulary_text(tokenizer().vocabulary_text, lowercase=False, word_max_length=7)
    return zoo.TextClassifier(backbone(), 2, tokenizer=words, name="mine")


def unigram():
    words = zoo.UnigramTokenizer(content())
    model = backbone("BERT", vocabulary_size=words.vocabulary_size)
    model.tokenizer = words
    return zoo.RepresentationMatcher(model, max_length=16)


def asked(model):
    """What a model says of raw texts, or of arrays where it takes no texts."""
    if isinstance(model, zoo.CausalLM):
        return model.evaluate(TEXTS, verbose=0)["cross_entropy"]
    if isinstance(model, zoo.RepresentationMatcher | zoo.InteractionMatcher):
        return model.score(PAIRS, verbose=0)
    if isinstance(model, zoo.TextClassifier):
        return model.predict(TEXTS, verbose=0)
    batch = model.tokenizer(TEXTS)
    if isinstance(model, zoo.MaskedLM):
        batch["masked_positions"] = np.ones((len(TEXTS), 1), "int32")
    return keras.ops.convert_to_numpy(model(batch))


MODELS = {
    "matcher": lambda: matcher(),
    "sentence_bert": sentence_bert,
    "comparison": comparison,
    "classifier": classifier,
    "other_tokenizer": other_tokenizer,
    "masked_lm": masked_lm,
    "next_sentence": next_sentence,
    "causal_lm": lambda: zoo.CausalLM(backbone("GAUAlpha", attention_mask="causal"), max_length=14),
    "backbone": lambda: backbone("GAUAlpha", layer_attention={"score_bias": "alibi"}),
    "unigram": unigram,
}


@pytest.mark.parametrize(
    "kind, way", [*((kind, "file") for kind in MODELS), *(("matcher", way) for way in WAYS), ("unigram", "config")]
)
@pytest.mark.filterwarnings("ignore:.*unknown tokens")  # the small Unigram vocabulary
def test_a_copy_says_what_the_model_says(kind, way, tmp_path):
    model = scatter_weights(MODELS[kind]())
    other = WAYS[way](model, tmp_path)
    assert type(other) is type(model) and other.name == model.name
    np.testing.assert_array_equal(asked(other), asked(model))
    assert other.tokenizer.get_config() == model.tokenizer.get_config()
    if not model.is_backbone:
        assert other.task_config() == model.task_config()
        assert other.backbone.tokenizer.vocabulary == model.backbone.tokenizer.vocabulary


def test_configs_of_before_still_load():
    """They hold no name and no tokenizer."""
    for kind in ("matcher", "masked_lm", "backbone"):
        model = MODELS[kind]()
        config = model.get_config()
        for part in (config, config.get("backbone", {}).get("config", {})):
            part.pop("tokenizer", None)
        config.pop("name")
        assert type(model).from_config(config).tokenizer is None


def test_what_no_config_holds_is_refused_when_saving(tmp_path):
    words = zoo.Tokenizer.from_vocabulary_text(tokenizer().vocabulary_text, pre_tokenize=str.split)
    model = matcher(tokenizer=words)
    for keep in (lambda: model.save(tmp_path / "m.keras"), lambda: copy.deepcopy(model), lambda: pickle.dumps(model)):
        with pytest.raises(ValueError, match=r"pre_tokenize.*save_to_preset.*from_preset\(folder, pre_tokenize="):
            keep()
    model.save_to_preset(tmp_path / "preset")  # as the error says
    again = zoo.RepresentationMatcher.from_preset(tmp_path / "preset", pre_tokenize=str.split)
    np.testing.assert_array_equal(again.score(PAIRS, verbose=0), model.score(PAIRS, verbose=0))

    class Mine(zoo.Tokenizer):
        """Of the user."""

    model.tokenizer = Mine.from_vocabulary_text(tokenizer().vocabulary_text)
    with pytest.raises(ValueError, match="a tokenizer of class Mine; use save_weights"):
        model.get_config()
    with pytest.raises(ValueError, match="a tokenizer of class 'Evil'"):
        zoo.RoFormerV2.from_config(
            backbone().get_config() | {"tokenizer": {"options": {"class": "Evil"}, "vocabulary": ""}}
        )


# Compiled models

OPTIMIZERS = {
    "default": lambda: None,
    "adam": lambda: "adam",
    "schedule": lambda: optimizers.FusedAdam(optimizers.WarmupDecay(1e-3, 9, 2)),
    "averages": lambda: optimizers.ExponentialMovingAverage(optimizers.LayerAdaptation(keras.optimizers.Adam(1e-3))),
    "lookahead": lambda: optimizers.Lookahead(optimizers.LazyUpdates(optimizers.Bert4KerasAdam(1e-3))),
    "low_rank": lambda: optimizers.LowRank(keras.optimizers.Adam(1e-3), rank=2, form=optimizers.LoRA()),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_from_a_file_as_without_it(optimizer, tmp_path):
    """Loss, metrics, optimizer, schedule and state come along: the second epoch is the one that follows the first."""
    model = matcher()
    options = {"metrics": [keras.metrics.MeanSquaredError(name="mse")]} if optimizer == "adam" else {}
    model.compile(OPTIMIZERS[optimizer](), zoo.losses.CoSENT(scale=10.0), **options)
    model.fit(PAIRS, batch_size=4, verbose=0)
    other = in_a_file(model, tmp_path)
    assert other.compiled and other.loss.scale == 10.0 and type(other.optimizer) is type(model.optimizer)
    for was, read in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (read.value, was.value)))
    seen = [m.fit(PAIRS, batch_size=4, epochs=2, initial_epoch=1, verbose=0).history for m in (model, other)]
    assert seen[0].keys() == seen[1].keys()
    for was, read in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(read, was, atol=1e-6)


# Another process

LOADS = """
import sys
{imports}
model = keras.models.load_model(sys.argv[1])
print(*model.score([("今天天气很好", "北京大学")], verbose=0) if hasattr(model, "score") else model.predict(
    {{"token_ids": np.array([[2, 10, 11, 3, 0]], "int32")}}, verbose=0)[0])
"""


@pytest.mark.parametrize(
    "imports", ["import zoo, keras, numpy as np", "import keras, numpy as np, zoo"], ids=["zoo", "keras"]
)
def test_a_fresh_process_knows_the_classes(imports, tmp_path):
    model = scatter_weights(matcher(dropout=0.1))
    model.compile()
    model.save(tmp_path / "m.keras")
    code = LOADS.format(imports=imports)
    command = [sys.executable, "-W", "error::UserWarning", "-c", code, tmp_path / "m.keras"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    score = float(done.stdout.splitlines()[-1])
    assert score == pytest.approx(float(model.score([("今天天气很好", "北京大学")], verbose=0)[0]), abs=1e-6)


def test_all_registered_classes_are_in_the_gates_table():
    """So that Keras finds each by `import zoo` alone; and each module of the table does put its classes there."""
    for name in zoo.__all__:
        getattr(zoo, name)
    table = keras.saving.get_custom_objects()
    known = {name.removeprefix("zoo>") for name, cls in table.items() if cls.__module__.startswith("zoo.")}
    assert known == set(zoo._REGISTERED)
    later = "import keras, zoo, sys; assert [m for m in sys.modules if m.startswith('zoo.')] == []; "
    later += "table = dict(keras.saving.get_custom_objects()); "
    later += "[table[f'zoo>{name}'].__name__ == name or sys.exit(name) for name in zoo._REGISTERED]"
    done = subprocess.run([sys.executable, "-c", later], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# A user's own models on a backbone

INPUTS = {
    "alone": (lambda ids, segments: ids, 1),
    "dict": (lambda ids, segments: {"token_ids": ids, "segment_ids": segments}, 2),
    "list": (lambda ids, segments: [ids, segments], 2),
}
BASES = {
    "bert": lambda: backbone("BERT"),
    "unilm": lambda: backbone("RoFormer", attention_mask="unilm"),
    "gau": lambda: backbone("GAUAlpha", attention_mask="causal"),
    "hidden_states": lambda: backbone().hidden_states,
    "masked_lm": lambda: zoo.MaskedLM(backbone()),
    "pooled": lambda: zoo.NextSentence(backbone("BERT")).pooled,
}


def last(output):
    return output[-1] if isinstance(output, list) else output


@pytest.mark.parametrize("base, inputs", [*((base, "dict") for base in BASES), ("bert", "alone"), ("bert", "list")])
def test_own_model(base, inputs, tmp_path):
    """Symbolic calls are calls of arrays, in memory, in a file and in a clone."""
    arrange, count = INPUTS[inputs]
    model = scatter_weights(BASES[base]())
    symbols = [keras.Input((None,), dtype="int32") for _ in range(2)]
    head = keras.layers.Dense(2)
    own = keras.Model(symbols[:count], head(last(model(arrange(*symbols)))))
    arrays = [IDS, SEGMENTS][:count]
    wanted = keras.ops.convert_to_numpy(head(last(model(arrange(IDS, SEGMENTS)))))
    predicted = last(model.predict(arrange(IDS, SEGMENTS), verbose=0))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(head(predicted)), wanted, atol=1e-5)
    clone = keras.models.clone_model(own)
    clone.set_weights(own.get_weights())
    for one in (own, clone, in_a_file(own, tmp_path)):
        np.testing.assert_allclose(one.predict(arrays, verbose=0), wanted, atol=1e-5)


def test_own_model_of_one_length():
    model = scatter_weights(backbone("BERT"))
    symbol = keras.Input((5,), dtype="int32")
    output = model(symbol)
    assert output.shape == (None, 5, 16)
    own = keras.Model(symbol, output)
    assert_same = np.testing.assert_allclose
    assert_same(own.predict(IDS, verbose=0), keras.ops.convert_to_numpy(model(IDS)), atol=1e-5)


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_a_clone_is_the_same_graph(family):
    model = scatter_weights(backbone(family))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    inputs = {"token_ids": IDS, "segment_ids": SEGMENTS, "padding_mask": IDS > 0}
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(one(inputs)) for one in (clone, model)))


def test_wrong_inputs_are_named():
    model = backbone(custom_position_ids=True)
    with pytest.raises(
        ValueError, match=r"got inputs \['token_ids'\]; expected token_ids, position_ids and optionally seg"
    ):
        model(keras.Input((None,), dtype="int32"))
    with pytest.raises(ValueError, match="got 4 inputs; it has token_ids, segment_ids, padding_mask"):
        backbone()([IDS] * 4)
