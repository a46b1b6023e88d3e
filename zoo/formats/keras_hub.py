"""keras-hub preset folders: BERT and RoFormerV2, with the masked-language-model head of BERT.

keras-hub's own RoFormerV2 masks queries instead of keys on JAX and TensorFlow, and its tokenizers with
`lowercase=True` turn full-width punctuation into ASCII. zoo reads the weights and the vocabulary and computes
as the original does, so padded batches and lower-cased text may differ from keras-hub's.
"""

import re

from zoo.formats import fields, hdf5
from zoo.formats.checkpoint import Checkpoint, check_layers
from zoo.store import PresetError
from zoo.text.vocabulary import load_vocabulary

CONFIG, WEIGHTS, INDEX = "config.json", "model.weights.h5", "model.weights.json"
TASK, TASK_WEIGHTS = "task.json", "task.weights.h5"
VOCABULARY, TOKENIZER = "vocabulary.txt", "tokenizer.json"
_SHARD = re.compile(r"model_\d{5}\.weights\.h5")

FAMILIES = {
    "keras_hub>BertBackbone": "BERT",
    "keras_nlp>BertBackbone": "BERT",
    "keras_hub>RoformerV2Backbone": "RoFormerV2",
}
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
_BLOCKS = {
    "BERT": {
        "": "layers/transformer_encoder",
        "attention/query": "_self_attention_layer/query_dense",
        "attention/key": "_self_attention_layer/key_dense",
        "attention/value": "_self_attention_layer/value_dense",
        "attention/output": "_self_attention_layer/output_dense",
        "attention_norm": "_self_attention_layer_norm",
        "feedforward/inner": "_feedforward_intermediate_dense",
        "feedforward/outer": "_feedforward_output_dense",
        "feedforward_norm": "_feedforward_layer_norm",
    },
    "RoFormerV2": {
        "": "layers/roformer_v2_encoder",
        "attention/query": "attention_layer/q_dense",
        "attention/key": "attention_layer/k_dense",
        "attention/value": "attention_layer/v_dense",
        "attention/output": "attention_layer/o_dense",
        "feedforward/inner": "feedforward_intermediate_dense",
        "feedforward/outer": "feedforward_output_dense",
    },
}
_NUMBER = {"embeddings": 0, "kernel": 0, "gamma": 0, "bias": 1, "beta": 1}


def recognises(folder):
    """Whether a folder's config.json names a keras-hub backbone of a family that zoo has."""
    return folder.has(CONFIG) and folder.json(CONFIG).get("registered_name") in list(FAMILIES)


def read(folder):
    """The checkpoint in a keras-hub preset folder.

    Args:
        folder: `zoo.store.Folder`.

    Returns:
        `zoo.formats.checkpoint.Checkpoint`.

    Raises:
        PresetError: a field that zoo cannot honour, sizes that are not those of the weights, HDF5 beyond
            plain arrays.
    """
    document = folder.json(CONFIG)
    family = FAMILIES[document["registered_name"]]
    config = _backbone_config(family, document.get("config"), f"{folder.path}/{CONFIG}")
    weights = _weights(folder)
    check_layers(config["num_layers"], weights, f"{folder.path}/{CONFIG}")
    checkpoint = Checkpoint(
        family=family,
        config=config,
        weights=weights,
        names=lambda path: foreign_name(family, path),
        source=f"{folder.path}/{WEIGHTS}",
        known_extras=(r"layers/dense/vars/[01]", r"task/layers/masked_lm_head/.*") if family == "BERT" else (),
        ones=_gains(config["num_layers"]) if family == "RoFormerV2" else (),
        **_tokenizer(folder),
    )
    width, last = config["hidden_dim"], f"layer_{config['num_layers'] - 1}"
    shapes = {
        "token_embedding/embeddings": (config["vocabulary_size"], width),
        "segment_embedding/embeddings": (config["num_segments"], width),
        f"{last}/feedforward/inner/kernel": (width, config["intermediate_dim"]),
    }
    if family == "BERT":
        shapes["position_embedding/embeddings"] = (config["max_sequence_length"], width)
    checkpoint.check_sizes(shapes)
    return checkpoint


def foreign_name(family, path):
    """The dataset and the transform of a variable path of ours; None where keras-hub has no such layer."""
    layer, _, leaf = path.rpartition("/")
    if path == "mlm_bias/bias":
        return "task/layers/masked_lm_head/vars/0", None
    if leaf not in _NUMBER:
        return None
    if layer in _EMBEDDINGS:
        return f"{_EMBEDDINGS[layer]}/vars/{_NUMBER[leaf]}", None
    block, layers = re.fullmatch(r"layer_(\d+)/(.+)", layer), _BLOCKS[family]
    if not block or block[2] not in layers:
        return None
    transform = None
    if family == "BERT" and block[2].startswith("attention/"):
        output = block[2] == "attention/output"
        transform = ("join_first" if leaf == "kernel" else None) if output else "join_last"
    number = "" if block[1] == "0" else f"_{block[1]}"
    return f"{layers['']}{number}/{layers[block[2]]}/vars/{_NUMBER[leaf]}", transform


def _gains(num_layers):
    """The gains of the norms: keras-hub trains them, the original has none, so they must still be ones."""
    blocks = ["layers/roformer_v2_encoder" + (f"_{index}" if index else "") for index in range(num_layers)]
    norms = [f"{block}/{norm}" for block in blocks for norm in ("attention_norm", "feedforward_norm")]
    return tuple(f"{norm}/vars/0" for norm in ["layers/roformer_norm", *norms])


_NO_MATHEMATICS = {"name", "trainable", "dtype"}


def _backbone_config(family, config, source):
    if not isinstance(config, dict):
        raise PresetError(f"{source}: config must be an object with the backbone's arguments")

    def size(field, *default):
        return fields.size(config, field, source, *default)

    ours = {
        "vocabulary_size": size("vocabulary_size"),
        "num_layers": size("num_layers"),
        "num_heads": size("num_heads"),
        "hidden_dim": size("hidden_dim"),
        "intermediate_dim": size("intermediate_dim"),
        "num_segments": size("num_segments", 2),
        "dropout": fields.fraction(config, "dropout", source, 0.1),
    }
    if family == "BERT":
        # fixed in keras-hub's code, absent from its config
        fixed = {"activation": "gelu_tanh", "norm_epsilon": 1e-12}
        ours |= {
            "max_sequence_length": size("max_sequence_length", 512),
            "attention_dropout": ours["dropout"],
        } | fixed
    else:
        only = {
            "use_bias": False,
            "max_wavelength": 10000,
            "head_size": ours["hidden_dim"] // ours["num_heads"],
        }
        for field, value in only.items():
            fields.choice(config, field, source, (value,), value)
        ours |= {
            "activation": fields.choice(config, "activation", source, ("relu", "gelu", "silu", "tanh"), "relu"),
            "attention_dropout": 0.0,
            "norm_epsilon": 1e-7,
        }
    unknown = set(config) - set(ours) - _NO_MATHEMATICS - {"use_bias", "max_wavelength", "head_size"}
    if unknown:
        raise PresetError(f"{source}: {sorted(unknown)} are fields of a keras-hub that zoo does not know")
    return ours


def _tokenizer(folder):
    """vocabulary and tokenizer_options of a folder."""
    assets = folder.subfolder("assets")
    assets = assets and assets.subfolder("tokenizer")
    if assets is None or not assets.has(VOCABULARY):
        return {}
    try:
        vocabulary = load_vocabulary(assets.text(VOCABULARY))
    except ValueError as error:
        raise PresetError(f"{assets.path}/{VOCABULARY}: {error}") from None
    config = folder.json(TOKENIZER).get("config") if folder.has(TOKENIZER) else None
    lowercase = (config if isinstance(config, dict) else {}).get("lowercase", False)
    if not isinstance(lowercase, bool):
        raise PresetError(f"{folder.path}/{TOKENIZER}: lowercase must be true or false, got {lowercase!r}")
    return {"vocabulary": vocabulary, "tokenizer_options": {"lowercase": lowercase}}


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
    where, source = folder.json(INDEX).get("weight_map"), f"{folder.path}/{INDEX}"
    if not isinstance(where, dict) or not where:
        raise PresetError(f"{source}: weight_map must be an object of group to file name")
    files = [file for entry in where.values() for file in (entry if isinstance(entry, list) else [entry])]
    for file in files:
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise PresetError(
                f"{source}: weight_map names {file!r}; a shard is called model_00000.weights.h5 and lies "
                f"beside the index"
            )
    weights = {}
    for file in sorted(set(files)):
        shard = hdf5.datasets(folder, file)
        if twice := set(weights) & set(shard):
            raise PresetError(f"{folder.path}/{file}: {sorted(twice)[:10]} are in another shard as well")
        weights |= shard
    return weights
