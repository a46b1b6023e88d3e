"""Optimizers: `keras.optimizers.Optimizer` subclasses that know no model."""

from zoo.backend.near_names import no_attribute
from zoo.optimizers.bert4keras_adafactor import Bert4KerasAdaFactor
from zoo.optimizers.bert4keras_adam import Bert4KerasAdam
from zoo.optimizers.decay import NORMS_AND_BIASES, ExcludeFromDecay
from zoo.optimizers.decay_over_fit import DecayOverFit
from zoo.optimizers.fused_adam import FusedAdam, FusedAdamW
from zoo.optimizers.layer_adaptation import LayerAdaptation
from zoo.optimizers.layerwise import LayerwiseLearningRate, layer_decay
from zoo.optimizers.lazy_updates import LazyUpdates
from zoo.optimizers.lookahead import Lookahead
from zoo.optimizers.low_rank import LowRank
from zoo.optimizers.low_rank_forms import AdditiveLoRA, GaLore, LoRA, RandomProjection
from zoo.optimizers.moving_average import EvaluateAverages, ExponentialMovingAverage, averaged_weights
from zoo.optimizers.piecewise_linear import PiecewiseLinear
from zoo.optimizers.warmup_decay import WarmupDecay
from zoo.optimizers.wrapper import OptimizerWrapper

__all__ = [
    "NORMS_AND_BIASES",
    "AdditiveLoRA",
    "Bert4KerasAdaFactor",
    "Bert4KerasAdam",
    "DecayOverFit",
    "EvaluateAverages",
    "ExcludeFromDecay",
    "ExponentialMovingAverage",
    "FusedAdam",
    "FusedAdamW",
    "GaLore",
    "LayerAdaptation",
    "LayerwiseLearningRate",
    "LazyUpdates",
    "LoRA",
    "Lookahead",
    "LowRank",
    "OptimizerWrapper",
    "PiecewiseLinear",
    "RandomProjection",
    "WarmupDecay",
    "averaged_weights",
    "layer_decay",
]


def __getattr__(name):
    raise no_attribute(__name__, name, __all__)
