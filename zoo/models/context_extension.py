"""Longer inputs for a trained model: the same weights under attention that meets no distance it has not learned."""

from keras import ops

from zoo.backend.variables import backbone_of, weights_of
from zoo.layers.attention_options import AttentionOptions
from zoo.layers.frequency_scaling import NTKAware, NTKAwareOld, NTKFixed, NTKMixed, PositionInterpolation, YaRN
from zoo.layers.masks import Window
from zoo.layers.rerope import LeakyReRoPE, ReRoPE
from zoo.layers.rotary import RotaryEmbedding
from zoo.layers.score_normalizers import SoftmaxPlus
from zoo.layers.score_products import LogN
from zoo.models.backbone import Backbone

SCALINGS = {
    "position_interpolation": PositionInterpolation,
    "ntk_aware": NTKAware,
    "ntk_aware_old": NTKAwareOld,
    "ntk_fixed": NTKFixed,
    "ntk_mixed": NTKMixed,
    "yarn": YaRN,
}
WINDOWED = ("rerope", "leaky_rerope", "window")
METHODS = (*WINDOWED, "log_n", *SCALINGS)


def extend_context(model, method="rerope", factor=8, window=None):
    """A new model of the same class with the same weights that reads inputs `factor` times as long, without training.

    The training length N is the backbone's `max_sequence_length`. Methods:
      * `"rerope"`, `"leaky_rerope"`: distances stop at the window, or grow so much slower beyond it that the longest stays
        within N; best together with `"log_n"` (kexue.fm/archives/9708);
      * `"ntk_mixed"`, `"ntk_fixed"`, `"ntk_aware"`, `"ntk_aware_old"`, `"position_interpolation"`, `"yarn"`: slower
        rotations, see `zoo.layers.frequency_scaling`;
      * `"log_n"`: scores of more than N tokens are scaled by the log of their number (kexue.fm/archives/8823);
      * `"window"`: every layer sees the window alone, the baseline (kexue.fm/archives/9431).

    `"log_n"` and `"window"` may be put on what another method has given: `extend_context(extend_context(m), "log_n")`.
    Layers that are given nothing by a method keep their attention: those without positions where it is about positions,
    those that a window of their own holds within N.

    Args:
        model: a zoo backbone, or a task over one. It is left as it is.
        method: str, see above.
        factor: float > 1.
        window: int or None, of the methods named first and of `"window"`; None means N // 2, and N for `"window"`.

    Returns:
        model of the same class. The `max_length` of a task is `factor` times as long, at most `factor` · N; the backbone
        still says N.

    Raises:
        ValueError: the method makes no sense for this model, with the reason.
    """
    backbone = backbone_of(model)
    if not isinstance(backbone, Backbone):
        raise ValueError(f"a {type(backbone).__name__} is no zoo backbone: its attention takes no options")
    if method not in METHODS:
        raise ValueError(f"method={method!r}; expected one of {', '.join(METHODS)}")
    if not factor > 1:
        raise ValueError(f"factor={factor!r}; expected a number above 1, how many times longer the inputs get")
    if backbone.has_position_table:
        raise ValueError(
            f"{type(backbone).__name__} has a table of {backbone.max_sequence_length} positions and no row for a later "
            "one; take a rotary model (RoFormer, RoFormerV2, GAUAlpha)"
        )
    window = _checked_window(method, window, backbone.max_sequence_length)
    layers = [_extended(backbone, index, method, factor, window) for index in range(backbone.num_layers)]
    if not any(layers):
        raise ValueError(
            f"method={method!r}: no layer of this {type(backbone).__name__} has anything to extend beyond "
            f"{backbone.max_sequence_length} tokens: no plain rotary positions, or a window that holds it within"
        )
    own = map(backbone.layer_options, range(backbone.num_layers))
    options = [(one if new is None else new.with_defaults(one)).get_config() for one, new in zip(own, layers)]
    return _rebuilt(model, options, factor)


def _checked_window(method, window, train_length):
    if method not in WINDOWED:
        if window is not None:
            raise ValueError(f"window={window!r}: method={method!r} has none; only {', '.join(WINDOWED)} do")
        return None
    if window is None:
        return train_length if method == "window" else train_length // 2
    # A window of N itself is the baseline; positions that stop growing at N have been new ones since N.
    most = train_length if method == "window" else train_length - 1
    if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= most:
        raise ValueError(
            f"window={window!r}; expected an int from 1 to {most}: the model was trained on {train_length} tokens, and "
            "distances from there on are new to it"
        )
    return window


def _extended(backbone, index, method, factor, window):
    """What replaces attention options of a layer; None where it has nothing to extend."""
    length = backbone.max_sequence_length
    options = backbone.attention_options(index)
    bounded = any(isinstance(rule, Window) and rule.width <= length for rule in options.visibility)
    if method == "window":
        return None if bounded else AttentionOptions(visibility=[*options.visibility, Window(window)])
    if method == "log_n":
        # To both sides a window shows up to twice its width.
        nothing = bounded and backbone.attention_mask == "causal"
        return None if nothing else _with_log_n(options, index, length)
    position = options.position
    if bounded or position is None:
        return None
    if not isinstance(position, RotaryEmbedding) or position.scaling is not None:
        raise ValueError(
            f"method={method!r} in layer {index}, whose positions are {position}; expected a plain RotaryEmbedding"
        )
    rotary = {"base": position.base, "pairing": position.pairing}
    if method in SCALINGS:
        lengths = {"train_length": length} if method == "yarn" else {}
        return AttentionOptions(position=RotaryEmbedding(**rotary, scaling=SCALINGS[method](factor, **lengths)))
    rotary["causal"] = backbone.attention_mask == "causal"
    if method == "rerope":
        return AttentionOptions(position=ReRoPE(window, **rotary))
    # the least k with w + (factor · N − w) / k <= N
    slowdown = (factor * length - window) / (length - window)
    return AttentionOptions(position=LeakyReRoPE(window, slowdown, **rotary))


def _with_log_n(options, index, length):
    if isinstance(options.normalization, SoftmaxPlus):
        raise ValueError(
            f"method='log_n' in layer {index}, whose SoftmaxPlus was trained with that scale and has it at every length"
        )
    if options.log_n is not None:
        raise ValueError(f"method='log_n' in layer {index}, which has {options.log_n!r} already")
    return AttentionOptions(log_n=LogN(length))


def _rebuilt(model, layer_attention, factor):
    """A model with other attention and the same weights, tokenizer and origin."""
    backbone = backbone_of(model)
    same = all(options == layer_attention[0] for options in layer_attention)
    config = {**backbone.architecture(), "layer_attention": layer_attention[0] if same else layer_attention}
    longer = type(backbone)(**config, dtype=backbone.dtype_policy, name=backbone.name)
    if model is not backbone:
        config = model.task_config()
        if hasattr(model, "max_length"):
            # A second method, put on the first, makes it no longer.
            most = min(model.max_length, backbone.max_sequence_length) * factor
            config["max_length"] = max(model.max_length, int(most))
        longer = type(model)(longer, **config)
    values, variables = weights_of(model), weights_of(longer)
    for path, variable in variables.items():
        variable.assign(ops.copy(values[path].value))  # JAX gives the memory of one model's weights away
    for old, new in ((model, longer), (backbone, backbone_of(longer))):
        new.tokenizer, new.verified = old.tokenizer, getattr(old, "verified", None)
    return longer
