"""The tokenizer of a folder, and of a config of Keras."""

import json

import zoo
from zoo.backend.variables import backbone_of
from zoo.formats import fields
from zoo.store import PresetError
from zoo.text.vocabulary import load_vocabulary


def read_vocabulary(folder, name="vocab.txt"):
    """Tokens of a folder's vocabulary file, or None where it has none."""
    return named(f"{folder.path}/{name}", load_vocabulary, folder.text(name)) if folder.has(name) else None


TOKENIZERS = ("Tokenizer", "UnigramTokenizer")  # classes of the gate that a file may name, imported when one does
_TOKENIZER_CAP = 32 << 20  # XLM-R's tokenizer.json, with blanks between its 250,000 pieces, has 17 MB


def read_tokenizer_json(folder):
    """The content of a folder's tokenizer.json, dict."""
    return folder.json("tokenizer.json", cap=_TOKENIZER_CAP)


def tokenizer_class(options, source):
    """The class that a tokenizer's options name; `zoo.Tokenizer` where they name none, as in presets of before."""
    return getattr(zoo, fields.choice(options, "class", source, TOKENIZERS, "Tokenizer"))


def named(source, function, content):
    """`function(content)`, whose errors name the file."""
    try:
        return function(content)
    except (TypeError, ValueError) as error:
        raise PresetError(f"{source}: {error}") from None


def tokenizer_config(model):
    """JSON form of the tokenizer of a model; None where it has none, or none beside that of its backbone.

    Raises:
        ValueError: a function, or an object that zoo does not know, is part of the tokenizer.
    """
    tokenizer, backbone = model.tokenizer, backbone_of(model)
    if tokenizer is None or (backbone is not model and tokenizer is getattr(backbone, "tokenizer", None)):
        return None
    known = type(tokenizer).__name__ in TOKENIZERS and type(tokenizer) is getattr(zoo, type(tokenizer).__name__)
    options = tokenizer.get_config() if known else None
    if options is None or options.get("pre_tokenize"):
        held = "a function (pre_tokenize)" if options else f"a tokenizer of class {type(tokenizer).__name__}"
        way = (
            "from_preset(folder, pre_tokenize=function)"
            if options
            else "load_weights into a model made as this one was"
        )
        raise ValueError(
            f"this {type(model).__name__} cannot be saved or copied by Keras, whose files and copies hold configs, and no "
            f"config can hold {held}; use {'save_to_preset' if options else 'save_weights'} and {way}"
        )
    return {"options": options, "vocabulary": tokenizer.vocabulary_text}


def tokenizer_from(config):
    """The tokenizer of a config of `tokenizer_config`, or None.

    Raises:
        ValueError: options that no tokenizer has.
    """
    if config is None:
        return None
    options, text = config["options"], config["vocabulary"]
    if options.get("class", "Tokenizer") not in TOKENIZERS:
        raise ValueError(f"a tokenizer of class {options['class']!r}; known are {', '.join(TOKENIZERS)}")
    cls = getattr(zoo, options.get("class", "Tokenizer"))
    return cls.from_config(
        options, json.loads(text) if cls.vocabulary_file.endswith(".json") else load_vocabulary(text)
    )
