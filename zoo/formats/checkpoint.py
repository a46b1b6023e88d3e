"""What every foreign format hands over, and the strict match of its weights with a model's."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping

import numpy as np

from zoo.formats import fields
from zoo.formats.families import family
from zoo.store import PresetError

# Name of a transform -> (shape in the file -> shape in the model, array -> array). All of them are views.
TRANSFORMS = {
    None: (lambda shape: shape, lambda array: array),
    "transpose": (lambda shape: shape[::-1], np.transpose),  # torch keeps kernels as [out, in]
    "from_row_2": (lambda shape: (shape[0] - 2, *shape[1:]), lambda array: array[2:]),  # XLM-R's positions begin at 2
    # Keras' EinsumDense keeps heads apart: [d, H, s] -> [d, H·s], [H, s] -> [H·s], and [H, s, d] -> [H·s, d].
    "join_last": (
        lambda shape: (*shape[:-2], math.prod(shape[-2:])),
        lambda array: _reshaped(array, "join_last"),
    ),
    "join_first": (
        lambda shape: (math.prod(shape[:2]), *shape[2:]),
        lambda array: _reshaped(array, "join_first"),
    ),
}
_SHOWN = 10  # of each kind of error


def _reshaped(array, transform):
    return array.reshape(TRANSFORMS[transform][0](array.shape))


@dataclasses.dataclass
class Checkpoint:
    """A model in a foreign format, described before any weight is read.

    Args:
        family: str, one of `zoo.FAMILIES`.
        config: dict, constructor arguments of the family's backbone.
        weights: mapping of the file's own tensor names to anything that has `.shape` and `.dtype` and that
            `numpy.asarray` turns into an array, so that memory maps and lazy readers fit.
        names: dict or function from a variable path of ours to `(name in the file, transform)`, where the
            transform is a key of `TRANSFORMS`. None or a missing key: this format has no such weight.
        source: str, the file or folder that errors name.
        known_extras: regular expressions of tensors that may stay unread: heads, buffers, tables.
        tied: dict of tensor name to our path whose weight it must equal, since our model has one weight for both.
        ones: names of tensors that must be all ones, because our model has no weight there.
        vocabulary: list of str, or the dict of a tokenizer.json (`zoo.UnigramTokenizer`), or None.
        tokenizer_options: dict, arguments of the tokenizer beside the vocabulary, and its "class" where it is not
            `zoo.Tokenizer`.
        task: dict with class and config of a task that our own preset holds, or None.
        verified: bool, whether a manifest vouches for every file.
    """

    family: str
    config: dict
    weights: Mapping
    names: Mapping | Callable
    source: str
    known_extras: tuple = ()
    tied: dict = dataclasses.field(default_factory=dict)
    ones: tuple = ()
    vocabulary: list | dict | None = None
    tokenizer_options: dict = dataclasses.field(default_factory=dict)
    task: dict | None = None
    verified: bool = False

    def foreign(self, path):
        """`(name in the file, transform)` of a variable path of ours, or None where the format has none."""
        return self.names(path) if callable(self.names) else self.names.get(path)

    def check_sizes(self):
        """Refuse a config that is not that of the weights, before a model of its sizes fills the memory.

        Raises:
            PresetError: a size is no whole number, or is not that of a tensor.
        """
        cls = family(self.family)
        config, needed = cls.completed(self.config), cls.completed({})
        for name in cls.sizes:
            if name in config and (config[name] is not None or needed[name] is not None or name in cls.needed()):
                fields.size(config, name, self.source, least=0 if name == "num_segments" else 1)
        shapes = cls.telling_shapes(config)
        for prefix, options in self._heads():
            if options.get("num_classes") is None:
                continue
            classes = fields.size(options, "num_classes", self.source)
            # A head reads one to three vectors of the backbone's width; how many is for its constructor to say.
            path, width = f"{prefix}classifier/kernel", config["hidden_dim"]
            head = self.weights.get(path)
            shapes[path] = (max(width, head.shape[0]) if head is not None and head.shape else width, classes)
        self.check_shapes(shapes)

    def _heads(self):
        """(prefix of its weights, options) of the task, or of each task of several."""
        options = self.task["config"] if self.task else {}
        several = options.get("tasks")
        if not isinstance(several, dict):
            return [("", options)]
        entries = {name: entry.get("config") if isinstance(entry, dict) else None for name, entry in several.items()}
        return [(f"{name}/", entry) for name, entry in entries.items() if isinstance(entry, dict)]

    def check_shapes(self, shapes):
        """Refuse a config by the shapes that it implies.

        Args:
            shapes: dict of variable path to shape.
        """
        for path, shape in shapes.items():
            name = (self.foreign(path) or (f"(no name in this format for {path})",))[0]
            if name not in self.weights:
                raise PresetError(
                    f"{self.source}: {name} is missing, the config asks for it with shape {shape} (num_layers="
                    f"{self.config.get('num_layers')})"
                )
            stored = tuple(self.weights[name].shape)
            if _shape_after(self.foreign(path)[1], stored) != shape:
                raise PresetError(
                    f"{self.source}: {name} has shape {stored}, by the config it should become {shape}. "
                    f"Is it the config of another checkpoint?"
                )

    def provides(self, path):
        """Whether the file holds the weight of this variable path."""
        found = self.foreign(path)
        return found is not None and found[0] in self.weights


def match(checkpoint, wanted):
    """The arrays of a model's variables, once every name, shape and type has been found right.

    Args:
        checkpoint: a `Checkpoint`.
        wanted: dict of variable path to shape, all weights of the model to be filled.

    Returns:
        dict of variable path to array, transformed to the model's shape, in the type of the file.

    Raises:
        PresetError: with the missing, unexpected and mis-shaped tensors of both sides. Nothing is read before
            this is settled.
    """
    weights, missing, misfits, used = checkpoint.weights, [], [], {}
    for path, shape in wanted.items():
        found = checkpoint.foreign(path)
        if found is None or found[0] not in weights:
            missing.append(f"{found[0] if found else '(no name in this format)'} for {path} {tuple(shape)}")
            continue
        used[path] = found
        name, transform = found
        stored = tuple(weights[name].shape)
        if _shape_after(transform, stored) != tuple(shape):
            how = f" ({transform})" if transform else ""
            misfits.append(f"{name} has shape {stored}{how}, the model's {path} has {tuple(shape)}")
        elif not _is_float(weights[name].dtype):
            misfits.append(f"{name} has type {weights[name].dtype}, the model's {path} needs a float type")
    read = {name for name, _ in used.values()} | set(checkpoint.ones)
    allowed = [re.compile(pattern) for pattern in checkpoint.known_extras]
    extra = [
        f"{name} {tuple(weights[name].shape)}"
        for name in weights
        if name not in read and not any(pattern.fullmatch(name) for pattern in allowed)
    ]
    if missing or extra or misfits:
        lines = [_listed("missing in the file", missing), _listed("unexpected in the file", extra)]
        lines += [_listed("that do not fit", misfits)]
        sizes = ", ".join(f"{key}={value!r}" for key, value in checkpoint.config.items() if isinstance(value, int))
        raise PresetError(
            f"{checkpoint.source}: the weights are not those of {checkpoint.family}({sizes}). "
            f"Is the config that of another checkpoint?\n" + "\n".join(line for line in lines if line)
        )
    for name in checkpoint.ones:
        if name in weights and not (np.asarray(weights[name]) == 1).all():
            raise PresetError(
                f"{checkpoint.source}: {name} must be all ones, because {checkpoint.family} has no gain "
                f"there; this checkpoint was trained with gains and cannot be represented"
            )
    return {path: TRANSFORMS[transform][1](np.asarray(weights[name])) for path, (name, transform) in used.items()}


def _shape_after(transform, shape):
    # Joining two axes needs two axes: a scalar or vector there is a misfit like any other.
    if transform in ("join_last", "join_first") and len(shape) < 2 or transform == "from_row_2" and not shape:
        return None
    return TRANSFORMS[transform][0](shape)


def _is_float(dtype):
    dtype = np.dtype(dtype)
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _listed(title, entries):
    if not entries:
        return ""
    rest = [f"... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return f"  {len(entries)} tensors {title}:" + "".join(f"\n    {line}" for line in entries[:_SHOWN] + rest)
