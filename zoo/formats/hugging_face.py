"""Hugging Face folders of BERT, RoFormer, RoFormerV2 and GAU-α: config.json, safetensors, a vocabulary.

BERT and RoFormer are transformers' own. RoFormerV2 and GAU-α have no class in transformers; their folders are
those of JunnYu/RoFormer_pytorch (`"norm_type": "rms_norm"`) and JunnYu/GAU-alpha-pytorch
(`"model_type": "gau_alpha"`).
"""

import json
import re
import shlex

import numpy as np

from zoo.backend.variables import backbone_of, to_numpy, weights_of
from zoo.formats import fields
from zoo.formats.checkpoint import TRANSFORMS, Checkpoint, check_layers
from zoo.store import PresetError, safetensors_bytes, strict_json
from zoo.store.folder import TEXT_CAP
from zoo.text.text_tokenizer import ROLES
from zoo.text.vocabulary import dump_vocabulary, load_vocabulary, tokens_by_id

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
    r"(classifier|qa_outputs)(\.(dense|out_proj))?\.(weight|bias)",
)

MODEL_TYPES = {"bert": "BERT", "roformer": "RoFormer", "gau_alpha": "GAUAlpha"}
_PREFIX = {"BERT": "bert.", "RoFormer": "roformer.", "RoFormerV2": "roformer.", "GAUAlpha": "gau_alpha."}
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


def recognises(folder):
    """Whether a folder's config.json is one of transformers' of a family that zoo has."""
    return folder.has("config.json") and folder.json("config.json").get("model_type") in list(MODEL_TYPES)


def read(folder):
    """The checkpoint in a Hugging Face folder.

    Args:
        folder: `zoo.store.Folder`.

    Returns:
        `zoo.formats.checkpoint.Checkpoint`.

    Raises:
        PresetError: a field that zoo cannot honour, sizes that are not those of the weights, pickled weights.
    """
    config, source = folder.json("config.json"), f"{folder.path}/config.json"
    _refuse_unknown_mathematics(config, source)
    family = _family(config, source)
    ours = _backbone_config(family, config, source)
    weights, file = _weights(folder)
    check_layers(ours["num_layers"], weights, source)
    prefix = _PREFIX[family]
    checkpoint = Checkpoint(
        family=family,
        config=ours,
        weights=weights,
        names=names(
            family,
            ours["num_layers"],
            prefix if any(name.startswith(prefix) for name in weights) else "",
            any(name.endswith("LayerNorm.gamma") for name in weights),
        ),
        source=file,
        known_extras=_KNOWN_EXTRAS,
        **_tokenizer(folder),
    )
    checkpoint.check_sizes(_telling_shapes(family, checkpoint.config))
    return checkpoint


def _family(config, source):
    """The family; RoFormer and RoFormerV2 both call themselves `roformer` and differ in two fields."""
    if config["model_type"] != "roformer":
        return MODEL_TYPES[config["model_type"]]
    norm = fields.choice(config, "norm_type", source, ("layer_norm", "rms_norm"), "layer_norm")
    bias = fields.choice(config, "use_bias", source, (True, False), True)
    if bias != (norm == "layer_norm"):
        raise PresetError(
            f"{source}: norm_type={norm!r} with use_bias={bias} is neither RoFormer (layer_norm, biases) "
            f"nor RoFormerV2 (rms_norm, no biases)"
        )
    return "RoFormer" if bias else "RoFormerV2"


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


def _backbone_config(family, config, source):
    def size(field, *default):
        return fields.size(config, field, source, *default)

    width = size("hidden_size")
    ours = {
        "vocabulary_size": size("vocab_size"),
        "num_layers": size("num_hidden_layers"),
        "hidden_dim": width,
        "embedding_dim": size("embedding_size", width),
        "num_segments": size("type_vocab_size", 2),
        "max_sequence_length": size("max_position_embeddings", 512 if family == "BERT" else 1536),
        "dropout": fields.fraction(config, "hidden_dropout_prob", source, 0.1),
        "attention_dropout": fields.fraction(config, "attention_probs_dropout_prob", source, 0.1),
        "activation": fields.choice(config, "hidden_act", source, _ACTIVATIONS, "gelu"),
        "norm_epsilon": fields.fraction(config, "layer_norm_eps", source, 1e-12),
    }
    if family == "GAUAlpha":
        fields.choice(config, "use_bias", source, (False,), False)
        fields.choice(config, "attention_scale", source, (True,), True)
        fields.choice(config, "normalization", source, ("softmax_plus",), "softmax_plus")
        return ours | {"expanded_dim": size("intermediate_size"), "key_dim": size("attention_key_size", 128)}
    ours |= {"num_heads": size("num_attention_heads"), "intermediate_dim": size("intermediate_size")}
    if width % ours["num_heads"]:
        raise PresetError(f"{source}: hidden_size={width} is no multiple of num_attention_heads={ours['num_heads']}")
    return ours


def _telling_shapes(family, config):
    """A few weights that fix every size of a config."""
    width, last = config["hidden_dim"], f"layer_{config['num_layers'] - 1}"
    shapes = {
        "token_embedding/embeddings": (config["vocabulary_size"], config["embedding_dim"]),
        "segment_embedding/embeddings": (config["num_segments"], config["embedding_dim"]),
    }
    if family == "BERT":
        shapes["position_embedding/embeddings"] = (config["max_sequence_length"], config["embedding_dim"])
    if family == "GAUAlpha":
        shapes[f"{last}/gau/input/kernel"] = (width, 2 * config["expanded_dim"] + config["key_dim"])
        shapes[f"{last}/gau/key_scale/gamma"] = (config["key_dim"],)
    else:
        shapes[f"{last}/feedforward/inner/kernel"] = (width, config["intermediate_dim"])
    return shapes


# ---- names


def foreign_name(tf_name, prefix=""):
    """The Hugging Face name and the transform that belong to a name in TensorFlow checkpoints.

    transformers named its weights after those of google-research/bert, so a rule suffices.

    Args:
        tf_name: str, e.g. "bert/encoder/layer_3/attention/self/query/kernel".
        prefix: str, what stands before the names of the encoder; "bert." in a BERT with heads.
    """
    *scopes, leaf = tf_name.split("/")
    name = ".".join([*scopes, _LEAVES.get(leaf, leaf)])
    name = re.sub(r"^(bert|GAU_alpha)\.", prefix, re.sub(r"\.layer_(\d+)\.", r".layer.\1.", name))
    name = name.replace("encoder.embedding_hidden_mapping_in", "embeddings_project")
    return name, "transpose" if leaf in _TRANSPOSED else None


def names(family, num_layers, prefix="", old_norms=False):
    """Our variable path -> (Hugging Face name, transform).

    Args:
        family: str.
        num_layers: int.
        prefix: see `foreign_name`.
        old_norms: bool, whether the file calls gain and bias of a norm gamma and beta, as in 2019.
    """
    import zoo

    found = {path: foreign_name(name, prefix) for path, name in getattr(zoo, family).tf_names(num_layers).items()}
    if old_norms:
        old = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
        for new, name in old:
            found = {path: (their.replace(new, name), transform) for path, (their, transform) in found.items()}
    return found


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
    where = folder.json(INDEX).get("weight_map")
    source = f"{folder.path}/{INDEX}"
    if not isinstance(where, dict) or not where:
        raise PresetError(f"{source}: weight_map must be an object of tensor name to file name")
    for name, shard in where.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise PresetError(
                f"{source}: {name!r} lies in {shard!r}; a shard is called model-00001-of-00002.safetensors "
                f"and lies beside the index"
            )
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


def _tokenizer(folder):
    """vocabulary and tokenizer_options of a folder; a vocab.txt goes before a tokenizer.json."""
    vocabulary, options = None, {}
    if folder.has("vocab.txt"):
        vocabulary = _named(f"{folder.path}/vocab.txt", load_vocabulary, folder.text("vocab.txt"))
    if folder.has("tokenizer.json"):
        content, source = folder.json("tokenizer.json", cap=TEXT_CAP), f"{folder.path}/tokenizer.json"
        model, normalizer = content.get("model"), content.get("normalizer")
        if not isinstance(model, dict) or model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
            raise PresetError(f"{source}: model must be a WordPiece with a vocab; zoo reads no other kind of tokenizer")
        vocabulary = vocabulary or _named(source, tokens_by_id, model["vocab"])
        options["word_max_length"] = fields.size(model, "max_input_chars_per_word", source, 100)
        if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
            options |= _folding(normalizer, "lowercase", source)
    if folder.has("tokenizer_config.json"):
        source = f"{folder.path}/tokenizer_config.json"
        # transformers writes int(1e30) for "no limit", a number beyond the 64 bits of strict JSON
        content = folder.bytes("tokenizer_config.json").replace(b"1000000000000000019884624838656", b"null")
        config = strict_json.parse(content, source)
        options |= _folding(config, "do_lower_case", source)
        for role in ROLES:
            token = config.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                options[f"{role}_token"] = token
    return {"vocabulary": vocabulary, "tokenizer_options": options}


def _folding(config, field, source):
    """The tokenizer's `lowercase`, where a config states it in a way that zoo's tokenizer can honour."""
    if config.get(field) is None:
        return {}
    lowercase = fields.choice(config, field, source, (True, False))
    fields.choice(config, "strip_accents", source, (lowercase,), lowercase)
    return {"lowercase": lowercase}


def _named(source, function, content):
    try:
        return function(content)
    except (TypeError, ValueError) as error:
        raise PresetError(f"{source}: {error}") from None


# ---- writing


def from_model(model):
    """File name -> bytes of a model's Hugging Face folder, see `to_hugging_face`."""

    backbone, tokenizer = backbone_of(model), model.tokenizer
    weights = {path: to_numpy(variable) for path, variable in weights_of(model).items()}
    vocabulary, options = (None, None) if tokenizer is None else (tokenizer.vocabulary, tokenizer.get_config())
    return to_hugging_face(type(backbone).__name__, backbone.architecture(), weights, vocabulary, options)


def to_hugging_face(family, config, weights, vocabulary=None, tokenizer_options=None):
    """The files of a folder that transformers' `from_pretrained` loads with equal outputs.

    Args:
        family: "BERT" or "RoFormer", the two that transformers has.
        config: dict, constructor arguments of our backbone.
        weights: dict of variable path to array, with or without pooler and heads.
        vocabulary: list of str, or None.
        tokenizer_options: dict, arguments of `zoo.Tokenizer`.

    Returns:
        dict of file name to bytes, for `zoo.store.write_folder`.

    Raises:
        ValueError: the family, or an option of the model, does not exist in transformers.
    """
    foreign_config = _foreign_config(family, config, weights)
    # A bare encoder carries no prefix, in transformers' own files too.
    prefix = "" if foreign_config["architectures"][0].endswith("Model") else _PREFIX[family]
    known, tensors = names(family, config["num_layers"], prefix), {}
    for path, array in weights.items():
        if path not in known:
            raise ValueError(f"{path}: transformers' {family} has no such weight")
        name, transform = known[path]
        tensors[name] = np.ascontiguousarray(TRANSFORMS[transform][1](array))
    files = {
        "config.json": _json_bytes(foreign_config),
        # transformers refuses safetensors that do not say from which framework they come.
        WEIGHTS: safetensors_bytes(tensors, metadata={"format": "pt"}),
    }
    if vocabulary is not None:
        files["vocab.txt"] = dump_vocabulary(vocabulary).encode("utf-8")
        lowercase = (tokenizer_options or {}).get("lowercase", True)
        files["tokenizer_config.json"] = _json_bytes({"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase})
    return files


def _foreign_config(family, config, weights):
    if family not in ("BERT", "RoFormer"):
        raise ValueError(f"{family}: transformers has no such model; only BERT and RoFormer can be written for it")
    width, heads = config["hidden_dim"], config["num_heads"]
    embedding = config.get("embedding_dim") or width
    rotary = config.get("position")
    same = {
        "attention_mask": config.get("attention_mask", "bidirectional") == "bidirectional",
        "head_dim": (config.get("head_dim") or width // heads) * heads == width,
        "key_dim": (config.get("key_dim") or width // heads) * heads == width,
        "embedding_dim": family == "RoFormer" or embedding == width,
        "position": rotary in (_PLAIN_POSITIONS if family == "RoFormer" else (None,)),
        "normalization": config.get("normalization") in (None, "softmax", {"class": "Softmax", "config": {}}),
        "layer_attention": config.get("layer_attention") is None,
        "residual": config.get("residual") is None,
        "num_segments": config.get("num_segments", 2) > 0,
    }
    for field, fits in same.items():
        if not fits:
            raise ValueError(f"{family}: transformers has no {field}={config.get(field)!r}; outputs would differ")
    theirs = {
        "architectures": [_architecture(family, {path.split("/")[0] for path in weights})],
        "model_type": "bert" if family == "BERT" else "roformer",
        "vocab_size": config["vocabulary_size"],
        "hidden_size": width,
        "num_hidden_layers": config["num_layers"],
        "num_attention_heads": heads,
        "intermediate_size": config["intermediate_dim"],
        "hidden_act": {"gelu_tanh": "gelu_new"}.get(config.get("activation", "gelu"), config.get("activation", "gelu")),
        "hidden_dropout_prob": config.get("dropout", 0.1),
        "attention_probs_dropout_prob": config.get("attention_dropout", 0.1),
        "max_position_embeddings": config.get("max_sequence_length", 512),
        "type_vocab_size": config.get("num_segments", 2),
        "layer_norm_eps": config.get("norm_epsilon", 1e-12 if family == "BERT" else 1e-7),
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    }
    return theirs | ({"embedding_size": embedding, "rotary_value": False} if family == "RoFormer" else {})


# The rotation that transformers knows, as a backbone's config may state it.
_PLAIN_POSITIONS = (
    None,
    "rotary",
    {"class": "RotaryEmbedding", "config": {"base": 10000.0, "pairing": "interleaved", "sequence_axis": 1}},
)


def _architecture(family, layers):
    """The transformers class that has just these heads."""
    if family == "RoFormer":
        return "RoFormerForMaskedLM" if "mlm_dense" in layers else "RoFormerModel"
    if "next_sentence" in layers:
        return "BertForPreTraining" if "mlm_dense" in layers else "BertForNextSentencePrediction"
    return "BertForMaskedLM" if "mlm_dense" in layers else "BertModel"


def _json_bytes(content):
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8")
