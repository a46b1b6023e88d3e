"""WordPiece tokenizer of the BERT and bert4keras lineage: ids of the originals, batches as padded arrays.

Words come from `zoo.text.basic_tokenizer`, their pieces from the Rust WordPiece of Hugging Face `tokenizers`. Words repeat,
so their pieces are remembered: a batch costs one C-level pass per text and one dictionary look-up per word.
"""

import functools
import re
from collections import Counter
from itertools import chain

import numpy as np
from tokenizers.models import WordPiece

from zoo.text.basic_tokenizer import WordSplitter, is_dropped, is_ideograph, is_punctuation
from zoo.text.vocabulary import (
    check_storable,
    check_tokens,
    dump_vocabulary,
    is_redundant,
    load_vocabulary,
    tokens_by_id,
)

ROLES = ("pad", "unk", "cls", "sep", "mask")


class Tokenizer:
    """Text to token ids as bert4keras' `Tokenizer` does it, id by id.

    Special tokens inside a text are ordinary characters, as in the original: a user's "[MASK]" becomes "[",
    "mask", "]". Tokens that repeat in the vocabulary all keep their id; text maps to the last one, as in
    `transformers`.

    Args:
        vocabulary: list of str, where the position is the id, or dict of token to id with the ids 0 .. V-1.
            Never a path: `from_vocabulary_text` takes the content of a vocab.txt.
        lowercase: bool. Lower-case and strip accents. False for cased models.
        word_max_length: int. Longer words are one unknown token. 200 in bert4keras, 100 in BERT.
        pad_token, unk_token, cls_token, sep_token, mask_token: str. The special tokens by name;
            `mask_token=None` for vocabularies without one.
        pre_tokenize: None or a function from text to a list of words (such as `jieba.lcut`) for word-level
            models such as RoFormer v1: words of the vocabulary stay whole. It sees the folded text. A
            configuration cannot hold it, so `from_config` asks for it again.

    Raises:
        ValueError: a special token that the vocabulary lacks; a token that no vocab.txt could hold and give back.

    Source: Wu et al. 2016 (WordPiece), Devlin et al. 2018; bert4keras' `tokenizers.py` for every corner.
    """

    def __init__(
        self,
        vocabulary,
        lowercase=True,
        word_max_length=200,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        pre_tokenize=None,
    ):
        if not isinstance(lowercase, bool):
            raise TypeError(f"Tokenizer: lowercase is {lowercase!r}, expected True or False.")
        if not isinstance(word_max_length, int) or word_max_length < 1:
            raise ValueError(f"Tokenizer: word_max_length is {word_max_length!r}, expected a positive int.")
        self.vocabulary = tokens_by_id(vocabulary)
        check_tokens(self.vocabulary)
        check_storable(self.vocabulary)
        self.lowercase = lowercase
        self.word_max_length = word_max_length
        self.pre_tokenize = pre_tokenize
        self.pad_token = pad_token
        self.unk_token = unk_token
        self.cls_token = cls_token
        self.sep_token = sep_token
        self.mask_token = mask_token

        self._ids = {token: index for index, token in enumerate(self.vocabulary)}
        self._check_special_tokens()
        self._splitter = WordSplitter(lowercase)
        self._pieces = _PieceMemory(self._ids, unk_token, word_max_length)

    @classmethod
    def from_vocabulary_text(cls, text, **options):
        """Tokenizer from the content of a vocab.txt (str, or bytes in UTF-8), read by `load_vocabulary`."""
        return cls(load_vocabulary(text), **options)

    @property
    def vocabulary_text(self):
        """The content of the vocab.txt to store, one token a line."""
        return dump_vocabulary(self.vocabulary)

    @property
    def vocabulary_size(self):
        return len(self.vocabulary)

    @property
    def special_tokens(self):
        """Role ("pad", "unk", "cls", "sep", "mask") to token; without "mask" where there is none."""
        tokens = {role: getattr(self, f"{role}_token") for role in ROLES}
        return {role: token for role, token in tokens.items() if role != "mask" or token is not None}

    @property
    def pad_token_id(self):
        return self._ids[self.pad_token]

    @property
    def unk_token_id(self):
        return self._ids[self.unk_token]

    @property
    def cls_token_id(self):
        return self._ids[self.cls_token]

    @property
    def sep_token_id(self):
        return self._ids[self.sep_token]

    @property
    def mask_token_id(self):
        if self.mask_token is None:
            raise ValueError("Tokenizer: there is no mask token (it was made with mask_token=None).")
        return self._ids[self.mask_token]

    def token_to_id(self, token):
        """Id of a token, or of the unknown token."""
        return self._ids.get(token, self.unk_token_id)

    def id_to_token(self, token_id):
        """Token of an id; ValueError outside 0 .. V-1."""
        if not 0 <= token_id < len(self.vocabulary):
            raise ValueError(f"Tokenizer: id {token_id} is not among 0 .. {len(self.vocabulary) - 1}.")
        return self.vocabulary[token_id]

    # Text to tokens and ids

    def tokenize(self, text, max_length=None):
        """Tokens of a text between cls and sep. An unknown word stands as itself, folded."""
        tokens = []
        for word in self._words(_checked(text, "text")):
            tokens.extend(self._surface(word))
        tokens = tokens[: _room(max_length, 2)]
        return [self.cls_token, *tokens, self.sep_token]

    def encode(self, text, second=None, max_length=None):
        """Token ids and segment ids of a text or a pair, as two lists of int.

        Args:
            text: str.
            second: None or str. Its tokens and their sep have segment id 1.
            max_length: None or int, special tokens included. Of a pair the longer text is cut first.

        Raises:
            TypeError: a text that is no str. ValueError: max_length below 2, or 3 for a pair.
        """
        first_ids = self._content_ids(_checked(text, "text"))
        cls, sep = [self.cls_token_id], [self.sep_token_id]
        if second is None:
            token_ids = cls + first_ids[: _room(max_length, 2)] + sep
            return token_ids, [0] * len(token_ids)
        second_ids = self._content_ids(_checked(second, "second"))
        kept, kept_second = map(int, longest_first(len(first_ids), len(second_ids), _room(max_length, 3)))
        token_ids = cls + first_ids[:kept] + sep + second_ids[:kept_second] + sep
        return token_ids, [0] * (kept + 2) + [1] * (kept_second + 1)

    def words(self, text):
        """Words of a text, folded, each with the ids of its pieces, which joined are the ids of the text.

        Returns:
            list of (str, tuple of int).
        """
        return [(word, self._pieces[word]) for word in self._words(_checked(text, "text"))]

    def __call__(self, texts, seconds=None, max_length=512, pad_to=None, segment_ids="pair"):
        """A batch of texts or pairs as padded arrays, rows in the order given.

        Args:
            texts: iterable of str.
            seconds: None or as many str: the second texts of pairs.
            max_length: None or int, as in `encode`.
            pad_to: None to pad to the longest row; an int, or a list of ints of which the smallest that holds
                the longest row is taken. Few widths mean few compilations.
            segment_ids: "pair" (1 for second texts) or "zeros".

        Returns:
            Dict of token_ids int32 `[B, n]`, segment_ids int32 `[B, n]`, padding_mask bool `[B, n]`.

        Raises:
            TypeError: a text that is no str (None, a number), with its index.
            ValueError: texts and seconds of different lengths; a row longer than every pad_to.
        """
        if segment_ids not in ("pair", "zeros"):
            raise ValueError(f'Tokenizer: segment_ids is {segment_ids!r}, expected "pair" or "zeros".')
        first_rows = self._batch_ids(texts, "texts")
        first = _lengths(first_rows)
        if seconds is None:
            first = first if max_length is None else np.minimum(first, _room(max_length, 2))
            total = first + 2
        else:
            second_rows = self._batch_ids(seconds, "seconds")
            if len(second_rows) != len(first_rows):
                raise ValueError(
                    f"Tokenizer: {len(first_rows)} texts but {len(second_rows)} seconds; expected as many."
                )
            first, second = longest_first(first, _lengths(second_rows), _room(max_length, 3))
            total = first + second + 3

        column = np.arange(_width(total, pad_to))
        padding_mask = column < total[:, None]
        token_ids = np.full(padding_mask.shape, self.pad_token_id, np.int32)
        segments = np.zeros(padding_mask.shape, np.int32)
        token_ids[:, 0] = self.cls_token_id
        self._fill(token_ids, first_rows, np.ones_like(first), first)
        if seconds is not None:
            self._fill(token_ids, second_rows, first + 2, second)
            if segment_ids == "pair":
                segments[padding_mask & (column >= first[:, None] + 2)] = 1
        return {"token_ids": token_ids, "segment_ids": segments, "padding_mask": padding_mask}

    # Tokens back to the text

    def offsets(self, text):
        """Spans (start, end) in the text of every token of `tokenize(text)`; (0, 0) for cls and sep.

        `text[start:end]` is the source of the token, with marks and control characters that stand inside it.
        """
        spans = [(0, 0)]
        for word in self._traced_words(_checked(text, "text")):
            start = 0
            for token in self._surface("".join(character for character, _ in word)):
                end = start + (len(token.removeprefix("##")) if start else len(token))
                sources = [index for _, index in word[start:end]]
                spans.append((min(sources), max(sources) + 1))
                start = end
        return spans + [(0, 0)]

    def rematch(self, text, tokens):
        """Indices of the text's characters behind each token, for tokens of `tokenize`, maybe not all.

        Special tokens have none. `offsets` tokenizes anew; this searches for the tokens given.

        Raises:
            ValueError: a token that the rest of the text does not hold.
        """
        characters = self._splitter.characters(_checked(text, "text"))
        characters = [pair for pair in characters if not is_dropped(pair[0])]
        folded = "".join(character for character, _ in characters)
        matches, position = [], 0
        for token in tokens:
            if _looks_special(token):
                matches.append([])
                continue
            stem = token.removeprefix("##")
            start = folded.find(stem, position)
            if start < 0:
                before = folded[max(0, position - 20) : position]
                raise ValueError(f"Tokenizer: token {token!r} is not in the text after {before!r}.")
            position = start + len(stem)
            matches.append([index for _, index in characters[start:position]])
        return matches

    def decode(self, token_ids):
        """Readable text of ids: no special tokens, blanks where Latin words and punctuation want them."""
        text = ""
        for token in map(self.id_to_token, token_ids):
            if _looks_special(token):
                continue
            if token.startswith("##"):
                text += token[2:]
            elif len(token) == 1 and is_ideograph(token):
                text += token
            elif len(token) == 1 and is_punctuation(token):
                text += token + " "
            elif text and is_ideograph(text[-1]):
                text += token
            else:
                text += " " + token
        for pattern, replacement in _TIDY:
            text = pattern.sub(replacement, text)
        return text.strip()

    # Smaller vocabularies

    def keep(self, token_ids):
        """A tokenizer of the tokens with these ids only, in this order (the lineage's `keep_tokens`).

        Args:
            token_ids: list of int, each once, the special tokens among them. Give the same list to the model.
        """
        token_ids = [int(token_id) for token_id in token_ids]
        if len(set(token_ids)) < len(token_ids):
            repeated, times = Counter(token_ids).most_common(1)[0]
            raise ValueError(f"Tokenizer: id {repeated} is kept {times} times; each id can be kept once.")
        tokens = [self.id_to_token(one) for one in token_ids]
        return Tokenizer(tokens, pre_tokenize=self.pre_tokenize, **self._options())

    def simplified_ids(self, first=None):
        """Ids to keep of tokens that text can reach, special ones first (the lineage's `simplified=True`).

        Left out are placeholders such as `[unused1]` and longer tokens with an ideograph or a mark
        inside, a third of the published Chinese vocabularies.

        Args:
            first: None for the special tokens, or the list of tokens to put first.
        """
        first = list(self.special_tokens.values()) if first is None else list(first)
        missing = [token for token in first if token not in self._ids]
        if missing:
            raise ValueError(f"Tokenizer: the vocabulary has no {missing} to put first.")
        ids = [self._ids[token] for token in first]
        rest = self._ids.keys() - set(first)
        return ids + sorted(self._ids[token] for token in rest if not is_redundant(token))

    # Configuration

    def get_config(self):
        """Options without the vocabulary, which is stored as vocab.txt (`vocabulary_text`)."""
        return {**self._options(), "pre_tokenize": self.pre_tokenize is not None}

    @classmethod
    def from_config(cls, config, vocabulary, pre_tokenize=None):
        """Tokenizer from `get_config`'s options and a vocabulary; ValueError for options it does not know."""
        options = dict(config)
        if options.pop("pre_tokenize", False) and pre_tokenize is None:
            raise ValueError(
                "Tokenizer: this one splits text with a function before WordPiece, which no configuration "
                "can hold. Pass it: pre_tokenize=function (jieba.lcut for the published word-level RoFormer)."
            )
        known = {"lowercase", "word_max_length", *(f"{role}_token" for role in ROLES)}
        if options.keys() - known:
            unknown = sorted(options.keys() - known)
            raise ValueError(f"Tokenizer: unknown options {unknown}; known are {sorted(known)}.")
        return cls(vocabulary, pre_tokenize=pre_tokenize, **options)

    def __reduce__(self):
        # The Rust model and the memory are made anew in the other process.
        rebuild = functools.partial(Tokenizer, pre_tokenize=self.pre_tokenize, **self._options())
        return rebuild, (self.vocabulary,)

    def _options(self):
        options = {"lowercase": self.lowercase, "word_max_length": self.word_max_length}
        return options | {f"{role}_token": getattr(self, f"{role}_token") for role in ROLES}

    def _check_special_tokens(self):
        missing = {
            f"{role}_token": token
            for role, token in self.special_tokens.items()
            if not isinstance(token, str) or token not in self._ids
        }
        if missing:
            some = ", ".join(map(repr, self.vocabulary[:5]))
            raise ValueError(
                f"Tokenizer: the vocabulary of {len(self.vocabulary)} tokens ({some}, ...) lacks "
                f"{', '.join(f'{name}={token!r}' for name, token in missing.items())}. "
                "Name the tokens it uses instead, or mask_token=None if it has no mask."
            )

    def _words(self, text):
        if self.pre_tokenize is None:
            return self._splitter.words(text)
        folded = "".join(character for character, _ in self._splitter.characters(text))
        words = []
        for piece in self.pre_tokenize(folded):
            words.extend([piece] if piece in self._ids else self._splitter.words(piece))
        return words

    def _traced_words(self, text):
        """`_words` with the source index of every character."""
        characters = self._splitter.characters(text)
        if self.pre_tokenize is None:
            return self._splitter.group(characters)
        folded = "".join(character for character, _ in characters)
        words, position = [], 0
        for piece in self.pre_tokenize(folded):
            if not folded.startswith(piece, position):
                raise ValueError(f"Tokenizer: pre_tokenize changed the text at {piece!r}: no offsets.")
            part = characters[position : position + len(piece)]
            position += len(piece)
            words.extend([part] if piece in self._ids else self._splitter.group(part))
        return words

    def _content_ids(self, text):
        return list(chain.from_iterable(map(self._pieces.__getitem__, self._words(text))))

    def _batch_ids(self, texts, name):
        if isinstance(texts, (str, bytes)):
            kind = type(texts).__name__
            raise TypeError(f"Tokenizer: {name} is one {kind}, expected a list of str; `encode` takes one text.")
        return [self._content_ids(_checked(text, name, index)) for index, text in enumerate(texts)]

    def _surface(self, word):
        token_ids = self._pieces[word]
        return [word] if token_ids == (self.unk_token_id,) else [self.vocabulary[one] for one in token_ids]

    def _fill(self, token_ids, rows, start, kept):
        """Write the first `kept` ids of each row from column `start` on, and sep behind them."""
        column = np.arange(token_ids.shape[1])
        place = (column >= start[:, None]) & (column < (start + kept)[:, None])
        cut = (row[:count] for row, count in zip(rows, kept.tolist(), strict=True))
        token_ids[place] = np.fromiter(chain.from_iterable(cut), np.int32, count=kept.sum())
        token_ids[np.arange(len(rows)), start + kept] = self.sep_token_id


class _PieceMemory(dict):
    """Word to the ids of its pieces, asked of the Rust WordPiece once and remembered."""

    # About 10 MB. Frequent words come early; later ones are computed each time, so memory has a bound.
    LARGEST = 1 << 16
    LONGEST_WORD = 32

    def __init__(self, ids, unk_token, word_max_length):
        self.ids = ids
        self.unknown = (ids[unk_token],)
        self.word_max_length = word_max_length
        self.model = WordPiece(ids, unk_token=unk_token, max_input_chars_per_word=word_max_length)

    def __missing__(self, word):
        if len(word) > self.word_max_length:
            return (self.ids[word],) if word in self.ids else self.unknown
        try:
            pieces = tuple(token.id for token in self.model.tokenize(word))
        except UnicodeEncodeError:  # a lone surrogate, which no token holds
            pieces = self.unknown
        if len(word) <= self.LONGEST_WORD and len(self) < self.LARGEST:
            self[word] = pieces
        return pieces


def longest_first(first, second, room):
    """Lengths of a pair cut to `room` ids, taking ids from the longer text, of equal ones from the first.

    Args:
        first, second: ints, or int arrays `[B]`: lengths before.
        room: None for no limit, or int.
    """
    if room is None:
        return first, second
    kept = np.minimum(first, np.maximum(room // 2, room - second))
    return kept, np.minimum(second, room - kept)


# How decoded text is tidied up, in this order: single blanks; English clitics; no blank after opening,
# joining and CJK punctuation (which brings its own space); decimal points.
_CJK_PUNCTUATION = (
    "\uff01-\uff0d\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff64"
    "\u3000-\u3003\u3008-\u3011\u3014-\u301f\u3030\u303e\u303f"
    "\u2013\u2014\u2018\u2019\u201b-\u201f\u2026\u2027\ufe4f\ufe51\ufe54\u00b7"
)
_TIDY = [
    (re.compile(" +"), " "),
    (re.compile("' (re|m|s|t|ve|d|ll) "), r"'\1 "),
    (re.compile(rf"([{_CJK_PUNCTUATION}+\-/={{(<\[]) "), r"\1"),
    (re.compile(r"(\d\.) (\d)"), r"\1\2"),
]


def _looks_special(token):
    return token.startswith("[") and token.endswith("]")


def _checked(text, name, index=None):
    if not isinstance(text, str):
        where = name if index is None else f"{name}[{index}]"
        raise TypeError(f"Tokenizer: {where} is {text!r:.60} of type {type(text).__name__}, expected a str.")
    return text


def _room(max_length, special):
    if max_length is None:
        return None
    if max_length < special:
        raise ValueError(f"Tokenizer: max_length is {max_length}, but the special tokens alone take {special}.")
    return max_length - special


def _lengths(rows):
    return np.fromiter(map(len, rows), np.int64, count=len(rows))


def _width(total, pad_to):
    longest = int(total.max(initial=2))
    if pad_to is None:
        return longest
    widths = [pad_to] if isinstance(pad_to, (int, np.integer)) else sorted(pad_to)
    fitting = [width for width in widths if width >= longest]
    if not fitting:
        raise ValueError(
            f"Tokenizer: row {int(total.argmax())} has {longest} tokens, more than pad_to={pad_to!r} allows. "
            "Lower max_length to the largest pad_to, or add a wider one."
        )
    return fitting[0]
