"""Data: the strict reader, batches of few shapes, splits, the leakage report, corpora. Knows no model.

Everything but what `fit` reads (`Batches`, `MaskedRows`, `NextTokenRows`, `NumberedBatches`) needs NumPy alone; Keras is
imported when one of these is first asked for.
"""

from .batching import BUCKETS, Batch, BatchPlan, PredictionPlan, length_buckets
from .corpus import (
    PackedRows,
    TokenStream,
    character_vocabulary,
    corpus_characters,
    load_corpus,
    save_corpus,
    tokenize_corpus,
    word_cutter,
)
from .graded_pairs import read_graded, without_pairs_of, write_matches
from .labels import label_type
from .leakage import LeakageReport, leakage_report
from .lines import DataError
from .normal_form import normal_form
from .positions import equal_mean_position_ids, random_position_ids
from .reader import read_pairs, read_texts, read_triplets
from .records import Pairs, Records, Texts, Triplets, as_pairs, as_records, as_texts, as_triplets, joined
from .splits import split, text_groups

__all__ = [
    "BUCKETS",
    "Batch",
    "BatchPlan",
    "Batches",
    "DataError",
    "LeakageReport",
    "MaskedRows",
    "NextTokenRows",
    "NumberedBatches",
    "PackedRows",
    "Pairs",
    "PredictionPlan",
    "Records",
    "Texts",
    "TokenStream",
    "Triplets",
    "as_pairs",
    "as_records",
    "as_texts",
    "as_triplets",
    "character_vocabulary",
    "corpus_characters",
    "equal_mean_position_ids",
    "joined",
    "label_type",
    "leakage_report",
    "length_buckets",
    "load_corpus",
    "mask_tokens",
    "next_token_targets",
    "normal_form",
    "random_position_ids",
    "read_graded",
    "read_pairs",
    "read_texts",
    "read_triplets",
    "save_corpus",
    "split",
    "text_groups",
    "tokenize_corpus",
    "without_pairs_of",
    "word_cutter",
    "write_matches",
]


def __getattr__(name):
    if name == "Batches":
        from .dataset import Batches

        return Batches
    if name in ("MaskedRows", "NextTokenRows", "NumberedBatches", "mask_tokens", "next_token_targets"):
        from . import language_model_rows

        return getattr(language_model_rows, name)
    from zoo.backend.near_names import no_attribute

    raise no_attribute(__name__, name, __all__)
