"""The names of zoo/__init__.py once more, for editors and type checkers, which see nothing of what is loaded on first use."""

from zoo import (
    analysis as analysis,
)
from zoo import (
    callbacks as callbacks,
)
from zoo import (
    command_line as command_line,
)
from zoo import (
    data as data,
)
from zoo import (
    export as export,
)
from zoo import (
    layers as layers,
)
from zoo import (
    losses as losses,
)
from zoo import (
    metrics as metrics,
)
from zoo import (
    optimizers as optimizers,
)
from zoo import (
    plots as plots,
)
from zoo import (
    retrieval as retrieval,
)
from zoo import (
    runtime as runtime,
)
from zoo import (
    samplers as samplers,
)
from zoo import (
    training as training,
)
from zoo.analysis.initialization import initialization_report as initialization_report
from zoo.formats.catalogue import presets as presets
from zoo.models.albert import ALBERT as ALBERT
from zoo.models.backbone import Backbone as Backbone
from zoo.models.bert import BERT as BERT
from zoo.models.context_extension import extend_context as extend_context
from zoo.models.electra import ELECTRA as ELECTRA
from zoo.models.freezing import freeze as freeze
from zoo.models.gau import GAUAlpha as GAUAlpha
from zoo.models.nezha import NEZHA as NEZHA
from zoo.models.roformer import RoFormer as RoFormer
from zoo.models.roformer import RoFormerV2 as RoFormerV2
from zoo.optimizers.low_rank_delta import LowRankDelta as LowRankDelta
from zoo.tasks.adapters import Adapters as Adapters
from zoo.tasks.causal_lm import CausalLM as CausalLM
from zoo.tasks.classification import TextClassifier as TextClassifier
from zoo.tasks.heads import NextSentence as NextSentence
from zoo.tasks.masked_lm import MaskedLM as MaskedLM
from zoo.tasks.matching import InteractionMatcher as InteractionMatcher
from zoo.tasks.matching import RepresentationMatcher as RepresentationMatcher
from zoo.tasks.multi_task import MultiTask as MultiTask
from zoo.text.tokenizer import Tokenizer as Tokenizer
from zoo.text.unigram import UnigramTokenizer as UnigramTokenizer

__version__: str
__all__: list[str]
FAMILIES: dict[str, str]
TASKS: dict[str, str]
