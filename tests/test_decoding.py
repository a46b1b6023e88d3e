"""Generation with a cache: equal to the whole model at every token, whatever the block, positions and padding."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import backbone, scatter_weights

import zoo
from zoo.generation.decoding import CAPACITY, Decoder, generate, steps_of
from zoo.layers import AttentionOptions, LogN, ReRoPE, Window
from zoo.samplers import Beam, Greedy, TopK

PROMPTS = [[2, 5, 6, 7], [2, 9], [2, 8, 10, 11, 12, 13, 14]]
NEW = 9  # more than the window of 4, so that ReRoPE and windows have something to do
MODELS = {
    "gau rope": ("GAUAlpha", "causal", {}),
    "gau rerope": ("GAUAlpha", "causal", {"position": ReRoPE(4, causal=True)}),
    "gau unilm": ("GAUAlpha", "unilm", {"position": ReRoPE(4)}),
    "mha rope": ("RoFormerV2", "causal", {}),
    "mha rerope": ("RoFormer", "causal", {"position": ReRoPE(4, causal=True)}),
    "mha unilm": ("RoFormerV2", "unilm", {}),
    "table": ("BERT", "causal", {}),
    "window and log n": (
        "RoFormerV2",
        "causal",
        {"layer_attention": [AttentionOptions(visibility=Window(4)), AttentionOptions(log_n=LogN(5))]},
    ),
}


def language_model(name, **options):
    family, mask, given = MODELS[name]
    arguments = {"attention_mask": mask, "num_layers": 2, "max_sequence_length": 32, **given, **options}
    return scatter_weights(zoo.CausalLM(backbone(family, **arguments)))


def whole(model, rows, prompts):
    """Logits of the model without a cache, one call, rows padded on the right."""
    width = max(map(len, rows))
    inputs = {name: np.zeros((len(rows), width), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
    for i, (row, prompt) in enumerate(zip(rows, prompts)):
        inputs["token_ids"][i, : len(row)], inputs["padding_mask"][i, : len(row)] = row, 1
        if model.is_unilm:
            inputs["segment_ids"][i, len(prompt) : len(row)] = 1
    return model.predict_on_batch({**inputs, "padding_mask": inputs["padding_mask"].astype("bool")})


def decoder_of(model):
    return Decoder(model, steps_of(model))


@pytest.mark.parametrize("name", MODELS)
def test_cached_equals_uncached_token_by_token(name):
    model = language_model(name)
    decoder, rows = decoder_of(model), [list(prompt) for prompt in PROMPTS]
    cached = [decoder.prefill(PROMPTS, NEW)]
    while len(rows[0]) < len(PROMPTS[0]) + NEW:
        tokens = cached[-1].argmax(axis=1)
        for row, token in zip(rows, tokens):
            row.append(int(token))
        cached.append(decoder.next(tokens))
    uncached = whole(model, rows, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        places = slice(len(prompt) - 1, len(prompt) + NEW)
        assert_close(np.stack(cached)[:, i], uncached[i, places], atol=2e-4)
        # so that the uncached model would have chosen the same at every step
        assert uncached[i, places].argmax(axis=1)[:-1].tolist() == rows[i][len(prompt) :]
    new = model.generate(PROMPTS, NEW, Greedy(), end=())
    assert new == [row[len(prompt) :] for row, prompt in zip(rows, PROMPTS)]


@pytest.fixture(scope="module")
def model():
    return language_model("gau rope")


def test_beams_take_their_cache_along(model):
    """ln p that beam search has added up over caches that were re-ordered is that of the whole model."""
    search = Beam(3).search(len(PROMPTS), [], NEW, None)
    decoder, moved = decoder_of(model), False
    logits = decoder.prefill(PROMPTS, NEW, beams=3)
    for _ in range(NEW):
        tokens, parents = search.advance(logits)
        moved |= (parents != np.arange(9)).any()
        logits = decoder.next(tokens, parents)
    rows = [[*prompt, *ids] for prompt, live in zip(PROMPTS, search.live) for _, ids in live]
    prompts = [prompt for prompt in PROMPTS for _ in range(3)]
    out = whole(model, rows, prompts).astype("float64")
    out -= np.log(np.exp(out - out.max(-1, keepdims=True)).sum(-1, keepdims=True)) + out.max(-1, keepdims=True)
    found = [score for live in search.live for score, _ in live]
    for row, prompt, logs, score in zip(rows, prompts, out, found):
        places = np.arange(len(prompt), len(row))
        assert logs[places - 1, np.array(row)[places]].sum() == pytest.approx(score, abs=2e-3)
    assert moved


def test_a_row_does_not_depend_on_its_neighbours(model):
    """Other prompts in the batch, hence other padding and another place in the cache, change nothing."""
    together = model.generate([*PROMPTS, list(range(2, 25))], NEW, end=())
    assert [model.generate([prompt], NEW, end=())[0] for prompt in PROMPTS[:2]] == together[:2]


def test_the_step_is_compiled_once(model, monkeypatch):
    """One shape for reading the prompt and one for a new token, whatever the lengths below the next multiple."""
    shapes = set()
    decoder = decoder_of(model)
    step = decoder._step

    def counted(cache, index, *arrays):
        shapes.add(tuple(None if array is None else tuple(array.shape) for array in arrays))
        return step(cache, index, *arrays)

    monkeypatch.setattr(decoder, "_step", counted)
    for prompts in (PROMPTS, [[2], [2, 3, 4, 5, 6], [7, 8]]):
        for new in (3, 7):
            generate(decoder, prompts, new, Greedy(), (), 0)
    assert len(shapes) == 2
    assert all(CAPACITY in shape[3] for shape in shapes)


def test_generation_sees_new_weights(model):
    """What is compiled reads the weights of the moment, not those of the time of compilation."""
    before = model.generate(PROMPTS, 4, end=())
    weights = model.get_weights()
    scatter_weights(model, seed=11)
    after = model.generate(PROMPTS, 4, end=())
    assert after == language_model_with(weights=model.get_weights()).generate(PROMPTS, 4, end=())
    assert after != before
    model.set_weights(weights)
    assert model.generate(PROMPTS, 4, end=()) == before


def language_model_with(weights):
    fresh = language_model("gau rope")
    fresh.set_weights(weights)
    return fresh


def test_sampling_is_a_function_of_the_seed(model):
    draw = lambda seed: model.generate(PROMPTS, 6, TopK(20, 2.0), end=(), seed=seed)
    assert draw(1) == draw(1) != draw(2)


def test_mixed_precision():
    """Caches are in the compute dtype, logits in float32."""
    model = language_model("mha rerope", dtype="mixed_bfloat16")
    decoder = decoder_of(model)
    logits = decoder.prefill(PROMPTS, 2)
    assert logits.dtype == np.float32
    assert {keras.backend.standardize_dtype(part.dtype) for layer in decoder._cache for part in layer} == {"bfloat16"}
    scale = np.abs(logits).max()
    assert np.abs(logits - decoder_of(language_model("mha rerope")).prefill(PROMPTS, 2)).max() < 0.1 * scale


def test_bidirectional_models_have_no_cache():
    with pytest.raises(ValueError, match="attention_mask='bidirectional', whose old tokens see the new ones"):
        encoder = backbone()
        encoder.step(np.array([[2, 3]]), encoder.empty_cache(1, 4), 0)
