"""Options: small objects that plug into attention layers and blocks, such as a score bias or a normaliser.

Each kind of option is a base class with one method: `Position`, `FrequencyScaling`, `ScoreProduct`, `LengthScale`,
`ScoreBias`, `Visibility`, `Normalizer` and `Residual`. Your own option is a subclass of its kind, or a function with the
arguments of that one method. Layers, blocks and backbones take either:

    class Linear(zoo.layers.ScoreBias):
        def __init__(self, slope):
            self.slope = slope  # kept under the argument's name: the config is read from there

        def bias(self, query_positions, key_positions, num_heads, trained):
            return -self.slope * ops.abs(query_positions[:, None, :, None] - key_positions[:, None, None, :])

A config or a preset names options by their class, and only classes that are registered: put
`@zoo.layers.register_option` above yours, in the program that saves and in the one that loads.
"""

import keras

from zoo.backend.arguments import Configured

_CLASSES = {}  # class name -> registered class
_SHORT_NAMES = {}  # "alibi" -> registered class


class Option(Configured):
    """What all kinds share. An option never changes and holds no weights, so that one object may serve many layers.

    An option that does need weights of its own is a Keras layer too, see `AlphaResidual`.
    """

    argument = None  # of layers, by which an option of the kind is given
    method = None  # of the kind, for which a function may stand

    def check(self, num_heads, key_dim):
        """Raise ValueError where the option does not fit attention with H heads and key size s."""

    def described(self):
        """The form in configs, `{"class": name, "config": arguments}`.

        Raises:
            ValueError: the class is not registered.
        """
        cls = type(self)
        if _CLASSES.get(cls.__name__) is not cls:
            raise ValueError(
                f"{self!r} cannot be written to a config, which names registered options only; put "
                f"@zoo.layers.register_option above class {cls.__name__}, here and where the config is read"
            )
        try:
            return {"class": cls.__name__, "config": self.described_arguments()}
        except AttributeError as error:  # which a property of a torch module would hide
            raise ValueError(str(error)) from None

    def __eq__(self, other):
        if isinstance(self, keras.layers.Layer):  # two of them have weights of their own
            return self is other
        return type(self) is type(other) and self.argument_values() == other.argument_values()

    def __hash__(self):
        if isinstance(self, keras.layers.Layer):
            return id(self)
        return hash((type(self), repr(sorted(self.argument_values().items()))))

    def __repr__(self):
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.argument_values().items())})"
        )


def register_option(cls=None, name=None):
    """Let configs and presets name an option class, and layers take it by a short name.

        @register_option            # configs say "Mine"
        @register_option("mine")    # and layers take score_bias="mine", which means Mine()

    Args:
        cls: subclass of a kind (`ScoreBias`, ...), or the short name where it is used as in the second line.
        name: str or None, the short name.

    Returns:
        the class.

    Raises:
        ValueError: no subclass of a kind, or another class has the name.
    """
    if cls is None or isinstance(cls, str):
        return lambda decorated: register_option(decorated, name or cls)
    if not isinstance(cls, type) or not issubclass(cls, Option) or cls.method is None:
        raise ValueError(
            f"register_option got {cls!r}; expected a subclass of a kind of option: zoo.layers.ScoreBias, Position, ..."
        )
    for table, key in ((_CLASSES, cls.__name__), (_SHORT_NAMES, name)):
        other = table.get(key, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):  # a cell may run twice
            raise ValueError(f"register_option: {key!r} is already the name of {other.__module__}.{other.__qualname__}")
    _CLASSES[cls.__name__] = cls
    if name is not None:
        _SHORT_NAMES[name] = cls
    return cls


def get(option, kind=Option):
    """The option for what a user gave: an option, a short name, its form in configs, a function, or None.

    Args:
        kind: base class of the kind that is expected; `Option` takes all that is registered.

    Raises:
        ValueError: none of these, or an option of another kind.
    """
    if option is None or isinstance(option, kind):
        return option
    classes = {name: cls for name, cls in _CLASSES.items() if issubclass(cls, kind)}
    names = {name: cls for name, cls in _SHORT_NAMES.items() if issubclass(cls, kind)}
    if isinstance(option, str):
        if option in names:
            return names[option]()
    elif isinstance(option, dict):
        if set(option) == {"class", "config"} and isinstance(option["class"], str) and option["class"] in classes:
            return classes[option["class"]].from_config(option["config"])
    elif callable(option) and kind.method and not isinstance(option, Option | keras.layers.Layer | type):
        return _from_function(option, kind)
    where, own = "", ""
    if kind.method is not None:
        where = f" for {kind.argument}"
        own = f"an object of your own subclass of zoo.layers.{kind.__name__}, a function that stands for its {kind.method}, "
    raise ValueError(
        f"unknown attention option {option!r}{where}; expected None, one of the names {sorted(names)}, an instance of "
        f"{', '.join(sorted(classes))}, {own}or {{'class': ..., 'config': ...}} of a class that is registered with "
        "zoo.layers.register_option"
    )


def _from_function(function, kind):
    """An option whose one method is a function. No config can hold it."""

    class FromFunction(kind):  # type: ignore[valid-type]
        def __init__(self):
            """Without the arguments of the kind."""

        def argument_values(self):
            return {"function": function}

        def described(self):
            raise ValueError(
                f"{function!r} as a {kind.__name__} cannot be written to a config, which names registered classes only; "
                f"make it the method {kind.method} of a subclass of zoo.layers.{kind.__name__} and put "
                "@zoo.layers.register_option above the class"
            )

        def __eq__(self, other):
            return isinstance(other, kind) and self.argument_values() == other.argument_values()

        def __hash__(self):
            return hash(function)

        def __repr__(self):
            return repr(function)

    setattr(FromFunction, kind.method, staticmethod(function))
    return FromFunction()


class Untracked:
    """Keeps an option in an attribute of a layer or model without making it one of its sublayers."""

    def __init__(self, option):
        self.option = option

    def described(self):
        return None if self.option is None else self.option.described()
