"""TaiLr and EMO against float64 NumPy, closed-form gradients, limits, and a linear programme."""

import json

import keras
import numpy as np
import pytest
import scipy.optimize
from keras import ops

import zoo
from zoo.backend import value_and_gradient
from zoo.losses import EMO, TaiLr, TokenCrossEntropy

GAMMAS = [0.0, 1e-7, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-6, 1.0]
EMBEDDING = np.random.default_rng(5).normal(size=(7, 4)).astype("float32")
LOSSES = [
    TaiLr(0.1),
    TaiLr(0.0),
    TaiLr(1.0),
    TaiLr(0.3, 0.25),
    *(EMO(EMBEDDING, mode) for mode in ("plain", "mean", "sum")),
]


def described(loss):
    return f"{loss.name}-{getattr(loss, 'gamma', '')}{getattr(loss, 'mode', '')}"


def example(shape=(3, 5, 7), seed=0, spread=4.0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, shape[-1], shape[:-1]).astype("int32"), rng.normal(0, spread, shape).astype("float32")


def softmax(logits):
    wide = logits.astype("float64")
    p = np.exp(wide - wide.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def of_label(p, labels):
    return np.take_along_axis(p, labels[..., None], -1)[..., 0]


def costs(embedding):
    unit = embedding.astype("float64") / np.linalg.norm(embedding.astype("float64"), axis=1, keepdims=True)
    return 1 - unit @ unit.T


def evaluated(loss, labels, logits, weights=None):
    return value_and_gradient(lambda x: loss(labels, x, sample_weight=weights), logits)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_tailr_equals_its_closed_form_and_its_weighted_form(gamma):
    """The value is the closed form; the gradient is that of -w ln p with a constant w. Both in float64 beside."""
    labels, logits = example()
    p, one_hot = softmax(logits), np.eye(7)[labels]
    of = of_label(p, labels)
    if gamma == 0:
        losses = -np.log(of)
    else:
        losses = 1 - of if gamma == 1 else -np.log(gamma + (1 - gamma) * of) / (1 - gamma)
    weight = of / (gamma + (1 - gamma) * of)
    value, gradient = evaluated(TaiLr(gamma), labels, logits)
    assert value == pytest.approx(losses.mean(), rel=2e-6)
    np.testing.assert_allclose(gradient, weight[..., None] * (p - one_hot) / labels.size, atol=2e-8, rtol=2e-5)


@pytest.mark.parametrize("gamma, least", [(0.1, 0.2), (0.7, 0.5), (1.0, 0.05), (1e-3, 0.9), (0.3, 1.0)])
def test_tailr_weighs_no_label_less_than_the_least_weight(gamma, least):
    """The gradient's weight is clipped at min_weight, and the value is one function: its slope is the gradient."""
    labels, logits = example()
    p, one_hot = softmax(logits), np.eye(7)[labels]
    of = of_label(p, labels)
    weight = np.clip(of / (gamma + (1 - gamma) * of), least, 1)
    assert least == 1 or (weight == least).any()
    value, gradient = evaluated(TaiLr(gamma, least), labels, logits)
    np.testing.assert_allclose(gradient, weight[..., None] * (p - one_hot) / labels.size, atol=2e-8, rtol=2e-5)
    # by quadrature: dL/dln p = -weight, and L(p = 1) = 0
    grid = np.linspace(0, 1, 20001)[:, None, None] * np.log(of)
    slopes = np.clip(np.exp(grid) / (gamma + (1 - gamma) * np.exp(grid)), least, 1)
    area = np.trapezoid(slopes, axis=0) * -np.log(of) / 20000
    assert value == pytest.approx(area.mean(), rel=1e-5)


def test_tailr_comes_from_cross_entropy_and_goes_to_the_expected_error():
    labels, logits = example()
    cross_entropy, p = float(TokenCrossEntropy()(labels, logits)), of_label(softmax(logits), labels)
    assert float(TaiLr(0.0)(labels, logits)) == cross_entropy
    assert float(TaiLr(1e-12)(labels, logits)) == pytest.approx(cross_entropy, rel=1e-6)
    assert float(TaiLr(1.0)(labels, logits)) == pytest.approx(np.mean(1 - p), rel=1e-6)
    assert float(TaiLr(1 - 1e-9)(labels, logits)) == pytest.approx(np.mean(1 - p), rel=1e-6)
    worst = np.array([[0.0, 200.0]], "float32")  # p = 0 in float32: bounded by -ln γ / (1 - γ)
    assert float(TaiLr(1e-3)([0], worst)) == pytest.approx(-np.log(1e-3) / (1 - 1e-3), rel=1e-6)


def test_emo_equals_its_formula_and_its_gradient():
    labels, logits = example()
    p, cost = softmax(logits), costs(EMBEDDING)
    of = cost[labels]  # [..., C]: c_jt, which is symmetric
    distance = (p * of).sum(-1)
    value, gradient = evaluated(EMO(EMBEDDING), labels, logits)
    assert value == pytest.approx(distance.mean(), rel=1e-6)
    np.testing.assert_allclose(gradient, p * (of - distance[..., None]) / labels.size, atol=5e-8, rtol=2e-5)


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_emo_mixtures_equal_their_formulas(mode):
    labels, logits = example()
    p, cost = softmax(logits), costs(EMBEDDING)[labels]
    distance, cross_entropy = (p * cost).sum(-1), -np.log(of_label(p, labels))
    slope, slope_ce = p * (cost - distance[..., None]), p - np.eye(7)[labels]
    if mode == "mean":
        losses, ratio = cross_entropy, (cross_entropy / (distance + 1e-10))[..., None]
        slopes = (slope_ce + ratio * slope) / 2
    else:
        losses, ratio = 2 * distance, (distance / (cross_entropy + 1e-10))[..., None]
        slopes = slope + ratio * slope_ce
    value, gradient = evaluated(EMO(EMBEDDING, mode), labels, logits)
    assert value == pytest.approx(losses.mean(), rel=2e-6)
    np.testing.assert_allclose(gradient, slopes / labels.size, atol=1e-6, rtol=1e-4)


def test_emo_of_unrelated_classes_is_the_expected_error():
    """c = 1 - δ gives 1 - p, value and gradient."""
    labels, logits = example()
    value, gradient = evaluated(EMO(3.0 * np.eye(7)), labels, logits)
    expected, slope = evaluated(TaiLr(1.0), labels, logits)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=1e-7)


def transported(p, targets, cost):
    """The cheapest way to bring p to the targets, by a linear programme over all transports [C, C]."""
    classes = len(p)
    leaves = np.kron(np.eye(classes), np.ones(classes))
    comes = np.kron(np.ones(classes), np.eye(classes))
    found = scipy.optimize.linprog(cost.ravel(), A_eq=np.vstack([leaves, comes]), b_eq=np.concatenate([p, targets]))
    return found.fun


def test_emo_is_the_earth_movers_distance_of_one_hot_targets_and_its_bound_for_others():
    labels, logits = example((6, 7), spread=2.0)
    p, cost = softmax(logits), np.maximum(costs(EMBEDDING), 0)
    losses = ops.convert_to_numpy(EMO(EMBEDDING, reduction=None)(labels, logits))
    assert losses == pytest.approx([transported(a, np.eye(7)[t], cost) for a, t in zip(p, labels)], abs=1e-6)
    soft = softmax(example((6, 7), seed=3, spread=1.0)[1])
    bounds = ops.convert_to_numpy(EMO(EMBEDDING, reduction=None)(soft.astype("float32"), logits))
    assert bounds == pytest.approx(np.einsum("bi,bj,ij->b", p, soft, costs(EMBEDDING)), abs=1e-6)
    assert all(bound >= transported(a, t, cost) - 1e-6 for bound, a, t in zip(bounds, p, soft))


@pytest.mark.parametrize("mode", ["plain", "mean", "sum"])
def test_emo_of_one_hot_probabilities_is_that_of_class_ids(mode):
    labels, logits = example(spread=1.0)
    loss = EMO(EMBEDDING, mode)
    value, gradient = evaluated(loss, labels, logits)
    soft, soft_gradient = evaluated(loss, np.eye(7, dtype="float32")[labels], logits)
    assert soft == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(soft_gradient, gradient, atol=1e-6)


def test_emo_takes_the_token_embedding_of_a_backbone():
    model = zoo.BERT(vocabulary_size=7, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=4)
    table = model.token_embedding.embeddings
    labels, logits = example()
    assert float(EMO(table)(labels, logits)) == float(EMO(ops.convert_to_numpy(table))(labels, logits))


@pytest.mark.parametrize("loss", LOSSES, ids=described)
def test_gradient_is_that_of_the_value(loss):
    labels, logits = example((2, 7), spread=1.0)
    if getattr(loss, "mode", "plain") != "plain":
        return  # their ratios are constants for the gradient: tested against their formulas above
    _, gradient = evaluated(loss, labels, logits)
    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = rng.normal(size=logits.shape).astype("float32")
        up, down = (float(loss(labels, logits + step * direction)) for step in (1e-2, -1e-2))
        assert (up - down) / 2e-2 == pytest.approx(float(np.sum(gradient * direction)), rel=5e-3, abs=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("loss", LOSSES, ids=described)
def test_probabilities_of_0_and_1_to_the_last_bit_give_finite_losses_and_gradients(loss, dtype):
    rows = [
        [0.0] * 7,
        [6e4] + [-6e4] * 6,
        [-6e4] + [6e4] * 6,
        [120.0] + [0.0] * 6,
        [17.0] + [0.0] * 6,
        [-200.0] + [0.0] * 6,
    ]
    logits, labels = np.array(rows, "float32"), np.zeros(len(rows), "int32")
    value, gradient = value_and_gradient(lambda x: loss(labels, ops.cast(x, dtype)), logits)
    assert np.isfinite(value) and np.isfinite(gradient).all() and value >= 0
    assert keras.backend.standardize_dtype(loss(labels, ops.cast(logits, dtype)).dtype) == "float32"
    sure, none = evaluated(loss, labels[:1], logits[1:2])
    assert sure == pytest.approx(0, abs=1e-9) and not none.any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("loss", LOSSES, ids=described)
def test_half_logits_lose_nothing_but_their_own_rounding(loss, dtype):
    labels, logits = example()
    half = ops.cast(logits, dtype)
    wide = ops.convert_to_numpy(ops.cast(half, "float32"))
    assert float(loss(labels, half)) == pytest.approx(float(loss(labels, wide)), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=described)
def test_weights_and_ignored_labels(loss):
    """Places of weight 0 and ignored ones count in no sum and have no gradient; other weights scale their places."""
    labels, logits = example((4, 3, 7))
    each = ops.convert_to_numpy(type(loss).from_config({**loss.get_config(), "reduction": None})(labels, logits))
    weights = np.random.default_rng(2).uniform(0, 2, (4, 3)).astype("float32")
    weights[0], weights[3, 1] = 0, 0
    assert float(loss(labels, logits, sample_weight=weights)) == pytest.approx(
        (weights * each).sum() / weights.sum(), rel=1e-5
    )
    rows = np.array([0, 1, 2, 1], "float32")
    ignoring = type(loss).from_config({**loss.get_config(), "ignore_class": -1})
    labels[1, 2] = labels[2] = -1
    counted = rows[:, None] * (labels != -1)
    for column in (labels, labels[..., None]):
        value, gradient = evaluated(ignoring, column, logits, rows)
        assert value == pytest.approx((counted * each).sum() / counted.sum(), rel=1e-5)
        assert not gradient[counted == 0].any() and gradient[counted > 0].any(-1).all()
    value, gradient = evaluated(ignoring, np.full_like(labels, -1), logits)
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("loss", LOSSES, ids=described)
def test_config_round_trip(loss):
    loss = type(loss).from_config({**loss.get_config(), "ignore_class": 3, "reduction": "sum", "name": "mine"})
    again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    assert again.name == "mine" and again.reduction == "sum" and again.ignore_class == 3
    labels, logits = example()
    assert float(again(labels, logits)) == float(loss(labels, logits))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("loss", [TaiLr(0.1, ignore_class=-1), EMO(EMBEDDING, "mean", ignore_class=-1)], ids=described)
def test_trains_through_fit(loss, jit_compile):
    """One step of SGD is the gradient of the loss, padded batches and ignored labels included."""
    labels, inputs = example((4, 5, 7))
    labels[:, 4], weights = -1, np.ones((4, 5), "float32")
    weights[3] = 0
    model = keras.Sequential([keras.Input((5, 7)), keras.layers.Dense(7, use_bias=False)])
    kernel = model.get_weights()[0]
    jit = jit_compile and keras.backend.backend() != "torch"
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=jit)
    _, gradient = evaluated(loss, labels, inputs @ kernel, weights)
    model.fit(inputs, labels, sample_weight=weights, batch_size=4, verbose=0, shuffle=False)
    expected = kernel - 0.5 * np.einsum("bni,bnj->ij", inputs, gradient)
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=2e-6)


def test_two_classes_of_a_classifier():
    """An interaction matcher of two classes is a classifier of packed pairs."""
    backbone = zoo.BERT(vocabulary_size=30, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=4)
    model = zoo.TextClassifier(backbone, num_classes=2, max_length=8)
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(0, 2, (4, 8)).astype("int32") for name in backbone.input}
    labels, weights = np.array([0, 1, 1, 0]), np.array([1.0, 1.0, 1.0, 0.0], "float32")
    logits = ops.convert_to_numpy(model(inputs))
    for loss in (TaiLr(0.2), EMO(np.array([[1.0, 0.0], [0.6, 0.8]]), "sum")):
        model.compile(keras.optimizers.SGD(0.0), loss)
        found = model.test_on_batch(inputs, labels, sample_weight=weights)
        assert float(found) == pytest.approx(float(loss(labels, logits, sample_weight=weights)), rel=1e-5)


@pytest.mark.parametrize("loss", [TaiLr(0.1, 0.2), EMO(EMBEDDING, "sum", ignore_class=2)], ids=described)
def test_survives_a_keras_file(loss, tmp_path):
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(7)])
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").loss.get_config() == loss.get_config()


def test_memory_grows_with_classes_times_width_not_with_their_square():
    """100,000 classes: their costs alone would be 40 GB."""
    rng = np.random.default_rng(3)
    labels, logits = np.array([5, 99_999]), rng.normal(size=(2, 100_000)).astype("float32")
    embedding = rng.normal(size=(100_000, 4)).astype("float32")
    value, gradient = evaluated(EMO(embedding), labels, logits)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    assert value == pytest.approx(np.mean(1 - np.sum((softmax(logits) @ unit) * unit[labels], -1)), rel=1e-5)
    assert gradient.shape == logits.shape


def test_mistakes_are_named():
    labels, logits = example()
    with pytest.raises(ValueError, match="gamma=1.5"):
        TaiLr(1.5)
    with pytest.raises(ValueError, match="min_weight=-1"):
        TaiLr(0.5, -1)
    with pytest.raises(ValueError, match="not defined for soft or smoothed labels"):
        TaiLr(0.5)(np.full(logits.shape, 1 / 7, "float32"), logits)
    with pytest.raises(ValueError, match=r"y_true has shape \(3, 5\), y_pred \(3, 7\)"):
        TaiLr(0.5)(labels, logits[:, 0])
    with pytest.raises(ValueError, match="as many logits as class embeddings"):
        EMO(EMBEDDING[:5])(labels, logits)
    with pytest.raises(ValueError, match=r"cost_embedding has shape \(4,\)"):
        EMO(EMBEDDING[0])
    with pytest.raises(ValueError, match="expected \\(C, d\\), finite"):
        EMO(np.full((7, 2), np.nan))
    with pytest.raises(ValueError, match="mode='both'"):
        EMO(EMBEDDING, "both")
