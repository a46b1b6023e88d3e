"""What both tokenizers do alike: special tokens by role, pairs, truncation and padded batches."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

ROLES = ("pad", "unk", "cls", "sep", "mask")
_LARGEST_BATCH = 1 << 27  # places of a padded batch, 9 bytes each: 1.2 GB


class TextTokenizer:
    """A tokenizer of texts, once a child says how a text becomes ids.

    A child sets `vocabulary` (list of str, the position is the id), `pad_token` ... `mask_token` and `_ids`
    (dict of token to id), and gives `content_ids`.
    """

    vocabulary: list[str]
    vocabulary_file: str
    pad_token: str
    unk_token: str
    cls_token: str
    sep_token: str
    mask_token: str | None
    _ids: dict[str, int]
    added_tokens: Sequence = ()
    _told_of_mask = False
    separators = 1  # separators between the texts of a pair
    segments = True  # whether the second text of a pair has segment id 1

    def content_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of each text without special tokens, list of lists of int; texts are known to be str."""
        raise NotImplementedError(f"{type(self).__name__}.content_ids")

    @property
    def vocabulary_size(self) -> int:
        return len(self.vocabulary)

    @property
    def special_tokens(self) -> dict[str, str]:
        """Role ("pad", "unk", "cls", "sep", "mask") to token; without "mask" where there is none."""
        tokens = {role: getattr(self, f"{role}_token") for role in ROLES}
        return {role: token for role, token in tokens.items() if role != "mask" or token is not None}

    @property
    def pad_token_id(self) -> int:
        return self._ids[self.pad_token]

    @property
    def unk_token_id(self) -> int:
        return self._ids[self.unk_token]

    @property
    def cls_token_id(self) -> int:
        return self._ids[self.cls_token]

    @property
    def sep_token_id(self) -> int:
        return self._ids[self.sep_token]

    @property
    def mask_token_id(self) -> int:
        if self.mask_token is None:
            raise ValueError(f"{self._name}: there is no mask token (it was made with mask_token=None).")
        return self._ids[self.mask_token]

    def token_to_id(self, token: str) -> int:
        """Id of a token, or of the unknown token."""
        return self._ids.get(token, self.unk_token_id)

    def id_to_token(self, token_id: int) -> str:
        """Token of an id; ValueError outside 0 .. V-1."""
        if not 0 <= token_id < len(self.vocabulary):
            raise ValueError(f"{self._name}: id {token_id} is not among 0 .. {len(self.vocabulary) - 1}.")
        return self.vocabulary[token_id]

    def encode(
        self, text: str, second: str | None = None, max_length: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Token ids and segment ids of a text or a pair, as two lists of int.

        Args:
            text: str.
            second: None or str. Its tokens and their sep have segment id 1, where the tokenizer has segments.
            max_length: None or int, special tokens included. Of a pair the longer text is cut first.

        Raises:
            TypeError: a text that is no str. ValueError: max_length below the number of special tokens.
        """
        (first_ids,) = self.content_ids([self._checked(text, "text")])
        cls, sep = [self.cls_token_id], [self.sep_token_id]
        if second is None:
            token_ids = cls + first_ids[: self._room(max_length, 2)] + sep
            return token_ids, [0] * len(token_ids)
        (second_ids,) = self.content_ids([self._checked(second, "second")])
        between = self.separators
        room = self._room(max_length, between + 2)
        kept, kept_second = map(int, longest_first(len(first_ids), len(second_ids), room))
        token_ids = cls + first_ids[:kept] + sep * between + second_ids[:kept_second] + sep
        return token_ids, [0] * (kept + 1 + between) + [int(self.segments)] * (kept_second + 1)

    def __call__(
        self,
        texts: Iterable[str],
        text_pairs: Iterable[str] | None = None,
        max_length: int | None = 512,
        pad_to: int | Sequence[int] | None = None,
        segment_ids: str = "pair",
        seconds: Iterable[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """A batch of texts or pairs as padded arrays, rows in the order given.

        Args:
            texts: iterable of str.
            text_pairs: None or as many str: the second texts of pairs. Until 0.1 this argument was called `seconds`, which
                still works.
            max_length: None or int, as in `encode`.
            pad_to: None to pad to the longest row; an int, or a list of ints of which the smallest that holds
                the longest row is taken. Few widths mean few compilations.
            segment_ids: "pair" (1 for second texts, where the tokenizer has segments) or "zeros".

        Returns:
            Dict of token_ids int32 `[B, n]`, segment_ids int32 `[B, n]`, padding_mask bool `[B, n]`.

        Raises:
            TypeError: a text that is no str (None, a number), with its index.
            ValueError: texts and text_pairs of different lengths; a row longer than every pad_to; one row so long that
                padding all others to it takes gigabytes.
        """
        if segment_ids not in ("pair", "zeros"):
            raise ValueError(f'{self._name}: segment_ids is {segment_ids!r}, expected "pair" or "zeros".')
        text_pairs = renamed_text_pairs(text_pairs, seconds)
        between = self.separators
        first_rows = self._batch_ids(texts, "texts")
        first = _lengths(first_rows)
        if text_pairs is None:
            first = first if max_length is None else np.minimum(first, self._room(max_length, 2))
            total = first + 2
        else:
            second_rows = self._batch_ids(text_pairs, "text_pairs")
            if len(second_rows) != len(first_rows):
                raise ValueError(
                    f"{self._name}: {len(first_rows)} texts but {len(second_rows)} text_pairs; expected as many."
                )
            first, second = longest_first(first, _lengths(second_rows), self._room(max_length, between + 2))
            total = first + second + between + 2

        column = np.arange(width := self._width(total, pad_to))
        if width * len(total) > _LARGEST_BATCH and width * len(total) > 16 * total.sum():
            raise ValueError(
                f"{self._name}: {len(total):,} rows padded to the {width:,} tokens of row {total.argmax()} take "
                f"{width * len(total) * 9 / 2**30:,.0f} GB, nearly all of it padding; give max_length, or take rows without "
                "padding from content_ids(texts)."
            )
        padding_mask = column < total[:, None]
        token_ids = np.full(padding_mask.shape, self.pad_token_id, np.int32)
        segments = np.zeros(padding_mask.shape, np.int32)
        token_ids[:, 0] = self.cls_token_id
        self._fill(token_ids, first_rows, np.ones_like(first), first)
        if text_pairs is not None:
            for extra in range(1, between):
                token_ids[np.arange(len(first)), first + 1 + extra] = self.sep_token_id
            self._fill(token_ids, second_rows, first + 1 + between, second)
            if segment_ids == "pair" and self.segments:
                segments[padding_mask & (column >= first[:, None] + 1 + between)] = 1
        return {"token_ids": token_ids, "segment_ids": segments, "padding_mask": padding_mask}

    def _kept_ids(self, token_ids):
        """Ids to keep as ints; ValueError for one that is given twice."""
        token_ids = [int(token_id) for token_id in token_ids]
        if len(set(token_ids)) < len(token_ids):
            repeated, times = Counter(token_ids).most_common(1)[0]
            raise ValueError(f"{self._name}: id {repeated} is kept {times} times; each id can be kept once.")
        return token_ids

    @property
    def _name(self):
        return type(self).__name__

    def _checked(self, text, name, index=None):
        check_text(text, f"{self._name}: {name}" + ("" if index is None else f"[{index}]"))
        if not self._told_of_mask and self.mask_token and self.mask_token in text:
            self._tell_of_mask(text)
        return text

    def _tell_of_mask(self, text):
        """Warn, once, that a mask typed into a text is spelled out, unless it is an added token and so is not."""
        self._told_of_mask = True
        if self.mask_token not in [token.content for token in self.added_tokens]:
            mend = f"; a tokenizer made with added_tokens=[{self.mask_token!r}] reads it" * (
                self.vocabulary_file == "vocab.txt"
            )
            warnings.warn(
                f"{self._name}: the text {text!r:.60} holds {self.mask_token}, which is spelled out like any other word: "
                f"texts come from users. How to let a model fill it in stands at zoo.MaskedLM{mend}",
                stacklevel=5,
            )

    def _batch_ids(self, texts, name):
        if isinstance(texts, (str, bytes)):
            kind = type(texts).__name__
            raise TypeError(f"{self._name}: {name} is one {kind}, expected a list of str; `encode` takes one text.")
        return self.content_ids([self._checked(text, name, index) for index, text in enumerate(texts)])

    def _fill(self, token_ids, rows, start, kept):
        """Write the first `kept` ids of each row from column `start` on, and sep behind them."""
        column = np.arange(token_ids.shape[1])
        place = (column >= start[:, None]) & (column < (start + kept)[:, None])
        cut = (row[:count] for row, count in zip(rows, kept.tolist(), strict=True))
        token_ids[place] = np.fromiter(chain.from_iterable(cut), np.int32, count=kept.sum())
        token_ids[np.arange(len(rows)), start + kept] = self.sep_token_id

    def _room(self, max_length, special):
        if max_length is None:
            return None
        if max_length < special:
            raise ValueError(f"{self._name}: max_length is {max_length}, but the special tokens alone take {special}.")
        return max_length - special

    def _width(self, total, pad_to):
        longest = int(total.max(initial=2))
        if pad_to is None:
            return longest
        widths = [pad_to] if isinstance(pad_to, (int, np.integer)) else sorted(pad_to)
        fitting = [width for width in widths if width >= longest]
        if not fitting:
            raise ValueError(
                f"{self._name}: row {int(total.argmax())} has {longest} tokens, more than pad_to={pad_to!r} allows. "
                "Lower max_length to the largest pad_to, or add a wider one."
            )
        return fitting[0]


def check_text(text, where):
    """TypeError for a text that is no str; `where` says which it is."""
    if not isinstance(text, str):
        raise TypeError(f"{where} is {text!r:.60} of type {type(text).__name__}, expected a str.")


def check_texts(texts, text_pairs=None):
    """The same for all of some texts and their second texts."""
    for name, column in (("texts", texts), ("text_pairs", text_pairs or ())):
        for index, text in enumerate(column):
            check_text(text, f"{name}[{index}]")


def renamed_text_pairs(text_pairs, seconds):
    """The second texts, by the argument's name or by its name until 0.1."""
    if text_pairs is not None and seconds is not None:
        raise TypeError("text_pairs and seconds are the same argument; give text_pairs alone")
    return seconds if text_pairs is None else text_pairs


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


def _lengths(rows):
    return np.fromiter(map(len, rows), np.int64, count=len(rows))
