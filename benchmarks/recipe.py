"""What benchmarks of matchers share: training and pairs of examples/text_matching.py, and a preset as the matcher it is."""

import os

import zoo
from zoo.models.preset import read

FAQ = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples", "data", "faq_zh")


def optimizer(steps, learning_rate):
    """AdamW, linear warm-up over a tenth of the steps, cosine to nearly nothing."""
    rate = zoo.optimizers.WarmupDecay(learning_rate, steps, end=0.02 * learning_rate, shape="cosine")
    return zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, global_clipnorm=1.0)


def matcher_of(preset, **options):
    """A preset as the task it was saved as; a bare backbone as a representation matcher."""
    task = (read(preset).task or {"class": "RepresentationMatcher"})["class"]
    return getattr(zoo, task).from_preset(preset, **options)
