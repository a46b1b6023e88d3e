"""Token ids of many texts without padding, cut into padded batches on demand."""

import numpy as np

_CHUNK = 8192  # texts tokenized at a time: padded arrays of a chunk, never of the whole corpus


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
    """

    def __init__(self, tokenizer, texts, text_pairs=None, max_length=512, segment_ids="zeros"):
        ids, segments, lengths = [np.zeros(0, "int32")], [np.zeros(0, "int8")], [np.zeros(0, "int64")]
        self.max_length, self.cut, self.longest = max_length, np.zeros(len(texts), bool), 0
        for start in range(0, len(texts), _CHUNK):
            part = slice(start, start + _CHUNK)
            batch = tokenizer(
                texts[part],
                None if text_pairs is None else text_pairs[part],
                max_length=max_length,
                segment_ids=segment_ids,
            )
            real = np.asarray(batch["padding_mask"], bool)
            ids.append(np.asarray(batch["token_ids"], "int32")[real])
            segments.append(np.asarray(batch["segment_ids"], "int8")[real])
            lengths.append(real.sum(axis=1))
            if hasattr(tokenizer, "encode"):
                # Only a row that is full may have been cut; without padding a very long text costs what it is long.
                full = (start + np.flatnonzero(lengths[-1] == max_length)).tolist()
                whole = [
                    len(tokenizer.encode(texts[i], None if text_pairs is None else text_pairs[i])[0]) for i in full
                ]
                self.cut[full] = np.array(whole) > max_length
                self.longest = max([self.longest, *whole])
        self._ids, self._segments = np.concatenate(ids), np.concatenate(segments)
        self.lengths = np.concatenate(lengths).astype("int64")
        self.longest = max(self.longest, int(self.lengths.max(initial=0)))
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

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
