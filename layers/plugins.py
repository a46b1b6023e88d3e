"""Options that plug into attention: objects chosen by name from a closed table, never by a path in a file."""


class Plugin:
    """A small immutable option (normaliser, bias, ...) that is described by its constructor arguments.

    An option holds no weights, so that one object may serve many layers: the layer makes those that it is trained by.
    """

    def get_config(self):
        return {}

    def options(self):
        return self.get_config()

    def described(self):
        return serialize(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def check(self, num_heads, key_dim):
        """Raise ValueError where the option does not fit attention with H heads and key size s."""

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), repr(sorted(self.get_config().items()))))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def _table():
    """Kind of option -> its classes; the names by which some may be asked for."""
    from zoo.layers import (
        frequency_scaling,
        rerope,
        residuals,
        rotary,
        score_biases,
        score_normalizers,
        score_products,
        xpos,
    )
    from zoo.layers import log_n as scale
    from zoo.layers import visibility as masks

    kinds = {
        "position": (rotary.RotaryEmbedding, rerope.ReRoPE, rerope.LeakyReRoPE, xpos.XPOS),
        "scaling": frequency_scaling.SCALINGS,
        "product": (score_products.KeyNorm, score_products.QueryNorm, score_products.CosA),
        "log_n": (scale.LogN,),
        "score_bias": (score_biases.ALiBi, score_biases.KERPLE, score_biases.Sandwich),
        "visibility": (masks.Window, masks.Direction),
        "residual": (residuals.DeepNorm, residuals.AlphaResidual),
        "normalization": (score_normalizers.Softmax, score_normalizers.SoftmaxPlus, score_normalizers.SquaredReLU),
    }
    names = {
        "rotary": rotary.RotaryEmbedding,
        "xpos": xpos.XPOS,
        "key_norm": score_products.KeyNorm,
        "query_norm": score_products.QueryNorm,
        "cos_a": score_products.CosA,
        "alibi": score_biases.ALiBi,
        "kerple": score_biases.KERPLE,
        "sandwich": score_biases.Sandwich,
        "softmax": score_normalizers.Softmax,
        "softmax_plus": score_normalizers.SoftmaxPlus,
        "squared_relu": score_normalizers.SquaredReLU,
    }
    return kinds, names


def get(option, kind=None):
    """The option object for an instance, a short name (`"softmax"`), a `serialize`d dict, or None.

    Args:
        kind: `"position"`, `"normalization"`, ...: what the option has to be; None welcomes all.

    Raises:
        ValueError: no such option, or one of another kind.
    """
    kinds, names = _table()
    wanted = kinds[kind] if kind else tuple(c for classes in kinds.values() for c in classes)
    classes = {c.__name__: c for c in wanted}
    names = {name: c for name, c in names.items() if c in wanted}
    if option is None or isinstance(option, wanted):
        return option
    if isinstance(option, str) and option in names:
        return names[option]()
    if isinstance(option, dict) and set(option) == {"class", "config"} and option["class"] in classes:
        return classes[option["class"]].from_config(option["config"])
    raise ValueError(
        f"unknown attention option {option!r}{f' for {kind}' if kind else ''}; expected None, one of the names "
        f"{sorted(names)}, an instance of {sorted(classes)}, or {{'class': ..., 'config': ...}} of one of them"
    )


def serialize(option):
    """JSON form of an option: None, or `{"class": name, "config": arguments}`."""
    if option is None:
        return None
    return {"class": type(option).__name__, "config": option.options()}
