"""keras-hub's text preprocessors in the place of a zoo tokenizer, so that its backbones can be matched."""

import numpy as np
from keras import ops

from zoo.text.text_tokenizer import check_texts, renamed_text_pairs


class KerasHubTokenizer:
    """A keras-hub preprocessor, called as a `zoo.Tokenizer`.

    Args:
        preprocessor: a `keras_hub.models.TextClassifierPreprocessor` of the backbone's family. Its own
            `sequence_length` is the length texts are cut to; its own segment ids are used.
    """

    def __init__(self, preprocessor):
        self.preprocessor = preprocessor

    def __call__(self, texts, text_pairs=None, max_length=512, pad_to=None, segment_ids="pair", seconds=None):
        """See `zoo.Tokenizer`; rows are padded to the preprocessor's length."""
        text_pairs = renamed_text_pairs(text_pairs, seconds)
        check_texts(texts, text_pairs)
        # By keyword: given a bare pair, keras-hub takes the second texts for labels.
        batch = self.preprocessor(x=list(texts) if text_pairs is None else (list(texts), list(text_pairs)))
        batch = {name: ops.convert_to_numpy(ops.convert_to_tensor(array)) for name, array in batch.items()}
        token_ids = batch["token_ids"].astype("int32")
        return {
            "token_ids": token_ids,
            "segment_ids": batch.get("segment_ids", np.zeros_like(token_ids)).astype("int32"),
            "padding_mask": batch["padding_mask"].astype(bool),
        }
