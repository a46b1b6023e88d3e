"""The backbones and tasks that a file may name: classes of the gate's closed tables, imported when they are asked for."""

import re

import zoo


def family(name):
    """The class of a backbone, such as `zoo.BERT`, by its name in `zoo.FAMILIES`."""
    return getattr(zoo, _listed(name, zoo.FAMILIES))


def families():
    """The classes of all backbones, parents before their children."""
    return [family(name) for name in zoo.FAMILIES]


def families_of(library):
    """Class of a backbone -> its own description for a library, those that have one; children do not inherit theirs.

    `hugging_face`: a dict of
        model_type: str, in config.json.
        prefix: str, before the names of an encoder with a head.
        fields: dict of fields that must have these values; a field that is left out has the value of the first family
            of this model_type.
        defaults: dict, what fields mean that are left out, where it is not the default of our constructor.
        classes: dict from the heads' layers, as a tuple, to the class of transformers; without it none is written.
        embedding_size: bool, whether embeddings may be narrower than the rest; "narrower" where they must be.
        written: dict of fields to be written beside the sizes.
        renames: pairs of a pattern and its replacement, applied to a name that follows BERT's rule.
        known_extras: patterns of tensors that may stay unread, beside those of BERT.
    `keras_hub`: a dict of
        classes: registered names of the backbone. layers: our layer in a block -> theirs, `{}` for "", "_1", "_2", ...
        arguments: dict, what is fixed in their code. fields: dict of fields that must have these values.
        activations: those that the config may name. heads_apart: bool, whether attention weights keep heads apart.
        known_extras, ones: see `Checkpoint`; `ones` are names of norms.

    Args:
        library: str, "hugging_face" or "keras_hub".
    """
    return {cls: vars(cls)[library] for cls in families() if library in vars(cls)}


def task(name):
    """The class of a task by its name in `zoo.TASKS`."""
    return getattr(zoo, _listed(name, zoo.TASKS))


def task_names(parent):
    """The names in `zoo.TASKS` of the classes that inherit from a class."""
    return [name for name in zoo.TASKS if issubclass(task(name), parent)]


def _listed(name, table):
    if name not in table:
        raise KeyError(f"{name!r} is none of {', '.join(table)}")
    return name


def task_name(cls):
    """The name in `zoo.TASKS` of a class or its nearest parent there, which is what a file can name; None without one."""
    named = (parent for parent in cls.__mro__ if parent.__name__ in zoo.TASKS)
    return next((parent.__name__ for parent in named if task(parent.__name__) is parent), None)


def by_layer(table, path):
    """The entry of a weight's path, such as `layer_3/attention/query/kernel`, in a table that writes `{}` for the 3.

    Returns:
        str with the number of the layer in the place of its own `{}`; None where the table has no entry.
    """
    layer = re.match(r"layer_(\d+)/", path)
    if layer is None:
        return table.get(path)
    name = table.get("layer_{}" + path[layer.end() - 1 :])
    return None if name is None else name.replace("{}", layer[1])
