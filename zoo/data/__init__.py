"""Data: the strict reader, batches of few shapes, splits and the leakage report. Knows no model.

Everything but `Batches` needs NumPy alone; Keras is imported when `Batches` is first asked for.
"""

from .batching import BUCKETS, Batch, BatchPlan, PredictionPlan, length_buckets
from .errors import DataError
from .labels import label_type
from .leakage import LeakageReport, leakage_report
from .normal_form import normal_form
from .positions import equal_mean_position_ids, random_position_ids
from .reader import read_pairs, read_texts, read_triplets
from .records import Pairs, Records, Texts, Triplets, as_pairs, as_records, as_texts, as_triplets
from .splits import split, text_groups

__all__ = [
    "BUCKETS",
    "Batch",
    "BatchPlan",
    "Batches",
    "DataError",
    "LeakageReport",
    "Pairs",
    "PredictionPlan",
    "Records",
    "Texts",
    "Triplets",
    "as_pairs",
    "as_records",
    "as_texts",
    "as_triplets",
    "equal_mean_position_ids",
    "label_type",
    "leakage_report",
    "length_buckets",
    "normal_form",
    "random_position_ids",
    "read_pairs",
    "read_texts",
    "read_triplets",
    "split",
    "text_groups",
]


def __getattr__(name):
    if name == "Batches":
        from .dataset import Batches

        return Batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
