"""keras-hub preset folders: BERT and RoFormerV2, with the masked-language-model head of BERT.

keras-hub's own RoFormerV2 masks queries instead of keys on JAX and TensorFlow, and its tokenizers with
`lowercase=True` turn full-width punctuation into ASCII. zoo reads the weights and the vocabulary and computes
as the original does, so padded batches and lower-cased text may differ from keras-hub's.
"""

import re

from zoo.formats import fields, hdf5, shards
from zoo.formats.checkpoint import Checkpoint
from zoo.formats.families import families_of
from zoo.formats.vocabulary import read_vocabulary
from zoo.store import PresetError

CONFIG, WEIGHTS, INDEX = "config.json", "model.weights.h5", "model.weights.json"
TASK, TASK_WEIGHTS = "task.json", "task.weights.h5"
VOCABULARY, TOKENIZER = "vocabulary.txt", "tokenizer.json"
_SHARD = re.compile(r"model_\d{5}\.weights\.h5")

_MASKED_LM = ("keras_hub>BertMaskedLM", "keras_nlp>BertMaskedLM")

# Our layer -> theirs. Keras numbers the variables of a layer: 0 is the kernel (or gain), 1 the bias.
_EMBEDDINGS = {
    "token_embedding": "layers/reversible_embedding",
    "segment_embedding": "layers/embedding",
    "position_embedding": "layers/position_embedding",
    "embedding_norm": "layers/layer_normalization",
    "pooler": "layers/dense",
    "mlm_dense": "task/layers/masked_lm_head/_intermediate_dense",
    "mlm_norm": "task/layers/masked_lm_head/_intermediate_layer_norm",
}
_NUMBER = {"embeddings": 0, "kernel": 0, "gamma": 0, "bias": 1, "beta": 1}


def registered_names():
    """Registered name of a backbone that zoo reads -> our class."""
    return {name: cls for cls, own in families_of("keras_hub").items() for name in own["classes"]}


def matches(folder):
    """Whether a folder's config.json names a keras-hub backbone of a family that zoo has."""
    return folder.has(CONFIG) and folder.json(CONFIG).get("registered_name") in list(registered_names())


def read(folder):
    """The checkpoint in a keras-hub preset folder.

    Args:
        folder: `zoo.store.Folder`.

    Returns:
        `zoo.formats.checkpoint.Checkpoint`.

    Raises:
        PresetError: a field that zoo cannot honour, HDF5 beyond plain arrays.
    """
    document = folder.json(CONFIG)
    cls = registered_names()[document["registered_name"]]
    config = _backbone_config(cls, document.get("config"), f"{folder.path}/{CONFIG}")
    weights = _weights(folder)
    norms = [re.escape(norm).replace(r"\{\}", r"(_\d+)?") for norm in cls.keras_hub.get("ones", ())]
    return Checkpoint(
        family=cls.__name__,
        config=config,
        weights=weights,
        names=lambda path: weight_name(cls, path),
        source=f"{folder.path}/{WEIGHTS}",
        known_extras=cls.keras_hub.get("known_extras", ()),
        # keras-hub trains these gains, the original has none, so they must still be ones.
        ones=tuple(name for name in weights for norm in norms if re.fullmatch(f"layers/{norm}/vars/0", name)),
        **_tokenizer(folder),
    )


def weight_name(cls, path):
    """The dataset and the transform of a variable path of ours; None where keras-hub has no such layer."""
    layer, _, leaf = path.rpartition("/")
    if path == "mlm_bias/bias":
        return "task/layers/masked_lm_head/vars/0", None
    if leaf not in _NUMBER:
        return None
    if layer in _EMBEDDINGS:
        return f"{_EMBEDDINGS[layer]}/vars/{_NUMBER[leaf]}", None
    block = re.fullmatch(r"layer_(\d+)/(.+)", layer)
    theirs = block and cls.keras_hub["layers"].get(block[2])
    if theirs is None:
        return None
    transform = None
    if cls.keras_hub.get("heads_apart") and block[2].startswith("attention/"):
        output = block[2] == "attention/output"
        transform = ("join_first" if leaf == "kernel" else None) if output else "join_last"
    number = "" if block[1] == "0" else f"_{block[1]}"
    return f"layers/{theirs.replace('{}', number)}/vars/{_NUMBER[leaf]}", transform


_NO_MATHEMATICS = {"name", "trainable", "dtype"}


def _backbone_config(cls, config, source):
    if not isinstance(config, dict):
        raise PresetError(f"{source}: config must be an object with the backbone's arguments")

    def size(field, *default):
        return fields.size(config, field, source, *default)

    own = cls.keras_hub
    ours = {
        "vocabulary_size": size("vocabulary_size"),
        "num_layers": size("num_layers"),
        "num_heads": size("num_heads"),
        "hidden_dim": size("hidden_dim"),
        "intermediate_dim": size("intermediate_dim"),
        "num_segments": size("num_segments", 2),
        "dropout": fields.fraction(config, "dropout", source, 0.1),
    }
    if "position_embedding/embeddings" in cls.tf_weight_map():
        ours["max_sequence_length"] = size("max_sequence_length", 512)
    if "activations" in own:
        ours["activation"] = fields.choice(config, "activation", source, own["activations"], own["activations"][0])
    only = own.get("fields", {})
    if only:
        only = only | {"head_size": ours["hidden_dim"] // ours["num_heads"]}
    for field, value in only.items():
        fields.choice(config, field, source, (value,), value)
    ours |= {"attention_dropout": ours["dropout"], **own["arguments"]}
    unknown = set(config) - set(ours) - set(only) - _NO_MATHEMATICS
    if unknown:
        raise PresetError(f"{source}: {sorted(unknown)} are fields of a keras-hub that zoo does not know")
    return ours


# Fields of a tokenizer's config: no id depends on them; they must have these values where they are there.
_FREE = {"name", "trainable", "dtype", "config_file", "build_config"}
_ONLY = {
    "vocabulary": (None,),  # it lies in the assets
    "sequence_length": (None,),
    "split": (True,),
    "split_on_cjk": (True,),
    "suffix_indicator": ("##",),
}
_FLAGS = ("lowercase", "strip_accents", "special_tokens_in_strings")
_SPECIAL = ["[CLS]", "[SEP]", "[PAD]", "[MASK]"]


def _tokenizer(folder):
    """vocabulary and tokenizer_options of a folder."""
    assets = folder.subfolder("assets")
    assets = assets and assets.subfolder("tokenizer")
    vocabulary = assets and read_vocabulary(assets, VOCABULARY)
    if vocabulary is None:
        return {}
    source, document = f"{folder.path}/{TOKENIZER}", folder.json(TOKENIZER) if folder.has(TOKENIZER) else {}
    config = {} if document.get("config") is None else document["config"]
    if not isinstance(config, dict):
        raise PresetError(f"{source}: config is {config!r:.80}; expected an object")
    own = [name.replace("Backbone", "Tokenizer") for name in registered_names()]
    fields.choice(document, "registered_name", source, [None, *own])
    if unknown := sorted(set(config) - _FREE - {*_ONLY, *_FLAGS, "oov_token", "special_tokens"}):
        raise PresetError(f"{source}: {unknown[0]} is {config[unknown[0]]!r:.80}, a field that zoo does not know")
    for field, values in _ONLY.items():
        if field in config:
            fields.choice(config, field, source, values)
    lowercase, strip_accents, in_strings = (fields.choice(config, one, source, (True, False), False) for one in _FLAGS)
    special = config.get("special_tokens")
    if special is not None and (not isinstance(special, list) or not set(map(str, special)) <= {*_SPECIAL, "[UNK]"}):
        raise PresetError(f"{source}: special_tokens is {special!r:.80}; zoo reads only {', '.join(_SPECIAL)}")
    options = {
        "lowercase": lowercase,
        "strip_accents": strip_accents,
        "unk_token": config.get("oov_token") or "[UNK]",
        "word_max_length": 100,  # keras-hub counts bytes, so words of other scripts end earlier there
    }
    if in_strings:
        options["added_tokens"] = [{"content": token, "special": True} for token in _SPECIAL]
    return {"vocabulary": vocabulary, "tokenizer_options": options}


# ---- weights


def _weights(folder):
    """All datasets of a preset's model and, for a masked language model, of its head under `task/`."""
    if folder.has(WEIGHTS):
        weights = hdf5.datasets(folder, WEIGHTS)
    elif folder.has(INDEX):
        weights = _shards(folder)
    else:
        raise PresetError(f"{folder.path}: neither {WEIGHTS} nor {INDEX} is there")
    # Until Keras 3.4 the group was named after the attribute that held the layers.
    weights = {re.sub("^_layer_checkpoint_dependencies/", "layers/", name): value for name, value in weights.items()}
    if folder.has(TASK) and folder.has(TASK_WEIGHTS) and folder.json(TASK).get("registered_name") in _MASKED_LM:
        task = hdf5.datasets(folder, TASK_WEIGHTS)
        weights |= {f"task/{name}": value for name, value in task.items() if not name.startswith("optimizer/")}
    return weights


def _shards(folder):
    where = shards.read(folder, INDEX, _SHARD, "model_00000.weights.h5")
    weights = {}
    for file in sorted({file for files in where.values() for file in files}):
        shard = hdf5.datasets(folder, file)
        if twice := set(weights) & set(shard):
            raise PresetError(f"{folder.path}/{file}: {sorted(twice)[:10]} are in another shard as well")
        weights |= shard
    return weights
