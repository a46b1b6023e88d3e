"""How fresh models start: standard deviations by the formula, whatever the sizes, and no two kernels alike."""

import keras
import numpy as np
import pytest
from support.golden_models import numpy, tiny

from zoo.backend.variables import weights_of

TRUNCATED = 0.7737413**0.5  # standard deviation of a standard normal that is cut at 2


def assert_std(weight, expected):
    """The sample's deviation, mean and largest value are those of a normal cut at two (nominal) deviations."""
    array = numpy(weight).astype("float64")
    error = 5 / np.sqrt(2 * array.size)  # five standard errors
    assert array.std() == pytest.approx(expected, rel=error)
    assert abs(array.mean()) < 5 * expected / np.sqrt(array.size)
    cut = 2 * expected / TRUNCATED
    # Keras' torch backend draws four times and gives up: 0.0455⁴ = 4e-6 of its numbers lie outside
    assert (np.abs(array) > cut * 1.0001).mean() <= (2e-4 if keras.backend.backend() == "torch" else 0)
    if array.size > 10000:
        assert np.abs(array).max() > 0.97 * cut


@pytest.fixture(scope="module")
def roformer_v2():
    return tiny("RoFormerV2", vocabulary_size=6000, num_layers=3, hidden_dim=64, intermediate_dim=96)


@pytest.fixture(scope="module")
def gau_alpha():
    return tiny("GAUAlpha", vocabulary_size=12001, num_layers=3, hidden_dim=64, expanded_dim=96, key_dim=16)


def test_roformer_v2_kernels(roformer_v2):
    """gain L^(-1/2) over the square root of the fan-in."""
    weights, gain = weights_of(roformer_v2), 3 ** (-1 / 2)
    for path in ("attention/query", "attention/key", "attention/value", "attention/output", "feedforward/inner"):
        assert_std(weights[f"layer_1/{path}/kernel"], gain / 64**0.5)
    assert_std(weights["layer_1/feedforward/outer/kernel"], gain / 96**0.5)


def test_gau_alpha_kernels(gau_alpha):
    """gain L^(-1/3), since a unit is cubic in its weights; γ starts at 1."""
    weights, gain = weights_of(gau_alpha), 3 ** (-1 / 3)
    assert_std(weights["layer_1/gau/input/kernel"], gain / 64**0.5)
    assert_std(weights["layer_1/gau/output/kernel"], gain / 96**0.5)
    assert (numpy(weights["layer_1/gau/query_scale/gamma"]) == 1).all()


def test_embeddings_do_not_depend_on_the_vocabulary(roformer_v2, gau_alpha):
    """gain / sqrt(d) for 6,000 rows as for 12,001; the original takes 1/sqrt(6000) there (see `initializer`)."""
    assert_std(weights_of(roformer_v2)["token_embedding/embeddings"], 3 ** (-1 / 2) / 64**0.5)
    assert_std(weights_of(gau_alpha)["token_embedding/embeddings"], 3 ** (-1 / 3) / 64**0.5)
    assert_std(weights_of(roformer_v2)["segment_embedding/embeddings"], 3 ** (-1 / 2) / 64**0.5)
    small = tiny("RoFormerV2", vocabulary_size=300, hidden_dim=64)
    assert_std(weights_of(small)["token_embedding/embeddings"], 2 ** (-1 / 2) / 64**0.5)


# Realised deviations of the published sizes: layers, fan -> standard deviation (1.13684723 · gain / sqrt(m), cut at 2).
@pytest.mark.parametrize(
    "family, num_layers, fan, expected",
    [
        ("RoFormerV2", 6, 384, 0.020833),
        ("RoFormerV2", 12, 3072, 0.005208),
        ("GAUAlpha", 24, 1536, 0.008846),
    ],
)
def test_published_sizes(family, num_layers, fan, expected, monkeypatch):
    model = tiny(family, num_layers=1)
    monkeypatch.setattr(model, "num_layers", num_layers)
    assert_std(model.kernel_initializer()((fan, 128)), expected)
    assert_std(model.embedding_initializer()((128, fan)), expected)


@pytest.mark.parametrize("family", ["BERT", "RoFormer"])
def test_bert_starts_with_two_percent(family):
    """Truncated normal of the nominal deviation 0.02, as its authors'; biases 0, gains 1."""
    weights = weights_of(tiny(family, hidden_dim=64, intermediate_dim=96, vocabulary_size=300))
    for path, weight in weights.items():
        if path.endswith(("kernel", "embeddings")):
            assert_std(weight, 0.02 * TRUNCATED)
        else:
            assert (numpy(weight) == float(path.endswith("gamma"))).all()


@pytest.mark.parametrize("family", ["BERT", "RoFormerV2", "GAUAlpha"])
def test_no_two_kernels_are_alike(family):
    """Keras repeats the numbers of an initialiser that is used twice; every kernel has its own."""
    weights = weights_of(tiny(family))
    kernels = [numpy(w).ravel()[:16].tolist() for path, w in weights.items() if path.endswith(("kernel", "embeddings"))]
    assert len(kernels) == len({tuple(sorted(kernel)) for kernel in kernels})


def test_same_seed_same_model():
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append([numpy(w) for w in tiny("RoFormerV2").weights])
    one, again, other = models
    assert all((a == b).all() for a, b in zip(one, again))
    assert not any((a == b).all() for a, b in zip(one, other))
