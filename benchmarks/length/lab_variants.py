"""What the length lab trains, how each trained model is then read, and what the posts measured of the same.

Training length N. A reading is a trained model with other options of attention at test time, the weights the same: all
readings of a training share its cost. The posts' numbers are accuracies of a 100 M GAU language model trained at 512
tokens: at 512, at 4,096 on repeated text, at 4,096 on text that is not repeated; None where no number is given. At 512
the posts read every model as it was trained; ours are read with the change at every length.
"""

from collections.abc import Callable
from dataclasses import dataclass

from zoo.layers import hwfa, hwfa2
from zoo.layers.attention_options import AttentionOptions
from zoo.layers.frequency_scaling import NTKAware, NTKAwareOld, NTKFixed, NTKMixed, PositionInterpolation, YaRN
from zoo.layers.masks import Window
from zoo.layers.rerope import LeakyReRoPE, ReRoPE
from zoo.layers.rotary import RotaryEmbedding
from zoo.layers.score_normalizers import SoftmaxPlus
from zoo.layers.score_products import KeyNorm, LogN

LOG_N, AFTER = ", log-n", ", log-n after"  # trained with the scale; given it after the training (post: †)

# Name -> function of (number of layers, N) to the backbone's `layer_attention`. The backbone itself has rotary
# positions and a plain softmax, the posts' baseline; GAU-α's own normaliser is the log-n scale.
TRAININGS = {
    "baseline": lambda layers, n: AttentionOptions(),
    "log-n": lambda layers, n: AttentionOptions(normalization=SoftmaxPlus(base=n)),
    "bias": lambda layers, n: AttentionOptions(query_key_bias=True),
    "key-norm": lambda layers, n: AttentionOptions(product=KeyNorm()),
    "key-norm-log-n": lambda layers, n: AttentionOptions(product=KeyNorm(), normalization=SoftmaxPlus(base=n)),
    "hwfa": lambda layers, n: hwfa(layers, n),
    "hwfa2": lambda layers, n: hwfa2(layers, n),
}


@dataclass(frozen=True)
class Reading:
    """A row of the table.

    Args:
        name: str. training: str, of `TRAININGS`.
        panel: str, of the picture.
        change: function of (N, factor k) to the options that replace the training's, or None: read as trained.
        layers: function of (number of layers, N) to the whole `layer_attention` instead, or None.
        post: the post's accuracies at 1 times the training length, 8 times repeated, 8 times; or None.
    """

    name: str
    training: str
    panel: str
    change: Callable | None = None
    layers: Callable | None = None
    post: tuple | None = None

    def layer_attention(self, num_layers, train_length, factor):
        if self.layers is not None:
            return self.layers(num_layers, train_length)
        trained = TRAININGS[self.training](num_layers, train_length)
        if self.change is None:
            return trained
        return AttentionOptions(**self.change(train_length, factor)).with_defaults(trained)

    @property
    def stem(self):
        """The name without the log-n scale."""
        return self.name.removesuffix(AFTER).removesuffix(LOG_N)


def _with_log_n(name, panel, change, plain=None, log_n=None, after=None):
    """One way of reading: of the baseline, of the model trained with log-n, of the baseline with log-n added."""
    added = lambda n, k: {**change(n, k), "log_n": LogN(n)}
    return (
        Reading(name, "baseline", panel, change, post=plain),
        Reading(name + LOG_N, "log-n", panel, change, post=log_n),
        Reading(name + AFTER, "baseline", panel, added, post=after),
    )


def _scaled(make):
    return lambda n, k: {"position": RotaryEmbedding(scaling=make(n, k))}


def _rerope(share, factor=None):
    def change(n, k):
        window = n // share
        return {"position": ReRoPE(window, True) if factor is None else LeakyReRoPE(window, factor, True)}

    return change


OWN, SCALED, REROPE = "own trainings", "one training: windows, frequencies", "one training: ReRoPE"

READINGS = (
    *_with_log_n("baseline", OWN, lambda n, k: {}, plain=(49.41, 24.17, 23.16), log_n=(49.40, 24.60, 24.02)),
    Reading("bias", "bias", OWN),
    Reading("key norm", "key-norm", OWN, post=(49.60, 61.08, 47.69)),
    Reading("key norm" + LOG_N, "key-norm-log-n", OWN, post=(49.58, 63.17, 46.40)),
    Reading("key norm, ReRoPE N/2" + LOG_N, "key-norm-log-n", OWN, _rerope(2), post=(None, 85.48, 48.78)),
    Reading("HWFA", "hwfa", OWN, post=(48.70, 80.84, 48.15)),
    Reading("HWFA2", "hwfa2", OWN, post=(49.46, None, None)),
    Reading(
        "HWFA2, ReRoPE N/2",
        "hwfa2",
        OWN,
        layers=lambda layers, n: hwfa2(layers, n, rerope=n // 2),
        post=(None, None, 49.36),
    ),
    # A window has no row with log-n added after the training: it never sees more than N keys.
    *_with_log_n("window N", SCALED, lambda n, k: {"visibility": Window(n)})[:2],
    Reading("PI", "baseline", SCALED, _scaled(lambda n, k: PositionInterpolation(k)), post=(49.41, 15.04, 13.54)),
    *_with_log_n(
        "NTK-old",
        SCALED,
        _scaled(lambda n, k: NTKAwareOld(k)),
        plain=(49.41, 51.28, 39.27),
        log_n=(49.40, 61.71, 43.75),
    )[:2],
    *_with_log_n("NTK-aware", SCALED, _scaled(lambda n, k: NTKAware(k)))[:2],
    *_with_log_n(
        "NTK-fixed",
        SCALED,
        _scaled(lambda n, k: NTKFixed(k)),
        plain=(49.41, 51.86, 39.61),
        log_n=(49.40, 62.85, 44.14),
        after=(49.41, 55.94, 41.11),
    ),
    *_with_log_n(
        "NTK-mixed",
        SCALED,
        _scaled(lambda n, k: NTKMixed(k)),
        plain=(49.41, 53.09, 40.12),
        log_n=(49.40, 68.91, 45.41),
        after=(49.41, 59.11, 42.38),
    ),
    Reading("YaRN", "baseline", SCALED, _scaled(lambda n, k: YaRN(k, n))),
    *_with_log_n(
        "ReRoPE N/2",
        REROPE,
        _rerope(2),
        plain=(49.41, 77.90, 48.48),
        log_n=(49.40, 85.12, 49.07),
        after=(49.41, 82.40, 48.85),
    ),
    *_with_log_n("ReRoPE N/4", REROPE, _rerope(4), log_n=(49.40, 85.47, 48.87)),
    *_with_log_n("Leaky N/4, k=16", REROPE, _rerope(4, 16), log_n=(None, 85.15, 49.10)),
    Reading("Leaky N/4, k=8" + LOG_N, "log-n", REROPE, _rerope(4, 8), post=(None, 80.00, 48.11)),
)
