"""The strict match of a foreign file's tensors with a model's variables, and fields of foreign configs."""

import ml_dtypes
import numpy as np
import pytest

from zoo.formats import fields
from zoo.formats.checkpoint import Checkpoint, match
from zoo.store import PresetError

pytestmark = pytest.mark.neutral


class Unread:
    """A tensor that must not be read."""

    def __init__(self, *shape, dtype="float32"):
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("read before everything was found right")


def checkpoint(weights, names=None, **options):
    names = {path: (path.upper(), None) for path in ("a", "b", "c")} if names is None else names
    return Checkpoint("BERT", {"num_layers": 2, "activation": "relu"}, weights, names, "file.x", **options)


def test_arrays_come_back_under_our_paths():
    weights = {"A": np.arange(6.0).reshape(2, 3), "B": np.ones(2, "float16")}
    found = match(checkpoint(weights), {"a": (2, 3), "b": (2,)})
    assert found["a"] is weights["A"] and found["b"].dtype == "float16"


def test_transforms_are_the_einsum_and_the_transpose():
    rng = np.random.default_rng(0)
    d, heads, size = 6, 2, 5
    x, kernel, bias = (
        rng.normal(size=(4, d)),
        rng.normal(size=(d, heads, size)),
        rng.normal(size=(heads, size)),
    )
    output = rng.normal(size=(heads, size, d))
    names = {
        "q": ("Q", "join_last"),
        "b": ("B", "join_last"),
        "o": ("O", "join_first"),
        "t": ("T", "transpose"),
    }
    weights = {"Q": kernel, "B": bias, "O": output, "T": kernel[:, 0]}
    found = match(
        checkpoint(weights, names),
        {"q": (d, heads * size), "b": (heads * size,), "o": (heads * size, d), "t": (size, d)},
    )
    query = np.einsum("nd,dhs->nhs", x, kernel) + bias
    np.testing.assert_allclose(x @ found["q"] + found["b"], query.reshape(4, -1))
    np.testing.assert_allclose(query.reshape(4, -1) @ found["o"], np.einsum("nhs,hsd->nd", query, output))
    np.testing.assert_array_equal(found["t"], kernel[:, 0].T)


def test_everything_wrong_is_said_at_once_and_nothing_read():
    weights = {"A": Unread(3, 2), "C": Unread(4, dtype="int32"), "x": Unread(9), "cls": Unread(1)}
    names = {"a": ("A", "transpose"), "b": ("B", None), "c": ("C", None)}
    with pytest.raises(PresetError) as caught:
        match(checkpoint(weights, names, known_extras=("cls",)), {"a": (2, 4), "b": (7,), "c": (4,), "d": (1,)})
    text = str(caught.value)
    for words in (
        "file.x",
        "BERT(num_layers=2)",
        "2 tensors missing in the file",
        "B for b (7,)",
        "for d (1,)",
        "1 tensors unexpected in the file",
        "x (9,)",
        "2 tensors that do not fit",
        "A has shape (3, 2) (transpose), the model's a has (2, 4)",
        "C has type int32",
    ):
        assert words in text
    assert "cls" not in text


def test_long_lists_are_cut_after_ten():
    weights = {f"extra{index:03}": Unread(1) for index in range(50)}
    with pytest.raises(PresetError, match="50 tensors unexpected") as caught:
        match(checkpoint(weights), {})
    assert "extra009" in str(caught.value) and "extra010" not in str(caught.value)
    assert "... and 40 more" in str(caught.value)


def test_known_extras_match_whole_names():
    with pytest.raises(PresetError, match="cls.more"):
        match(checkpoint({"cls": Unread(1), "cls.more": Unread(1)}, known_extras=("cls",)), {})


@pytest.mark.parametrize("shape", [(), (4,)])
def test_vectors_cannot_be_joined(shape):
    with pytest.raises(PresetError, match="do not fit"):
        match(checkpoint({"A": Unread(*shape)}, {"a": ("A", "join_last")}), {"a": (4,)})


def test_bfloat16_is_a_float_type():
    array = np.ones(3, ml_dtypes.bfloat16)
    assert match(checkpoint({"A": array}), {"a": (3,)})["a"].dtype == ml_dtypes.bfloat16


def test_gains_must_be_ones():
    weights = {"A": np.zeros(2), "gain": np.array([1.0, 1.0])}
    assert list(match(checkpoint(weights, ones=("gain",)), {"a": (2,)})) == ["a"]
    weights["gain"][1] = np.nan
    with pytest.raises(PresetError, match="gain must be all ones"):
        match(checkpoint(weights, ones=("gain",)), {"a": (2,)})


def test_sizes_are_checked_against_the_file():
    found = checkpoint({"A": Unread(3, 2)}, {"a": ("A", "transpose"), "b": ("B", None)})
    found.check_shapes({"a": (2, 3)})
    with pytest.raises(PresetError, match=r"A has shape \(3, 2\), by the config it should become \(2, 4\)"):
        found.check_shapes({"a": (2, 4)})
    with pytest.raises(PresetError, match="B is missing"):
        found.check_shapes({"b": (2,)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_layers": 2_000_000_000}, "layer_1999999999/.* is missing, .*num_layers=2000000000"),
        ({"num_layers": "2"}, "num_layers is '2'"),
        ({"vocabulary_size": None}, "vocabulary_size is None"),
        (
            {"head_dim": 5},
            r"layer_1/attention/query/kernel has shape \(4, 4\), by the config it should become \(4, 10\)",
        ),
        ({"num_segments": -1}, "num_segments is -1"),
        ({"max_sequence_length": 8}, "position_embedding/embeddings has shape"),
    ],
)
def test_every_size_of_a_config_is_held_against_the_weights(change, words):
    config = {"vocabulary_size": 7, "num_layers": 2, "num_heads": 2, "hidden_dim": 4, "intermediate_dim": 6}
    config |= {"max_sequence_length": 9}
    shapes = {"token_embedding": (7, 4), "segment_embedding": (2, 4), "position_embedding": (9, 4)}
    weights = {f"{table}/embeddings": Unread(*shape) for table, shape in shapes.items()}
    for kernel, shape in {"attention/query": (4, 4), "attention/value": (4, 4), "feedforward/inner": (4, 6)}.items():
        weights[f"layer_1/{kernel}/kernel"] = Unread(*shape)
    Checkpoint("BERT", config, weights, lambda path: (path, None), "file.x").check_sizes()
    with pytest.raises(PresetError, match="file.x.*" + words):
        Checkpoint("BERT", config | change, weights, lambda path: (path, None), "file.x").check_sizes()


def test_names_may_be_a_function():
    found = checkpoint({"A": Unread(1)}, lambda path: (path.upper(), None) if path == "a" else None)
    assert found.provides("a") and not found.provides("b")


BAD_SIZES = [-1, 0, 10**12, "768", True, 1.0, None, [768], {"a": 1}, "9" * 10_000, [[[[[[[[]]]]]]]]]


@pytest.mark.parametrize("value", BAD_SIZES, ids=range(len(BAD_SIZES)))
def test_sizes_that_are_none(value):
    with pytest.raises(PresetError, match="config.json: hidden_size is") as caught:
        fields.size({"hidden_size": value}, "hidden_size", "config.json")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [-0.1, 1, 10, "0.1", True, [0.1]])
def test_fractions_that_are_none(value):
    with pytest.raises(PresetError, match="config.json: dropout is"):
        fields.fraction({"dropout": value}, "dropout", "config.json", 0.1)


@pytest.mark.parametrize("value", ["lambda", 1, [True], {"class_name": "Lambda"}, 1.0])
def test_choices_come_from_a_closed_list(value):
    with pytest.raises(PresetError, match="config.json: use_bias is .*only True"):
        fields.choice({"use_bias": value}, "use_bias", "config.json", (True,))


def test_fields_that_are_left_out():
    assert fields.size({"a": None}, "a", "", 7) == fields.size({}, "a", "", 7) == 7
    assert fields.fraction({}, "a", "", 0.25) == 0.25 and fields.fraction({"a": 0}, "a", "", 0.25) == 0
    assert fields.choice({}, "a", "", {"x": "y"}, "x") == "y"
