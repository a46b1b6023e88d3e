"""Presets: what is saved comes back in another process; what is damaged is refused by name, and whole."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import GOLDENS
from support.arrays import assert_close
from support.tiny_models import PAIRS, TEXTS, backbone, scatter_weights, to_numpy

import zoo
from zoo.backend.variables import weights_of
from zoo.formats.families import by_layer
from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.models.preset import fill, read
from zoo.store import Folder, PresetError, safetensors_bytes, write_folder
from zoo.tasks.text_task import TextTask

INPUTS = {"token_ids": np.array([[2, 90, 91, 3, 0], [2, 95, 3, 0, 0]], "int32")}
INPUTS["segment_ids"] = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], "int32")
DECISION = {"threshold": 0.125, "metric": "f1", "value": 0.75, "pairs": 7, "sha256": "ab" * 32}


def public_models():
    """One model of every public class, the smallest, each with options that are no defaults."""
    bert = backbone("BERT", num_segments=3)
    return {
        "BERT": bert,
        "RoFormer": backbone("RoFormer", embedding_dim=12, activation="relu"),
        "RoFormerV2": backbone("RoFormerV2", attention_mask="causal"),
        "GAUAlpha": backbone("GAUAlpha", normalization="squared_relu"),
        "MaskedLM": zoo.MaskedLM(backbone()),
        "NextSentence": zoo.NextSentence(bert),
        "CausalLM": zoo.CausalLM(backbone("GAUAlpha", attention_mask="unilm"), max_length=11),
        "RepresentationMatcher": zoo.RepresentationMatcher(
            backbone(), pooling="attention", num_classes=3, max_length=9, decision=DECISION
        ),
        "InteractionMatcher": zoo.InteractionMatcher(
            backbone(), pooling="mean", dropout=0.0, segment_ids="pair", decision=DECISION
        ),
        "TextClassifier": zoo.TextClassifier(backbone(), 2, class_names=["是", "不是"], max_length=8),
    }


# In a process of its own, so that nothing registered or remembered here can help.
LOAD = """
import json, os, sys
import numpy as np, zoo
folder, outputs = sys.argv[1], {}
inputs = dict(np.load(f"{folder}/inputs.npz"))
texts, pairs = json.load(open(f"{folder}/texts.json"))
pairs = [tuple(pair) for pair in pairs]
for name in sorted(os.listdir(folder)):
    if os.path.isdir(f"{folder}/{name}"):
        model = getattr(zoo, name).from_preset(f"{folder}/{name}")
        if name.endswith("Matcher"):
            outputs[name] = model.score(pairs)
            outputs[name + "/decided"] = model.classify(pairs)
        elif name == "TextClassifier":
            outputs[name] = model.predict(texts)
            assert model.classify(texts)[0] in ("是", "不是")
        else:
            outputs[name] = model.predict_on_batch(inputs)
np.savez(f"{folder}/outputs.npz", **outputs)
"""


@pytest.fixture(scope="module")
def models():
    made = public_models()
    for model in made.values():
        model.tokenizer = getattr(model, "backbone", model).tokenizer  # as from_preset sets it, for heads too
        scatter_weights(model)
    return made


def run(*command, backend):
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = str(GOLDENS.parent.parent)
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.filterwarnings("ignore:.*max_length=8 tokens")
def test_every_class_comes_back_in_a_fresh_process(models, tmp_path):
    import keras

    expected = {}
    for name, model in models.items():
        model.save_to_preset(tmp_path / name)
        if name.endswith("Matcher"):
            expected[name] = model.score(PAIRS)
            expected[f"{name}/decided"] = expected[name] >= np.float32(DECISION["threshold"])
        elif name == "TextClassifier":
            expected[name] = model.predict(TEXTS)
        else:
            expected[name] = np.asarray(model.predict_on_batch(INPUTS))
    np.savez(tmp_path / "inputs.npz", **INPUTS)
    (tmp_path / "texts.json").write_text(json.dumps([TEXTS, [pair[:2] for pair in PAIRS]]))
    done = run("-c", LOAD, str(tmp_path), backend=keras.backend.backend())
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert set(outputs) == set(expected)
        for name in expected:
            assert_close(outputs[name], expected[name], atol=1e-6)


def test_config_round_trip(models):
    """get_config and from_config give the same model but for the weights; the preset gives those too."""
    for name, model in models.items():
        copy = type(model).from_config(model.get_config())
        assert [v.path for v in copy.weights] == [v.path for v in model.weights], name
        assert copy.get_config() == model.get_config()


def test_a_subclass_of_a_backbone_stays_itself(models, tmp_path):
    class Mine(zoo.RoFormerV2):
        pass

    models["TextClassifier"].backbone.save_to_preset(tmp_path / "p")
    model = Mine.from_preset(tmp_path / "p", dropout=0.5)
    assert type(model) is Mine and model.dropout == 0.5
    for path, variable in weights_of(models["TextClassifier"].backbone).items():
        assert (to_numpy(variable) == to_numpy(weights_of(model)[path])).all()
    with pytest.raises(ValueError, match="would come back as a zoo.RoFormerV2"):
        model.save_to_preset(tmp_path / "q")


def test_an_override_that_the_weights_do_not_fit_is_named(models, tmp_path):
    models["TextClassifier"].backbone.save_to_preset(tmp_path / "p")
    with pytest.raises(
        PresetError, match=r"with num_layers=3 as given; the preset has num_layers=1. .*leave num_layers out"
    ):
        zoo.RoFormerV2.from_preset(tmp_path / "p", num_layers=3, dropout=0.1)
    with pytest.raises(TypeError, match="did you mean max_length"):
        zoo.TextClassifier.from_preset(tmp_path / "p", num_classes=2, max_lenght=8)


def test_heads_of_other_tasks_are_passed_over(models, tmp_path):
    """A classifier's head and a matcher's have one name; only the class that was saved gets its head back."""
    models["TextClassifier"].save_to_preset(tmp_path / "p")
    for cls, options in (
        (zoo.InteractionMatcher, {}),
        (zoo.RepresentationMatcher, {"num_classes": 2}),
        (zoo.MaskedLM, {}),
        (zoo.RoFormerV2, {}),
        (zoo.TextClassifier, {}),
    ):
        said = contextlib.nullcontext()
        if cls in (zoo.InteractionMatcher, zoo.RepresentationMatcher):
            said = pytest.warns(
                UserWarning, match="trained head of a TextClassifier in it .classifier/bias, classifier/kernel"
            )
        with said:
            model = cls.from_preset(tmp_path / "p", **options)
        for path, variable in weights_of(getattr(model, "backbone", model)).items():
            assert (to_numpy(variable) == to_numpy(weights_of(models["TextClassifier"])[path])).all()
    assert (to_numpy(model.classifier.kernel) == to_numpy(models["TextClassifier"].classifier.kernel)).all()
    with pytest.raises(PresetError, match=r"classifier/kernel has shape \(16, 2\), the model's .* \(16, 5\)"):
        zoo.TextClassifier.from_preset(tmp_path / "p", num_classes=5, class_names=None)


def test_half_precision_files(models, tmp_path):
    model = models["InteractionMatcher"]
    for kind, bits in (("float16", 11), ("bfloat16", 8)):
        model.save_to_preset(tmp_path / kind, weights_dtype=kind)
        loaded = zoo.InteractionMatcher.from_preset(tmp_path / kind)
        for path, variable in weights_of(loaded).items():
            exact = to_numpy(weights_of(model)[path])
            assert (np.abs(to_numpy(variable) - exact) <= np.abs(exact) * 2.0**-bits + 1e-7).all()
    assert os.path.getsize(tmp_path / "float16" / "model.safetensors") < 0.6 * 4 * model.count_params() + 4000
    with pytest.raises(ValueError, match="weights_dtype='int4'"):
        model.save_to_preset(tmp_path / "x", weights_dtype="int4")
    assert not (tmp_path / "x").exists()


@pytest.mark.neutral
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_R09_weights_that_are_no_numbers_are_named_on_loading(value, tmp_path):
    model = zoo.BERT(vocabulary_size=11, num_layers=1, hidden_dim=4, num_heads=1, intermediate_dim=4)
    model.weights[0].assign(np.full(model.weights[0].shape, value, "float32"))
    model.save_to_preset(tmp_path)
    with pytest.warns(UserWarning, match=f"{tmp_path}.*token_embedding/embeddings hold NaN or infinity"):
        zoo.BERT.from_preset(tmp_path)


def test_a_head_that_was_never_trained_says_so_once(ours):
    """Of a preset without this head; not where the head starts from what is known, nor once it has been trained."""
    texts, pairs = [(text, 0) for text in TEXTS[:4]], [pair[:2] for pair in PAIRS[:4]]
    never = "classifier/kernel, classifier/bias of this {} were never trained.*fit first"
    for cls, use, options in (
        (zoo.InteractionMatcher, lambda model: model.score(pairs), {}),
        (zoo.TextClassifier, lambda model: model.classify(TEXTS[:4]), {"num_classes": 2}),
        (zoo.TextClassifier, lambda model: model.evaluate(texts), {"num_classes": 2}),
        (zoo.RepresentationMatcher, lambda model: model.class_probabilities(pairs), {"num_classes": 2}),
    ):
        model = cls.from_preset(ours, **options)
        if cls is zoo.RepresentationMatcher:
            model.score(pairs)  # cosines need no head
        with pytest.warns(UserWarning, match=never.format(cls.__name__)):
            use(model)
        use(model)
    zoo.InteractionMatcher.from_preset(ours, pooling="comparison").score(pairs)
    model = zoo.InteractionMatcher.from_preset(ours)
    model.fit(PAIRS[:4], validation_data=PAIRS[:4], verbose=0)
    model.score(pairs)


class Mine(zoo.RepresentationMatcher):
    """A user's child of a task: what it changes is its own, what is stored is its parent's."""

    def __init__(self, backbone, **options):
        super().__init__(backbone, **options)


@pytest.mark.neutral
def test_a_child_of_a_task_is_saved_as_its_parent_and_reads_its_parents_folder(tmp_path):
    options = {"pooling": "attention", "max_length": 9, "decision": DECISION, "num_classes": 3}
    for saved, loaded in ((Mine, zoo.RepresentationMatcher), (zoo.RepresentationMatcher, Mine), (Mine, Mine)):
        model = scatter_weights(saved(backbone(), **options))
        model.save_to_preset(tmp_path)
        again = loaded.from_preset(tmp_path)
        assert type(again) is loaded
        assert {name: getattr(again, name) for name in options} == options
        for path, variable in weights_of(again).items():
            assert (to_numpy(variable) == to_numpy(weights_of(model)[path])).all(), path
        assert "zoo.RepresentationMatcher.from_preset" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert Mine.from_preset(tmp_path, max_length=12).max_length == 12


@pytest.mark.neutral
def test_a_task_that_no_preset_can_name_is_not_saved(tmp_path):
    class Other(TextTask):
        pass

    with pytest.raises(ValueError, match=r"a Other cannot be saved.*model\.backbone\.save_to_preset"):
        Other(backbone(), None, "mean", None, None, None).save_to_preset(tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.neutral
@pytest.mark.parametrize("form", ["hugging_face", "bert4keras"])
def test_foreign_formats_take_no_matcher_whose_options_they_would_lose(form, tmp_path):
    matcher = zoo.RepresentationMatcher(backbone("BERT"), pooling="max", decision=DECISION)
    with pytest.raises(ValueError, match=r"pooling, .*decision\).*model\.backbone\.save_to_preset\(folder, format="):
        matcher.save_to_preset(tmp_path / "p", format=form)
    assert not (tmp_path / "p").exists()
    matcher.backbone.save_to_preset(tmp_path / "p", format=form)
    assert zoo.RepresentationMatcher.from_preset(tmp_path / "p").pooling == "mean"


@pytest.mark.neutral
@pytest.mark.parametrize(
    "names", ([0, 1, 2], ["a", "b", "a"], "abc", {"a": 0, "b": 1, "c": 2}, np.arange(3), []), ids=str
)
def test_names_of_classes_that_no_preset_gives_back_are_refused_before_training(names):
    with pytest.raises(ValueError, match="class_names is .*; expected a list of different strings"):
        zoo.TextClassifier(backbone(), 3, class_names=names)
    assert zoo.TextClassifier(backbone(), 3, class_names=np.array(["a", "b", "c"])).class_names == ["a", "b", "c"]


# Original checkpoints


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (7e4, "float16", "0 weights are NaN or infinite and the others reach 70000, where float16 ends at 65504"),
        (-7e4, "float16", "reach 70000"),
        (3.4e38, "bfloat16", "reach 3.4e[+]38, where bfloat16 ends at 3.38953e[+]38"),
        (float("nan"), "float16", "1 weights are NaN"),
        (float("inf"), "bfloat16", "1 weights are NaN or infinite"),
    ],
)
def test_half_precision_holds_every_weight_or_is_refused(value, dtype, words, tmp_path):
    """The preset that stood there before is still there."""
    model = zoo.BERT(vocabulary_size=11, num_layers=1, hidden_dim=4, num_heads=1, intermediate_dim=4)
    model.save_to_preset(tmp_path, weights_dtype=dtype)
    variable = model.weights[0]
    variable.assign(np.where(np.arange(variable.shape[0])[:, None] * 4 + np.arange(4) == 5, value, variable.numpy()))
    with pytest.raises(ValueError, match=rf"token_embedding/embeddings: .*{words}.*save in float32"):
        model.save_to_preset(tmp_path, weights_dtype=dtype)
    assert all(np.isfinite(w).all() for w in zoo.BERT.from_preset(tmp_path).get_weights())


@pytest.mark.neutral
@pytest.mark.parametrize("family", ["BERT", "ALBERT", "RoFormer", "RoFormerV2", "GAUAlpha"])
def test_original_checkpoints_of_each_family(family):
    folder = GOLDENS / {"RoFormerV2": "roformer_v2", "GAUAlpha": "gau_alpha"}.get(family, family.lower())
    stored = TFCheckpoint(Folder(folder))
    model = zoo.Backbone.from_preset(folder)
    assert type(model) is getattr(zoo, family) is type(type(model).from_preset(folder, load_weights=False))
    table = type(model).tf_weight_map()
    for path, variable in weights_of(model).items():
        assert (to_numpy(variable) == np.asarray(stored[by_layer(table, path)])).all(), path
    assert model.tokenizer.vocabulary_size == 120
    for task, options in (("RepresentationMatcher", {}), ("TextClassifier", {"num_classes": 2}), ("MaskedLM", {})):
        task = getattr(zoo, task).from_preset(folder, **options)
        assert type(task.backbone) is type(model) and task.tokenizer.vocabulary_size == 120
        assert task.backbone.tokenizer is task.tokenizer, "the backbone of a loaded task can be saved by itself"
    if family != "RoFormer":
        with pytest.raises(PresetError, match="RoFormer|is missing|unexpected"):
            zoo.RoFormer.from_preset(folder)


@pytest.mark.neutral
def test_overrides():
    folder = GOLDENS / "roformer_v2"
    model = zoo.InteractionMatcher.from_preset(
        folder, dropout=0.25, attention_dropout=0.0, pooling="max", max_length=20, dtype="mixed_bfloat16"
    )
    assert model.pooling == "max" and model.max_length == 20
    assert model.dropout == model.backbone.dropout == 0.25 and model.backbone.attention_dropout == 0.0
    assert model.backbone.dtype_policy.name == model.dtype_policy.name == "mixed_bfloat16"
    with pytest.raises(TypeError, match="poling.*pooling"):
        zoo.InteractionMatcher.from_preset(folder, poling="max")
    with pytest.raises(PresetError, match="dropout=2"):
        zoo.RoFormerV2.from_preset(folder, dropout=2)
    with pytest.raises(PresetError, match="num_heads=5"):
        zoo.RoFormerV2.from_preset(folder, num_heads=5)
    own = zoo.Tokenizer([*backbone().tokenizer.vocabulary[:50]])
    assert zoo.RepresentationMatcher.from_preset(folder, tokenizer=own).tokenizer is own


@pytest.mark.neutral
def test_keep_tokens_cuts_model_and_tokenizer():
    folder, keep = GOLDENS / "roformer_v2", [*range(5), 100, 90, 95]
    whole, cut = zoo.RoFormerV2.from_preset(folder), zoo.RoFormerV2.from_preset(folder, keep_tokens=keep)
    rows = to_numpy(weights_of(whole)["token_embedding/embeddings"])[keep]
    assert (to_numpy(weights_of(cut)["token_embedding/embeddings"]) == rows).all()
    assert cut.vocabulary_size == cut.tokenizer.vocabulary_size == 8
    text = whole.tokenizer.id_to_token(90)
    assert cut.tokenizer.encode(text)[0] == [2, 6, 3]
    for wrong, words in (([0, 120], "120"), ([0, 0], "twice"), ([0.5], "list of token ids"), ([], "list of token ids")):
        with pytest.raises(ValueError, match=words):
            zoo.RoFormerV2.from_preset(folder, keep_tokens=wrong)


@pytest.mark.neutral
def test_original_checkpoints_need_no_tensorflow():
    program = f"import zoo; zoo.RoFormerV2.from_preset({str(GOLDENS / 'roformer_v2')!r})"
    done = run("-X", "importtime", "-c", program, backend="torch")
    assert done.returncode == 0, done.stderr[-2000:]
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"torch", "keras", "zoo.formats.tensorflow.checkpoint"} <= modules
    assert not [name for name in modules if name.partition(".")[0] in ("tensorflow", "keras_hub")]


@pytest.mark.neutral
def test_what_is_no_preset(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(PresetError, match=r"holds notes\.txt; expected"):
        zoo.BERT.from_preset(tmp_path)
    with pytest.raises(PresetError, match="nowhere"):
        zoo.BERT.from_preset(tmp_path / "nowhere")


# Damage. A removed tensor, one too many, one turned round, one flipped byte.

QUERY, INNER = "layer_1/attention/query/kernel", "layer_1/feedforward/inner/kernel"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Our own preset folder of a model that an original checkpoint gave."""
    folder = tmp_path_factory.mktemp("ours") / "preset"
    zoo.RepresentationMatcher.from_preset(GOLDENS / "roformer_v2", decision=DECISION).save_to_preset(folder)
    return folder


def damaged_arrays(arrays, names):
    """damage -> (arrays, what the error must name)."""
    query, inner = names
    return {
        "removed": ({k: v for k, v in arrays.items() if k != query}, query),
        "added": ({**arrays, "layer_1/surprise": np.ones(3, "float32")}, "layer_1/surprise"),
        "transposed": ({**arrays, inner: arrays[inner].T}, f"{inner} has shape (64, 32)"),
    }


@pytest.fixture(scope="module")
def damaged(ours, tmp_path_factory):
    """(format, damage) -> (folder, words of the error)."""
    made = tmp_path_factory.mktemp("damaged")
    content = {name: (ours / name).read_bytes() for name in ("config.json", "vocab.txt", "README.md")}
    tensors = {k: np.array(v) for k, v in Folder(ours).safetensors("model.safetensors").items()}
    cases = {}
    for damage, (arrays, words) in damaged_arrays(tensors, (QUERY, INNER)).items():
        folder = made / f"zoo_{damage}"
        write_folder(folder, {**content, "model.safetensors": safetensors_bytes(arrays)})
        cases["zoo", damage] = folder, [str(folder), words]
    shutil.copytree(ours, made / "zoo_flipped")
    flip(made / "zoo_flipped" / "model.safetensors")
    cases["zoo", "flipped"] = made / "zoo_flipped", [str(made / "zoo_flipped" / "model.safetensors"), "damaged"]

    table = zoo.RoFormerV2.tf_weight_map()
    original = GOLDENS / "roformer_v2"
    tensors = {k: np.array(v) for k, v in TFCheckpoint(Folder(original)).items()}
    for damage, (arrays, words) in damaged_arrays(tensors, (by_layer(table, QUERY), by_layer(table, INNER))).items():
        folder = made / f"original_{damage}"
        write_folder(folder, write_tf_checkpoint(arrays, "bert_model.ckpt"))
        os.remove(folder / "manifest.json")
        for name in ("bert_config.json", "vocab.txt"):
            shutil.copy(original / name, folder / name)
        cases["original", damage] = folder, [str(folder), "bert_model.ckpt", words]
    shutil.copytree(original, made / "original_flipped")
    flip(made / "original_flipped" / "bert_model.ckpt.data-00000-of-00001")
    cases["original", "flipped"] = made / "original_flipped", ["bert_model.ckpt.data-00000-of-00001", "bert/"]
    return cases


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


DAMAGES = ["removed", "added", "transposed", "flipped"]


@pytest.mark.neutral
@pytest.mark.parametrize("form", ["zoo", "original"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(form, damage, damaged):
    folder, words = damaged[form, damage]
    cls = zoo.RepresentationMatcher if form == "zoo" else zoo.RoFormerV2
    with pytest.raises(PresetError) as error:
        cls.from_preset(folder)
    for word in words:
        assert word in str(error.value)


def test_nothing_is_half_loaded(damaged):
    """A model that is filled from a damaged checkpoint keeps all of its weights."""
    model = zoo.RoFormerV2.from_preset(GOLDENS / "roformer_v2", load_weights=False)
    scatter_weights(model)
    before = {path: to_numpy(variable) for path, variable in weights_of(model).items()}
    for damage in DAMAGES:
        with pytest.raises(PresetError):
            fill(model, read(damaged["original", damage][0], "RoFormerV2"))
        assert all((to_numpy(v) == before[path]).all() for path, v in weights_of(model).items()), damage
    fill(model, read(GOLDENS / "roformer_v2", "RoFormerV2"))
    assert any((to_numpy(v) != before[path]).any() for path, v in weights_of(model).items())


# Thresholds and cards; edited configs: test_hostile.py


@pytest.mark.neutral
def test_the_threshold_is_in_the_preset(ours):
    assert zoo.RepresentationMatcher.from_preset(ours).decision == DECISION
    assert zoo.InteractionMatcher.from_preset(ours).decision is None, "a threshold of cosines is none of free scores"


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "cls"}, "pooling='cls'"),
        ({"position": None, "dropout": 0.3}, "position=None"),
        ({"keep_tokens": range(50)}, "keep_tokens of 50 tokens"),
        ({"load_weights": False}, "load_weights=False"),
        ({"pooling": "mean", "dropout": 0.3, "attention_dropout": 0.3, "max_length": 9, "dtype": "bfloat16"}, None),
        ({"pooling": "cls", "decision": {**DECISION, "threshold": 0.5}}, None),
    ],
)
def test_the_threshold_is_dropped_where_options_change_the_scores(ours, options, words):
    model = zoo.RepresentationMatcher.from_preset(ours, **options)
    if words is None:
        assert model.decision == options.get("decision", DECISION)
        return
    assert model.decision is None
    with pytest.raises(ValueError, match=f"the threshold 0.125 was fitted to the stored .* loaded with {words}: call"):
        model.classify([("a", "b")])


@pytest.mark.neutral
def test_the_card_says_how_to_load_it(ours):
    card = (ours / "README.md").read_text(encoding="utf-8")
    assert "zoo.RepresentationMatcher.from_preset" in card and re.search(r"20,288 parameters", card)


@pytest.mark.neutral
def test_saving_changes_nothing_of_what_was_there_if_it_fails(ours, tmp_path, monkeypatch):
    shutil.copytree(ours, tmp_path / "p")
    model = zoo.RepresentationMatcher.from_preset(tmp_path / "p")
    before = {path.name: path.read_bytes() for path in (tmp_path / "p").iterdir()}
    monkeypatch.setattr(type(model), "card", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.save_to_preset(tmp_path / "p")
    assert {path.name: path.read_bytes() for path in (tmp_path / "p").iterdir()} == before
    assert "model.safetensors" in before
