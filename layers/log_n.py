"""The log-n scale for models that were not trained with it (kexue.fm/archives/8823, 9706)."""

import math

from keras import ops

from zoo.layers.plugins import Plugin


class LogN(Plugin):
    """Scores of a query that sees n keys are multiplied by max(1, ln n / ln L).

    It holds the entropy of attention on long inputs near that of training, and changes nothing up to the length of
    training. A model that is trained with the scale uses the normaliser `SoftmaxPlus` instead.

    Args:
        train_length: int > 1, L.
    """

    def __init__(self, train_length):
        if not train_length > 1:
            raise ValueError(f"LogN: train_length={train_length!r}; expected the number of tokens in training, above 1")
        self.train_length = train_length

    def factor(self, count):
        """Factor of every query from the number of keys that it sees, both float32."""
        return ops.maximum(ops.log(ops.maximum(count, 1.0)) / math.log(self.train_length), 1.0)

    def get_config(self):
        return {"train_length": self.train_length}
