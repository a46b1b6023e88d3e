"""Training on records: mixtures of several sets, records to batches, exact big batches; weights of several tasks' gradients."""

from zoo.training.gradient_combination import min_norm_weights, primary_task_weights
from zoo.training.mixture import Mixture, MixturePlan
from zoo.training.records import Examples, RecordBatches

__all__ = ["Examples", "Mixture", "MixturePlan", "RecordBatches", "min_norm_weights", "primary_task_weights"]
