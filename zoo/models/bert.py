"""BERT (Devlin et al., arXiv 1810.04805), the root of the lineage."""

import keras

from zoo.layers import activations
from zoo.layers.blocks import TransformerBlock
from zoo.layers.dense import Dense
from zoo.layers.dropout import Dropout
from zoo.layers.embedding import PositionEmbedding, SegmentEmbedding, TokenEmbedding
from zoo.layers.norm import LayerNorm
from zoo.models.backbone import Backbone
from zoo.models.sizes import check_config, check_rates


@keras.saving.register_keras_serializable(package="zoo")
class BERT(Backbone):
    """Post-norm transformer encoder with trained absolute positions.

    Args:
        vocabulary_size: int, V.
        num_layers: int, L.
        num_heads: int, H.
        hidden_dim: int, d.
        intermediate_dim: int, width inside the feed-forward.
        embedding_dim: int or None, width of the embeddings; None means d, another is mapped to d by a dense layer.
        head_dim, key_dim: int or None, widths of a value head and of a query and key head; None means d / H.
        max_sequence_length: int, number of trained positions (in rotary models: the length of pretraining).
        num_segments: int; 0 for no segment embedding.
        activation: of the feed-forward, by name.
        norm_epsilon: float.
        dropout, attention_dropout: float.
        attention_mask: `"bidirectional"`, `"causal"` or `"unilm"` (by segment ids, see `unilm_mask`).
        custom_position_ids: bool, adds the input `position_ids` `[B, n]`.
        position: None or a position option for the attention, see `zoo.layers.MultiHeadAttention`.
        normalization: name or object of the score normaliser.
        layer_attention: None, `zoo.layers.AttentionOptions` (or a dict of its arguments) for all layers, or a list
            with one of these for each layer; what they give replaces position and normalization there.
        residual: None for x + F(x), `zoo.layers.DeepNorm(alpha)` or `zoo.layers.AlphaResidual(...)`, in every block: for
            training from nothing.
        dtype: dtype policy, e.g. `"mixed_bfloat16"`.

    See `zoo.Backbone` for inputs and output.
    """

    norm = "layer_norm"
    use_bias = True
    mlm_transform = True  # the masked-LM head has a dense layer, a norm and an output bias before and after E
    has_pooler = True
    pair_segment_ids = "pair"
    sizes = (  # constructor arguments that are whole numbers; None where they follow from the others
        "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "embedding_dim", "head_dim",
        "key_dim", "max_sequence_length", "num_segments",
    )  # fmt: skip
    hugging_face = {
        "model_type": "bert",
        "prefix": "bert.",
        "fields": {},
        "classes": {
            (): "BertModel",
            ("mlm_dense",): "BertForMaskedLM",
            ("next_sentence",): "BertForNextSentencePrediction",
        },
    }
    keras_hub = {
        "classes": ("keras_hub>BertBackbone", "keras_nlp>BertBackbone"),
        "layers": {
            "attention/query": "transformer_encoder{}/_self_attention_layer/query_dense",
            "attention/key": "transformer_encoder{}/_self_attention_layer/key_dense",
            "attention/value": "transformer_encoder{}/_self_attention_layer/value_dense",
            "attention/output": "transformer_encoder{}/_self_attention_layer/output_dense",
            "attention_norm": "transformer_encoder{}/_self_attention_layer_norm",
            "feedforward/inner": "transformer_encoder{}/_feedforward_intermediate_dense",
            "feedforward/outer": "transformer_encoder{}/_feedforward_output_dense",
            "feedforward_norm": "transformer_encoder{}/_feedforward_layer_norm",
        },
        "heads_apart": True,  # in the shapes of its attention's weights
        "known_extras": (r"layers/dense/vars/[01]", r"task/layers/masked_lm_head/.*"),
        # fixed in keras-hub's code, absent from its config
        "arguments": {"activation": "gelu_tanh", "norm_epsilon": 1e-12},
    }
    tf_config_names = {  # field of bert_config.json -> constructor argument
        "vocab_size": "vocabulary_size",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "hidden_size": "hidden_dim",
        "intermediate_size": "intermediate_dim",
        "embedding_size": "embedding_dim",
        "attention_head_size": "head_dim",
        "attention_key_size": "key_dim",
        "max_position_embeddings": "max_sequence_length",
        "type_vocab_size": "num_segments",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    }

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        embedding_dim=None,
        head_dim=None,
        key_dim=None,
        max_sequence_length=512,
        num_segments=2,
        activation="gelu",
        norm_epsilon=1e-12,
        dropout=0.1,
        attention_dropout=0.1,
        attention_mask="bidirectional",
        custom_position_ids=False,
        position=None,
        normalization="softmax",
        layer_attention=None,
        residual=None,
        dtype=None,
        name=None,
    ):
        family = type(self).__name__
        if head_dim is None and isinstance(hidden_dim, int) and isinstance(num_heads, int) and num_heads > 0:
            if hidden_dim % num_heads:
                raise ValueError(
                    f"{family}: hidden_dim={hidden_dim} is not a multiple of num_heads={num_heads}; give head_dim"
                )
            head_dim = hidden_dim // num_heads
        self.vocabulary_size, self.num_layers, self.num_heads = vocabulary_size, num_layers, num_heads
        self.hidden_dim, self.intermediate_dim = hidden_dim, intermediate_dim
        self.embedding_dim = hidden_dim if embedding_dim is None else embedding_dim
        self.head_dim, self.key_dim = head_dim, head_dim if key_dim is None else key_dim
        self.max_sequence_length, self.num_segments = max_sequence_length, num_segments
        check_config(
            family,
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            embedding_dim=self.embedding_dim,
            head_dim=self.head_dim,
            key_dim=self.key_dim,
            max_sequence_length=max_sequence_length,
        )
        check_rates(family, dropout=dropout, attention_dropout=attention_dropout)
        self.activation, self.norm_epsilon = activation, norm_epsilon
        activations.get(activation)  # an unknown name is an error here, not in the first block
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.attention_mask, self.custom_position_ids = attention_mask, custom_position_ids
        self.take_options(layer_attention, residual, position=position, normalization=normalization)
        super().__init__(dtype=dtype, name=name)

    def kernel_initializer(self):
        return keras.initializers.TruncatedNormal(stddev=0.02)

    def embedding_initializer(self):
        return keras.initializers.TruncatedNormal(stddev=0.02)

    def embed(self, token_ids, segment_ids, positions):
        x = self.token_and_segment(token_ids, segment_ids)
        x = self.layer(
            PositionEmbedding, self.max_sequence_length, self.embedding_initializer(), name="position_embedding"
        )(x, positions)
        x = self.layer(LayerNorm, epsilon=self.norm_epsilon, name="embedding_norm")(x)
        x = self.layer(Dropout, self.dropout, name="embedding_dropout")(x)
        return self.map_embedding(x)

    def token_and_segment(self, token_ids, segment_ids):
        x = self.layer(
            TokenEmbedding,
            self.vocabulary_size,
            self.embedding_dim,
            embeddings_initializer=self.embedding_initializer(),
            name="token_embedding",
        )(token_ids)
        if self.num_segments == 0:
            return x
        return self.layer(SegmentEmbedding, self.num_segments, self.embedding_initializer(), name="segment_embedding")(
            x, segment_ids
        )

    def map_embedding(self, x):
        """Dense layer from embedding_dim to hidden_dim, where they differ."""
        if self.embedding_dim == self.hidden_dim:
            return x
        return self.layer(
            Dense,
            self.hidden_dim,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer(),
            name="embedding_mapping",
        )(x)

    def block(self, index):
        return self.layer(
            TransformerBlock,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            key_dim=self.key_dim,
            intermediate_dim=self.intermediate_dim,
            activation=self.activation,
            use_bias=self.use_bias,
            norm=self.norm,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            attention_options=self.attention_options(index),
            residual=self._residual.option,
            kernel_initializer=self.kernel_initializer(),
            name=f"layer_{index}",
        )

    # What file formats ask: see `Backbone`

    @classmethod
    def from_tf_config(cls, config):
        return {ours: config[theirs] for theirs, ours in cls.tf_config_names.items() if theirs in config}

    def to_tf_config(self):
        """Content of a bert_config.json that the original builds the same model from."""
        return {theirs: getattr(self, ours) for theirs, ours in self.tf_config_names.items()}

    @classmethod
    def matches_tf(cls, names):
        return "bert/embeddings/position_embeddings" in names

    @classmethod
    def tf_weight_map(cls):
        names = {
            "token_embedding/embeddings": "bert/embeddings/word_embeddings",
            "segment_embedding/embeddings": "bert/embeddings/token_type_embeddings",
            "position_embedding/embeddings": "bert/embeddings/position_embeddings",
            "pooler/kernel": "bert/pooler/dense/kernel",
            "pooler/bias": "bert/pooler/dense/bias",
            "next_sentence/kernel": "cls/seq_relationship/output_weights",
            "next_sentence/bias": "cls/seq_relationship/output_bias",
            "mlm_bias/bias": "cls/predictions/output_bias",
        }
        block = "bert/encoder/layer_{}"
        stems = {
            "embedding_norm": "bert/embeddings/LayerNorm",
            "embedding_mapping": "bert/encoder/embedding_hidden_mapping_in",
            "mlm_dense": "cls/predictions/transform/dense",
            "mlm_norm": "cls/predictions/transform/LayerNorm",
            "layer_{}/attention/query": f"{block}/attention/self/query",
            "layer_{}/attention/key": f"{block}/attention/self/key",
            "layer_{}/attention/value": f"{block}/attention/self/value",
            "layer_{}/attention/output": f"{block}/attention/output/dense",
            "layer_{}/attention_norm": f"{block}/attention/output/LayerNorm",
            "layer_{}/feedforward/inner": f"{block}/intermediate/dense",
            "layer_{}/feedforward/outer": f"{block}/output/dense",
            "layer_{}/feedforward_norm": f"{block}/output/LayerNorm",
        }
        return names | weights_of_stems(stems)

    @classmethod
    def telling_shapes(cls, config):
        width, names = config["hidden_dim"], cls.tf_weight_map()
        embedding = config["embedding_dim"] or width
        rows = {"token": "vocabulary_size", "segment": "num_segments", "position": "max_sequence_length"}
        shapes = {f"{table}_embedding/embeddings": (config[size], embedding) for table, size in rows.items()}
        shapes = {path: shape for path, shape in shapes.items() if path in names and shape[0]}
        return shapes | cls.shapes_of_block(f"layer_{config['num_layers'] - 1}", config)

    @classmethod
    def shapes_of_block(cls, block, config):
        width, heads = config["hidden_dim"], config["num_heads"]
        head = config["head_dim"] or width // heads
        return {
            f"{block}/attention/query/kernel": (width, heads * (config["key_dim"] or head)),
            f"{block}/attention/value/kernel": (width, heads * head),
            f"{block}/feedforward/inner/kernel": (width, config["intermediate_dim"]),
        }


def weights_of_stems(stems):
    """A layer of ours -> its name elsewhere, as their weights: γ and β of norms, kernel and bias of others."""
    return {
        f"{ours}/{weight}": f"{theirs}/{weight}"
        for ours, theirs in stems.items()
        for weight in (("gamma", "beta") if ours.endswith("norm") else ("kernel", "bias"))
    }
