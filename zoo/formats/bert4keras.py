"""Folders of the original (bert4keras, google-research/bert): bert_config.json, a TensorFlow checkpoint, vocab.txt."""

import json
import re

from zoo.backend.arguments import constructor_arguments, described
from zoo.backend.variables import backbone_of, to_numpy, weights_of
from zoo.formats.checkpoint import Checkpoint
from zoo.formats.tensorflow.checkpoint import TFCheckpoint, write_tf_checkpoint
from zoo.layers import options
from zoo.store import PresetError

CONFIG = "bert_config.json"
# Slots of the training script's optimizers; the published checkpoints that were not cleaned still carry them.
_OPTIMIZER_SLOTS = r"global_step|.*/(adam_m|adam_v|lamb_m|lamb_v)|beta[12]_power|.*/Adam(_1)?"


def recognises(folder):
    """Whether the folder holds a TensorFlow checkpoint of this lineage."""
    return folder.has(CONFIG) or any(name.endswith(".index") for name in folder.names())


def read(folder, family=None):
    """Describe the checkpoint.

    Args:
        folder: `zoo.store.Folder`.
        family: name of the family, as the original's user has to say it; None to tell it from the variable names.
    """
    import zoo

    config = folder.json(CONFIG)
    weights = TFCheckpoint(folder)
    source = f"{folder.path}/{weights.prefix}"
    family = family or family_of(weights)
    cls = getattr(zoo, family)
    arguments = cls.from_tf_config(config)
    missing = sorted({"vocabulary_size", "num_layers", "hidden_dim"} - set(arguments))
    if missing:
        raise PresetError(f"{folder.path}/{CONFIG} lacks what gives {', '.join(missing)} (vocab_size, ...)")
    names = tensor_names(cls, arguments["num_layers"])
    heads = [re.escape(name) for path, (name, _) in names.items() if path.startswith(HEADS)]
    return Checkpoint(
        family=family,
        config=arguments,
        weights=weights,
        names=names,
        source=source,
        known_extras=(*heads, _OPTIMIZER_SLOTS),
        vocabulary=vocabulary(folder),
        tokenizer_options={},
    )


HEADS = ("pooler/", "next_sentence/", "mlm_")


def family_of(names):
    """Family by what only it has: units; a position table; norm parameters; or none of them."""
    if any(name.startswith("GAU_alpha/") for name in names):
        return "GAUAlpha"
    if "bert/embeddings/position_embeddings" in names:
        return "BERT"
    return "RoFormer" if any(name.endswith("LayerNorm/gamma") for name in names) else "RoFormerV2"


def tensor_names(cls, num_layers):
    """Our variable path -> (name in the checkpoint, transform)."""
    transposed = "cls/seq_relationship/output_weights"  # stored [2, d] since google-research/bert
    return {
        ours: (theirs, "transpose" if theirs == transposed else None)
        for ours, theirs in cls.tf_names(num_layers).items()
    }


def vocabulary(folder):
    """Tokens of vocab.txt, or None where the folder has none."""
    from zoo.text.vocabulary import load_vocabulary

    if not folder.has("vocab.txt"):
        return None
    try:
        return load_vocabulary(folder.text("vocab.txt"))
    except ValueError as error:
        raise error if isinstance(error, PresetError) else PresetError(f"{folder.path}/vocab.txt: {error}") from None


def to_bert4keras(model, prefix="bert_model.ckpt"):
    """File name -> bytes of a folder in the original's format: config, checkpoint, vocabulary.

    Args:
        model: backbone or a head of the lineage (`MaskedLM`, `NextSentence`) whose weights all have a name there.
        prefix: str, name of the checkpoint.

    Raises:
        ValueError: a weight has no name in the original's checkpoints, or layers have attention options of their own.
    """

    backbone = backbone_of(model)
    if backbone.layer_attention is not None:
        raise ValueError(
            "bert_config.json has no field for layer_attention: the original would build another model; save a zoo preset"
        )
    defaults = constructor_arguments(type(backbone))
    for name in ("position", "normalization", "residual", "norm_epsilon"):
        own, usual = (_described(value) for value in (getattr(backbone, name), defaults[name]))
        if own != usual:
            raise ValueError(
                f"{name}={own}, and bert_config.json has no field for it: the original would build a "
                f"{type(backbone).__name__} with {usual}; save a zoo preset"
            )
    names = tensor_names(type(backbone), backbone.num_layers)
    arrays = {}
    for path, variable in weights_of(model).items():
        if path not in names:
            raise ValueError(f"{path} of {type(model).__name__} has no name in TensorFlow checkpoints of this lineage")
        name, transform = names[path]
        arrays[name] = to_numpy(variable).T if transform else to_numpy(variable)
    files = {
        CONFIG: json.dumps(backbone.to_tf_config(), indent=2).encode() + b"\n",
        **write_tf_checkpoint(arrays, prefix),
    }
    if model.tokenizer is not None:
        files["vocab.txt"] = model.tokenizer.vocabulary_text.encode()
    return files


def _described(value):
    """JSON form of an option or its short name; a number as it is."""
    return value if isinstance(value, float) else described(options.get(value))
