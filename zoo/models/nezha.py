"""NEZHA (Wei et al., arXiv 1909.00204): BERT whose positions are distances, in keys and in values."""

import keras

from zoo.models.roformer import RoFormer


@keras.saving.register_keras_serializable(package="zoo")
class NEZHA(RoFormer):
    """BERT whose keys and values carry a fixed vector for each distance, see `zoo.layers.RelativePosition`.

    Changes against `RoFormer`, which has no position table either: the positions. Distances are those of places in the
    row, also with `custom_position_ids`, as in the original.

    Args: see `BERT`. `max_sequence_length` is the length of pretraining, not a limit.
    """

    hugging_face = {
        "model_type": "nezha",
        "prefix": "nezha.",
        "fields": {"max_relative_position": 64, "use_relative_position": True},
        "classes": {
            (): "NezhaModel",
            ("mlm_dense",): "NezhaForMaskedLM",
            ("next_sentence",): "NezhaForNextSentencePrediction",
        },
        "written": {"max_relative_position": 64, "use_relative_position": True},
        "known_extras": (r"(nezha\.)?encoder\.layer\.\d+\.attention\.self\.relative_positions_encoding\.\w+",),
    }
    pair_segment_ids = "pair"
    tf_flag = "use_relative_position"

    def __init__(self, *args, position="relative", **kwargs):
        super().__init__(*args, position=position, **kwargs)

    def to_tf_config(self):
        return {**super().to_tf_config(), self.tf_flag: True}
