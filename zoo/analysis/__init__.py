"""Reports on models and vectors: what attention does, which words cannot be predicted, which vectors are hubs.

`zoo.initialization_report` belongs here too.
"""

from zoo.analysis.attention import AttentionMaps, AttentionReport, attention_maps, attention_report
from zoo.analysis.hubness import HubnessReport, hubness
from zoo.analysis.scaling_law import ScalingLaw, fit_scaling_law, quanta_loss
from zoo.analysis.softmax import softmax_information, softmax_information_figure, softmax_robustness
from zoo.analysis.sparsity import sparsity
from zoo.analysis.unargmaxable import UnargmaxableReport, unargmaxable

__all__ = [
    "AttentionMaps",
    "AttentionReport",
    "HubnessReport",
    "ScalingLaw",
    "UnargmaxableReport",
    "attention_maps",
    "attention_report",
    "fit_scaling_law",
    "hubness",
    "quanta_loss",
    "softmax_information",
    "softmax_information_figure",
    "softmax_robustness",
    "sparsity",
    "unargmaxable",
]
