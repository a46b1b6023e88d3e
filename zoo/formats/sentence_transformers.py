"""How a sentence-transformers folder makes vectors of a Hugging Face encoder: `modules.json` and what it names.

Modules that compute something else than `RepresentationMatcher` are refused by name, never passed over.
"""

import warnings

from zoo.formats import fields
from zoo.store import PresetError, strict_json

MODULES, TRANSFORMER, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
# Fields of 1_Pooling/config.json up to sentence-transformers 5; later there is one field, pooling_mode.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = ("cls", "mean", "max")
_UNLIMITED = 10**6  # tokenizer_config.json writes 1e30 for "no limit"


def matcher_options(folder):
    """Arguments of `RepresentationMatcher` that a folder's files state.

    Args:
        folder: `zoo.store.Folder`.

    Returns:
        dict of pooling, max_length and lowercase (whether texts are to be lowercased; no argument of the matcher);
        empty for a folder that is not of sentence-transformers.

    Raises:
        PresetError: a module, pooling or prompt that the matcher does not have.
    """
    if not folder.has(MODULES):
        return {}
    source = f"{folder.path}/{MODULES}"
    # A list at the top; strict JSON wants an object.
    modules = strict_json.parse(b'{"modules": ' + folder.bytes(MODULES) + b"}", source)["modules"]
    kinds = [_kind(module, index, source) for index, module in enumerate(modules if isinstance(modules, list) else ())]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise PresetError(
            f"{source}: modules {', '.join(kinds) or 'none'}; zoo reads Transformer, Pooling and perhaps Normalize, in "
            f"this order. zoo.Backbone.from_preset reads the encoder alone"
        )
    if modules[0].get("path"):
        raise PresetError(f"{source}: the encoder lies in {modules[0]['path']!r:.80}; zoo reads it beside {MODULES}")
    _read_prompts(folder)
    config = folder.json(TRANSFORMER) if folder.has(TRANSFORMER) else {}
    lowercase = fields.choice(config, "do_lower_case", f"{folder.path}/{TRANSFORMER}", (True, False), False)
    return {
        "pooling": _pooling(folder, modules[1].get("path"), source),
        "max_length": _max_length(folder, config),
        "lowercase": lowercase,
    }


def _kind(module, index, source):
    """Name of a module's class, one of those that zoo has."""
    name = module.get("type") if isinstance(module, dict) else None
    package, _, kind = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if package.split(".")[0] != "sentence_transformers" or kind not in ("Transformer", "Pooling", "Normalize"):
        raise PresetError(
            f"{source}: module {index} is {str(name)[:80]!r}, which zoo does not compute; without it the embeddings would "
            f"be others. zoo.Backbone.from_preset reads the encoder alone"
        )
    return kind


def _pooling(folder, path, source):
    sub = folder.subfolder(path) if isinstance(path, str) and path else None
    if sub is None or not sub.has("config.json"):
        raise PresetError(f"{source}: the folder {str(path)[:80]!r} of the pooling with its config.json is missing")
    config, source = sub.json("config.json"), f"{sub.path}/config.json"
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in _FLAGS.items() if fields.choice(config, flag, source, (True, False), False)]
        modes = modes or ["mean"]  # as sentence-transformers does
    modes = modes if isinstance(modes, list) else [modes]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise PresetError(f"{source}: pooling by {str(modes)[:80]}; zoo has one of {', '.join(_POOLINGS)}")
    return modes[0]


def _max_length(folder, config):
    """Tokens a text is cut to, or None where no file says it: the least of all limits, as sentence-transformers takes."""
    limits = [fields.size(config, "max_seq_length", f"{folder.path}/{TRANSFORMER}", _UNLIMITED)]
    encoder = folder.json("config.json") if folder.has("config.json") else {}
    positions = fields.size(encoder, "max_position_embeddings", f"{folder.path}/config.json", _UNLIMITED)
    limits.append(
        positions - 2 if encoder.get("model_type") == "xlm-roberta" else positions
    )  # its positions begin at 2
    if limits[0] == _UNLIMITED and folder.has("tokenizer_config.json"):
        limit = folder.json("tokenizer_config.json").get("model_max_length")
        limits.append(limit if type(limit) is int and 0 < limit < _UNLIMITED else _UNLIMITED)
    return min(limits) if min(limits) < _UNLIMITED else None


def _read_prompts(folder):
    """Refuse a prompt that stands before every text; warn of those that the caller of sentence-transformers chooses."""
    if not folder.has(PROMPTS):
        return
    config, source = folder.json(PROMPTS), f"{folder.path}/{PROMPTS}"
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if not isinstance(prompts, dict | None) or not all(isinstance(text, str) for text in (prompts or {}).values()):
        raise PresetError(f"{source}: prompts is {str(prompts)[:80]!r}; expected an object of texts")
    if name is not None and (prompts or {}).get(name) != "":
        raise PresetError(
            f"{source}: default_prompt_name={str(name)[:80]!r} puts a prompt before every text, which "
            f"zoo does not do; set it to null and put the prompt into the texts"
        )
    if told := {name: text for name, text in (prompts or {}).items() if text}:
        shown = ", ".join(f"{name}: {text[:60]!r}" for name, text in list(told.items())[:5])
        warnings.warn(
            f"{source}: prompts ({shown}) are put before no text by zoo. The model was trained with them: write them yourself, "
            f"matcher.encode([{next(iter(told.values()))[:60]!r} + text, ...])",
            stacklevel=5,
        )
