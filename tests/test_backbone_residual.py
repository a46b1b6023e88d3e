"""`residual=` of a backbone: closed forms at α = 0 and 1, RoFormerV2's schedule of training, files."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.layer_checks import numpy
from support.tiny_models import backbone, scatter_weights

import zoo
from zoo.layers import AlphaResidual, DeepNorm

FAMILIES = ["BERT", "RoFormer", "RoFormerV2", "GAUAlpha"]
IDS = np.random.default_rng(3).integers(5, 120, (2, 9)).astype("int32")


def with_residual(model, residual):
    """The same weights in blocks with another residual."""
    other = type(model).from_config({**model.get_config(), "residual": residual})
    weights = zoo.backend.variables.weights_of(model)
    for path, variable in zoo.backend.variables.weights_of(other).items():
        if not path.endswith("/alpha"):
            variable.assign(weights[path])
    return other


@pytest.mark.parametrize("family", FAMILIES)
def test_a_factor_of_one_is_the_plain_sum(family):
    model = scatter_weights(backbone(family))
    assert model.residual is None
    for residual, same in (
        (DeepNorm(1.0), True),
        (AlphaResidual(), True),
        (DeepNorm(2.0), False),
        (AlphaResidual(0.5), False),
    ):
        moved = np.abs(numpy(with_residual(model, residual)(IDS)) - numpy(model(IDS))).max()
        assert moved < 1e-6 if same else moved > 1e-2, residual


@pytest.mark.parametrize("family", ["RoFormerV2", "GAUAlpha"])
def test_without_branches_only_the_embedding_is_left(family):
    """RMS norm of what has it already: the last hidden state is the embedding output."""
    model = backbone(family, residual=AlphaResidual(0.0), norm_epsilon=1e-12)
    first, last = model.first_and_last(IDS)
    assert_close(last, first, atol=1e-5)


def test_the_schedule_of_roformer_v2():
    """α of every branch grows with the steps of a masked language model's training, and stays at 1."""
    model = zoo.MaskedLM(backbone("RoFormerV2", num_layers=2, residual=AlphaResidual(0.0)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    alphas = [variable for path, variable in zoo.backend.variables.weights_of(model).items() if path.endswith("/alpha")]
    assert len(alphas) == 4
    for expected in (0.25, 0.75, 1.0, 1.0):  # the last of two batches an epoch: t = 1, 3, 5, 7 of 4 steps
        model.fit(IDS, IDS, batch_size=1, verbose=0, callbacks=[zoo.callbacks.ResidualWarmup(4)])
        assert [float(alpha) for alpha in alphas] == [expected] * 4


@pytest.mark.parametrize("residual", [DeepNorm(2.0, 0.5), AlphaResidual(0.25, trainable=True)])
def test_files(residual, tmp_path):
    model = scatter_weights(backbone("BERT", residual=residual))
    twin = type(model).from_config(model.get_config())
    assert twin.residual == model.residual
    model.save_to_preset(tmp_path / "p")
    assert_close(zoo.BERT.from_preset(tmp_path / "p")(IDS), model(IDS), atol=0)
    for name in ("bert4keras", "hugging_face"):
        with pytest.raises(ValueError, match="residual"):
            model.save_to_preset(tmp_path / name, format=name)


def test_errors():
    with pytest.raises(ValueError, match="unknown attention option 'deep_norm' for residual"):
        backbone(residual="deep_norm")
