"""Losses for text matching and for classes: `keras.losses.Loss` objects that know no model.

Two conventions of the matching losses, told apart by the attribute `inputs`, so that a matcher can feed any loss rightly:

| `inputs` | y_true | y_pred | losses |
| --- | --- | --- | --- |
| `"similarity"` | `[B]` labels | `[B]` a score a pair | `CoSENT` `CosineRegression` `Contrastive` `Circle` |
| `"embeddings"` | `[B]`, see the loss | `[B, k, d]` k texts a row | `InfoNCE` `Triplet` `AnglE` `CoSENTInfoNCE` |

A row of embeddings holds (text, its match) with k = 2 and (text, its match, negatives ...) with k > 2.
What else a loss says of itself (its labels, texts that may not repeat in a batch), and how a loss of your own says it,
stands in `zoo.losses.needs`. `[B, 1]` is taken for `[B]`. Every loss computes in float32 under any policy and gives one
scalar a batch. `sample_weight [B]` weighs rows; a row of weight 0 is absent from the batch, exactly: so are padding rows
of a last short batch expressed. Gradients by `y_pred` are all that exact big-batch training needs.

Softmax over classes of a pair (Sentence-BERT, interaction models) is Keras' own
`SparseCategoricalCrossentropy(from_logits=True)`. `TokenCrossEntropy` is for language models: one class a place.
`TaiLr` and `EMO` take class ids `[...]` and logits `[..., C]` as it does, of language models and of classifiers; they do
not grow over-confident.
"""

from zoo.backend.near_names import no_attribute
from zoo.losses.angle import AnglE
from zoo.losses.circle import Circle
from zoo.losses.contrastive import Contrastive
from zoo.losses.cosent import CoSENT
from zoo.losses.cosent_info_nce import CoSENTInfoNCE
from zoo.losses.emo import EMO
from zoo.losses.info_nce import InfoNCE
from zoo.losses.matching_loss import MatchingLoss
from zoo.losses.regression import CosineRegression
from zoo.losses.similarity import angle_similarity, cosine_similarity, normalize
from zoo.losses.tailr import TaiLr
from zoo.losses.token_cross_entropy import TokenCrossEntropy
from zoo.losses.triplet import Triplet

__all__ = [
    "AnglE",
    "Circle",
    "CoSENT",
    "CoSENTInfoNCE",
    "Contrastive",
    "CosineRegression",
    "EMO",
    "InfoNCE",
    "MatchingLoss",
    "TaiLr",
    "TokenCrossEntropy",
    "Triplet",
    "angle_similarity",
    "cosine_similarity",
    "normalize",
]


def __getattr__(name):
    raise no_attribute(__name__, name, __all__)
