"""Constructor arguments, and the configs that follow from them."""

import functools
import inspect

import keras
import numpy as np

REQUIRED = inspect.Parameter.empty  # the default of an argument that has none


def constructor_arguments(cls, until=object):
    """The arguments that a class is made with, those of its parents included: name -> default, or `REQUIRED`.

    A constructor that takes `**options` hands them to its parent, whose arguments are then read too.

    Args:
        cls: a class.
        until: the parent class at which to stop; its own arguments are left out.
    """
    arguments = {}
    for parent in cls.__mro__[: cls.__mro__.index(until)]:
        if "__init__" not in vars(parent):
            continue
        _, *parameters = inspect.signature(parent.__init__).parameters.values()  # the first is self
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                arguments.setdefault(parameter.name, parameter.default)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return arguments


def plain(value):
    """A number of NumPy as Python's, in lists, tuples and dicts too: what JSON holds, and what is an `int` to `isinstance`."""
    if isinstance(value, np.number | np.bool_):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return {plain(key): plain(one) for key, one in value.items()} if type(value) is dict else value


def of_plain_numbers(constructor):
    """A constructor that takes numbers of NumPy for Python's."""

    @functools.wraps(constructor)
    def made(self, *args, **kwargs):
        constructor(self, *map(plain, args), **{name: plain(value) for name, value in kwargs.items()})

    # Keras looks here, and not behind wrappers
    setattr(made, "__signature__", inspect.signature(constructor))  # noqa: B010  (mypy knows of no such attribute)
    return made


class PlainNumbers:
    """Of a class and its children all constructors that they write take numbers of NumPy for Python's."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = of_plain_numbers(vars(cls)["__init__"])


class Configured(PlainNumbers):
    """An object that keeps every argument of its constructor in an attribute of the same name; its config follows.

    Name it before the Keras class that you extend, `class Mine(Configured, keras.layers.Layer)`: the config then holds
    that class' own config too.
    """

    def argument_values(self):
        """The constructor's arguments, those of parents up to `Configured` included, as the object holds them."""
        return {name: getattr(self, name, REQUIRED) for name in constructor_arguments(type(self), Configured)}

    def described_arguments(self):
        """The same in JSON form.

        Raises:
            AttributeError: the object does not keep one of them.
        """
        values = self.argument_values()
        lost = [name for name, value in values.items() if value is REQUIRED]
        if lost:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {', '.join(lost)}; a config is read from attributes that have "
                "the names of the constructor's arguments"
            )
        return {name: described(value) for name, value in values.items()}

    def get_config(self):
        return {**getattr(super(), "get_config", dict)(), **self.described_arguments()}

    @classmethod
    def from_config(cls, config, **options):
        made_by_parent = getattr(super(), "from_config", None)
        return cls(**config) if made_by_parent is None else made_by_parent(config, **options)


def described(value):
    """JSON form of an argument.

    A value that has a method `described` tells its own form. Functions are named as Keras names activations, Keras'
    objects by class and config. Numbers, texts and None stay as they are.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(described, value))
    if hasattr(value, "described"):
        return value.described()
    if hasattr(value, "get_config"):
        return keras.saving.serialize_keras_object(value)
    return keras.activations.serialize(value) if callable(value) else value
