"""What all encoders share: inputs, the four hooks that a family fills in, and its description as a config."""

import functools
from collections.abc import Callable

import keras
from keras import ops

from zoo.backend import ignoring_distribution
from zoo.backend.arguments import REQUIRED, constructor_arguments, described
from zoo.formats.vocabulary import tokenizer_config, tokenizer_from
from zoo.layers import options
from zoo.layers.attention_options import AttentionOptions
from zoo.layers.masks import AttentionMask, PaddingMask
from zoo.layers.real_tokens import RealTokens
from zoo.layers.residuals import Residual
from zoo.models.checked_ids import CheckedIds
from zoo.models.kept_weights import KeptWeights
from zoo.models.preset import Preset


class OptionalInputs:
    """A functional model whose optional inputs may be left out of the dict it is called with."""

    input: dict  # of the keras.Model that this is mixed into
    get_layer: Callable

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(self.complete(inputs), *args, **kwargs)

    def call(self, inputs, training=None, mask=None):  # named: Keras passes `training` only to what it sees here
        return super().call(self.complete(inputs), training=training, mask=mask)  # JAX' trainer calls it directly

    def compute_output_spec(self, inputs, training=None, mask=None):
        """Of symbolic inputs; Keras wants shapes of those left out too, and each of them is that of the token ids."""
        inputs = self.complete(inputs)
        missing = {
            name: keras.KerasTensor(inputs["token_ids"].shape, dtype=self.input[name].dtype)
            for name in inputs
            if inputs[name] is None
        }
        return super().compute_output_spec({**inputs, **missing}, training=training, mask=mask)

    def build(self, input_shape=None):
        self.built = True  # the constructor has built the graph

    @functools.cached_property
    def _needed_inputs(self):
        return tuple(name for name in self.input if not self.get_layer(name).optional)

    def complete(self, inputs):
        """The inputs as a dict with all names, None for those left out.

        Args:
            inputs: a dict; token_ids alone; or a list of inputs in the order token_ids, segment_ids, padding_mask, ...
        """
        names = list(self.input)
        if isinstance(inputs, list | tuple) and all(len(getattr(x, "shape", ())) == 2 for x in inputs):
            if len(inputs) > len(names):
                raise ValueError(f"{type(self).__name__} got {len(inputs)} inputs; it has {', '.join(names)}")
            inputs = dict(zip(names, inputs))
        if not isinstance(inputs, dict):
            inputs = {"token_ids": inputs}
        if set(inputs) - set(names) or any(inputs.get(name) is None for name in self._needed_inputs):
            raise ValueError(
                f"{type(self).__name__} got inputs {sorted(inputs)}; expected {', '.join(self._needed_inputs)} and optionally "
                f"{', '.join(name for name in names if name not in self._needed_inputs)}"
            )
        return {name: inputs.get(name) for name in names}


class Backbone(OptionalInputs, Preset, keras.Model):
    """An encoder: token ids in, last hidden state out.

    Inputs (a dict, or token_ids alone): token_ids int `[B, n]`; segment_ids int `[B, n]`, 0 where left out;
    padding_mask bool or int `[B, n]`, True at real tokens, derived where left out (id 0 is padding, position 0 never
    is); position_ids int or float `[B, n]`, with `custom_position_ids=True` only. Ids beyond their
    tables are errors where they can be seen, and NaN inside compiled functions, see `zoo.models.checked_ids`.
    Output: float `[B, n, d]` in the compute dtype.

    A family is a subclass that is listed in `zoo.FAMILIES`. `embed` and `block` build its graph. File formats ask it
    for the rest: `tf_weight_map`, `from_tf_config`, `matches_tf` and `tf_flag` for checkpoints of the original,
    `telling_shapes` for the sizes of any file. Its own `hugging_face` and `keras_hub`, dicts, say how these libraries
    write it: see `zoo.formats.families`.
    """

    is_backbone = True
    sizes = ()  # constructor arguments that are whole numbers
    derived_arguments = ()  # arguments of the parent's constructor that a family does not take
    _made = False  # whether the graph is there

    def __new__(cls, *args, **kwargs):
        if len(args) == 2 and isinstance(args[0], dict) and isinstance(args[1], keras.KerasTensor):
            # keras.models.clone_model, which takes a constructor of *args and **kwargs for that of a functional model
            return keras.Model(*args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, dtype=None, name=None):
        check_distribution()
        self._policy = keras.dtype_policies.get(dtype)
        inputs = {
            "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
            "segment_ids": keras.Input((None,), dtype="int32", name="segment_ids", optional=True),
            "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask", optional=True),
        }
        positions = None
        if self.custom_position_ids:
            # float32 holds every position exactly, and fractional ones (position interpolation)
            positions = inputs["position_ids"] = keras.Input((None,), dtype="float32", name="position_ids")
        key_mask = PaddingMask(name="key_mask", dtype=self._policy)(inputs["token_ids"], inputs["padding_mask"])
        attention_mask = None
        if self.attention_mask != "bidirectional":
            attention_mask = AttentionMask(self.attention_mask, name="attention_mask", dtype=self._policy)(
                inputs["token_ids"], inputs["segment_ids"]
            )
        hidden_states = [self.embed(inputs["token_ids"], inputs["segment_ids"], positions)]
        for index in range(self.num_layers):
            x = self.block(index)(
                hidden_states[-1], padding_mask=key_mask, attention_mask=attention_mask, positions=positions
            )
            hidden_states.append(x)
        super().__init__(inputs, hidden_states[-1], name=name)
        self.dtype_policy = self._policy
        self._hidden_states, self._key_mask = tuple(hidden_states), key_mask
        self._made = True

    def embed(self, token_ids, segment_ids, positions):
        """Embedding output `[B, n, d]`: symbolic, or of tensors once the model is made."""
        raise NotImplementedError(f"{type(self).__name__}.embed")

    def block(self, index):
        """Layer number `index`, called with (x, padding_mask, attention_mask, positions)."""
        raise NotImplementedError(f"{type(self).__name__}.block")

    # Options of the attention and the residual: kept as objects, told in the form of configs

    def take_options(self, layer_attention, residual, **single):
        """Keep the options of the attention, the same ones for all layers or some for each, and the residual.

        Args:
            layer_attention: None, `AttentionOptions` or a dict of its arguments, or a list with one for each layer.
            residual: None or a residual option.
            single: attention options by name, for layers that `layer_attention` gives none of this name.

        Raises:
            ValueError: not one entry for each layer, or options that do not fit the model or each other.
        """
        several = isinstance(layer_attention, list | tuple)
        if several and len(layer_attention) != self.num_layers:
            raise ValueError(
                f"{type(self).__name__}: layer_attention has {len(layer_attention)} entries, the model {self.num_layers} "
                "layers; give one for each layer, or a single one for all"
            )
        entries = tuple(map(AttentionOptions.get, layer_attention if several else [layer_attention]))
        self._shared_options, self._layer_options = AttentionOptions(**single), entries if several else entries[0]
        self._residual = options.Untracked(options.get(residual, Residual))
        for index in range(self.num_layers):
            self.attention_options(index).check_pattern(self.attention_mask)

    def layer_options(self, index):
        """`AttentionOptions` that layer number `index` has of its own."""
        return self._layer_options[index] if isinstance(self._layer_options, tuple) else self._layer_options

    def attention_options(self, index):
        """`AttentionOptions` of layer number `index`: its own, and the model's where it has none."""
        return self.layer_options(index).with_defaults(self._shared_options)

    def weights_of_options(self):
        """Paths of the weights that options of the attention and the residual are trained by, dict from an option's name."""
        owners, residual = {}, self._residual.option  # name of a weight -> of its option
        for one in map(self.attention_options, range(self.num_layers)):
            owners |= dict.fromkeys(one.trained(1, 1), "query_key_bias=True")
            if one.score_bias is not None:
                owners |= dict.fromkeys(one.score_bias.trained(1, 1), type(one.score_bias).__name__)
        if isinstance(residual, keras.layers.Layer):
            owners |= dict.fromkeys((v.name for v in residual.weights), type(residual).__name__)
        found = {}
        for variable in self.weights:
            if variable.name in owners:
                found.setdefault(owners[variable.name], []).append(variable.path)
        return found

    @property
    def position(self):
        return described(self._shared_options.position)

    @property
    def normalization(self):
        return described(self._shared_options.normalization)

    @property
    def layer_attention(self):
        if isinstance(self._layer_options, tuple):
            return [entry.described() for entry in self._layer_options]
        return self._layer_options.described() or None

    @property
    def residual(self):
        return self._residual.described()

    @classmethod
    def tf_weight_map(cls):
        """Path of a weight, heads included -> its name in the original's checkpoints, with `{}` for a layer's number."""
        raise NotImplementedError(f"{cls.__name__}.tf_weight_map")

    @classmethod
    def matches_tf(cls, names):
        """Whether a TensorFlow checkpoint with these names can only be of this family."""
        return False

    tf_extras = ()  # patterns of tensors that may stay unread in the original's checkpoints, beside the heads of the table
    tf_flag = None  # field of bert_config.json that is true in this family alone, where tensor names do not tell it

    @classmethod
    def from_tf_config(cls, config):
        """Constructor arguments from the original's bert_config.json."""
        raise NotImplementedError(f"{cls.__name__}.from_tf_config")

    @classmethod
    def telling_shapes(cls, config):
        """Path -> shape of a few weights that fix the sizes in a config, which has all constructor arguments."""
        raise NotImplementedError(f"{cls.__name__}.telling_shapes")

    def layer(self, cls, *args, **kwargs):
        """A layer in this model's dtype policy; once the model is made, the one of this name that it has."""
        return self.get_layer(kwargs["name"]) if self._made else cls(*args, dtype=self._policy, **kwargs)

    # Computing no more than is read

    def blocks_have(self, name):
        """Whether the class of each block itself has `"takes_real_tokens"` or `"first"`, as those of zoo's families do.

        What is inherited does not count: a subclass with another `call` computes something else.
        """
        return all(name in vars(type(block)) for block in self.blocks)

    def flat_states(self, inputs, training=None):
        """The L + 1 hidden states of the real tokens alone, embedding output first, and where these stand.

        For blocks with `takes_real_tokens`, where shapes are not compiled; see `zoo.backend.padding_is_left_out`.

        Args:
            inputs: the dict that the model is called with.

        Returns:
            list of float `[1, T, d]`, `RealTokens` that bring them into rows again.
        """
        states, places = self._embedded(inputs, flat=True)
        for block in self.blocks:
            states.append(block(states[-1], **places, training=training))
        return states, places["padding_mask"]

    def first_state(self, inputs, flat=False, training=None):
        """The last hidden state of the first tokens, `[B, 1, d]`: the last block computes it for these alone.

        For blocks that have `first`; `flat`: without the padding, as in `flat_states`.
        """
        (x,), places = self._embedded(inputs, flat)
        for block in self.blocks[:-1]:
            x = block(x, **places, training=training)
        return self.blocks[-1].first(x, **places, training=training)

    def _embedded(self, inputs, flat):
        """The embedding output in a list, and what the blocks are called with beside it."""
        inputs = self.complete(inputs)
        token_ids, segment_ids, positions = (inputs.get(name) for name in ("token_ids", "segment_ids", "position_ids"))
        mask = self.get_layer("key_mask")(token_ids, inputs["padding_mask"])
        places = {"padding_mask": mask, "attention_mask": None, "positions": positions}
        if self.attention_mask != "bidirectional":
            places["attention_mask"] = self.get_layer("attention_mask")(token_ids, segment_ids)
        if not flat:
            return [self.embed(token_ids, segment_ids, positions)], places
        if self.has_position_table and positions is None:
            self.get_layer("position_embedding").check_length(token_ids.shape[1])
            positions = ops.broadcast_to(ops.arange(ops.shape(token_ids)[1], dtype="int32"), ops.shape(token_ids))
        tokens = RealTokens(mask)
        arrays = (None if x is None else tokens.flat(x) for x in (token_ids, segment_ids, positions))
        return [self.embed(*arrays)], {**places, "padding_mask": tokens}

    # Decoding with a cache: see `zoo.layers.attention` for the rules, `zoo.generation.decoding` for the loop

    @property
    def has_position_table(self):
        """Whether positions are rows of a table (BERT), which no longer input can have."""
        return any(layer.name == "position_embedding" for layer in self.layers)

    @property
    def blocks(self):
        """The layers from hidden state to hidden state, a list of L."""
        return [self.get_layer(f"layer_{index}") for index in range(self.num_layers)]

    def empty_cache(self, batch_size, capacity):
        """The empty caches of all layers for `capacity` tokens, a tuple of L pairs of tensors."""
        return tuple(block.empty_cache(batch_size, capacity) for block in self.blocks)

    def step(self, token_ids, cache, index, segment_ids=None, positions=None, key_positions=None, **masks):
        """Hidden states of new tokens over cached ones.

        Args:
            token_ids: int `[B, t]`. segment_ids: int `[B, t]` or None (0).
            cache: of `empty_cache` or of the last step. index: int or int32 scalar, tokens in the cache.
            positions, key_positions, masks (`padding_mask`, `attention_mask`): see `zoo.layers.attention`.

        Returns:
            float `[B, t, d]`, cache.

        Raises:
            ValueError: the model looks both ways, so that a new token changes the hidden states of the old ones.
        """
        if self.attention_mask == "bidirectional":
            raise ValueError(
                f"a cache in a {type(self).__name__} with attention_mask='bidirectional', whose old tokens see the new "
                "ones; load it with attention_mask='causal' or 'unilm'"
            )
        here = index + ops.arange(ops.shape(token_ids)[1], dtype="int32") if positions is None else positions
        x = self.embed(token_ids, segment_ids, ops.maximum(here, 0))  # padding on the left stands before position 0
        caches = []
        for block, part in zip(self.blocks, cache):
            x, part = block.step(x, part, index, positions=positions, key_positions=key_positions, **masks)
            caches.append(part)
        return x, tuple(caches)

    @functools.cached_property
    def hidden_states(self):
        """`keras.Model` with the same inputs that gives all L + 1 hidden states, embedding output first."""
        return _WithOptionalInputs(self.input, list(self._hidden_states), name="hidden_states")

    @functools.cached_property
    def first_and_last(self):
        """`keras.Model` with the same inputs that gives the embedding output and the last hidden state."""
        return _WithOptionalInputs(self.input, [self._hidden_states[0], self._hidden_states[-1]], name="first_and_last")

    @property
    def key_mask(self):
        """Symbolic padding mask bool `[B, n]`, given or derived; for heads built on this backbone."""
        return self._key_mask

    @property
    def token_embedding(self):
        return self.get_layer("token_embedding")

    def architecture(self):
        """Every constructor argument by name, those of the parents included; dtype and name apart. JSON-ready.

        Raises:
            ValueError: an option of the attention or the residual is not registered.
        """
        return {argument: described(getattr(self, argument)) for argument in self.arguments()}

    def get_config(self):
        dtype = keras.dtype_policies.serialize(self.dtype_policy)
        return {**self.architecture(), "dtype": dtype, "name": self.name, "tokenizer": tokenizer_config(self)}

    @classmethod
    def arguments(cls):
        """The constructor's arguments but dtype and name -> their default, or `REQUIRED`."""
        arguments = constructor_arguments(cls, until=Backbone)
        return {name: arguments[name] for name in arguments if name not in ("dtype", "name", *cls.derived_arguments)}

    @classmethod
    def needed(cls):
        """The arguments that have no default."""
        return [name for name, default in cls.arguments().items() if default is REQUIRED]

    @classmethod
    def completed(cls, config):
        """A config with the defaults of the arguments that it lacks; those that have none are None."""
        return {name: config.get(name, None if value is REQUIRED else value) for name, value in cls.arguments().items()}

    @classmethod
    def changed_options(cls, config):
        """The arguments of a config that are not the family's default, options in their JSON form."""

        def plain(name, value):
            return described(options.get(value)) if name in ("position", "normalization", "residual") else value

        defaults = {name: plain(name, value) for name, value in cls.arguments().items()}
        config = {name: plain(name, value) for name, value in config.items() if name in defaults}
        return {name: value for name, value in config.items() if value != defaults[name]}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        tokenizer = tokenizer_from(config.pop("tokenizer", None))
        model = cls(**config)
        model.tokenizer = tokenizer
        return model


@keras.saving.register_keras_serializable(package="zoo")
class _WithOptionalInputs(OptionalInputs, CheckedIds, KeptWeights, keras.Model):
    """A plain functional model that also lets optional inputs be left out."""


def check_distribution():
    """Refuse a `keras.distribution` that the backend would ignore.

    Raises:
        ValueError: a distribution is set, and the backend is not JAX.
    """
    distribution, backend = keras.distribution.distribution(), ignoring_distribution()
    if distribution is not None and backend:
        raise ValueError(
            f"keras.distribution is set to {type(distribution).__name__}, which the {backend} backend "
            "ignores: the model would run on one device. Use KERAS_BACKEND=jax, or take the distribution back: "
            "keras.distribution.set_distribution(None)"
        )
