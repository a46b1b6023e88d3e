"""Data: the strict reader, batches of few shapes, splits and the leakage report. Knows no model."""

from .errors import DataError
from .labels import label_type
from .reader import read_pairs, read_texts, read_triplets
from .records import Pairs, Records, Texts, Triplets, as_pairs, as_records, as_texts, as_triplets
