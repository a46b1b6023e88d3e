"""`zoo.backend.arguments`: constructor arguments through parents, and the configs that follow from them."""

import json

import keras
import pytest

from zoo.backend.arguments import REQUIRED, Configured, constructor_arguments, described


class Parent(Configured):
    def __init__(self, width, rate=0.5, name="parent"):
        self.width, self.rate, self.name = width, rate, name


class Child(Parent):
    def __init__(self, *args, rate=0.25, depth=(1, 2), **kwargs):
        super().__init__(*args, rate=rate, **kwargs)
        self.depth = depth


class Grandchild(Child):
    """Without a constructor of its own."""


class Closed(Parent):
    def __init__(self, width):
        super().__init__(width)


class Scale(Configured, keras.layers.Layer):
    def __init__(self, start="ones", activation="relu", inner=None, **kwargs):
        super().__init__(**kwargs)
        self.start, self.activation = keras.initializers.get(start), keras.activations.get(activation)
        self.inner = inner


def test_arguments_of_a_chain_of_constructors():
    assert constructor_arguments(Parent) == {"width": REQUIRED, "rate": 0.5, "name": "parent"}
    expected = {"rate": 0.25, "depth": (1, 2), "width": REQUIRED, "name": "parent"}
    assert constructor_arguments(Child) == constructor_arguments(Grandchild) == expected
    assert constructor_arguments(Child, until=Parent) == {"rate": 0.25, "depth": (1, 2)}


def test_a_constructor_that_passes_nothing_on_hides_its_parents_arguments():
    assert constructor_arguments(Closed) == {"width": REQUIRED}
    assert Closed(3).get_config() == {"width": 3}


def test_until_has_to_be_a_parent():
    with pytest.raises(ValueError, match="not in"):
        constructor_arguments(Parent, until=Scale)


@pytest.mark.parametrize("cls", [Parent, Child, Grandchild])
def test_config_rebuilds_an_object(cls):
    config = json.loads(json.dumps(cls(7, rate=0.1, name="x").get_config()))
    twin = cls.from_config(config)
    assert (twin.width, twin.rate, twin.name) == (7, 0.1, "x")


def test_config_of_a_layer_holds_keras_part_and_objects_in_json_form():
    layer = Scale(keras.initializers.Constant(2.0), "gelu", keras.losses.MeanSquaredError(), dtype="mixed_bfloat16")
    config = json.loads(json.dumps(layer.get_config()))
    assert {"name", "trainable", "dtype"} < set(config)
    assert config["activation"] == "gelu"
    assert config["inner"]["class_name"] == "MeanSquaredError"
    twin = Scale.from_config({**config, "inner": keras.saving.deserialize_keras_object(config["inner"])})
    assert twin.dtype_policy.name == "mixed_bfloat16"
    assert twin.start.value == 2.0
    assert twin.activation is keras.activations.gelu


def test_described_values():
    class Own:
        def described(self):
            return {"class": "Own"}

    assert described([1, "a", None, (Own(), 2.5)]) == [1, "a", None, ({"class": "Own"}, 2.5)]
    assert described(keras.initializers.Zeros()) == keras.initializers.serialize(keras.initializers.Zeros())
