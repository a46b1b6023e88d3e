"""keras-hub's own harness for backbones, on every family: config, eager and compiled calls, lengths, dtypes, int8."""

import sys
import types

import numpy as np
import pytest
from support.golden_models import SEGMENT_IDS, TINY, TOKEN_IDS

import zoo
from zoo.layers import RotaryEmbedding

INPUTS = {"token_ids": TOKEN_IDS, "segment_ids": SEGMENT_IDS, "padding_mask": TOKEN_IDS != 0}


@pytest.fixture(scope="module")
def harness():
    """keras-hub's TestCase. It imports grain, with which no test of a backbone works: an empty module stands for it."""
    pytest.importorskip("keras_hub")
    is_missing = "grain" not in sys.modules
    if is_missing:
        sys.modules["grain"] = types.ModuleType("grain")
    from keras_hub.src.tests.test_case import TestCase

    class Harness(TestCase):
        def run_precision_test(self, cls, init_kwargs, input_data):
            """Without the rotary layers: theirs is float32 under every policy, since bfloat16 has no position above 256."""
            walk = cls._flatten_layers
            kept = lambda model, *args, **kwargs: (
                layer for layer in walk(model, *args, **kwargs) if not isinstance(layer, RotaryEmbedding)
            )
            super().run_precision_test(type(cls.__name__, (cls,), {"_flatten_layers": kept}), init_kwargs, input_data)

    yield Harness()
    if is_missing:
        del sys.modules["grain"]


@pytest.mark.parametrize("family", TINY)
def test_run_backbone_test(harness, family):
    arguments = {"vocabulary_size": 120, "num_layers": 2, "hidden_dim": 32, **TINY[family]}
    harness.run_backbone_test(
        getattr(zoo, family), arguments, input_data=INPUTS, expected_output_shape=(*np.shape(TOKEN_IDS), 32)
    )
