"""Folders of the original (bert4keras, google-research/bert): bert_config.json, a TensorFlow checkpoint, vocab.txt."""

import inspect
import json
import re

from zoo.backend.variables import backbone_of, to_numpy, weights_of
from zoo.formats.checkpoint import TRANSFORMS, Checkpoint
from zoo.formats.families import by_layer, families, family
from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.formats.vocabulary import read_vocabulary
from zoo.store import PresetError
from zoo.text.tokenizer import Tokenizer

CONFIG = "bert_config.json"
# Slots of the training script's optimizers; the published checkpoints that were not cleaned still carry them.
_OPTIMIZER_SLOTS = r"global_step|.*/(adam_m|adam_v|lamb_m|lamb_v)|beta[12]_power|.*/Adam(_1)?"


_HEADS = ("pooler/", "next_sentence/", "mlm_")


def matches(folder):
    """Whether the folder holds a TensorFlow checkpoint of this lineage."""
    return folder.has(CONFIG) or any(name.endswith(".index") for name in folder.names())


def read(folder, asked=None):
    """The checkpoint in a folder.

    Args:
        folder: `zoo.store.Folder`.
        asked: name of the family, which the original's user has to say; None to tell it from the variable names, where
            RoFormer and NEZHA share theirs: NEZHA's config says `"use_relative_position": true`.
    """
    config = folder.json(CONFIG)
    weights = TFCheckpoint(folder)
    cls = _family(config, weights, asked)
    arguments = cls.from_tf_config(config)
    missing = sorted({"vocabulary_size", "num_layers", "hidden_dim"} - set(arguments))
    if missing:
        raise PresetError(f"{folder.path}/{CONFIG} lacks what gives {', '.join(missing)} (vocab_size, ...)")
    table = cls.tf_weight_map()
    heads = [re.escape(name) for path, name in table.items() if path.startswith(_HEADS)]
    return Checkpoint(
        family=cls.__name__,
        config=arguments,
        weights=weights,
        names=lambda path: _name(table, path),
        source=f"{folder.path}/{weights.prefix}",
        known_extras=(*heads, *cls.tf_extras, _OPTIMIZER_SLOTS),
        vocabulary=read_vocabulary(folder),
    )


def _family(config, weights, asked):
    """The family that the config says, else the caller, else the tensors' names."""
    named = [cls for cls in families() if cls.matches_tf(weights)]
    said = [cls for cls in named if cls.tf_flag and config.get(cls.tf_flag) is True]
    if asked and not said:
        return family(asked)
    # The last one: a child comes after its parent, and knows what sets it apart.
    return (said or [cls for cls in named if not cls.tf_flag])[-1]


def _name(table, path):
    """`(name in the checkpoint, transform)` of a path."""
    name = by_layer(table, path)
    # stored [2, d] since google-research/bert
    return name and (name, "transpose" if name == "cls/seq_relationship/output_weights" else None)


def to_files(model):
    """File name -> bytes of a folder in the original's format: config, checkpoint, vocabulary.

    Args:
        model: backbone or a head of the lineage (`MaskedLM`, `NextSentence`) whose weights all have a name there.

    Raises:
        ValueError: a weight has no name in the original's checkpoints, or an option no field in its config.
    """

    backbone = backbone_of(model)
    cls = type(backbone)
    # Those that the original takes from its caller, and those that its config has.
    known = {"attention_mask", "custom_position_ids", "expanded_dim", *cls.tf_config_names.values()}
    for name, value in cls.changed_options(backbone.architecture()).items():
        if name not in known:
            usual = cls.arguments()[name]
            raise ValueError(
                f"bert_config.json has no field for {name}={value!r}: the original would build a {cls.__name__} with "
                f"{usual!r}; save a zoo preset"
            )
    table, arrays = cls.tf_weight_map(), {}
    for path, variable in weights_of(model).items():
        if (found := _name(table, path)) is None:
            raise ValueError(f"{path} of {type(model).__name__} has no name in TensorFlow checkpoints of this lineage")
        name, transform = found
        arrays[name] = TRANSFORMS[transform][1](to_numpy(variable))
    files = {
        CONFIG: json.dumps(backbone.to_tf_config(), indent=2).encode() + b"\n",
        **write_tf_checkpoint(arrays, "bert_model.ckpt"),
    }
    if model.tokenizer is not None:
        _refuse_tokenizer(model.tokenizer)
        files["vocab.txt"] = model.tokenizer.vocabulary_text.encode()
    return files


def _refuse_tokenizer(tokenizer):
    """Refuse a tokenizer that a vocab.txt alone would not give back."""
    if tokenizer.vocabulary_file != "vocab.txt":
        raise ValueError(f"a {type(tokenizer).__name__} has no vocab.txt, the only vocabulary of the original")
    usual = {name: parameter.default for name, parameter in inspect.signature(Tokenizer).parameters.items()}
    told = {name: getattr(tokenizer, name) for name in usual if name not in ("vocabulary", "strip_accents")}
    odd = [f"{name}={value!r:.60}" for name, value in told.items() if value != usual[name] and value not in (None, [])]
    odd += [f"strip_accents={tokenizer.strip_accents}"] * (tokenizer.strip_accents != tokenizer.lowercase)
    if odd:
        raise ValueError(
            f"a folder of the original holds a vocab.txt and nothing else of a tokenizer, so {', '.join(odd)} would be lost "
            "and ids would be others: save a zoo preset; or set model.tokenizer = None, save, and tell these to whoever reads "
            "it (zoo: from_preset(..., lowercase=False), or a tokenizer of your own on the model)"
        )
