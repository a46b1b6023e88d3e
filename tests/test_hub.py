"""Addresses of hubs: what is asked of them and what is not. The hubs are stubs, the network is idle."""

import importlib
import json
import sys
import types

import pytest

from zoo.formats import hub
from zoo.store import PresetError

pytestmark = pytest.mark.neutral


@pytest.fixture
def hugging_face(monkeypatch, tmp_path):
    """A stub of huggingface_hub that keeps what it was asked."""
    asked = []

    def snapshot_download(repo_id, **options):
        asked.append((repo_id, options))
        return tmp_path

    module = types.SimpleNamespace(snapshot_download=snapshot_download, asked=asked)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """A stub of kagglehub over a folder."""
    asked = []

    def model_download(handle, path):
        asked.append(path)
        if not (tmp_path / path).exists():
            raise ValueError(f"The file {path} is not present in the model files.")
        return str(tmp_path / path)

    module = types.SimpleNamespace(model_download=model_download, asked=asked, folder=tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    (tmp_path / "config.json").write_text("{}")
    return module


@pytest.mark.parametrize(
    ("address", "name", "revision"),
    [
        ("hf://junnyu/roformer_v2_chinese_char_base", "junnyu/roformer_v2_chinese_char_base", None),
        ("hf://org/name@v1.0", "org/name", "v1.0"),
        ("hf://org/na.me-x@refs/pr/3", "org/na.me-x", "refs/pr/3"),
    ],
)
def test_hugging_face_is_asked_for_data_only(address, name, revision, hugging_face, tmp_path):
    assert hub.download(address) == str(tmp_path)
    ((asked, options),) = hugging_face.asked
    assert asked == name and options["revision"] == revision
    from fnmatch import fnmatch

    def wanted(file):
        return any(fnmatch(file, pattern) for pattern in options["allow_patterns"])

    for file in (
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "vocab.txt",
        "bert_model.ckpt.index",
        "bert_model.ckpt.data-00000-of-00001",
        "model.weights.h5",
        "model_00003.weights.h5",
        "assets/tokenizer/vocabulary.txt",
    ):
        assert wanted(file), file
    for file in (
        "pytorch_model.bin",
        "model.pt",
        "modeling_evil.py",
        "tf_model.h5",
        "flax_model.msgpack",
        "x.zip",
        "weights.npz",
        "training_args.bin",
    ):
        assert not wanted(file), file


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://name",
        "hf://../name",
        "hf://org/..",
        "hf://org/name/file",
        "hf://org/na me",
        "hf://org/name@../x",
        "hf://org/name@",
        "hf://-org/name",
        "hf://org/名",
        "http://org/name",
        "gs://bucket/x",
        "file:///etc/passwd",
        "kaggle://keras/bert",
        "kaggle://keras/bert/keras/bert_base_zh/../../x",
        "kaggle://keras/bert/keras/bert_base_zh/latest/x",
    ],
)
def test_other_addresses_reach_no_hub(address, hugging_face, kaggle):
    with pytest.raises(PresetError, match="no preset address"):
        hub.download(address)
    assert not hugging_face.asked and not kaggle.asked


def test_kaggle_is_asked_file_by_file(kaggle):
    for name in ("model.weights.h5", "tokenizer.json"):
        (kaggle.folder / name).write_text("x")
    assert hub.download("kaggle://keras/bert/keras/bert_base_zh/3") == str(kaggle.folder)
    assert set(kaggle.asked) == {
        "config.json",
        "model.weights.h5",
        "tokenizer.json",
        "assets/tokenizer/vocabulary.txt",
        "task.json",
        "task.weights.h5",
    }


def test_kaggle_shards_are_those_of_the_index(kaggle):
    index = {"weight_map": {"/a/vars": "model_00000.weights.h5", "/b/vars": ["model_00001.weights.h5"]}}
    for name in ("model_00000.weights.h5", "model_00001.weights.h5"):
        (kaggle.folder / name).write_text("x")
    (kaggle.folder / "model.weights.json").write_text(json.dumps(index))
    hub.download("kaggle://keras/bert/keras/bert_base_zh")
    assert {"model_00000.weights.h5", "model_00001.weights.h5"} <= set(kaggle.asked)
    index["weight_map"]["/c/vars"] = "../../evil.py"
    (kaggle.folder / "model.weights.json").write_text(json.dumps(index))
    with pytest.raises(PresetError, match="evil"):
        hub.download("kaggle://keras/bert/keras/bert_base_zh")
    assert "../../evil.py" not in kaggle.asked


def test_a_cut_line_is_not_a_missing_file(kaggle, monkeypatch):
    (kaggle.folder / "model.weights.h5").write_text("x")
    whole = kaggle.model_download

    def cut(handle, path):
        if path == "tokenizer.json":
            raise ConnectionError("the line is cut")
        return whole(handle, path)

    kaggle.model_download = cut
    with pytest.raises(PresetError, match="tokenizer.json could not be had: ConnectionError"):
        hub.download("kaggle://keras/bert/keras/bert_base_zh")


def test_errors_of_the_hub_name_the_address(hugging_face):
    class HTTPError(Exception):
        pass

    def fail(*_, **__):
        raise HTTPError("401 Client Error")

    hugging_face.snapshot_download = fail
    with pytest.raises(PresetError, match="hf://org/name could not be had: HTTPError: 401 Client Error"):
        hub.download("hf://org/name")


@pytest.mark.parametrize(
    ("address", "package"),
    [("hf://org/name", "huggingface_hub"), ("kaggle://keras/bert/keras/bert_base_zh", "kagglehub")],
)
def test_a_missing_extra_is_named(address, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ImportError, match=rf"{package}.*pip install 'keras-zoo\[hub\]'"):
        hub.download(address)


def test_the_real_hubs_have_the_functions_that_are_called():
    import inspect

    parameters = inspect.signature(importlib.import_module("huggingface_hub").snapshot_download).parameters
    assert {"repo_id", "revision", "allow_patterns"} <= set(parameters)
    assert list(inspect.signature(importlib.import_module("kagglehub").model_download).parameters)[:2] == [
        "handle",
        "path",
    ]
