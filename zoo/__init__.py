"""zoo: the bert4keras lineage on Keras 3, for TensorFlow, JAX and PyTorch (`KERAS_BACKEND`).

Public names are loaded on first use, so that `import zoo` costs next to nothing.
"""

import importlib
import os

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
}
TASKS = {
    "MaskedLM": "zoo.tasks.heads",
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
    "analysis", "callbacks", "command_line", "data", "layers", "losses", "metrics", "optimizers", "plots", "retrieval",
    "samplers", "training",
)  # fmt: skip

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
