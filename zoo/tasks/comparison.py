"""`pooling="comparison"`: no pooling of one text, but a head over the two texts of a packed pair.

u · v and |u − v| by elements (arXiv 1705.02364), of the means u and v of the two texts' hidden states.
"""

import numpy as np
from keras import ops

NAME = "comparison"


def second_text(task, token_ids):
    """True from behind the first [SEP] of a row on, bool `[B, n]`; segment ids need not tell the texts apart."""
    sep_token_id = getattr(task.tokenizer, "sep_token_id", None)
    if sep_token_id is None:
        raise ValueError(
            "pooling 'comparison' finds the second text by [SEP], so it needs tokenizer=zoo.Tokenizer(...)"
        )
    separators = ops.cast(ops.equal(token_ids, sep_token_id), "int32")
    return ops.greater(ops.cumsum(separators, axis=1), separators)


def start_as_cosine(classifier, hidden_dim):
    """Let a fresh head give 20 (cosine - 1/2): from a random one the backbone would forget what it knows."""
    kernel = np.zeros(classifier.kernel.shape, "float32")
    kernel[:hidden_dim] = 20 / hidden_dim
    classifier.kernel.assign(kernel)
    classifier.bias.assign([-10.0])


def refuse(pooling):
    """For tasks that read each text alone."""
    if pooling == NAME:
        raise ValueError("pooling 'comparison' is of two texts in one input (InteractionMatcher); here each is alone")
