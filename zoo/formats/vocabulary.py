"""The vocabulary file of a folder."""

from zoo.formats import fields
from zoo.store import PresetError
from zoo.text.tokenizer import Tokenizer
from zoo.text.unigram import UnigramTokenizer
from zoo.text.vocabulary import load_vocabulary


def read_vocabulary(folder, name="vocab.txt"):
    """Tokens of a folder's vocabulary file, or None where it has none."""
    return named(f"{folder.path}/{name}", load_vocabulary, folder.text(name)) if folder.has(name) else None


TOKENIZERS = {"Tokenizer": Tokenizer, "UnigramTokenizer": UnigramTokenizer}  # those that a file may name
_TOKENIZER_CAP = 32 << 20  # XLM-R's tokenizer.json, with blanks between its 250,000 pieces, has 17 MB


def read_tokenizer_json(folder):
    """The content of a folder's tokenizer.json, dict."""
    return folder.json("tokenizer.json", cap=_TOKENIZER_CAP)


def tokenizer_class(options, source):
    """The class that a tokenizer's options name; `zoo.Tokenizer` where they name none, as in presets of before."""
    return fields.choice(options, "class", source, TOKENIZERS, "Tokenizer")


def named(source, function, content):
    """`function(content)`, whose errors name the file."""
    try:
        return function(content)
    except (TypeError, ValueError) as error:
        raise PresetError(f"{source}: {error}") from None
