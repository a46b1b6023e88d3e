"""Hugging Face folders of the families that zoo has: config.json, safetensors, a vocabulary.

BERT, ALBERT, ELECTRA and RoFormer are transformers' own, NEZHA was until 4.40; XLM-R is a BERT with other names, whose
positions begin behind the padding id. RoFormerV2 and GAU-α have no class in transformers; their folders are those of
JunnYu/RoFormer_pytorch (`"norm_type": "rms_norm"`) and JunnYu/GAU-alpha-pytorch (`"model_type": "gau_alpha"`).
"""

import json
import re
import reprlib
import shlex

import numpy as np

from zoo.backend.variables import backbone_of, to_numpy, weights_of
from zoo.formats import fields, shards, tokenizer_files
from zoo.formats.checkpoint import TRANSFORMS, Checkpoint
from zoo.formats.families import by_layer, families_of
from zoo.store import PresetError, safetensors_bytes

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_CONVERSION = (
    'python -c "import torch; from safetensors.torch import save_file; '
    "w = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); "
    f"save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{WEIGHTS}')\""
)
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")

# Last part of a TensorFlow name -> of a Hugging Face name; the ones that torch keeps transposed follow.
_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "output_bias": "bias",
    "output_weights": "weight",
    "word_embeddings": "word_embeddings.weight",
    "position_embeddings": "position_embeddings.weight",
    "token_type_embeddings": "token_type_embeddings.weight",
}
_TRANSPOSED = ("kernel", "output_weights")

# Tensors that may stay unread: buffers, fixed sinusoids, heads of pre-training, heads of downstream tasks.
_KNOWN_EXTRAS = (
    r"(\w+\.)?embeddings\.(position_ids|token_type_ids)",
    r"(\w+\.)?encoder\.embed_positions\.weight",
    r"(\w+\.)?pooler\.dense\.(weight|bias)",
    r"cls\.predictions\.(bias|decoder\.(weight|bias)|transform\.(dense|LayerNorm)\.(weight|bias|gamma|beta))",
    r"cls\.seq_relationship\.(weight|bias)",
    r"lm_head\.(bias|(dense|layer_norm|decoder)\.(weight|bias))",
    r"(classifier|qa_outputs)(\.(dense|out_proj))?\.(weight|bias)",
)

# Output matrix and bias, for which transformers has the word embeddings and `predictions.bias` again.
_DECODER = re.compile(r"(?:cls\.predictions|predictions|lm_head)\.decoder\.(weight|bias)")
_TIED = {"weight": "token_embedding/embeddings", "bias": "mlm_bias/bias"}

XLM_R = "xlm-roberta"
_XLM_R_NAMES = (
    (r"^bert\.", "roberta."),
    (r"^cls\.predictions\.transform\.LayerNorm", "lm_head.layer_norm"),
    (r"^cls\.predictions\.(transform\.)?", "lm_head."),
)

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


def model_types():
    """Values of `model_type` that zoo reads."""
    return [*dict.fromkeys(own["model_type"] for own in families_of("hugging_face").values()), XLM_R]


def matches(folder):
    """Whether a folder's config.json is one of transformers' of a family that zoo has."""
    return folder.has("config.json") and folder.json("config.json").get("model_type") in model_types()


def read(folder):
    """The checkpoint in a Hugging Face folder.

    Args:
        folder: `zoo.store.Folder`.

    Returns:
        `zoo.formats.checkpoint.Checkpoint`.

    Raises:
        PresetError: a field that zoo cannot honour, pickled weights.
    """
    config, source = folder.json("config.json"), f"{folder.path}/config.json"
    _refuse_unknown_mathematics(config, source)
    is_xlm_r = config["model_type"] == XLM_R
    if is_xlm_r:
        fields.choice(config, "pad_token_id", source, (1,), 1)  # the first position is the one behind this number
        positions = fields.size(config, "max_position_embeddings", source, 512, least=3)
        config = {**config, "model_type": "bert", "max_position_embeddings": positions - 2}
    cls = _family(config, source)
    ours = _backbone_config(cls, config, source)
    weights, file = _weights(folder)
    prefix = "roberta." if is_xlm_r else cls.hugging_face["prefix"]
    prefix = prefix if any(name.startswith(prefix) for name in weights) else ""
    old_norms = any(name.endswith("LayerNorm.gamma") for name in weights)
    return Checkpoint(
        family=cls.__name__,
        config=ours,
        weights=weights,
        names=lambda path: (_xlm_r_name if is_xlm_r else lambda found: found)(
            weight_name(cls, path, prefix, old_norms)
        ),
        source=file,
        known_extras=(*_KNOWN_EXTRAS, *cls.hugging_face.get("known_extras", ())),
        tied={name: _TIED[found[1]] for name in weights if (found := _DECODER.fullmatch(name))},
        **tokenizer_files.read(folder),
    )


def _family(config, source):
    """The family of a model type; RoFormer and RoFormerV2 both call themselves `roformer` and differ in two fields."""
    described = {
        cls: own["fields"]
        for cls, own in families_of("hugging_face").items()
        if own["model_type"] == config["model_type"]
    }
    usual = next(iter(described.values()))
    found = {field: usual[field] if config.get(field) is None else config[field] for field in usual}
    for cls, wanted in described.items():
        # 1 == True in Python, so the types as well.
        if all(type(found[field]) is type(value) and found[field] == value for field, value in wanted.items()):
            return cls
    known = " nor ".join(f"{cls.__name__} ({_listed(wanted)})" for cls, wanted in described.items())
    raise PresetError(f"{source}: {_listed(found)} is neither {known}")


def _listed(values):
    return ", ".join(f"{field}={reprlib.repr(value)}" for field, value in values.items())


def _refuse_unknown_mathematics(config, source):
    """Fields that change what a model computes and that zoo does not honour."""
    only = {
        "position_embedding_type": "absolute",
        "rotary_value": False,
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    }
    for field, value in only.items():
        fields.choice(config, field, source, (value,), value)
    for field in ("auto_map", "quantization_config", "pruned_heads"):
        if config.get(field):
            raise PresetError(f"{source}: {field} is set; zoo reads plain weights and runs no code of a checkpoint")


def _backbone_config(cls, config, source):
    """Constructor arguments. The sizes' fields are those of the original's bert_config.json."""
    own_defaults, arguments, found = cls.hugging_face.get("defaults", {}), cls.arguments(), {}
    for field, ours in cls.tf_config_names.items():
        default = own_defaults.get(field, None if ours in cls.needed() else arguments.get(ours))
        if ours in ("dropout", "attention_dropout"):
            found[field] = fields.fraction(config, field, source, own_defaults.get(field, 0.1))
        elif ours == "activation":
            found[field] = fields.choice(config, field, source, _ACTIVATIONS, own_defaults.get(field, "gelu"))
        elif config.get(field) is not None or default is not None or ours in cls.needed():
            found[field] = fields.size(config, field, source, default)
    ours = cls.from_tf_config(found) | {"norm_epsilon": fields.fraction(config, "layer_norm_eps", source, 1e-12)}
    if ours["hidden_dim"] % ours.get("num_heads", 1):
        raise PresetError(
            f"{source}: hidden_size={ours['hidden_dim']} is no multiple of num_attention_heads={ours['num_heads']}"
        )
    return ours


# ---- names


def weight_name(cls, path, prefix="", old_norms=False):
    """`(Hugging Face name, transform)` of a path, None where the family has no such weight.

    transformers named its weights after those of google-research/bert, so a rule suffices.

    Args:
        cls: class of a backbone.
        path: str, e.g. `layer_3/attention/query/kernel`.
        prefix: str, what stands before the names of the encoder; "bert." in a BERT with heads.
        old_norms: bool, whether the file calls gain and bias of a norm gamma and beta, as in 2019.
    """
    original = by_layer(cls.tf_weight_map(), path)
    if original is None:
        return None
    *scopes, leaf = original.split("/")
    name = ".".join([*scopes, _LEAVES.get(leaf, leaf)])
    name = re.sub(r"^(?!cls\.)\w+\.", prefix, re.sub(r"\.layer_(\d+)\.", r".layer.\1.", name))
    name = name.replace("encoder.embedding_hidden_mapping_in", "embeddings_project")
    for pattern, replacement in cls.hugging_face.get("renames", ()):
        name = re.sub(pattern, replacement, name)
    if old_norms:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return name, "transpose" if leaf in _TRANSPOSED else None


def _xlm_r_name(found):
    """XLM-R's name and transform in the place of BERT's."""
    if found is None:
        return None
    name, transform = found
    for pattern, replacement in _XLM_R_NAMES:
        name = re.sub(pattern, replacement, name)
    return name, "from_row_2" if name.endswith("position_embeddings.weight") else transform


# ---- files


def _weights(folder):
    """The tensors of a folder, and the file that errors name."""
    if folder.has(WEIGHTS):
        return folder.safetensors(WEIGHTS), f"{folder.path}/{WEIGHTS}"
    if folder.has(INDEX):
        return _shards(folder), f"{folder.path}/{INDEX}"
    there = folder.has("pytorch_model.bin")
    fetch = "" if there else "; `hf download ORG/NAME --local-dir FOLDER` fetches one from Hugging Face"
    place = shlex.quote(str(folder.path)) if there else "FOLDER"
    raise PresetError(
        f"{folder.path}: neither {WEIGHTS} nor {INDEX} is there. zoo reads no pickle: pytorch_model.bin can "
        f"run code when it is opened{fetch}. If you trust its author, convert it once, in a process of its "
        f"own with torch >= 2.10 and safetensors:\n  cd {place} && {_CONVERSION}"
    )


def _shards(folder):
    """The tensors of all shards of an index, each in the one file that the index says."""
    source = f"{folder.path}/{INDEX}"
    where = {
        name: files[0] for name, files in shards.read(folder, INDEX, _SHARD, "model-00001-of-00002.safetensors").items()
    }
    tensors = {}
    for shard in sorted(set(where.values())):
        if not folder.has(shard):
            raise PresetError(f"{source}: the file {shard} is missing")
        content = folder.safetensors(shard)
        promised = {name for name, file in where.items() if file == shard}
        if promised != set(content):
            raise PresetError(
                f"{source}: {shard} should hold {len(promised)} tensors and holds {len(content)}; "
                f"they differ in {sorted(promised ^ set(content))[:10]}"
            )
        tensors.update(content)
    return tensors


# ---- writing


def to_files(model):
    """File name -> bytes of a folder that transformers' `from_pretrained` loads with equal outputs.

    Args:
        model: a backbone that transformers has, or a pretraining head over one.

    Raises:
        ValueError: the family, a head, a weight or an option of the model does not exist in transformers.
    """
    backbone, tokenizer = backbone_of(model), model.tokenizer
    cls, weights = type(backbone), weights_of(model)
    config = _foreign_config(cls, backbone.architecture(), weights)
    # A bare encoder carries no prefix, in transformers' own files too.
    prefix, tensors = "" if config["architectures"][0].endswith("Model") else cls.hugging_face["prefix"], {}
    for path, variable in weights.items():
        if (found := weight_name(cls, path, prefix)) is None:
            raise ValueError(f"{path}: transformers' {cls.__name__} has no such weight")
        name, transform = found
        tensors[name] = np.ascontiguousarray(TRANSFORMS[transform][1](to_numpy(variable)))
    files = {
        "config.json": _json_bytes(config),
        # transformers refuses safetensors that do not say from which framework they come.
        WEIGHTS: safetensors_bytes(tensors, metadata={"format": "pt"}),
    }
    if tokenizer is not None:
        files |= tokenizer_files.to_files(tokenizer)
        files["config.json"] = _json_bytes({**config, "pad_token_id": tokenizer.pad_token_id})
    return files


def _foreign_config(cls, config, weights):
    """config.json of a model that transformers has too.

    Args:
        cls: class of the backbone. config: dict, its constructor arguments. weights: their paths, heads included.
    """
    own = vars(cls).get("hugging_face", {})
    if "classes" not in own:
        known = ", ".join(cls.__name__ for cls, its in families_of("hugging_face").items() if "classes" in its)
        raise ValueError(f"{cls.__name__}: transformers has no such model; only {known} can be written for it")
    config = cls.completed(config)
    width, heads = config["hidden_dim"], config["num_heads"]
    config["embedding_dim"] = config["embedding_dim"] or width
    written = {ours for ours in cls.tf_config_names.values() if ours not in ("head_dim", "key_dim")} | {"norm_epsilon"}
    odd = set(cls.changed_options(config)) - written - {"head_dim", "key_dim"}
    odd |= {name for name in ("head_dim", "key_dim") if (config[name] or width // heads) * heads != width}
    widths = {False: (True,), True: (True, False), "narrower": (False,)}[own.get("embedding_size", False)]
    odd |= {"embedding_dim"} if (config["embedding_dim"] == width) not in widths else set()
    odd |= {"num_segments"} if not config["num_segments"] else set()
    if odd:
        name = min(odd)
        raise ValueError(f"{cls.__name__}: transformers has no {name}={config[name]!r}; outputs would differ")
    layers = {path.split("/")[0] for path in weights}
    made_of = tuple(name for name in ("mlm_dense", "next_sentence") if name in layers)
    if made_of not in own["classes"]:
        raise ValueError(f"{cls.__name__}: transformers has no such model with {', '.join(made_of)}")
    names = {field: ours for field, ours in cls.tf_config_names.items() if ours in written}
    activation = config["activation"]
    return {field: config[ours] for field, ours in names.items()} | {
        "architectures": [own["classes"][made_of]],
        "model_type": own["model_type"],
        "hidden_act": {"gelu_tanh": "gelu_new"}.get(activation, activation),
        "layer_norm_eps": config["norm_epsilon"],
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        **own.get("written", {}),
    }


def _json_bytes(content):
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8")
