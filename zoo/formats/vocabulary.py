"""The vocabulary file of a folder."""

from zoo.store import PresetError
from zoo.text.vocabulary import load_vocabulary


def read_vocabulary(folder, name="vocab.txt"):
    """Tokens of a folder's vocabulary file, or None where it has none."""
    return named(f"{folder.path}/{name}", load_vocabulary, folder.text(name)) if folder.has(name) else None


def named(source, function, content):
    """`function(content)`, whose errors name the file."""
    try:
        return function(content)
    except (TypeError, ValueError) as error:
        raise PresetError(f"{source}: {error}") from None
