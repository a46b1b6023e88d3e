"""Score scales from the entropy that attention shall have (kexue.fm/archives/8620, 8823); for `score_scale`."""

import math


def log_length_scale(key_dim, length, base_length=512):
    """ln n / (ln n₀ · sqrt(s)): 1/sqrt(s) at n₀, and for other lengths what keeps the entropy about the same.

    It is the fixed form, for a model that is trained at one length; `SoftmaxPlus` and `LogN` take each row's own.

    Args:
        key_dim: int, s.
        length: int, n, of at least 2.
        base_length: int, n₀.

    Returns:
        float.
    """
    if min(length, base_length) < 2:
        raise ValueError(f"length={length}, base_length={base_length}; expected at least 2: ln 1 is 0")
    return math.log(length) / (math.log(base_length) * math.sqrt(key_dim))


def scale_for_entropy(key_dim, length, entropy):
    """Score scale at which untrained attention has this entropy: sqrt(2 (ln n − entropy) / s).

    Independent queries and keys of variance 1 have scores of variance γ² = scale² s, and softmax over n of them an
    entropy of ln n − γ²/2 as long as n is well above e^(γ²); 1/sqrt(s) means ln n − 1/2, nearly uniform at every length.

    Args:
        key_dim: int, s.
        length: int, n.
        entropy: float in nats, at most ln n.

    Returns:
        float.
    """
    if not 0 < entropy <= math.log(length):
        raise ValueError(f"entropy={entropy}; expected more than 0 and at most ln {length} = {math.log(length):.3f}")
    return math.sqrt(2 * (math.log(length) - entropy) / key_dim)
