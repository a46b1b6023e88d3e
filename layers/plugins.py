"""Options that plug into attention: objects chosen by name from a closed table, never by a path in a file."""


class Plugin:
    """A small immutable option (normaliser, ...) that is described by its constructor arguments."""

    def get_config(self):
        return {}

    def options(self):
        return self.get_config()

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), tuple(sorted(self.get_config().items()))))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def _table():
    from zoo.layers.rotary import RotaryEmbedding
    from zoo.layers.score_normalizers import Softmax, SoftmaxPlus, SquaredReLU

    classes = {c.__name__: c for c in (RotaryEmbedding, Softmax, SoftmaxPlus, SquaredReLU)}
    names = {"rotary": RotaryEmbedding, "softmax": Softmax, "softmax_plus": SoftmaxPlus, "squared_relu": SquaredReLU}
    return classes, names


def get(option):
    """The option object for an instance, a short name (`"softmax"`), a `serialize`d dict, or None."""
    classes, names = _table()
    if option is None or isinstance(option, tuple(classes.values())):
        return option
    if isinstance(option, str) and option in names:
        return names[option]()
    if isinstance(option, dict) and set(option) == {"class", "config"} and option["class"] in classes:
        return classes[option["class"]].from_config(option["config"])
    raise ValueError(
        f"unknown attention option {option!r}; expected None, one of the names {sorted(names)}, an instance of "
        f"{sorted(classes)}, or {{'class': ..., 'config': ...}} of one of them"
    )


def serialize(option):
    """JSON form of an option: None, or `{"class": name, "config": arguments}`."""
    if option is None:
        return None
    return {"class": type(option).__name__, "config": option.options()}
