"""Training on records: mixtures of several sets, records to batches, exact big batches; several tasks' losses as one."""

from zoo.backend.near_names import no_attribute
from zoo.training.gradient_combination import min_norm_weights, primary_task_weights
from zoo.training.mixture import Mixture, MixturePlan
from zoo.training.records import Examples, RecordBatches
from zoo.training.task_weights import (
    GeneralizedMean,
    GradientNormalization,
    InitialLoss,
    MinNorm,
    PrimaryTask,
    PriorLoss,
    RealTimeLoss,
    TaskWeights,
    WeightedSum,
)

__all__ = [
    "Examples",
    "GeneralizedMean",
    "GradientNormalization",
    "InitialLoss",
    "MinNorm",
    "Mixture",
    "MixturePlan",
    "PrimaryTask",
    "PriorLoss",
    "RealTimeLoss",
    "RecordBatches",
    "TaskWeights",
    "WeightedSum",
    "min_norm_weights",
    "primary_task_weights",
]


def __getattr__(name):
    raise no_attribute(__name__, name, __all__)
