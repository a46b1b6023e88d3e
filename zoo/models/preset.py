"""`from_preset` and `save_to_preset`: from a name or folder of any known format to a model, and back."""

import os
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

import zoo
from zoo import formats
from zoo.backend.arguments import PlainNumbers, constructor_arguments
from zoo.backend.variables import backbone_of, to_numpy, weights_of
from zoo.formats.families import family, task, task_name
from zoo.formats.vocabulary import tokenizer_class
from zoo.models.checked_ids import CheckedIds
from zoo.models.kept_weights import KeptWeights
from zoo.store import Folder, PresetError, write_folder
from zoo.text.tokenizer import Tokenizer

# The weights that have an entry for each token, and along which axis.
_VOCABULARY_AXES = {"token_embedding/embeddings": 0, "mlm_bias/bias": 0, "output_embedding/kernel": 1}
_TRAINED_HEAD = re.compile(r"(\w+\.)?(classifier|qa_outputs|score)\b")  # of downstream tasks, in any format


class Preset(CheckedIds, KeptWeights, PlainNumbers):
    """A keras.Model that is loaded from and saved to preset folders, with the tokenizer it belongs to.

    Attributes:
        tokenizer: `zoo.Tokenizer` or `zoo.UnigramTokenizer` of the preset, or None.
        verified: bool, whether the preset had a manifest whose SHA-256 every file has; None for a model from no preset.
        fresh_head: bool, whether a head that the preset does not hold starts from its initialiser (else: an error).
    """

    tokenizer = None
    verified = None
    fresh_head = False
    output_transform: str | None = None  # of a head over the vocabulary
    is_backbone = False
    random_head = True  # whether a fresh head says nothing until it is trained
    _untrained = ()  # (path, checksum) of the head's weights that no preset gave
    count_params: Callable  # of the keras.Model that this is mixed into

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike,
        dtype: Any = None,
        load_weights: bool = True,
        keep_tokens: Sequence[int] | np.ndarray | None = None,
        pre_tokenize: Callable[[str], list[str]] | None = None,
        lowercase: bool | None = None,
        family: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Model from a preset.

        Args:
            preset: name of a bundled preset; a folder: zoo preset, original bert4keras/TensorFlow checkpoint
                (`bert_config.json`, `*.ckpt.*`, `vocab.txt`), Hugging Face (`config.json`, `*.safetensors`) or
                keras-hub preset; or `hf://org/name`, `kaggle://...` (with the extra `hub`).
            dtype: dtype policy of the model, e.g. `"mixed_bfloat16"`; None means Keras' global policy.
            load_weights: bool, False for the architecture alone.
            keep_tokens: token ids to keep, in their new order; the rows of the others are dropped on loading and
                the tokenizer is cut to match.
            pre_tokenize: function from a text to words, for word-level vocabularies (`jieba.lcut`), see `Tokenizer`.
            lowercase: bool, whether the tokenizer lower-cases texts; None for what the files say, and True where they
                do not (Google's TensorFlow checkpoints: False for a cased one).
            family: name of the backbone (`"NEZHA"`), for an original checkpoint whose names and config leave it open.
            overrides: constructor arguments that replace the preset's.

        Raises:
            PresetError: the preset is unknown or damaged, or its weights are not exactly those of the model: missing,
                unexpected and mis-shaped ones are listed. Nothing is half-loaded.
        """
        return load(cls, preset, dtype, load_weights, keep_tokens, pre_tokenize, lowercase, overrides, family)

    def save_to_preset(self, folder: str | os.PathLike, weights_dtype: str = "float32", format: str = "zoo") -> None:
        """Write a preset folder: config.json, model.safetensors, vocab.txt, README.md, manifest.json.

        An existing preset in the folder is replaced as a whole, or stays as it is if writing fails.

        Args:
            folder: path.
            weights_dtype: `"float32"`, `"float16"`, `"bfloat16"` or `"int8"` (a quarter of the size; matrices only, with a
                factor for each row), the type in the file. Models compute in `dtype` as ever.
            format: `"zoo"`; or, for backbones and pretraining heads and in float32, the format of others:
                `"bert4keras"` (bert_config.json and a TensorFlow checkpoint under the original's names) or
                `"hugging_face"` (BERT, ALBERT, NEZHA, ELECTRA and RoFormer, for transformers' `from_pretrained`).

        Raises:
            ValueError: the format cannot hold this model; nothing is written.
        """
        writers = formats.writers()
        if format not in writers:
            raise ValueError(f"format={format!r}; expected 'zoo', 'bert4keras' or 'hugging_face'")
        if format != "zoo":
            self._check_foreign(format, weights_dtype)
        write = writers[format].to_files
        write_folder(folder, write(self, weights_dtype) if format == "zoo" else write(self))

    def export(self, filepath: str | os.PathLike, format: str = "tf_saved_model", **options: Any) -> Any:
        """Keras' own export; of a backbone to `format="onnx"`, where that fails, the folder of `zoo.export`.

        Such a folder holds one graph, built from the weights, from ids, mask and segments to `last_hidden_state`, and what
        `zoo.runtime.load` and `zoo.export.verify` want beside it.
        """
        if self.is_backbone and format == "onnx":
            options.pop("verbose", None)  # of Keras' verb; nothing is printed either way
            return zoo.export.export(self, filepath, format, **options)
        return super().export(filepath, format=format, **options)  # type: ignore[misc]  # of the keras.Model

    def _check_foreign(self, format, weights_dtype):
        """Refuse what no format of others can hold."""
        if weights_dtype != "float32":
            raise ValueError(f"format={format!r} is written in float32, not in {weights_dtype!r}")
        if self.output_transform is not None:
            raise ValueError(f"format={format!r} has no place for output_transform={self.output_transform!r}")
        if self.fresh_head:
            lost = ", ".join(self.task_config())
            raise ValueError(
                f"format={format!r} has no place for what makes a {type(self).__name__} beside its backbone ({lost}); "
                f"write the encoder alone: model.backbone.save_to_preset(folder, format={format!r})"
            )

    @classmethod
    def from_backbone(cls, backbone, **options):
        """A task over a backbone, from its stored options: see `task_config`."""
        return cls(backbone, **options)  # type: ignore[call-arg]  # of the task, which is mixed with this

    def on_overrides(self, changes):
        """Called after loading with the stored options that the caller replaced, dict from name to "name=value"."""

    def is_trained(self):
        """Whether the model was loaded from a preset of its own task."""
        return getattr(backbone_of(self), "trained_as", None) == task_name(type(self)) and not self._untrained

    def check_has_tokenizer(self):
        """ValueError where there is none, with the way to one."""
        if self.tokenizer is not None:
            return
        mend = "use from_preset, or set model.tokenizer = zoo.Tokenizer(...)"
        if self.verified is not None:
            mend = (
                "its preset holds none that zoo reads, vocab.txt or tokenizer.json. Of a Hugging Face model with another file "
                "(sentencepiece.bpe.model, spiece.model) transformers writes it: "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        raise ValueError(f"{type(self).__name__} has no tokenizer: {mend}")

    def warn_if_untrained(self):
        """Warn, once, where the weights of the head are still those that it was made with when its preset had none."""
        untrained, self._untrained = self._untrained, ()
        weights = weights_of(self) if untrained else {}
        if untrained and all(_checksum(weights[path]) == before for path, before in untrained):
            warnings.warn(
                f"{', '.join(path for path, _ in untrained)} of this {type(self).__name__} were never trained, so what they "
                "give means nothing: fit first, or load a preset that has them",
                stacklevel=4,
            )

    def task_config(self):
        """JSON-ready constructor arguments of a task beside its backbone."""
        return {}

    def card(self):
        """Text of the preset's README.md."""
        backbone, loaded_by = backbone_of(self), task_name(type(self)) or type(self).__name__
        sizes = ", ".join(f"{k}={v}" for k, v in backbone.architecture().items() if isinstance(v, int))
        return (
            f"# {type(self).__name__}\n\n"
            f"{type(backbone).__name__}({sizes}), {self.count_params():,} parameters.\n\n"
            f"    import zoo\n    model = zoo.{loaded_by}.from_preset(THIS_FOLDER)\n"
        )


# Arguments of bert4keras' build_transformer_model and what is meant by them here.
_OF_OTHERS = {
    "with_mlm": "call zoo.MaskedLM.from_preset.",
    "with_nsp": "call zoo.NextSentence.from_preset.",
    "with_pool": "call zoo.NextSentence.from_preset; its `pooled` is that model.",
    "application": 'call zoo.CausalLM.from_preset(..., attention_mask="causal") or "unilm".',
    "maxlen": "did you mean max_length?",
    "do_lower_case": "did you mean lowercase?",
}


def load(cls, preset, dtype, load_weights, keep_tokens, pre_tokenize, lowercase, overrides, asked=None):
    """See `Preset.from_preset`."""
    # A user's own subclass asks for its parent's weights, and stays itself.
    parents = [one.__name__ for one in cls.__mro__ if one.__name__ in zoo.FAMILIES and family(one.__name__) is one]
    own = parents[0] if parents else None
    asked = asked or own
    if asked is not None and (asked not in zoo.FAMILIES or own not in (None, asked)):
        raise ValueError(f"family={asked!r}; expected {own or 'one of ' + ', '.join(zoo.FAMILIES)}")
    checkpoint = read(preset, asked)
    if asked and checkpoint.family != asked:
        raise PresetError(
            f"{checkpoint.source} holds a {checkpoint.family}, not a {asked}; "
            f"call zoo.{checkpoint.family}.from_preset, or zoo.Backbone.from_preset for any family"
        )
    backbone = cls if own else family(checkpoint.family)
    is_task = not cls.is_backbone
    task_arguments = (
        [name for name in constructor_arguments(cls) if name not in ("backbone", "name")] if is_task else ()
    )
    known = [
        *backbone.arguments(),
        *task_arguments,
        "dtype",
        "load_weights",
        "keep_tokens",
        "pre_tokenize",
        "lowercase",
    ]
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        from zoo.backend.near_names import did_you_mean

        meant = _OF_OTHERS.get(unknown[0]) or did_you_mean(unknown[0], known)
        raise TypeError(
            f"{cls.__name__}.from_preset got {', '.join(unknown)}; {meant and meant + ' '}{backbone.__name__} takes "
            f"{', '.join(backbone.arguments())}"
            + (f" and {cls.__name__} {', '.join(task_arguments)}" if is_task else "")
        )
    # An option that both have, such as dropout, is meant for both.
    config = {**checkpoint.config, **{k: v for k, v in overrides.items() if k in backbone.arguments()}}
    if keep_tokens is not None:
        keep_tokens = _checked_tokens(keep_tokens, checkpoint.config["vocabulary_size"])
        config["vocabulary_size"] = len(keep_tokens)
    model = _built(backbone, (), {**config, "dtype": dtype}, checkpoint, overrides)
    whole = False
    if is_task:
        stored = checkpoint.task
        same = stored is not None and stored["class"] == task_name(cls)
        if stored is not None and stored["class"] == "MultiTask" and not same and cls.fresh_head:
            raise PresetError(
                f"{checkpoint.source} holds a MultiTask of {', '.join(stored['config'].get('tasks', ()))}; load it by "
                "zoo.MultiTask.from_preset and take its tasks[name], or make a new head: "
                f"{cls.__name__}(zoo.Backbone.from_preset(...))"
            )
        options = dict(stored["config"]) if same else {}
        if set(options) - set(task_arguments) or "tokenizer" in options:
            raise PresetError(
                f"{checkpoint.source}: {cls.__name__} takes no {', '.join(sorted(set(options) - set(task_arguments)))}; "
                f"its options are {', '.join(task_arguments)}"
            )
        # A child of the stored class may have weights of its own.
        whole = same and cls is task(stored["class"]) and not set(overrides) & set(task_arguments)
        chosen = {k: v for k, v in overrides.items() if k in task_arguments}
        model = _built(cls.from_backbone, (model,), {**options, **chosen}, checkpoint, overrides)
    if load_weights:
        try:
            fill(model, checkpoint, keep_tokens, whole)
        except PresetError as error:
            stored = backbone.completed(checkpoint.config)
            _refuse_trained_options(backbone_of(model), checkpoint, overrides, error)
            given = {name: value for name, value in overrides.items() if name in stored and value != stored[name]}
            given = {name: value for name, value in given.items() if name in backbone.sizes} or given  # without dropout
            if not given:
                raise
            raise PresetError(
                f"{checkpoint.source}: the weights do not fit a {backbone.__name__} with "
                f"{', '.join(f'{name}={value!r:.40}' for name, value in given.items())} as given; the preset has "
                f"{', '.join(f'{name}={stored[name]!r:.40}' for name in given)}. Weights are loaded whole: leave "
                f"{' and '.join(given)} out, or take load_weights=False for a new model of that size."
                + "".join(str(error).partition("\n")[1:])
            ) from error
        backbone_of(model).trained_as = None if checkpoint.task is None else checkpoint.task["class"]
    if is_task and same:
        stored_options = {**checkpoint.config, **options}
        changes = {
            name: f"{name}={value!r:.40}" for name, value in overrides.items() if value != stored_options.get(name)
        }
        changes |= {} if keep_tokens is None else {"keep_tokens": f"keep_tokens of {len(keep_tokens):,} tokens"}
        model.on_overrides(changes if load_weights else {**changes, "load_weights": "load_weights=False"})
    model.verified = checkpoint.verified
    if overrides.get("tokenizer") is None:
        # The backbone's too, which may be saved by itself.
        model.tokenizer = backbone_of(model).tokenizer = _tokenizer(checkpoint, keep_tokens, pre_tokenize, lowercase)
    return model


def _refuse_trained_options(backbone, checkpoint, overrides, error):
    """Refuse options, given as overrides, whose weights are trained with a model and so are in no file of another."""
    if not {"layer_attention", "position", "normalization", "residual"} & set(overrides):
        return
    lacking = backbone.weights_of_options()
    if lacking and not any(checkpoint.provides(path) for paths in lacking.values() for path in paths):
        paths = sorted({path.split("/")[-1] for paths in lacking.values() for path in paths})
        raise PresetError(
            f"{checkpoint.source}: {' and '.join(lacking)} has trained weights ({', '.join(paths)}), which a preset of a model "
            "trained without them cannot give. Train a new model with them (load_weights=False), or put on options that have "
            "none, such as ALiBi or Window"
        ) from error


def _built(cls, arguments, options, checkpoint, overrides):
    """A model from stored arguments; what its constructor refuses is an error of the file, or of the overrides."""
    try:
        return cls(*arguments, **options)
    except (TypeError, ValueError) as error:
        given = f", with {', '.join(overrides)} as given" if overrides else ""
        raise PresetError(f"{checkpoint.source}{given}: {error}") from error


def read(preset, asked=None):
    """The checkpoint behind a preset name or folder, described but not yet read.

    Args:
        preset: see `Preset.from_preset`.
        asked: name of the family that the caller asks for; None where any is welcome.
    """
    folder = resolve(preset)
    *_, bert4keras = readers = formats.readers()
    for format in readers:
        if format.matches(folder):
            # The original's checkpoints do not name their family.
            found = format.read(folder, asked) if format is bert4keras else format.read(folder)
            found.verified = folder.sealed
            found.check_sizes()
            return found
    raise PresetError(
        f"{folder.path} is no preset: it holds {', '.join(sorted(folder.names())[:10]) or 'nothing'}; expected "
        "config.json with *.safetensors (zoo, Hugging Face), config.json with model.weights.h5 (keras-hub), or "
        "bert_config.json with *.ckpt.index (bert4keras, TensorFlow)" + _named_model(folder)
    )


def _named_model(folder):
    """What a config.json of no known format says it is."""
    if not folder.has("config.json"):
        return ""
    config = folder.json("config.json")
    _, keras_hub, hugging_face, _ = formats.readers()
    for field, known in (("model_type", hugging_face.model_types()), ("registered_name", keras_hub.registered_names())):
        if field in config:
            return f". config.json has {field} {str(config[field])[:80]!r}: unknown model; known are {', '.join(known)}"
    return ""


def resolve(preset):
    """The opened folder of a preset name, path or hub address."""
    catalogue, hub = formats.sources()
    preset = os.fspath(preset)
    if re.match(r"[a-z]+://", preset):
        return Folder(hub.download(preset), links=True)
    bundled = catalogue.bundled_folder(preset)
    if bundled is not None:
        if os.path.isdir(preset) and not os.path.samefile(preset, bundled):
            raise PresetError(
                f"{preset!r} is a preset that comes with zoo, and a folder here, {os.path.abspath(preset)}: write "
                f'"./{preset}" for the folder; for zoo\'s preset rename the folder or start elsewhere'
            )
        return Folder(bundled, links=True)  # some installers put packages in place by hard links
    if os.path.isdir(preset):
        return Folder(preset)
    raise catalogue.not_on_disk(preset)


def fill(model, checkpoint, keep_tokens=None, whole=False):
    """Assign all weights of a model, or none: names and shapes are settled and every array read before the first.

    Args:
        whole: bool, whether the checkpoint is of this very model: no head may be missing, no tensor left over.
    """
    from zoo.formats.checkpoint import match  # a model that is made by its constructor needs no reader

    variables = weights_of(model)
    backbone = backbone_of(model)
    head = [path for path in variables if path not in weights_of(backbone)]
    task = checkpoint.task
    # Heads of different tasks may share names: a classifier's and a matcher's are both `classifier/kernel`.
    foreign = task is not None and task["class"] != task_name(type(model))
    if whole:
        checkpoint.known_extras = ()
    elif model.fresh_head and (foreign or not any(checkpoint.provides(path) for path in head)):
        if model.random_head:
            model._untrained = tuple((path, _checksum(variables[path])) for path in head)
        variables = {path: variable for path, variable in variables.items() if path not in head}
    wanted = {path: tuple(variable.shape) for path, variable in variables.items()}
    cut = {path: axis for path, axis in _VOCABULARY_AXES.items() if path in wanted and keep_tokens is not None}
    for path, axis in cut.items():
        shape = list(wanted[path])
        shape[axis] = checkpoint.config["vocabulary_size"]
        wanted[path] = tuple(shape)
    arrays = match(checkpoint, wanted)
    _check_unused(model, checkpoint, arrays, reads_output=not model.is_backbone and not model.fresh_head)
    for path, axis in cut.items():
        arrays[path] = np.take(arrays[path], keep_tokens, axis)
    arrays = {path: np.asarray(array, "float32") for path, array in arrays.items()}
    spoilt = [path for path, array in arrays.items() if not np.isfinite(array).all()]
    if spoilt:
        more = f" and {len(spoilt) - 3} others" if len(spoilt) > 3 else ""
        warnings.warn(
            f"{checkpoint.source}: {', '.join(spoilt[:3])}{more} hold NaN or infinity, as after a training that diverged; "
            "this model's outputs will be NaN too. Take an earlier preset",
            stacklevel=4,
        )
    for path, variable in variables.items():
        variable.assign(arrays[path])


def _check_unused(model, checkpoint, arrays, reads_output):
    """Refuse an output matrix that this model would need and has not; warn of a trained head that it does not use.

    Args:
        arrays: dict of variable path to array, what it does use.
        reads_output: bool, whether the model gives words, by the embedding.
    """
    odd = [
        name
        for name, path in checkpoint.tied.items()
        if reads_output and _differ(checkpoint.weights[name], arrays.get(path))
    ]
    if odd:
        raise PresetError(
            f"{checkpoint.source}: {', '.join(odd)} differ from the embedding and the bias, so this checkpoint has an output "
            f"matrix of its own, though its config says that it is tied; a zoo.{type(model).__name__} has none. Its encoder "
            "alone can be read: zoo.Backbone.from_preset"
        )
    used = {checkpoint.foreign(path)[0] for path in arrays}
    unused = [name for name in checkpoint.weights if name not in used and _TRAINED_HEAD.match(name)]
    if unused and model._untrained:
        owner = f" of a {checkpoint.task['class']}" if checkpoint.task else ""
        warnings.warn(
            f"{checkpoint.source}: the trained head{owner} in it ({', '.join(unused[:4])}) is not used; the head of this "
            f"{type(model).__name__} starts anew",
            stacklevel=5,
        )


def _differ(stored, used):
    return used is not None and not np.array_equal(np.asarray(stored, "float32"), np.asarray(used, "float32"))


def _checksum(variable):
    return zlib.crc32(to_numpy(variable).tobytes())


def _checked_tokens(keep_tokens, vocabulary_size):
    keep = np.asarray(keep_tokens)
    if keep.ndim != 1 or keep.dtype.kind not in "iu" or not len(keep):
        raise ValueError(f"keep_tokens must be a list of token ids, got shape {keep.shape} of type {keep.dtype}")
    wrong = keep[(keep < 0) | (keep >= vocabulary_size)]
    if len(wrong):
        raise ValueError(f"keep_tokens holds {wrong[0]}, outside the preset's vocabulary of {vocabulary_size} tokens")
    if len(np.unique(keep)) != len(keep):
        raise ValueError("keep_tokens holds an id twice; each kept token needs one row")
    return keep


def _tokenizer(checkpoint, keep_tokens, pre_tokenize, lowercase):
    if checkpoint.vocabulary is None:
        return None
    options, size = checkpoint.tokenizer_options, checkpoint.config["vocabulary_size"]
    cls = tokenizer_class(options, checkpoint.source)
    if cls is not Tokenizer and pre_tokenize is not None:
        raise TypeError(f"{checkpoint.source}: its {cls.__name__} splits texts itself; leave pre_tokenize out")
    if cls is not Tokenizer and lowercase is not None:
        raise TypeError(
            f"{checkpoint.source}: the files of its {cls.__name__} say how texts are folded; leave lowercase out"
        )
    if lowercase is not None:
        options = {name: value for name, value in options.items() if name != "strip_accents"} | {"lowercase": lowercase}
    elif cls is Tokenizer and "lowercase" not in options:
        _doubt_case(checkpoint)
    try:
        words = (pre_tokenize,) if cls is Tokenizer else ()
        tokenizer = cls.from_config(options, checkpoint.vocabulary, *words)
    except (TypeError, ValueError) as error:
        raise PresetError(f"{checkpoint.source}: {error}") from error
    if tokenizer.vocabulary_size > size:
        raise PresetError(
            f"{checkpoint.source}: the vocabulary has {tokenizer.vocabulary_size} tokens, the embedding {size} rows; "
            "is it the vocabulary of another checkpoint?"
        )
    return tokenizer if keep_tokens is None else tokenizer.keep(keep_tokens)


def _doubt_case(checkpoint):
    """Warn where texts are to be lower-cased because no file says otherwise, and the vocabulary looks cased."""
    words = [word for word in checkpoint.vocabulary if word.isalpha() and word.isascii()]
    upper = [word for word in words if word != word.lower()]
    if len(upper) * 100 > len(words):
        warnings.warn(
            f"{checkpoint.source}: no file says whether texts are lower-cased, so they are; but {len(upper):,} of "
            f"{len(words):,} words of the vocabulary have upper case ({', '.join(upper[:3])}), which no text will reach. "
            "If the checkpoint is cased, from_preset(..., lowercase=False); else lowercase=True, and this warning is gone",
            stacklevel=5,
        )
