"""Attention weights in float64, pair of tokens by pair of tokens, with one complex phase for each pair of features."""

import math

import numpy as np


def divisors(scaling, size, base):
    """Λ_m of a frequency scaling, digit by digit."""
    if scaling is None:
        return np.ones(size // 2)
    k, name = scaling.factor, type(scaling).__name__
    out = []
    for m in range(1, size // 2 + 1):
        theta = base ** (-2 * (m - 1) / size)
        if name == "PositionInterpolation":
            out.append(k)
        elif name == "NTKAware":  # as a change of base
            out.append(theta / (base * k ** (size / (size - 2))) ** (-2 * (m - 1) / size))
        elif name == "NTKAwareOld":
            out.append(math.prod([k ** (2 / size)] * (m - 1)))
        elif name == "NTKFixed":
            out.append(math.prod([k ** (2 / size)] * m))
        elif name == "NTKMixed":
            a = math.log(k) / (size / 2) ** scaling.exponent
            out.append(math.exp(a * m**scaling.exponent))
        else:
            r = theta * scaling.train_length / (2 * math.pi)
            kept = 1 if r > scaling.threshold else 0 if r < 1 else (r - 1) / (scaling.threshold - 1)
            out.append(1 / (kept + (1 - kept) / k))
    return np.array(out)


def effective_distance(position, distance):
    """The distance that a rotary position gives to a distance."""
    name, sign = type(position).__name__, math.copysign(1, distance)
    if name == "ReRoPE":
        return sign * min(abs(distance), position.window)
    if name == "LeakyReRoPE" and abs(distance) >= position.window:
        return sign * (position.window + (abs(distance) - position.window) / position.factor)
    return distance


def product(position, q, k, i, j):
    """Re Σ q_m conj(k_m) e^{i ρ θ_m}, times the decay of XPOS and the factor of YaRN."""
    if position is None:
        return q @ k
    size = len(q)
    theta = position.base ** (-2 * np.arange(size // 2) / size)
    scaling = getattr(position, "scaling", None)
    theta = theta / divisors(scaling, size, position.base)
    if position.pairing == "interleaved":
        q, k = q[0::2] + 1j * q[1::2], k[0::2] + 1j * k[1::2]
    else:
        q, k = q[: size // 2] + 1j * q[size // 2 :], k[: size // 2] + 1j * k[size // 2 :]
    terms = (q * k.conj() * np.exp(1j * effective_distance(position, i - j) * theta)).real
    if type(position).__name__ == "XPOS":
        zeta = (np.arange(size // 2) / (size / 2) + position.gamma) / (1 + position.gamma)
        terms = terms * zeta ** ((i - j) / position.scale_base)
    if type(scaling).__name__ == "YaRN":
        terms = terms * (1 + 0.1 * math.log(scaling.factor)) ** 2
    return terms.sum()


def softplus(x):
    return math.log1p(math.exp(x))


def bias(option, gap, head, num_heads, trained):
    """Additive bias of a head (counted from 0) at |i − j| = gap."""
    name = type(option).__name__
    if option is None:
        return 0
    if name == "ALiBi":
        return -(option.slopes[head] if option.slopes else 2 ** (-8 * (head + 1) / num_heads)) * gap
    if name == "Sandwich":
        half = np.arange(option.size // 2)
        return option.strength * np.cos(gap * option.base ** (-2 * half / option.size)).sum()
    r1, raw = softplus(trained["kerple_r1"][head]), trained["kerple_r2"][head]
    if option.kind == "power":
        return -r1 * gap ** (2 / (1 + math.exp(-raw)))
    return -r1 * math.log(1 + softplus(raw) * gap)


def allowed(rules, i, j, head, num_heads):
    """Whether windows and directions let place i see place j."""
    sides = {"left": j <= i, "right": j >= i, "mixed": j <= i if head < num_heads // 2 else j >= i}
    return all(abs(i - j) < rule.width if hasattr(rule, "width") else sides[rule.side] for rule in rules)


def attention_weights(options, query, key, trained, visible, here, there, first_query=0):
    """float64 `[B, H, n, m]`, for query `[B, H, n, s]` and key `[B, H, m, s]`.

    Args:
        options: `AttentionOptions`.
        trained: name -> array.
        visible: bool `[B, H, n, m]`, what masks allow.
        here, there: positions `[B, n]`, `[B, m]`.
    """
    query, key = query.astype("float64"), key.astype("float64")
    heads, size = query.shape[1], query.shape[-1]
    weights = np.zeros(visible.shape)
    for b, h, i in np.ndindex(*visible.shape[:3]):
        seen = [
            j
            for j in range(visible.shape[-1])
            if visible[b, h, i, j] and allowed(options.visibility, first_query + i, j, h, heads)
        ]
        if seen:
            weights[b, h, i, seen] = _row(options, query[b, h, i], key[b, h, seen], h, heads, size, trained, here[b, i],
                                          there[b, seen])  # fmt: skip
    return weights


def _row(options, q, keys, head, heads, size, trained, i, places):
    """Weights of the keys that one query sees."""
    n, kind = len(keys), type(options.product).__name__
    if options.query_key_bias:
        q, keys = q + trained["query_bias"][head], keys + trained["key_bias"][head]
    scale = 1 / math.sqrt(size) if options.score_scale is None else options.score_scale
    if options.product is not None:
        scale = 1
        q = q / np.linalg.norm(q) if kind in ("QueryNorm", "CosA") else q
        keys = keys / np.linalg.norm(keys, axis=-1, keepdims=True) if kind in ("KeyNorm", "CosA") else keys
        if kind == "CosA":
            scale = 4 * math.log(options.product.length or n)
    if options.log_n is not None:
        scale *= max(1, math.log(n) / math.log(options.log_n.train_length))
    scores = np.array([scale * product(options.position, q, k, i, j) for k, j in zip(keys, places)])
    scores += [bias(options.score_bias, abs(i - j), head, heads, trained) for j in places]
    name = type(options.normalization).__name__
    if name == "SquaredReLU":
        return np.maximum(scores, 0) ** 2 / n
    if name == "SoftmaxPlus":
        scores = scores * math.log(max(n, options.normalization.floor)) / math.log(options.normalization.base)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()
