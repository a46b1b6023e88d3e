"""ONNX graphs built from weights: equal to the model for every family, option, pooling and padding, or refused by name."""

import json

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, TEXTS, backbone, scatter_weights, to_numpy, tokenizer

import zoo
from zoo import runtime
from zoo.export import heads
from zoo.layers import (
    KERPLE,
    XPOS,
    ALiBi,
    AlphaResidual,
    AttentionOptions,
    CosA,
    DeepNorm,
    Direction,
    KeyNorm,
    LeakyReRoPE,
    LogN,
    NTKMixed,
    QueryNorm,
    ReRoPE,
    RotaryEmbedding,
    Sandwich,
    SoftmaxPlus,
    SquaredReLU,
    Window,
    YaRN,
)
from zoo.store import Folder, PresetError, write_folder

FAMILIES = ["BERT", "ELECTRA", "ALBERT", "NEZHA", "RoFormer", "RoFormerV2", "GAUAlpha"]
OPTIONS = {
    "no position": {"position": None},
    "half split": {"position": RotaryEmbedding(pairing="half_split")},
    "ntk": {"position": RotaryEmbedding(scaling=NTKMixed(4))},
    "yarn": {"position": RotaryEmbedding(scaling=YaRN(4, 8))},
    "rerope": {"position": ReRoPE(3)},
    "leaky": {"position": LeakyReRoPE(2, 4)},
    "causal rerope": {"position": ReRoPE(3, causal=True), "visibility": Direction("left")},
    "log n": {"log_n": LogN(3)},
    "softmax plus": {"normalization": SoftmaxPlus(base=12, floor=2)},
    "squared relu": {"normalization": SquaredReLU()},
    "squared relu by length": {"normalization": SquaredReLU(length=8, squared_length=True)},
    "window": {"visibility": Window(2)},
    "window and direction": {"visibility": [Window(4), Direction("right")]},
    "mixed": {"visibility": Direction("mixed")},
    "key norm": {"product": KeyNorm()},
    "query norm": {"product": QueryNorm()},
    "cosine": {"product": CosA()},
    "fixed cosine": {"product": CosA(8)},
    "query key bias": {"query_key_bias": True},
    "alibi": {"score_bias": ALiBi()},
    "kerple": {"score_bias": KERPLE()},
    "kerple power": {"score_bias": KERPLE("power")},
    "sandwich": {"score_bias": Sandwich(size=8)},
    "score scale": {"score_scale": 0.3},
}


def batch(rng, rows=3, length=12):
    """Ids, segments and masks with padding on the right, on the left, inside, and a row of nothing else."""
    mask = np.ones((rows, length), bool)
    mask[0, length // 2 :] = False
    mask[1 % rows, : length // 3] = False
    mask[2 % rows, 1::2] = False
    return {
        "token_ids": rng.integers(1, 120, (rows, length)).astype("int32"),
        "segment_ids": rng.integers(0, 2, (rows, length)).astype("int32"),
        "padding_mask": mask,
    }


def session(model, task=None):
    import onnxruntime

    return onnxruntime.InferenceSession(
        heads.build(model, task).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def computed(session, arrays):
    names = {"token_ids": "input_ids", "segment_ids": "token_type_ids", "padding_mask": "attention_mask"}
    known = {value.name for value in session.get_inputs()}
    feeds = {names[name]: array.astype("int64") for name, array in arrays.items() if names[name] in known}
    return session.run(None, feeds)[0]


def check_backbone(model, rng, atol=5e-6):
    scatter_weights(model)
    graph = session(model)
    for rows, length in ((3, 12), (1, 2), (2, 16)):
        arrays = batch(rng, rows, length)
        if length == 2:
            arrays["padding_mask"][:] = True
        expected = to_numpy(model(arrays, training=False))
        np.testing.assert_allclose(computed(graph, arrays), expected, atol=atol * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_of_each_family(family, rng):
    check_backbone(backbone(family), rng)


@pytest.mark.parametrize("family", ["RoFormer", "GAUAlpha"])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_attention(family, name, rng):
    options = OPTIONS[name]
    if family == "GAUAlpha" and name == "mixed" or family == "RoFormer" and name == "query key bias":
        return  # one head has no halves; a bias beside a bias is refused by the layer
    if family == "GAUAlpha" and ("cosine" in name or name == "log n" or name == "yarn"):
        options = {"normalization": "softmax", **options}
    model = backbone(family, layer_attention=AttentionOptions(**options), num_layers=2)
    check_backbone(model, rng)


def test_options_that_differ_between_layers(rng):
    check_backbone(backbone(num_layers=3, layer_attention=zoo.layers.hwfa(3, 16)), rng)


@pytest.mark.parametrize("arguments", [
    {"embedding_dim": 8}, {"num_segments": 0}, {"key_dim": 4}, {"head_dim": 6}, {"activation": "gelu_tanh"},
    {"activation": "silu"}, {"activation": "tanh"}, {"attention_mask": "causal"}, {"residual": DeepNorm(2.0)},
    {"residual": AlphaResidual(0.5)}, {"norm_epsilon": 1e-3},
], ids=str)  # fmt: skip
def test_sizes_and_other_options(arguments, rng):
    check_backbone(backbone("RoFormer", **arguments), rng)


def test_a_row_without_tokens_is_that_of_the_model(rng):
    for family in ("BERT", "GAUAlpha"):
        model = scatter_weights(backbone(family))
        arrays = batch(rng)
        arrays["padding_mask"][0] = False
        expected = to_numpy(model(arrays, training=False))
        np.testing.assert_allclose(computed(session(model), arrays), expected, atol=1e-5 * np.abs(expected).max())


# Tasks


def matcher(family="RoFormerV2", **options):
    return scatter_weights(zoo.RepresentationMatcher(backbone(family, num_layers=2), max_length=16, **options))


@pytest.mark.parametrize("family", ["BERT", "RoFormer", "RoFormerV2", "GAUAlpha"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "first_last_mean", "attention"])
def test_embeddings_of_every_pooling(family, pooling, tmp_path):
    model = matcher(family, pooling=pooling)
    report = model.export(tmp_path)
    assert report["largest_difference"] <= report["limit"] == 2e-6 and report["canaries"] > 20
    exported = runtime.load(tmp_path)
    np.testing.assert_allclose(exported.encode(TEXTS), model.encode(TEXTS), atol=2e-6)
    np.testing.assert_allclose(exported.score(PAIRS), model.score(PAIRS), atol=4e-6)


@pytest.mark.parametrize("segment_ids", ["pair", "zeros"])
@pytest.mark.parametrize("pooling", ["cls", "comparison"])
def test_scores_of_pairs(pooling, segment_ids, tmp_path):
    model = zoo.InteractionMatcher(backbone("BERT"), pooling=pooling, segment_ids=segment_ids, max_length=16)
    scatter_weights(model).fit_threshold(PAIRS)
    model.export(tmp_path)
    exported = runtime.load(tmp_path)
    np.testing.assert_allclose(exported.score(PAIRS), model.score(PAIRS), atol=1e-5)
    assert exported.decision == model.decision
    assert exported.classify(PAIRS).tolist() == model.classify(PAIRS).tolist()


def test_classes_of_texts_and_pairs(tmp_path):
    names = ["weather", "place", "other"]
    model = scatter_weights(zoo.TextClassifier(backbone("BERT"), num_classes=3, class_names=names, max_length=16))
    report = model.export(tmp_path, dev_pairs=[(text, i % 3) for i, text in enumerate(TEXTS)])
    exported, pairs = runtime.load(tmp_path), [pair[:2] for pair in PAIRS]
    for records in (TEXTS, pairs):
        np.testing.assert_allclose(exported.predict(records), model.predict(records), atol=1e-5)
        assert exported.classify(records) == model.classify(records)
    assert report["quality"]["model"] == report["quality"]["export"] and report["quality"]["records"] == len(TEXTS)


def test_a_backbone(tmp_path, rng):
    model = scatter_weights(backbone("BERT"))
    report = model.export(tmp_path, format="onnx")
    arrays, exported = batch(rng), runtime.load(tmp_path)
    np.testing.assert_allclose(exported.compute(arrays), to_numpy(model(arrays)), atol=10 * report["limit"])
    assert zoo.export.verify(tmp_path)["largest_difference"] <= report["limit"]


def test_int8_is_smaller_and_says_what_it_costs(tmp_path):
    model = matcher()
    labelled = [(a, b, float(label) / 2) for a, b, label in PAIRS]
    report = model.export(tmp_path / "int8", quantize="int8", dev_pairs=labelled)
    model.export(tmp_path / "float32")
    sizes = {name: (tmp_path / name / "model.onnx").stat().st_size for name in ("int8", "float32")}
    assert sizes["int8"] < sizes["float32"]
    assert report["limit"] is None and 0.9 < report["least_cosine"] < 1
    assert set(report["quality"]) == {"model", "export", "records", "sha256"}
    assert report["quality"]["model"]["spearman"] == model.evaluate(labelled)["spearman"]
    assert runtime.load(tmp_path / "int8").description["quality"] == report["quality"]
    assert zoo.export.verify(tmp_path / "int8")["least_cosine"] > 0.9


# What the folder says, and what is refused


def test_the_folder_says_where_it_comes_from(tmp_path):
    model = matcher()
    model.fit_threshold(PAIRS)
    model.export(tmp_path / "export")
    model.save_to_preset(tmp_path / "preset")
    exported = runtime.load(tmp_path / "export")
    seals = json.loads((tmp_path / "preset" / "manifest.json").read_text())["files"]
    assert exported.description["preset"] == {
        name: seal["sha256"] for name, seal in seals.items() if name != "README.md"
    }
    assert exported.decision == model.decision and exported.max_length == 16


def test_verify_finds_another_graph(tmp_path):
    model = matcher()
    model.export(tmp_path / "one")
    scatter_weights(model, seed=8).export(tmp_path / "other")
    one, other = Folder(tmp_path / "one"), Folder(tmp_path / "other")
    mixed = {name: one.memory_map(name).tobytes() for name in one.names()}
    mixed["model.onnx"] = other.memory_map("model.onnx").tobytes()
    write_folder(tmp_path / "mixed", {name: content for name, content in mixed.items() if name != "manifest.json"})
    with pytest.raises(PresetError, match="outputs differ from the model's by up to"):
        zoo.export.verify(tmp_path / "mixed")


def test_a_graph_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    model, other = matcher(), scatter_weights(matcher(), seed=8)
    build = heads.build
    monkeypatch.setattr(heads, "build", lambda model, task, **options: build(other, task))
    with pytest.raises(PresetError, match="export of a RepresentationMatcher: the export's outputs differ"):
        model.export(tmp_path / "export")
    assert not (tmp_path / "export").exists()


class Own(zoo.layers.ScoreBias):
    def bias(self, query_positions, key_positions, num_heads, trained):
        return 0.0 * query_positions[:, None, :, None]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"position": XPOS(), "visibility": Direction("left")}, "XPOS"),
        ({"score_bias": Own()}, "Own"),
        ({"score_bias": lambda query_positions, *rest: 0.0 * query_positions[:, None, :, None]}, "lambda"),
    ],
)
def test_unknown_options_are_refused_by_name(options, words, tmp_path):
    model = zoo.RepresentationMatcher(backbone(layer_attention=AttentionOptions(**options)), max_length=16)
    with pytest.raises(ValueError, match=f"layer_0: attention with .*{words}.* cannot be exported"):
        model.export(tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_what_cannot_be_exported_is_refused_with_what_can(tmp_path):
    model = matcher()
    for arguments, words in (
        ({"format": "pickle"}, "format='pickle'; expected one of onnx, "),
        ({"quantize": "int4"}, "quantize='int4'; expected None or 'int8'"),
    ):
        with pytest.raises(ValueError, match=words):
            model.export(tmp_path, **arguments)
    narrow = zoo.RepresentationMatcher(backbone(dtype="mixed_bfloat16"), max_length=16)
    with pytest.raises(ValueError, match="computes in bfloat16.*dtype='float32'"):
        narrow.export(tmp_path)
    several = zoo.MultiTask({"a": model})
    with pytest.raises(ValueError, match=r"a MultiTask cannot be exported; .*model\.tasks\[name\]"):
        several.export(tmp_path)
    model.tokenizer = zoo.Tokenizer(tokenizer().vocabulary, pre_tokenize=str.split)
    with pytest.raises(ValueError, match="no place for pre_tokenize"):
        model.export(tmp_path)
    assert not list(tmp_path.iterdir())


def test_keras_own_export_of_a_backbone_is_left_to_it(monkeypatch):
    model, seen = backbone(), []
    monkeypatch.setattr(
        keras.Model, "export", lambda self, path, format, **options: seen.append((path, format, options))
    )
    model.export("place", verbose=False)
    assert seen == [("place", "tf_saved_model", {"verbose": False})]


# Other formats


@pytest.mark.filterwarnings(
    r"ignore:os\.fork:RuntimeWarning"
)  # openvino forks when it is imported; JAX warns of any fork
def test_openvino(tmp_path):
    model = matcher()
    report = model.export(tmp_path, format="openvino")
    assert report["largest_difference"] <= report["limit"]
    exported = runtime.load(tmp_path, threads=1)
    np.testing.assert_allclose(exported.encode(TEXTS), model.encode(TEXTS), atol=2e-6)
    rounded = runtime.load(tmp_path, dtype="bfloat16")  # where the processor has it
    assert np.sum(rounded.encode(TEXTS) * model.encode(TEXTS), axis=1).min() > 0.99
    with pytest.raises(ValueError, match="dtype='float16'; expected one of float32, bfloat16"):
        runtime.load(tmp_path, dtype="float16")


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_sentence_transformers_loads_a_bert(pooling, tmp_path):
    import sentence_transformers

    model = matcher("BERT", pooling=pooling)
    model.export(tmp_path, format="sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True)
    texts = [*TEXTS, "", "the [SEP] cat", "ΑΣ \ue000 天", "今天" * 30]
    with pytest.warns(UserWarning, match="lose their ends"):
        expected = model.encode(texts)
    np.testing.assert_allclose(theirs.encode(texts), expected, atol=2e-6)
    np.testing.assert_allclose(runtime.load(tmp_path).encode(TEXTS), model.encode(TEXTS), atol=2e-6)
    back = zoo.RepresentationMatcher.from_preset(tmp_path)
    assert back.pooling == pooling and back.max_length == model.max_length
    np.testing.assert_array_equal(back.encode(TEXTS), model.encode(TEXTS))


@pytest.mark.parametrize("family", ["RoFormerV2", "GAUAlpha", "RoFormer"])
def test_a_folder_of_onnx_for_families_that_transformers_lacks(family, tmp_path):
    import onnxruntime
    import tokenizers

    model = matcher(family)
    model.export(tmp_path, format="sentence_transformers")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.enable_padding()
    found = theirs.encode_batch(TEXTS)
    feeds = {
        "input_ids": np.array([one.ids for one in found]),
        "attention_mask": np.array([one.attention_mask for one in found]),
    }
    graph = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    states, vectors = graph.run(None, feeds)
    np.testing.assert_allclose(vectors, model.encode(TEXTS), atol=2e-6)
    real = feeds["attention_mask"][..., None]
    pooled = (states * real).sum(axis=1) / real.sum(axis=1)  # as fastembed does it
    np.testing.assert_allclose(pooled / np.linalg.norm(pooled, axis=1, keepdims=True), vectors, atol=2e-6)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["hidden_size"] == 16 and config["num_hidden_layers"] == 2
    assert zoo.export.verify(tmp_path)["largest_difference"] <= 2e-6


def test_what_other_formats_lack_is_refused(tmp_path):
    for model, words in (
        (matcher(pooling="attention"), "no pooling 'attention', only cls, mean, max"),
        (zoo.InteractionMatcher(backbone(), max_length=16), "is for a RepresentationMatcher"),
    ):
        with pytest.raises(ValueError, match=words):
            model.export(tmp_path, format="sentence_transformers")
    with pytest.raises(ValueError, match="'tf_saved_model' is not there for tasks"):
        matcher().export(tmp_path, format="tf_saved_model")
    assert not list(tmp_path.iterdir())
