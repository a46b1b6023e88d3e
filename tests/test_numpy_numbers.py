"""Numbers of NumPy are numbers in every public constructor, and configs are JSON all the same."""

import inspect
import json

import keras
import numpy as np
import pytest
from support.tiny_models import backbone

import zoo
from zoo import callbacks, layers, losses, optimizers, samplers, training

SIZES = {"vocabulary_size": 20, "num_layers": 1, "hidden_dim": 8, "max_sequence_length": 8, "num_segments": 2}
HEADS = {**SIZES, "num_heads": 2, "intermediate_dim": 16}
RATES = {"dropout": 0.5, "attention_dropout": 0.25, "norm_epsilon": 0.5}


def adamw():
    return keras.optimizers.AdamW(0.01, name="inner")


def several(n, values):
    return {name: n(value) for name, value in values.items()}


# Of every public class an object with numbers wherever it takes them; n makes them NumPy's, or leaves them Python's.
MADE = [
    lambda n: zoo.BERT(**several(n, {**HEADS, **RATES, "embedding_dim": 4, "head_dim": 4, "key_dim": 4})),
    lambda n: zoo.ALBERT(**several(n, {**HEADS, **RATES, "embedding_dim": 4})),
    lambda n: zoo.ELECTRA(**several(n, {**HEADS, **RATES})),
    lambda n: zoo.NEZHA(**several(n, {**HEADS, **RATES})),
    lambda n: zoo.RoFormer(**several(n, {**HEADS, **RATES})),
    lambda n: zoo.RoFormerV2(
        **several(n, {**HEADS, **RATES}),
        layer_attention={
            "score_bias": layers.ALiBi([n(0.5), n(0.25)]),
            "score_scale": n(0.5),
            "query_key_bias": n(True),
        },
        residual=layers.DeepNorm(n(2.0), n(0.5)),
        custom_position_ids=n(True),
    ),
    lambda n: zoo.GAUAlpha(**several(n, {**SIZES, **RATES, "key_dim": 4})),
    lambda n: zoo.MaskedLM(backbone(), masked_positions=n(True)),
    lambda n: zoo.NextSentence(backbone("BERT")),
    lambda n: zoo.CausalLM(backbone(attention_mask="causal"), max_length=n(8)),
    lambda n: zoo.RepresentationMatcher(backbone(), num_classes=n(3), max_length=n(8), decision=n(0.5)),
    lambda n: zoo.InteractionMatcher(backbone(), dropout=n(0.5), max_length=n(8), decision=n(0.5)),
    lambda n: zoo.TextClassifier(backbone(), n(3), dropout=n(0.5), max_length=n(8)),
    lambda n: zoo.MultiTask({"match": zoo.RepresentationMatcher(backbone())}, training.WeightedSum({"match": n(0.5)})),
    lambda n: layers.ALiBi([n(0.5), n(0.25)]),
    lambda n: layers.AlphaResidual(n(0.5), trainable=n(True), name="residual"),
    lambda n: layers.AttentionMask("causal", name="mask"),
    lambda n: layers.AttentionOptions(score_scale=n(0.5), query_key_bias=n(True), log_n=layers.LogN(n(64))),
    lambda n: layers.ConditionalLayerNorm(n(0.5), n(4), name="norm"),
    lambda n: layers.CosA(n(64)),
    lambda n: layers.DeepNorm(n(2.0), n(0.5)),
    lambda n: layers.Dense(n(4), use_bias=n(True), name="dense"),
    lambda n: layers.Direction("left"),
    lambda n: layers.Dropout(n(0.5), seed=n(3), name="dropout"),
    lambda n: layers.FLASHBlock(n(16), n(4), chunk_length=n(4), dropout=n(0.5), norm_epsilon=n(0.5), name="block"),
    lambda n: layers.FeedForward(n(16), use_bias=n(True), name="feedforward"),
    lambda n: layers.GAUBlock(n(16), n(4), dropout=n(0.5), norm_epsilon=n(0.5), name="block"),
    lambda n: layers.GatedAttentionUnit(n(16), n(4), score_scale=n(0.5), dropout=n(0.5), name="unit"),
    lambda n: layers.KERPLE(r1=n(0.5), r2=n(0.25)),
    lambda n: layers.KeyNorm(),
    lambda n: layers.LayerNorm(n(0.5), name="norm"),
    lambda n: layers.LeakyReRoPE(n(4), n(2.0), n(True), n(500.0)),
    lambda n: layers.LinearAttention(n(2), n(4), n(4), n(8), name="attention"),
    lambda n: layers.LogN(n(64)),
    lambda n: layers.MixedChunkAttention(n(16), n(4), chunk_length=n(4), causal=n(True), name="attention"),
    lambda n: layers.MultiHeadAttention(
        n(2), n(4), n(4), n(8), score_scale=n(0.5), dropout=n(0.5), use_bias=n(True), name="attention"
    ),
    lambda n: layers.NTKAware(n(2.0)),
    lambda n: layers.NTKAwareOld(n(2.0)),
    lambda n: layers.NTKDense(n(4), n(0.5), name="dense"),
    lambda n: layers.NTKFixed(n(2.0)),
    lambda n: layers.NTKMixed(n(2.0), n(0.5)),
    lambda n: layers.PaddingMask(name="mask"),
    lambda n: layers.ParallelRNN(
        keras.layers.SimpleRNNCell(4, name="cell"), iterations=n(5), tolerance=n(0.5), name="rnn"
    ),
    lambda n: layers.Pooling("mean", name="pooling"),
    lambda n: layers.PositionEmbedding(n(8), name="positions"),
    lambda n: layers.PositionInterpolation(n(2.0)),
    lambda n: layers.QueryNorm(),
    lambda n: layers.RMSNorm(n(0.5), name="norm"),
    lambda n: layers.ReRoPE(n(4), n(True), n(500.0)),
    lambda n: layers.RelativePosition(n(4)),
    lambda n: layers.RotaryEmbedding(n(500.0), name="rotary"),
    lambda n: layers.Sandwich(n(0.5), n(8), n(500.0)),
    lambda n: layers.ScaleOffset(n(True), name="scale"),
    lambda n: layers.SegmentEmbedding(n(2), name="segments"),
    lambda n: layers.Softmax(),
    lambda n: layers.SoftmaxPlus(n(64), n(8)),
    lambda n: layers.SquaredReLU(n(64), n(True)),
    lambda n: layers.TokenEmbedding(n(20), n(8), name="tokens"),
    lambda n: layers.TransformerBlock(
        n(2), n(4), n(16), n(4), norm_epsilon=n(0.5), dropout=n(0.5), attention_dropout=n(0.5), name="block"
    ),
    lambda n: layers.Window(n(4)),
    lambda n: layers.XPOS(n(64.0), n(0.5), n(500.0)),
    lambda n: layers.YaRN(n(2.0), n(64), n(16.0)),
    lambda n: losses.AnglE(n(5)),
    lambda n: losses.Circle(n(5), n(0.5), n(True)),
    lambda n: losses.CoSENT(n(5)),
    lambda n: losses.CoSENTInfoNCE(n(0.5), n(2), n(5)),
    lambda n: losses.Contrastive(n(0.25)),
    lambda n: losses.CosineRegression(n(1), n(5)),
    lambda n: losses.EMO([[n(1.0), n(0.0)], [n(0.0), n(1.0)]], ignore_class=n(-1)),
    lambda n: losses.InfoNCE(n(5), n(True), n(True)),
    lambda n: losses.TaiLr(n(0.5), n(0.25), n(-1)),
    lambda n: losses.TokenCrossEntropy(),
    lambda n: losses.Triplet(n(0.25)),
    lambda n: optimizers.AdditiveLoRA(),
    lambda n: optimizers.Bert4KerasAdaFactor(
        n(0.5), n(0.5), n(0.5), n(0.5), n(0.5), n(True), n(0.5), n(64), clipnorm=n(0.5)
    ),
    lambda n: optimizers.Bert4KerasAdam(n(0.5), n(0.5), n(0.5), n(0.5), n(True), weight_decay=n(0.5)),
    lambda n: optimizers.DecayOverFit(adamw(), n(0.5), n(0.25)),
    lambda n: optimizers.ExcludeFromDecay(adamw()),
    lambda n: optimizers.ExponentialMovingAverage(adamw(), n(0.5)),
    lambda n: optimizers.FusedAdam(
        n(0.5), n(0.5), n(0.5), n(0.5), n(True), gradient_accumulation_steps=n(2), name="adam"
    ),
    lambda n: optimizers.FusedAdamW(n(0.5), n(0.5), n(0.5), n(0.5), global_clipnorm=n(0.5), name="adam"),
    lambda n: optimizers.GaLore(n(0.5), n(5)),
    lambda n: optimizers.LayerAdaptation(adamw()),
    lambda n: optimizers.LayerwiseLearningRate(adamw(), {"x": n(0.5)}),
    lambda n: optimizers.LazyUpdates(adamw()),
    lambda n: optimizers.LoRA(n(8), n(True), learning_rate_ratio=n(2.0)),
    lambda n: optimizers.Lookahead(adamw(), n(5), n(0.5)),
    lambda n: optimizers.LowRank(adamw(), n(2), seed=n(3)),
    lambda n: optimizers.PiecewiseLinear(n(0.5), {n(5): n(0.5)}),
    lambda n: optimizers.RandomProjection(n(5)),
    lambda n: optimizers.WarmupDecay(n(0.5), n(10), n(2), end=n(0.25)),
    lambda n: samplers.Beam(n(3), n(0.5)),
    lambda n: samplers.Greedy(),
    lambda n: samplers.TopK(n(3), n(0.5)),
    lambda n: samplers.TopP(n(0.5), n(0.25)),
    lambda n: training.GeneralizedMean(n(2)),
    lambda n: training.GradientNormalization(),
    lambda n: training.InitialLoss(),
    lambda n: training.MinNorm(),
    lambda n: training.Mixture(n(0.5), {"a": n(2), "b": n(0.5)}, n(5)),
    lambda n: training.PrimaryTask("match"),
    lambda n: training.PriorLoss(),
    lambda n: training.RealTimeLoss(),
    lambda n: training.WeightedSum({"match": n(0.5)}),
    lambda n: callbacks.BestPreset("folder", "val_loss"),
    lambda n: callbacks.LearningLog("log.csv", n(5), n(0)),
    lambda n: callbacks.ResidualWarmup(n(5)),
    lambda n: callbacks.Resume("folder", n(5)),
    lambda n: callbacks.StopOnNaN(),
    lambda n: optimizers.EvaluateAverages(),
]
# Bases that nobody makes, and what takes no numbers but records, arrays, models or deltas.
OTHERS = set(
    "Backbone Tokenizer UnigramTokenizer LowRankDelta Adapters FrequencyScaling LengthScale Normalizer Position Residual "
    "ScoreBias ScoreProduct Visibility MatchingLoss OptimizerWrapper NonFiniteError Examples MixturePlan RecordBatches "
    "TaskWeights Sampler".split()
)


def numpys(value):
    kinds = {bool: np.bool_, int: np.int64, float: np.float32}
    return kinds[type(value)](value)


def described(thing):
    """All that an object says of its arguments, JSON-ready or not."""
    if isinstance(thing, keras.Model):
        return thing.architecture() if hasattr(thing, "architecture") else thing.task_config()
    if hasattr(thing, "get_config"):
        return thing.get_config()
    return {name: value for name, value in vars(thing).items() if isinstance(value, int | float | dict | np.generic)}


@pytest.mark.parametrize("make", MADE, ids=lambda make: str(inspect.getsource(make).split("(")[0].split(" ")[-1]))
def test_numbers_of_numpy(make):
    ours, wanted = (described(make(n)) for n in (numpys, lambda value: value))
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(wanted))


def test_every_public_class_is_here():
    made = {type(make(lambda value: value)).__name__ for make in MADE}
    public = set()
    for module in (zoo, layers, losses, optimizers, callbacks, training, samplers):
        names = getattr(module, "__all__", dir(module))
        classes = [(name, getattr(module, name)) for name in names if not name.startswith("_")]
        public |= {name for name, one in classes if inspect.isclass(one) and one.__module__.startswith("zoo.")}
    public.discard("PlainNumbers")  # which zoo.samplers, a plain module, has imported
    assert made | OTHERS >= public, public - made - OTHERS
    assert not OTHERS - public and not OTHERS & made
