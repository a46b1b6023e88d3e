"""Callbacks: training that survives being killed, stops before a NaN does harm, and keeps its best model."""

from zoo.backend.near_names import no_attribute
from zoo.callbacks.best_preset import BestPreset
from zoo.callbacks.learning_log import LearningLog, tensorboard
from zoo.callbacks.residual_warmup import ResidualWarmup
from zoo.callbacks.resume import Resume, arranged, prepare_callbacks
from zoo.callbacks.stop_on_nan import NonFiniteError, StopOnNaN

__all__ = [
    "BestPreset",
    "LearningLog",
    "NonFiniteError",
    "ResidualWarmup",
    "Resume",
    "StopOnNaN",
    "arranged",
    "prepare_callbacks",
    "tensorboard",
]


def __getattr__(name):
    raise no_attribute(__name__, name, __all__)
