"""Token ids of many texts without padding, cut into padded batches on demand."""

import numpy as np

from zoo.text.text_tokenizer import check_texts

# Texts tokenized at a time, and places of their padded arrays: those of texts of like length, never of the whole corpus.
_CHUNK, _PLACES = 8192, 1 << 22


class TokenRows:
    """Rows of token ids in one flat array.

    Args:
        tokenizer: callable as `zoo.Tokenizer`.
        texts: list of str.
        text_pairs: list of str or None, the second texts of pairs.
        max_length: int, tokens a row is cut to.
        segment_ids: `"pair"` or `"zeros"`.

    Attributes:
        lengths: int64 `[rows]`.
        cut: bool `[rows]`, where a row had more than `max_length` tokens. Not known of a keras-hub preprocessor: False.
        longest: int, tokens of the longest row before it was cut.
        unreadable: bool `[rows]`, where a text, though not empty, holds nothing but unknown tokens.
    """

    def __init__(self, tokenizer, texts, text_pairs=None, max_length=512, segment_ids="zeros"):
        ids, segments, lengths = [np.zeros(0, "int32")], [np.zeros(0, "int8")], [np.zeros(0, "int64")]
        self.max_length, self.cut, self.longest = max_length, np.zeros(len(texts), bool), 0
        self.unreadable = np.zeros(len(texts), bool)
        order, chunks = _by_length(texts, text_pairs, max_length)
        for rows in chunks:
            first = [texts[row] for row in rows]
            second = None if text_pairs is None else [text_pairs[row] for row in rows]
            batch = tokenizer(first, second, max_length=max_length, segment_ids=segment_ids)
            real = np.asarray(batch["padding_mask"], bool)
            token_ids = np.asarray(batch["token_ids"])
            self.unreadable[rows] = unreadable_rows(tokenizer, first, token_ids, second, real)
            ids.append(np.asarray(batch["token_ids"], "int32")[real])
            segments.append(np.asarray(batch["segment_ids"], "int8")[real])
            lengths.append(real.sum(axis=1))
            if hasattr(tokenizer, "encode"):
                # Only a row that is full may have been cut; without padding a very long text costs what it is long.
                full = rows[lengths[-1] == max_length].tolist()
                whole = [
                    len(tokenizer.encode(texts[i], None if text_pairs is None else text_pairs[i])[0]) for i in full
                ]
                self.cut[full] = np.array(whole) > max_length
                self.longest = max([self.longest, *whole])
        self._ids, self._segments = np.concatenate(ids), np.concatenate(segments)
        kept = np.concatenate(lengths).astype("int64")
        self.longest = max(self.longest, int(kept.max(initial=0)))
        self.lengths, self._starts = np.empty(len(texts), "int64"), np.empty(len(texts), "int64")
        self.lengths[order], self._starts[order] = kept, np.cumsum(kept) - kept

    def __len__(self):
        return len(self.lengths)

    def cut_message(self, backbone):
        """What to tell the user of rows that were cut; the backbone says how long they might have been."""
        limit = getattr(backbone, "max_sequence_length", 512)
        if self.max_length < limit:
            more = f"from_preset(..., max_length=...) takes up to {limit}"
        else:
            more = f"the backbone was {'built' if self.max_length == limit else 'extended'} for no more"
        return (
            f"{self.cut.sum():,} of {len(self):,} records have more than max_length={self.max_length} tokens, the longest "
            f"{self.longest:,}, and lose their ends; {more}"
        )

    def batch(self, rows, length):
        """Padded rows.

        Args:
            rows: int array of any shape `[...]`.
            length: int, n; longer rows lose their ends.

        Returns:
            dict of token_ids int32, segment_ids int32, padding_mask bool, each `[..., n]`.
        """
        rows = np.asarray(rows)
        column = np.arange(length)
        mask = column < self.lengths[rows][..., None]
        places = np.where(mask, self._starts[rows][..., None] + column, 0)
        return {
            "token_ids": np.where(mask, self._ids[places], 0).astype("int32"),
            "segment_ids": np.where(mask, self._segments[places], 0).astype("int32"),
            "padding_mask": mask,
        }


def _by_length(texts, text_pairs, max_length):
    """Rows in the order of their characters, and cut into chunks whose padded arrays are small: int array, list of them."""
    check_texts(texts, text_pairs)  # before rows are sorted, after which their numbers are others
    characters = np.array([len(text) for text in texts], "int64")
    if text_pairs is not None:
        characters += [len(text) for text in text_pairs]
    order = np.argsort(characters, kind="stable")
    places = np.minimum(characters[order] + 4, max_length)  # hardly any text has more tokens than characters
    chunks, start = [], 0
    while start < len(order):
        longest = places[start : start + _CHUNK]
        fits = int(np.searchsorted(longest * np.arange(1, len(longest) + 1), _PLACES, "right"))
        chunks.append(order[start : start + max(fits, 1)])
        start += max(fits, 1)
    return order, chunks


def unreadable_message(unreadable, texts):
    """What to tell the user of texts that the vocabulary cannot tell apart, `unreadable` bool `[rows]`."""
    first = int(np.flatnonzero(unreadable)[0])
    return (
        f"{unreadable.sum():,} of {len(unreadable):,} texts hold nothing but unknown tokens, such as {texts[first]!r:.60}: "
        "to the model they are all the same; its vocabulary was made for other languages or scripts"
    )


def unreadable_rows(tokenizer, texts, ids, text_pairs=None, real=None):
    """Bool `[rows]`, where the text, or one of the two, is not empty and has no token that is known.

    Args:
        ids: int `[rows, n]` of the texts, padded, and `real`, bool `[rows, n]`, the mask; or lists of int.
    """
    if not hasattr(tokenizer, "unk_token_id"):
        return np.zeros(len(texts), bool)
    if real is None:
        lengths = np.array([len(row) for row in ids])
        real = np.arange(lengths.max(initial=0)) < lengths[:, None]
        rows, ids = ids, np.zeros(real.shape, "int64")
        ids[real] = np.concatenate(rows)
    empty = [tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id]
    if "\u2581" in tokenizer.vocabulary[:1000]:  # the blank before a word, a token of its own before unknown characters
        empty.append(tokenizer.token_to_id("\u2581"))
    known = real & ~np.isin(ids, empty)
    nothing = ~known.any(axis=1) & [bool(text.strip()) for text in texts]
    if text_pairs is not None:
        end = np.argmax(ids == tokenizer.sep_token_id, axis=1)[:, None]
        column = np.arange(ids.shape[1])
        nothing = ~(known & (column < end)).any(axis=1) & [bool(text.strip()) for text in texts]
        nothing |= ~(known & (column > end)).any(axis=1) & [bool(text.strip()) for text in text_pairs]
    return nothing
