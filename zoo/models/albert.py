"""ALBERT (Lan et al., arXiv 1909.11942): BERT whose layers are one and the same block."""

import keras

from zoo.layers.attention_options import AttentionOptions
from zoo.layers.options import Untracked
from zoo.models.bert import BERT, weights_of_stems

_GROUP = "bert/encoder/transformer/group_0/inner_group_0"
_MOST_LAYERS = 1024  # no weight says how many there are: a spoilt number would build layers without end


@keras.saving.register_keras_serializable(package="zoo")
class ALBERT(BERT):
    """BERT whose layers share all their weights, over narrow embeddings.

    Changes against `BERT`: all layers are one block, `layer_0`; embeddings of `embedding_dim` (128 in the published
    models) are mapped to `hidden_dim`. Its next-sentence head tells the order of two texts.

    Args: see `BERT`. `layer_attention` is one for all layers.
    """

    hugging_face = {
        "model_type": "albert",
        "prefix": "albert.",
        "fields": {"num_hidden_groups": 1, "inner_group_num": 1},
        "defaults": {
            "embedding_size": 128,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        "classes": {(): "AlbertModel", ("mlm_dense",): "AlbertForMaskedLM"},
        "embedding_size": "narrower",
        "written": {"num_hidden_groups": 1, "inner_group_num": 1},
        "renames": (
            (r"encoder\.transformer\.group_0\.inner_group_0\.", "encoder.albert_layer_groups.0.albert_layers.0."),
            (r"attention_1\.self\.", "attention."),
            (r"attention_1\.output\.dense", "attention.dense"),
            (r"(albert_layers\.0)\.LayerNorm\.", r"\1.attention.LayerNorm."),
            (r"(albert_layers\.0)\.LayerNorm_1\.", r"\1.full_layer_layer_norm."),
            (r"ffn_1\.intermediate\.dense", "ffn"),
            (r"ffn_1\.intermediate\.output\.dense", "ffn_output"),
            (r"embeddings_project", "encoder.embedding_hidden_mapping_in"),
            (r"pooler\.dense", "pooler"),
            (r"^cls\.predictions\.(transform\.)?", "predictions."),
            (r"^cls\.seq_relationship", "sop_classifier.classifier"),
        ),
        "known_extras": (
            r"(albert\.)?pooler\.(weight|bias)",
            r"predictions\.(bias|(dense|LayerNorm|decoder)\.(weight|bias))",
            r"sop_classifier\.classifier\.(weight|bias)",
        ),
    }

    def __init__(self, vocabulary_size, num_layers, *args, **kwargs):
        if isinstance(num_layers, int) and num_layers > _MOST_LAYERS:
            raise ValueError(f"{type(self).__name__}: num_layers={num_layers}; expected at most {_MOST_LAYERS}")
        super().__init__(vocabulary_size, num_layers, *args, **kwargs)

    def take_options(self, layer_attention, residual, **single):
        if isinstance(layer_attention, list | tuple) and len(layer_attention) == self.num_layers:
            entries = [AttentionOptions.get(entry) for entry in layer_attention]
            if any(entry != entries[0] for entry in entries):
                raise ValueError(
                    f"{type(self).__name__}: layer_attention differs between layers, which are all one block; give a "
                    "single AttentionOptions for all"
                )
            layer_attention = entries[0]
        super().take_options(layer_attention, residual, **single)

    def block(self, index):
        if index == 0:
            self._block = Untracked(super().block(0))
        return self._block.option

    @property
    def blocks(self):
        return [self.get_layer("layer_0")] * self.num_layers

    @classmethod
    def matches_tf(cls, names):
        return any(name.startswith(f"{_GROUP}/") for name in names)

    @classmethod
    def tf_weight_map(cls):
        names = {ours: theirs for ours, theirs in super().tf_weight_map().items() if not ours.startswith("layer_")}
        stems = {
            "attention/query": "attention_1/self/query",
            "attention/key": "attention_1/self/key",
            "attention/value": "attention_1/self/value",
            "attention/output": "attention_1/output/dense",
            "attention_norm": "LayerNorm",
            "feedforward/inner": "ffn_1/intermediate/dense",
            "feedforward/outer": "ffn_1/intermediate/output/dense",
            "feedforward_norm": "LayerNorm_1",
        }
        block = {f"layer_{{}}/{ours}": f"{_GROUP}/{theirs}" for ours, theirs in stems.items()}
        return names | weights_of_stems(block)

    @classmethod
    def telling_shapes(cls, config):
        return super().telling_shapes({**config, "num_layers": 1})
