"""Weights in 8 bits on disk: the nearest of 255 numbers for each row, read back by nothing but the file."""

import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import TEXTS, tokenizer

import zoo
from zoo.backend.variables import to_numpy, weights_of
from zoo.formats.int8 import Dequantized, quantized
from zoo.store import Folder, PresetError, safetensors_bytes

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


@pytest.fixture
def matcher():
    words = tokenizer()
    return zoo.RepresentationMatcher(
        zoo.BERT(words.vocabulary_size, max_sequence_length=32, **SMALL), words, max_length=16
    )


@pytest.mark.neutral
@pytest.mark.parametrize(("path", "axis"), [("token_embedding/embeddings", 1), ("layer_0/attention/query/kernel", 0)])
def test_a_weight_is_the_nearest_of_its_row(path, axis):
    """Rows of very different size, one of zeros, one that float32 hardly holds."""
    array = np.random.default_rng(0).normal(size=(7, 9)) * 10.0 ** np.arange(-3, 4)[:, None]
    array[3], array[4] = 0, 1e-44
    array = (array if axis else array.T).astype("float32")
    stored = quantized(path, array)
    back = np.asarray(Dequantized(stored, "file")[path], "float64")
    step = np.abs(array.astype("float64")).max(axis=axis, keepdims=True) / 127
    assert (np.abs(back - array) <= step * 0.501 + 1e-38).all()
    assert stored[path].dtype == "int8" and sum(part.nbytes for part in stored.values()) == array.size + 7 * 4


@pytest.mark.neutral
def test_vectors_stay_as_they_are():
    gamma = np.random.default_rng(0).normal(size=5).astype("float32")
    assert list(quantized("norm/gamma", gamma)) == ["norm/gamma"]
    np.testing.assert_array_equal(quantized("norm/gamma", gamma)["norm/gamma"], gamma)
    with pytest.raises(ValueError, match="norm/gamma: 1 weights are NaN or infinite"):
        quantized("norm/gamma", np.array([1.0, np.nan]))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_preset_in_int8_gives_nearly_the_same_vectors(matcher, dtype, tmp_path):
    matcher.save_to_preset(tmp_path / "float32")
    matcher.save_to_preset(tmp_path / "int8", weights_dtype="int8")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("int8", "float32")]
    assert sizes[0] < 0.55 * sizes[1]  # names and factors weigh much in a model so small
    whole, rounded = (
        zoo.RepresentationMatcher.from_preset(tmp_path / name, dtype=dtype) for name in ("float32", "int8")
    )
    cosines = (whole.encode(TEXTS) * rounded.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999
    read = Folder(tmp_path / "int8").safetensors("model.safetensors")
    for path, variable in weights_of(rounded).items():
        expected = np.asarray(read[path], "float32") * read.get(path + "/scale", np.float32(1))
        assert_close(to_numpy(variable), expected, atol=0 if dtype == "float32" else 1e-6)


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda scale: None, "needs a float type"),
        (lambda scale: scale.astype("float16"), "takes float32, one for each row or column"),
        (lambda scale: scale[:-1], "takes float32, one for each row or column"),
        (lambda scale: scale[:, 0], "takes float32, one for each row or column"),
        (lambda scale: np.ones((len(scale), 16), "float32"), "takes float32, one for each row or column"),
        (lambda scale: scale * np.nan, "no finite number above 0"),
        (lambda scale: -scale, "no finite number above 0"),
    ],
)
def test_factors_that_do_not_fit_are_refused(matcher, change, words, tmp_path):
    matcher.save_to_preset(tmp_path / "int8", weights_dtype="int8")
    path = tmp_path / "int8" / "model.safetensors"
    tensors = {name: np.array(array) for name, array in Folder(tmp_path / "int8").safetensors(path.name).items()}
    changed = change(tensors.pop("token_embedding/embeddings/scale"))
    path.write_bytes(
        safetensors_bytes(tensors | ({} if changed is None else {"token_embedding/embeddings/scale": changed}))
    )
    zoo.store.seal(tmp_path / "int8")
    with pytest.raises(PresetError, match=words):
        zoo.RepresentationMatcher.from_preset(tmp_path / "int8")


@pytest.mark.neutral
def test_factors_of_no_matrix_are_left_over(matcher, tmp_path):
    matcher.save_to_preset(tmp_path / "float32")
    path = tmp_path / "float32" / "model.safetensors"
    tensors = {name: np.array(array) for name, array in Folder(tmp_path / "float32").safetensors(path.name).items()}
    path.write_bytes(safetensors_bytes(tensors | {"token_embedding/embeddings/scale": np.ones((1, 1), "float32")}))
    zoo.store.seal(tmp_path / "float32")
    with pytest.raises(PresetError, match="unexpected in the file"):
        zoo.RepresentationMatcher.from_preset(tmp_path / "float32")
