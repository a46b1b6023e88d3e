"""Heads that the pretrained checkpoints of the lineage carry: masked language model, next sentence."""

import warnings

import keras
from keras import ops

from zoo.backend.arguments import Configured
from zoo.layers import activations
from zoo.layers.dense import Dense
from zoo.layers.dropout import Dropout
from zoo.layers.norm import LayerNorm
from zoo.losses import outputs
from zoo.models.backbone import OptionalInputs, _WithOptionalInputs
from zoo.models.preset import Preset
from zoo.tasks.keras_config import task_arguments, task_config
from zoo.training.checks import check_training
from zoo.training.progress import resolved
from zoo.training.records import TokensOnly, refuse_name


@keras.saving.register_keras_serializable(package="zoo")
class OutputBias(Configured, keras.layers.Layer):
    """Adds a bias over the vocabulary to logits float `[B, n, V]`."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias", autocast=False)

    def call(self, logits):
        return logits + ops.cast(self.bias, logits.dtype)


@keras.saving.register_keras_serializable(package="zoo")
class GatherPositions(Configured, keras.layers.Layer):
    """Hidden states `[B, P, d]` at positions int `[B, P]` of hidden states `[B, n, d]`."""

    def call(self, hidden_states, positions):
        return ops.take_along_axis(hidden_states, ops.cast(positions, "int32")[..., None], axis=1)

    def compute_output_spec(self, hidden_states, positions):
        return keras.KerasTensor((*positions.shape, hidden_states.shape[-1]), dtype=hidden_states.dtype)


TRANSFORMS = (None, "orthogonal", "swap_halves", "shuffle", "untied")


@keras.saving.register_keras_serializable(package="zoo")
class OutputTransform(Configured, keras.layers.Layer):
    """Turns hidden states before they meet a tied output embedding, so that a token does not predict itself.

    Args:
        kind: `"orthogonal"`, x W with a trained W that starts orthogonal; `"swap_halves"`, [x₂, x₁] of the halves x₁ and x₂;
            `"shuffle"`, their features by turns.

    Input and output: float `[B, n, d]`, d even.
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def build(self, input_shape):
        width = input_shape[-1]
        if self.kind == "orthogonal":
            self.kernel = self.add_weight(shape=(width, width), initializer="orthogonal", name="kernel")
        elif width % 2:
            raise ValueError(f"output_transform={self.kind!r} takes the features in two halves; the width is {width}")

    def call(self, x):
        if self.kind == "orthogonal":
            return ops.matmul(x, self.kernel)
        first, second = ops.split(x, 2, axis=-1)
        if self.kind == "swap_halves":
            return ops.concatenate([second, first], axis=-1)
        return ops.reshape(ops.stack([first, second], axis=-1), ops.shape(x))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


class PretrainedHead(TokensOnly, OptionalInputs, Preset, keras.Model):
    """A functional model that goes on from a backbone's output; its weights come from the checkpoint too."""

    _made = False  # whether the graph is there

    def __init__(self, backbone, name=None):
        refuse_name(type(self), backbone)
        self._policy = backbone.dtype_policy
        extra = self.extra_inputs()
        outputs = self.head(backbone, backbone.output, **extra)
        super().__init__({**backbone.input, **extra}, outputs, name=name)
        self.backbone = backbone
        self.dtype_policy = backbone.dtype_policy
        self._made = True

    def extra_inputs(self):
        """Inputs that the head has beside those of the backbone, by name."""
        return {}

    def head(self, backbone, hidden_states):
        """Symbolic output from the hidden states `[B, n, d]` and the extra inputs."""
        raise NotImplementedError(f"{type(self).__name__}.head")

    def layer(self, cls, *args, **kwargs):
        """A layer in this model's dtype policy; once the model is made, the one of this name that it has."""
        return self.get_layer(kwargs["name"]) if self._made else cls(*args, **{"dtype": self._policy, **kwargs})

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **kwargs):
        """Keras' compile.

        Raises:
            ValueError: a loss or metric of probabilities, where this model gives logits; see `zoo.losses.outputs`.
        """
        outputs.check_loss(loss, "classes", type(self).__name__)
        instead = 'outputs are logits, for "accuracy" or a metric with from_logits=True'
        outputs.check_metrics([metrics, weighted_metrics], "classes", type(self).__name__, instead)
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **kwargs)

    def compile_from_config(self, config):
        # Keras leaves out models with a `compile` of their own.
        try:
            self.compile(**keras.saving.deserialize_keras_object(config))
        except ValueError as error:
            warnings.warn(f"{type(self).__name__} is loaded, but not compiled as it was saved: {error}", stacklevel=2)
        else:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        self.refuse_texts(".fit", x)
        if not self.compiled:
            raise ValueError(
                f"{type(self).__name__}.fit: the model is not compiled; call compile(optimizer, loss) first, for "
                "logits of tokens compile(keras.optimizers.AdamW(1e-4), zoo.losses.TokenCrossEntropy())"
            )
        check_training(self)
        if "verbose" in kwargs or len(args) < 3:  # Keras' order: y, batch_size, epochs, verbose
            kwargs["verbose"] = resolved(kwargs.get("verbose", "auto"))
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        self.refuse_texts(".evaluate", x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        self.refuse_texts(".predict", x)
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        return task_config(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        arguments = task_arguments(config)
        tokenizer = arguments.pop("tokenizer")
        model = cls(**arguments)
        model.tokenizer = model.backbone.tokenizer if tokenizer is None else tokenizer
        return model


class TokenHead(PretrainedHead):
    """Logits over the vocabulary from hidden states, through the backbone's own token embedding.

    BERT, ALBERT, NEZHA and RoFormer: dense, activation, norm, tied embedding, bias. RoFormerV2 and GAU-α: dropout, tied
    embedding.

    `output_transform`, before the embedding, is for models that are pretrained from nothing: where hidden states are still
    the input's own embeddings, a tied output predicts the input itself, at a loss of ln(exp(d σ) + V − 1) for embeddings of
    deviation σ instead of ln V (kexue.fm/archives/9698).
    """

    output_transform = None

    def take_transform(self, output_transform):
        """Keep the option.

        Raises:
            ValueError: there is no such transform.
        """
        if output_transform not in TRANSFORMS:
            raise ValueError(
                f"output_transform={output_transform!r}; expected {', '.join(map(repr, TRANSFORMS[:-1]))} or "
                f"{TRANSFORMS[-1]!r}"
            )
        self.output_transform = output_transform

    def transform_config(self):
        """The option where it is set: a preset without it is as it always was."""
        return {} if self.output_transform is None else {"output_transform": self.output_transform}

    def embedding_logits(self, backbone, x):
        """Products with the token embedding, or with an output embedding of its own, float32 `[B, n, V]`."""
        if self.output_transform == "untied":
            units, initializer = backbone.vocabulary_size, backbone.embedding_initializer()
            dense = self.layer(Dense, units, use_bias=False, kernel_initializer=initializer, name="output_embedding")
            return ops.cast(dense(x), "float32")
        if self.output_transform is not None:
            x = self.layer(OutputTransform, self.output_transform, name="output_transform")(x)
        return backbone.token_embedding(x, reverse=True)

    def token_logits(self, backbone, x):
        """float32 `[B, n, V]` of hidden states `[B, n, d]`: symbolic, or of tensors once the model is made."""
        if backbone.mlm_transform:
            x = self.layer(
                Dense,
                backbone.embedding_dim,
                activation=activations.get(backbone.activation),
                kernel_initializer=backbone.kernel_initializer(),
                name="mlm_dense",
            )(x)
            # 1e-12 also in RoFormer, whose other norms have another ε (bert4keras, BERT.apply_final_layers)
            x = self.layer(LayerNorm, epsilon=1e-12, name="mlm_norm")(x)
            logits = self.embedding_logits(backbone, x)
            return self.layer(OutputBias, dtype="float32", name="mlm_bias")(logits)
        if backbone.embedding_dim != backbone.hidden_dim:
            x = self.layer(
                keras.layers.Dense,
                backbone.embedding_dim,
                use_bias=False,
                kernel_initializer=backbone.kernel_initializer(),
                name="mlm_mapping",
            )(x)
        x = self.layer(Dropout, backbone.dropout, name="mlm_dropout")(x)
        return self.embedding_logits(backbone, x)


@keras.saving.register_keras_serializable(package="zoo")
class NextSentence(PretrainedHead):
    """Does the second text follow the first: BERT's pooler (dense, tanh on the first token) and two logits.

    Args:
        backbone: a zoo backbone with `has_pooler` (BERT, ALBERT, NEZHA, RoFormer).

    Inputs: those of the backbone. Output: float32 `[B, 2]`, logits; index 0 means "follows".
    """

    def head(self, backbone, x):
        if not backbone.has_pooler:
            raise ValueError(
                f"{type(backbone).__name__} has no pooler; next-sentence heads exist for BERT, ALBERT, NEZHA and RoFormer"
            )
        x = self.layer(
            keras.layers.Dense,
            backbone.hidden_dim,
            activation="tanh",
            kernel_initializer=backbone.kernel_initializer(),
            name="pooler",
        )(x[:, 0])
        self._pooled = (x,)  # in a tuple: Keras would track a bare tensor
        return keras.layers.Dense(
            2, kernel_initializer=backbone.kernel_initializer(), dtype="float32", name="next_sentence"
        )(x)

    @property
    def pooled(self):
        """`keras.Model` with the same inputs that gives the pooler's vector `[B, d]`."""
        return _WithOptionalInputs(self.input, self._pooled[0], name=f"{self.name}_pooled")
