"""The other matching losses against float64 NumPy, closed forms, limits and each other."""

import keras
import numpy as np
import pytest
from keras import ops
from support.arrays import assert_close

from zoo import losses
from zoo.backend import value_and_gradient

SIMILARITY = [
    losses.CoSENT(scale=10.0),
    losses.CosineRegression(lowest=-1.0, highest=2.0),
    losses.Contrastive(margin=0.8),
    losses.Circle(scale=5.0, margin=0.25, self_paced=True),
    losses.Circle(margin=0.1),
]
EMBEDDINGS = [
    losses.AnglE(scale=10.0),
    losses.InfoNCE(scale=5.0),
    losses.InfoNCE(symmetric=True, grouped=True),
    losses.CoSENTInfoNCE(weight=0.7, scale=5.0),
    losses.Triplet(margin=0.2),
    losses.Triplet(margin=3.0, distance="euclidean"),
]
ALL = [*SIMILARITY, *EMBEDDINGS]


def described(loss):
    return "-".join(str(v) for v in loss.get_config().values())


def example(loss, size=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.array([1, 0, 1, 0, 0, 1, 0] * 3)[:size]
    shape = (size,) if loss.inputs == "similarity" else (size, 4, 6)
    return labels, rng.uniform(-1, 1, shape).astype("float32")


def cosines(u, v):
    u, v = np.asarray(u, "float64"), np.asarray(v, "float64")
    return (u @ v.T) / np.linalg.norm(u, axis=-1)[:, None] / np.linalg.norm(v, axis=-1)


@pytest.mark.parametrize("loss", ALL, ids=described)
def test_config_round_trip(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    y_true, y_pred = example(loss)
    assert float(again(y_true, y_pred)) == float(loss(y_true, y_pred))


@pytest.mark.parametrize("loss", ALL, ids=described)
def test_gradient_is_that_of_the_value(loss):
    """Central differences along random directions."""
    y_true, y_pred = example(loss)
    _, gradient = value_and_gradient(lambda x: loss(y_true, x), y_pred)
    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = rng.normal(size=y_pred.shape).astype("float32")
        if isinstance(loss, losses.Circle) and loss.self_paced:
            continue  # its weights are constants for the gradient: no gradient of the value. Tested below.
        up, down = (float(loss(y_true, y_pred + step * direction)) for step in (1e-3, -1e-3))
        assert (up - down) / 2e-3 == pytest.approx(float(np.sum(gradient * direction)), rel=2e-2, abs=5e-3)


@pytest.mark.parametrize("loss", ALL, ids=described)
def test_rows_of_weight_zero_are_absent(loss):
    y_true, y_pred = example(loss, 6)
    value, gradient = value_and_gradient(lambda x: loss(y_true, x), y_pred)
    junk = np.full((2, *y_pred.shape[1:]), np.nan, "float32")
    padded, padded_gradient = value_and_gradient(
        lambda x: loss(np.append(y_true, [1, 0]), x, sample_weight=np.array([1.0] * 6 + [0.0] * 2)),
        np.concatenate([y_pred, junk]),
    )
    assert padded == pytest.approx(value, rel=1e-5)
    assert_close(padded_gradient, np.concatenate([gradient, np.zeros_like(junk)]), atol=1e-5)
    nothing, no_gradient = value_and_gradient(lambda x: loss(y_true, x, sample_weight=np.zeros(6)), y_pred)
    assert nothing == 0.0 and not no_gradient.any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("loss", ALL, ids=described)
def test_computes_in_float32(loss, dtype):
    y_true, y_pred = example(loss)
    rounded = ops.cast(y_pred, dtype)
    value = loss(y_true, rounded)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == pytest.approx(float(loss(y_true, ops.cast(rounded, "float32"))), rel=1e-6)


@pytest.mark.parametrize("loss", ALL, ids=described)
@pytest.mark.parametrize("label", [0, 1])
def test_D12_one_row_and_one_class_are_finite(loss, label):
    for size in (1, 8):
        _, y_pred = example(loss, size)
        for x in (y_pred, np.zeros_like(y_pred), np.ones_like(y_pred)):
            value, gradient = value_and_gradient(lambda p: loss(np.full(size, label), p), x)  # noqa: B023
            assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", ALL, ids=described)
def test_weight_two_is_the_row_twice(loss):
    """For means over rows and sums over pairs; in-batch negatives are candidates once."""
    if isinstance(loss, losses.InfoNCE | losses.CoSENTInfoNCE):
        return
    y_true, y_pred = example(loss, 6)
    weights = np.array([2, 1, 1, 2, 1, 1])
    repeated = float(loss(np.repeat(y_true, weights), np.repeat(y_pred, weights, axis=0)))
    assert float(loss(y_true, y_pred, sample_weight=weights)) == pytest.approx(repeated, rel=1e-5)


def test_info_nce_is_cross_entropy_over_candidates():
    loss = losses.InfoNCE(scale=5.0)
    _, y_pred = example(loss)
    logits = 5 * np.concatenate([cosines(y_pred[:, 0], y_pred[:, i]) for i in (1, 2, 3)], axis=1)
    expected = np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits))
    assert float(loss(np.zeros(8), y_pred)) == pytest.approx(expected, rel=1e-5)
    # Keras' own softmax on the matrix is the same loss.
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(np.arange(8), logits)
    assert float(own) == pytest.approx(expected, rel=1e-5)


def test_symmetric_info_nce_is_the_mean_of_both_directions():
    _, y_pred = example(losses.InfoNCE())
    pairs = y_pred[:, :2]
    both = float(losses.InfoNCE(symmetric=True)(np.zeros(8), pairs))
    one, other = (float(losses.InfoNCE()(np.zeros(8), p)) for p in (pairs, pairs[:, ::-1]))
    assert both == pytest.approx((one + other) / 2, rel=1e-5)


def test_info_nce_leaves_out_rows_of_the_same_group():
    """Against a loop over rows and candidates."""
    groups = np.array([3, 5, 3, 1, 5, 3, 2**30, 2**30 + 1])  # the last two are one number in float32
    _, y_pred = example(losses.InfoNCE())
    expected = []
    for i in range(8):
        candidates = [j for j in range(8) if j == i or groups[j] != groups[i]]
        logits = np.concatenate([4 * cosines(y_pred[i : i + 1, 0], y_pred[candidates, k])[0] for k in (1, 2, 3)])
        expected.append(np.log(np.exp(logits).sum()) - logits[candidates.index(i)])
    loss = losses.InfoNCE(scale=4.0, grouped=True)
    assert float(loss(groups, y_pred)) == pytest.approx(np.mean(expected), rel=1e-5)
    distinct = float(loss(np.arange(8), y_pred))
    assert distinct == pytest.approx(float(losses.InfoNCE(scale=4.0)(np.zeros(8), y_pred)), rel=1e-6)


def test_info_nce_of_equal_texts_is_the_logarithm_of_their_number():
    assert float(losses.InfoNCE()(np.zeros(8), np.ones((8, 3, 6)))) == pytest.approx(np.log(16), rel=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_triplet_is_the_hinge_of_distances(distance):
    loss = losses.Triplet(margin=0.7, distance=distance)
    _, y_pred = example(loss)
    u, v, *negatives = (y_pred[:, i].astype("float64") for i in range(4))
    far = {
        "cosine": lambda a, b: 1 - np.diag(cosines(a, b)),
        "euclidean": lambda a, b: np.linalg.norm(a - b, axis=1),
    }[distance]
    expected = np.mean([np.maximum(0, 0.7 + far(u, v) - far(u, n)) for n in negatives])
    assert float(loss(np.zeros(8), y_pred)) == pytest.approx(expected, rel=1e-5)


def test_contrastive_and_regression_by_hand():
    y, s = [1, 0, 0], [0.6, 0.9, 0.2]
    assert float(losses.Contrastive(margin=0.5)(y, s)) == pytest.approx((0.4**2 + 0.4**2 + 0) / 2 / 3, rel=1e-5)
    expected = np.mean([(0.6 - 1) ** 2, (0.9 - 0.5) ** 2, 0.2**2])
    assert float(losses.CosineRegression(0, 5)([5, 2.5, 0], s)) == pytest.approx(expected, rel=1e-5)
    weighted = float(losses.CosineRegression(0, 5)([5, 2.5, 0], s, sample_weight=[3, 0, 1]))
    assert weighted == pytest.approx((3 * 0.16 + 0.04) / 4, rel=1e-5)


def test_plain_circle_is_cosent_on_two_levels():
    y, s = example(losses.Circle())
    assert float(losses.Circle(scale=8.0)(y, s)) == pytest.approx(float(losses.CoSENT(8.0)(y, s)), rel=1e-5)
    shifted = np.where(y == 1, s, s + 0.3)
    assert float(losses.Circle(8.0, 0.3)(y, s)) == pytest.approx(float(losses.CoSENT(8.0)(y, shifted)), rel=1e-5)


def test_self_paced_circle_is_the_papers():
    loss = losses.Circle(scale=16.0, margin=0.25, self_paced=True)
    y, s = example(loss)
    n, p = s[y == 0].astype("float64"), s[y == 1].astype("float64")
    down, up = np.maximum(0, n + 0.25), np.maximum(0, 1.25 - p)
    sum_n, sum_p = np.exp(16 * down * (n - 0.25)), np.exp(-16 * up * (p - 0.75))
    value, gradient = value_and_gradient(lambda x: loss(y, x), s)
    assert value == pytest.approx(np.log1p(sum_n.sum() * sum_p.sum()), rel=1e-5)
    share = 1 - 1 / (1 + sum_n.sum() * sum_p.sum())
    assert gradient[y == 0] == pytest.approx(share * 16 * down * sum_n / sum_n.sum(), abs=1e-5)
    assert gradient[y == 1] == pytest.approx(-share * 16 * up * sum_p / sum_p.sum(), abs=1e-5)


def test_angle_similarity_is_a_complex_quotient():
    """Against complex numbers: |sum over Re and Im of z conj(w)| / (|z| |w|)."""
    _, y_pred = example(losses.AnglE())
    u, v = y_pred[:, 0].astype("float64"), y_pred[:, 1].astype("float64")
    z, w = u[:, :3] + 1j * u[:, 3:], v[:, :3] + 1j * v[:, 3:]
    quotient = np.sum(z * np.conj(w), axis=1)
    expected = np.abs(quotient.real + quotient.imag) / np.linalg.norm(z, axis=1) / np.linalg.norm(w, axis=1)
    similarity = ops.convert_to_numpy(losses.angle_similarity(y_pred[:, 0], y_pred[:, 1]))
    assert similarity == pytest.approx(expected, abs=1e-6)
    y = np.arange(8) % 3
    assert float(losses.AnglE(20.0)(y, y_pred)) == pytest.approx(float(losses.CoSENT(20.0)(y, similarity)), rel=1e-5)
    with pytest.raises(ValueError, match="d = 5"):
        losses.AnglE()(y, y_pred[..., :5])


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: losses.InfoNCE()([0, 0], np.ones((2, 6))),
            r"shape \(2, 6\), expected \(B, k, d\) with k >= 2",
        ),
        (lambda: losses.Triplet()([0, 0], np.ones((2, 2, 6))), "k >= 3"),
        (lambda: losses.InfoNCE()([0], np.ones((2, 2, 6))), "y_true has 1 rows"),
        (lambda: losses.InfoNCE(scale=0), "scale is 0"),
        (lambda: losses.AnglE(scale=0), "scale is 0"),
        (lambda: losses.Circle(scale=0), "scale is 0"),
        (lambda: losses.Circle(margin=-1), "margin is -1"),
        (lambda: losses.Triplet(margin=0), "margin is 0"),
        (lambda: losses.Triplet(distance="dot"), "'cosine' or 'euclidean'"),
        (lambda: losses.Contrastive(margin=0), "margin is 0"),
        (lambda: losses.CosineRegression(1, 1), "above lowest"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("base", [losses.MatchingLoss, losses.CoSENT, losses.Triplet, losses.InfoNCE])
def test_a_loss_of_ones_own_has_a_name(base):
    """Given, or made of the class'; configs keep it."""

    class Mine(base):
        def batch_loss(self, y_true, y_pred, weights):
            return ops.sum(weights)

    class WithOptions(base):
        def __init__(self, margin=0.5, **options):
            super().__init__(**options)
            self.margin = margin

    for cls in (Mine, WithOptions):
        assert cls(name="mine").name == "mine" == cls.from_config(cls(name="mine").get_config()).name
        assert cls().name
    assert WithOptions(0.25, name="x").get_config()["margin"] == 0.25


@pytest.mark.parametrize("loss", [*ALL, losses.TokenCrossEntropy(), losses.TaiLr(0.5), losses.EMO(np.eye(2))])
def test_every_loss_takes_a_name(loss):
    config = {**loss.get_config(), "name": "mine"}
    assert type(loss).from_config(config).name == "mine" == type(loss).from_config(config).get_config()["name"]


def test_labels_of_one_value_are_no_order():
    for loss in (losses.CoSENT(), losses.AnglE(), losses.Circle()):
        with pytest.raises(
            ValueError, match="compares rows of different labels, and all 3 are 1: there is no order to learn"
        ):
            losses.needs.check_labels(loss, np.ones(3))
    for loss in (losses.CosineRegression(), losses.Contrastive(), losses.CoSENTInfoNCE(), losses.InfoNCE()):
        losses.needs.check_labels(loss, np.ones(3))


def test_trains_through_fit():
    """Embeddings through Keras' own fit, traced with an open batch size where the backend traces."""
    loss = losses.InfoNCE(symmetric=True, grouped=True)
    y_true, y_pred = example(loss, 16)
    x = y_pred.reshape(16, -1)
    model = keras.Sequential([keras.layers.Dense(x.shape[1]), keras.layers.Reshape((4, 6))])
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=False)
    seen = model.fit(x, y_true, batch_size=8, epochs=4, verbose=0).history["loss"]
    assert seen[-1] < seen[0]


def test_cosent_with_negatives_is_the_sum_over_all_pairs_and_over_the_positive_ones():
    labels = np.array([0.0, 0.5, 0.8, 1.0, 0.2, 0.9])
    vectors = np.random.default_rng(3).normal(size=(6, 2, 5)).astype("float32")
    similarity = np.diag(cosines(vectors[:, 0], vectors[:, 1]))
    chosen = vectors[labels >= 0.8]
    expected = float(losses.CoSENT()(labels, similarity.astype("float32")))
    expected += 0.3 * float(losses.InfoNCE(symmetric=True)(np.ones(3), chosen))
    assert float(losses.CoSENTInfoNCE(weight=0.3, positive=0.8)(labels, vectors)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="weight is -1"):
        losses.CoSENTInfoNCE(weight=-1)
