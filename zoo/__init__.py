"""zoo: the bert4keras lineage on Keras 3, for TensorFlow, JAX and PyTorch (`KERAS_BACKEND`).

Public names are loaded on first use, so that `import zoo` costs next to nothing.
"""

import importlib
import importlib.util
import os
import sys

__version__ = "0.1.0.dev0"

# A source checkout keeps `layers/` and `presets/` beside `zoo/`; an installed package keeps them inside.
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if not os.path.isdir(os.path.join(os.path.dirname(__file__), "layers")) and os.path.isfile(
    os.path.join(_root, "setup.cfg")
):
    __path__.append(_root)

# Public name -> module that defines it. A preset's config.json may name these backbones and tasks, and nothing else.
FAMILIES = {
    "BERT": "zoo.models.bert",
    "ALBERT": "zoo.models.albert",
    "RoFormer": "zoo.models.roformer",
    "RoFormerV2": "zoo.models.roformer",
    "GAUAlpha": "zoo.models.gau",
    "NEZHA": "zoo.models.nezha",
    "ELECTRA": "zoo.models.electra",
}
TASKS = {
    "MaskedLM": "zoo.tasks.masked_lm",
    "NextSentence": "zoo.tasks.heads",
    "CausalLM": "zoo.tasks.causal_lm",
    "RepresentationMatcher": "zoo.tasks.matching",
    "InteractionMatcher": "zoo.tasks.matching",
    "TextClassifier": "zoo.tasks.classification",
    "MultiTask": "zoo.tasks.multi_task",
}
_NAMES = {
    **FAMILIES,
    **TASKS,
    "Backbone": "zoo.models.backbone",
    "Tokenizer": "zoo.text.tokenizer",
    "UnigramTokenizer": "zoo.text.unigram",
    "LowRankDelta": "zoo.optimizers.low_rank_delta",
    "Adapters": "zoo.tasks.adapters",
    "freeze": "zoo.models.freezing",
    "extend_context": "zoo.models.context_extension",
    "initialization_report": "zoo.analysis.initialization",
    "presets": "zoo.formats.catalogue",  # the function; the folder of the same name is data that nobody imports
}
_MODULES = (
    "analysis", "callbacks", "command_line", "data", "export", "layers", "losses", "metrics", "optimizers", "plots",
    "retrieval", "runtime", "samplers", "training",
)  # fmt: skip

# Name in Keras' table of classes, without its "zoo>" -> module whose import puts the class there.
_REGISTERED = {
    **FAMILIES,
    **TASKS,
    "_WithOptionalInputs": "zoo.models.backbone",
    "GatherPositions": "zoo.tasks.heads",
    "OutputBias": "zoo.tasks.heads",
    "OutputTransform": "zoo.tasks.heads",
}
for _module, _names in {
    "zoo.layers": "AlphaResidual AttentionMask ConditionalLayerNorm DeepNorm Dense Dropout FLASHBlock FeedForward GAUBlock "
    "GatedAttentionUnit LayerNorm LinearAttention MixedChunkAttention MultiHeadAttention NTKDense PaddingMask ParallelRNN "
    "Pooling PositionEmbedding RMSNorm RotaryEmbedding ScaleOffset ScaledInitializer SegmentEmbedding Softmax SoftmaxPlus "
    "SquaredReLU TokenEmbedding TransformerBlock gelu_tanh",
    "zoo.losses": "AnglE Circle CoSENT CoSENTInfoNCE Contrastive CosineRegression EMO InfoNCE TaiLr TokenCrossEntropy Triplet",
    "zoo.optimizers": "AdditiveLoRA Bert4KerasAdaFactor Bert4KerasAdam DecayOverFit ExcludeFromDecay "
    "ExponentialMovingAverage FusedAdam FusedAdamW GaLore LayerAdaptation LayerwiseLearningRate LazyUpdates LoRA Lookahead "
    "LowRank PiecewiseLinear RandomProjection WarmupDecay",
}.items():
    _REGISTERED.update(dict.fromkeys(_names.split(), _module))

__all__ = sorted([*_NAMES, *_MODULES])


def __getattr__(name):
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"zoo.{name}")
    else:
        if name.startswith("_"):  # asked by tools, not by people
            raise AttributeError(f"module 'zoo' has no attribute {name!r}")
        error = importlib.import_module("zoo.backend.near_names").no_attribute("zoo", name, __all__)
        raise AttributeError(f"{error}; public names are {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


class _Later:
    """Stands in Keras' table of classes for one of ours, which is imported when Keras asks anything of it."""

    def __init__(self, name):
        self.__dict__["name"] = name

    def imported(self):
        importlib.import_module(_REGISTERED[self.name])
        return sys.modules["keras"].saving.get_custom_objects()[f"zoo>{self.name}"]

    def __getattr__(self, attribute):
        return getattr(self.imported(), attribute)

    def __call__(self, *args, **kwargs):
        return self.imported()(*args, **kwargs)

    def __repr__(self):
        return repr(self.imported())


def _register():
    """Let Keras find all of our classes, those too that are not imported yet: `.keras` files and pickles name them."""
    table = sys.modules["keras"].saving.get_custom_objects()
    for name in _REGISTERED:
        table.setdefault(f"zoo>{name}", _Later(name))


def _installed_backends():
    return [name for name in ("torch", "jax", "tensorflow") if _is_installed(name)]


def _is_installed(name):
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.loader is not None  # a folder of that name that is no package has none


class _WhenKerasIsImported:
    """Chooses the backend before and registers our classes after: `import zoo` itself does not import Keras."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        if not os.environ.get("KERAS_BACKEND") and len(there := _installed_backends()) == 1:
            os.environ["KERAS_BACKEND"] = there[0]  # Keras would take tensorflow, there or not
        spec = importlib.util.find_spec(name)
        if spec is not None:
            self.execute, spec.loader.exec_module = spec.loader.exec_module, self.execute_and_register
        return spec

    def execute_and_register(self, module):
        try:
            self.execute(module)
        except ModuleNotFoundError as error:
            sys.meta_path.insert(0, self)
            if error.name not in ("torch", "jax", "tensorflow"):
                raise
            there = " or ".join(_installed_backends())
            mend = (
                f"set KERAS_BACKEND={there}, before keras or zoo is used"
                if there
                else "pip install torch, jax or tensorflow"
            )
            raise ImportError(f"Keras takes the backend {error.name}, which is not installed: {mend}") from error
        _register()


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _WhenKerasIsImported())
