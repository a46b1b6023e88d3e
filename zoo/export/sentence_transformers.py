"""A folder for sentence-transformers 2 to 6 and what reads its kind: text-embeddings-inference, vLLM, llama.cpp, fastembed.

A BERT is written as transformers has it, with its weights in model.safetensors. Families that transformers lacks are an
ONNX folder: `onnx/model.onnx`, which is beside a BERT's weights too, gives `last_hidden_state` first, as fastembed and
the ORT backends want it, and `sentence_embedding`.
"""

import json

from zoo.formats import hugging_face
from zoo.text.unigram import UnigramTokenizer

POOLINGS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
_FLAGS = (*POOLINGS.values(), "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
_FLAGS += ("pooling_mode_lasttoken",)
_MODULES = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))


def check(model, task):
    """Refuse what no such folder holds.

    Raises:
        ValueError: another task or pooling, by name.
    """
    if task != "RepresentationMatcher":
        raise ValueError(
            f"format='sentence_transformers' is for a RepresentationMatcher, this is a {type(model).__name__}; its export is "
            "format='onnx'"
        )
    if model.pooling not in POOLINGS:
        raise ValueError(
            f"format='sentence_transformers' has no pooling {model.pooling!r}, only {', '.join(POOLINGS)}; format='onnx' has"
        )


def folders(model, graph):
    """The files of the folder beside tokenizer.json, and of the folders in it.

    Args:
        model: `RepresentationMatcher`, see `check`. graph: its `onnx.ModelProto`, with hidden states.

    Returns:
        dict of name to bytes, list of (folder, dict of name to bytes).
    """
    own = _transformers_files(model)
    files = own or {"config.json": _json(_sizes(model))}
    files["tokenizer_config.json"] = _json(_tokenizer_config(model, with_segments=bool(own)))
    # the names of versions 2 to 5, which 6 reads too
    modules = enumerate(_MODULES)
    files["modules.json"] = _json(
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (kind, path) in modules
        ]
    )
    files["sentence_bert_config.json"] = _json({"max_seq_length": model.max_length, "do_lower_case": False})
    files["config_sentence_transformers.json"] = _json(
        {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    )
    flags = {flag: flag == POOLINGS[model.pooling] for flag in _FLAGS}
    pooling = {"word_embedding_dimension": model.hidden_dim, **flags, "include_prompt": True}
    inside = [("1_Pooling", {"config.json": _json(pooling)}), ("onnx", {"model.onnx": graph.SerializeToString()})]
    return files, inside


def _transformers_files(model):
    """config.json and weights of a BERT; {} of what transformers does not have, or not under this name."""
    backbone = model.backbone
    if type(backbone).__name__ != "BERT":
        return {}
    try:
        files = hugging_face.to_files(backbone)
    except ValueError:  # an option that transformers lacks
        return {}
    config = {**json.loads(files["config.json"]), "pad_token_id": model.tokenizer.pad_token_id}
    return {"config.json": _json(config), hugging_face.WEIGHTS: files[hugging_face.WEIGHTS]}


def _sizes(model):
    """A config.json with the sizes that readers of ONNX folders look for. They know families by name: the nearest is told."""
    backbone = model.backbone
    return {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": model.hidden_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.intermediate_dim,
        "vocab_size": backbone.vocabulary_size,
        "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": max(backbone.num_segments, 1),
        "pad_token_id": model.tokenizer.pad_token_id,
        "hidden_act": "gelu",
        "layer_norm_eps": backbone.norm_epsilon,
        "zoo_family": type(backbone).__name__,
    }


def _tokenizer_config(model, with_segments):
    """tokenizer_config.json of the general class, which takes tokenizer.json as it is; BERT's own would fold texts anew."""
    tokenizer = model.tokenizer
    names = {f"{role}_token": token for role, token in tokenizer.special_tokens.items()}
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if with_segments else ["input_ids", "attention_mask"]
    own = {}
    if not isinstance(tokenizer, UnigramTokenizer):
        own = {
            "do_lower_case": tokenizer.lowercase,
            "strip_accents": tokenizer.strip_accents,
            "mask_token": tokenizer.mask_token,
        }
        # a "[SEP]" that a user typed is a word like any other
        own["split_special_tokens"] = not any(token.special for token in tokenizer.added_tokens)
    return {
        **names,
        **own,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.max_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": inputs,
    }


def _json(content):
    return json.dumps(content, ensure_ascii=False, indent=2).encode() + b"\n"
