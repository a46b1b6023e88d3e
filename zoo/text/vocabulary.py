"""The content of a vocab.txt: one line, one token, one id.

Every rule here keeps a token's id equal to its line number, since that number is a row of the embeddings.
"""

from zoo.text.basic_tokenizer import is_ideograph, is_punctuation

MOST_TOKENS = 1_000_000  # the largest published WordPiece vocabulary has half as many


def load_vocabulary(text):
    """Tokens of a vocab.txt, by its content.

    A byte order mark and Windows line ends are removed. A line of several columns (`token<TAB>count`) gives
    its first one; a line of white space alone (U+2028, U+3000, ...) is itself a token. Blank lines hold their
    id, except at the end of the file. Repeated tokens all keep their lines; `zoo.Tokenizer` says which one
    text maps to.

    Args:
        text: str, or bytes in UTF-8. The content, not a path.

    Returns:
        List of str; the position is the id.

    Raises:
        ValueError: not UTF-8, a carriage return inside a line (old Mac line ends) or a lone surrogate, with
            the number of the line; more than a million lines.
    """
    if not isinstance(text, str):
        text = _decoded(bytes(text))
    if text.count("\n") > MOST_TOKENS:
        raise ValueError(f"vocabulary: more than {MOST_TOKENS} lines. Is it a vocabulary?")
    lines = text.removeprefix("\ufeff").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    check_tokens(lines)
    return [(line.split() or [line])[0] for line in lines]


def dump_vocabulary(vocabulary):
    """The content of the vocab.txt that `load_vocabulary` reads back as this vocabulary."""
    return "".join(f"{token}\n" for token in vocabulary)


def check_tokens(tokens):
    """Refuse tokens that no line of a text file can hold, naming the first one."""
    for index, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(f"vocabulary: id {index} is {token!r:.60} ({type(token).__name__}), expected a str.")
        if "\n" in token or "\r" in token:
            raise ValueError(
                f"vocabulary: line {index + 1} (id {index}) holds a line end inside {token[:40]!r}. "
                "Lines must end with \\n or \\r\\n; convert a file with old Mac line ends first."
            )
        if not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token):
            raise ValueError(
                f"vocabulary: line {index + 1} (id {index}) holds a lone surrogate in {token[:40]!a}, which "
                "UTF-8 cannot store. Was the file read with errors='surrogateescape'? Read it as UTF-8."
            )


def check_storable(tokens):
    """Refuse tokens that a vocab.txt would give back as others (see `load_vocabulary`), naming the first one."""
    for index, token in enumerate(tokens):
        if token.split() not in ([token], []):
            raise ValueError(
                f"vocabulary: id {index} is {token[:40]!r}; a vocab.txt, in which white space ends a token, would give back "
                f"{token.split()[0][:40]!r}. Take the white space out: no text ever arrives at such a token."
            )
    if tokens and tokens[0].startswith("\ufeff"):
        raise ValueError("vocabulary: id 0 starts with a byte order mark, which a vocab.txt would lose. Take it out.")
    if tokens and not tokens[-1]:
        raise ValueError(
            f"vocabulary: id {len(tokens) - 1}, the last one, is '', which a vocab.txt would lose. Leave it out."
        )


def tokens_by_id(vocabulary):
    """A vocabulary as a list, from a list or from a dict of token to id whose ids are 0 .. V-1."""
    if isinstance(vocabulary, (str, bytes)):
        raise TypeError(
            f"vocabulary: got {vocabulary[:40]!r} ({type(vocabulary).__name__}), expected a list of tokens. "
            "For the content of a vocab.txt use Tokenizer.from_vocabulary_text."
        )
    if not isinstance(vocabulary, dict):
        return list(vocabulary)
    tokens = dict(sorted((index, token) for token, index in vocabulary.items()))
    if list(tokens) != list(range(len(vocabulary))):
        raise ValueError(
            f"vocabulary: a dict of {len(vocabulary)} tokens must have the ids 0 .. {len(vocabulary) - 1}, "
            f"each once; got {len(tokens)} different ones from {min(tokens)!r} to {max(tokens)!r}."
        )
    return list(tokens.values())


def is_redundant(token):
    """Whether text can never arrive at a token: two or more characters, one of which is a word of its own."""
    characters = token.removeprefix("##")
    return len(token) > 1 and any(is_ideograph(one) or is_punctuation(one) for one in characters)


def _decoded(content):
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"vocabulary: line {line} is not UTF-8 (byte {content[error.start]:#04x}). "
            "Convert the file to UTF-8; Chinese vocabularies of other origin may be in GB18030."
        ) from None
