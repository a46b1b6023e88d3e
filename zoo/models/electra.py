"""ELECTRA (Clark et al., arXiv 2003.10555): BERT pretrained to tell which tokens a generator has replaced."""

import keras

from zoo.models.bert import BERT


@keras.saving.register_keras_serializable(package="zoo")
class ELECTRA(BERT):
    """The discriminator of ELECTRA, its part for use; the generator beside it in a checkpoint is a `BERT`.

    Changes against `BERT`: neither pooler nor heads come with it.

    Args: see `BERT`.
    """

    has_pooler = False
    hugging_face: dict = {
        "model_type": "electra",
        "prefix": "electra.",
        "fields": {},
        "defaults": {"embedding_size": 128},
        "classes": {(): "ElectraModel"},
        "embedding_size": True,
        "known_extras": (
            r"discriminator_predictions\.(dense|dense_prediction)\.(weight|bias)",
            r"generator_predictions\.(dense|LayerNorm)\.(weight|bias)",
            r"generator_lm_head\.(weight|bias)",
        ),
    }
    tf_extras = (r"discriminator_predictions/dense(_1)?/(kernel|bias)", r"generator(_predictions)?/.*")

    @classmethod
    def matches_tf(cls, names):
        return "electra/embeddings/position_embeddings" in names

    @classmethod
    def tf_weight_map(cls):
        names = {
            ours: theirs.replace("bert/", "electra/", 1)
            for ours, theirs in super().tf_weight_map().items()
            if not ours.startswith(("pooler/", "next_sentence/", "mlm_"))
        }
        mapping = {f"embedding_mapping/{leaf}": f"electra/embeddings_project/{leaf}" for leaf in ("kernel", "bias")}
        return names | mapping
