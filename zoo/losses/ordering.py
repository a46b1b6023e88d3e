"""One log-sum-exp over all pairs in the wrong order, without writing the pairs down: the heart of CoSENT."""

from keras import ops

from zoo.backend import compiled, ordering_in_float64, put_rows, sorting_order

# Below every score, yet finite: the difference of two infinities would be NaN.
FLOOR = -3e38
RANGE = 80.0  # exp(-80) is a normal number of float32, to full precision


def ordering_loss(labels, scores, weights):
    """ln(1 + sum of w_p w_r exp(x_r - x_p) over all p, r with label y_p > y_r), without a B x B array.

    Takes O(B log B) time, for the sort, and O(B) memory.

    Sorted by label, the terms of p are exp(-x_p) times a prefix sum of exp(x_r), which stops before p's group
    of equal labels; the terms of r are exp(x_r) times a suffix sum of exp(-x_p). The first sums give the
    value, both together the gradient. Each sum is kept as (largest exponent, sum relative to it), so no score
    is too large, and differences of scores are taken before anything is rounded. Only first derivatives by
    the scores exist: to a second derivative the gradient is a constant.

    Args:
        labels: `[B]`, numbers; only their order counts.
        scores: float32 `[B]`, finite.
        weights: float32 `[B]`, >= 0.

    Returns:
        float32 scalar, 0 where no two labels differ.
    """
    constant = ops.stop_gradient(scores)
    inputs = labels, constant, ops.stop_gradient(weights)
    loss, gradient = ordering_in_float64(*inputs) or value_and_slopes(*inputs)
    return loss + ops.sum(gradient * (scores - constant))


@compiled
def value_and_slopes(labels, scores, weights):
    """Value of `ordering_loss`, scalar, and its gradient by the scores, `[B]`."""
    # Sorted by label; where each position's group of equal labels starts and ends.
    order, start = sorting_order(labels)
    end = ops.cast(ops.searchsorted(start, start, side="right"), "int32")
    x, weights = ops.take(scores, order), ops.take(weights, order)
    # [2, B]: row 0 looks at lower labels, row 1 is its mirror image, whose sums run over higher labels.
    values = ops.stack([x, -ops.flip(x)])
    weights = ops.stack([weights, ops.flip(weights)])
    starts = ops.stack([start, ops.shape(labels)[0] - ops.flip(end)])
    present = weights > 0
    values = ops.where(present, values, FLOOR)
    highest = ops.max(values, axis=1, keepdims=True)  # [2, 1]
    lowest = ops.min(ops.where(present, values, highest), axis=1, keepdims=True)
    peak, total = ops.cond(
        ops.any(highest - lowest > RANGE),
        lambda: sums_before(values, weights, starts),
        lambda: (ops.broadcast_to(highest, ops.shape(values)), bounded_sums_before(values - highest, weights, starts)),
    )

    # An absent element adds nothing, and must not set the scale either; nor must one that nothing stands before.
    present = present & (total > 0)
    exponents = ops.where(present, peak - values, FLOOR)
    largest = ops.maximum(ops.max(exponents + ops.log(ops.where(present, total, 1.0))), 0.0)
    terms = weights * (total * ops.exp(exponents - largest))
    lower, upper = ops.unstack(terms)  # as the pair with the higher label, with the lower label
    # log1p keeps losses far below float32's step at 1; with largest = 0 nothing is lost before it.
    surplus = ops.expm1(-largest) + ops.sum(lower)
    loss = largest + ops.log1p(surplus)
    gradient = (ops.flip(upper) - lower) / (1.0 + surplus)
    return loss, ops.reshape(put_rows(gradient[:, None], order, ops.shape(labels)[0]), (-1,))


def bounded_sums_before(values, weights, starts):
    """`sums_before` for values from -RANGE to 0, whose exponentials float32 holds: the sums themselves, `[2, B]`.

    Prefix sums within chunks of sqrt(B), and over the chunks: one sum over all would round B times.
    """
    terms = weights * ops.exp(values)
    count = ops.shape(values)[1]
    chunk = -int(-(values.shape[1] ** 0.5) // 1) if values.shape[1] else grid(None, count)[0] ** 2
    terms = ops.concatenate([terms, ops.zeros((2, chunk * chunk - count), "float32")], axis=1)
    inner = ops.cumsum(ops.reshape(terms, (2, chunk, chunk)), axis=-1)
    outer = ops.cumsum(inner[..., -1], axis=-1)
    before = ops.concatenate([ops.zeros((2, 1), "float32"), outer[:, :-1]], axis=-1)[..., None]  # [2, chunk, 1]
    within = ops.concatenate([ops.zeros((2, chunk, 1), "float32"), inner[..., :-1]], axis=-1)
    starts = starts + ops.reshape(ops.arange(2, dtype="int32") * chunk * chunk, (2, 1))
    return ops.take(ops.reshape(before + within, (-1,)), starts)


def sums_before(values, weights, starts):
    """Sum of w exp(value) over all positions before a start, row by row.

    Prefix sums over chunks of at most 16, then over the chunks' sums, and so on: a few whole-array steps
    instead of a scan, which TensorFlow's XLA cannot compile.

    Args:
        values, weights: float32 `[2, B]`.
        starts: int32 `[2, B]`, from 0 to B - 1.

    Returns:
        float32 `[2, B]` twice: the largest value, and the sum divided by its exp. Where there is nothing to add
        up, FLOOR and any finite number: exp(FLOOR) is 0.
    """
    chunk, levels = grid(values.shape[1], ops.shape(values)[1])
    size = chunk**levels
    surplus = (2, size - ops.shape(values)[1])
    shape = (2,) + levels * (chunk,)
    peak = ops.reshape(ops.concatenate([values, FLOOR * ops.ones(surplus, "float32")], axis=1), shape)
    total = ops.reshape(ops.concatenate([weights, ops.zeros(surplus, "float32")], axis=1), shape)
    position = ops.arange(chunk, dtype="int32")
    peak, total = prefix(peak, total, position[:, None] >= position)
    starts = starts + ops.reshape(ops.arange(2, dtype="int32") * size, (2, 1))
    return ops.take(ops.reshape(peak, (-1,)), starts), ops.take(ops.reshape(total, (-1,)), starts)


def grid(static_length, length):
    """Chunk c and number of levels with c ** levels >= length."""
    if static_length is None:  # a traced graph may leave it open
        return ops.cast(ops.ceil(ops.cast(length, "float32") ** 0.25 + 1e-3), "int32"), 4
    levels = 1
    while 16**levels < length:
        levels += 1
    return next(c for c in range(1, 17) if c**levels >= length), levels


def prefix(peak, total, upto):
    """Sums over all elements before each one.

    Args:
        peak, total: float32 `[2, c, ..., c]`, either half read as a row; elements stand for total exp(peak).
        upto: bool `[c, c]`, the lower triangle.

    Returns:
        peak and total of the sums, as `sums_before`, in the shape of the arguments.
    """
    if len(peak.shape) == 2:
        before, sum_before = ops.full_like(peak[:, :1], FLOOR), ops.zeros_like(peak[:, :1])
    else:
        highest = ops.max(peak, axis=-1, keepdims=True)
        sums = ops.sum(total * ops.exp(peak - highest), axis=-1)
        before, sum_before = prefix(ops.squeeze(highest, -1), sums, upto)  # over chunks
        before, sum_before = ops.expand_dims(before, -1), ops.expand_dims(sum_before, -1)
    # [2, ..., 1, c]: what comes before the chunk, then the chunk without its last element.
    peaks = ops.expand_dims(ops.concatenate([before, peak[..., :-1]], axis=-1), -2)
    totals = ops.expand_dims(ops.concatenate([sum_before, total[..., :-1]], axis=-1), -2)
    peaks = ops.where(upto, peaks, FLOOR)  # [2, ..., c, c]
    highest = ops.max(peaks, axis=-1, keepdims=True)
    # Where nothing precedes, the exponents are FLOOR - FLOOR = 0 and a sum of no meaning stands beside FLOOR.
    sums = ops.sum(totals * ops.exp(peaks - highest), axis=-1)
    return ops.squeeze(highest, -1), sums
