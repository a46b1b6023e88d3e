"""Matchers: scores are what the formula says, losses are those of the formula on raw strings, wrong labels teach."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import PAIRS, TEXTS, backbone, matcher, scatter_weights, to_numpy

import zoo
from zoo.losses import AnglE, Circle, CoSENT, CoSENTInfoNCE, CosineRegression, InfoNCE, Triplet
from zoo.text.token_rows import TokenRows

LABELS = np.array([pair[2] for pair in PAIRS])


@pytest.fixture(scope="module")
def model():
    return scatter_weights(matcher())


@pytest.fixture(scope="module")
def interaction():
    model = scatter_weights(zoo.InteractionMatcher(backbone(), dropout=0.0, max_length=16))
    model.compile(keras.optimizers.SGD(0.0), CoSENT(scale=1.0))
    return model


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosent(labels, scores, scale):
    """The formula, pair by pair in float64."""
    labels = np.asarray(labels)
    differences = scale * (scores[None, :] - scores[:, None])
    return np.log1p(np.exp(differences[labels[:, None] > labels[None, :]]).sum())


def softmax_cross_entropy(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


def loss_at_start(model, records, loss):
    """What `fit` reports for one batch of all records (and a row that fills up), nothing learned."""
    model.compile(keras.optimizers.SGD(0.0), loss)
    return model.fit(records, batch_size=8, verbose=0).history["loss"][0]


# Representation


def test_scores_are_cosines_of_the_pooled_hidden_states(model):
    """Against a mean over the real tokens in float64, with the hidden states of the backbone alone."""
    first_last = zoo.RepresentationMatcher(model.backbone, pooling="first_last_mean", max_length=16)
    tokens = model.tokenizer(TEXTS[:8], pad_to=16)
    hidden = [to_numpy(h) for h in model.backbone.hidden_states(tokens)]
    real = tokens["padding_mask"][..., None]
    means = [(h * real).sum(axis=1) / real.sum(axis=1) for h in (hidden[0], hidden[-1])]
    pairs = list(zip(TEXTS[:4], TEXTS[4:8]))
    for one, vectors in ((model, means[1]), (first_last, (means[0] + means[1]) / 2)):
        expected = (unit(vectors[:4]) * unit(vectors[4:])).sum(axis=1)
        assert_close(one.score(pairs), expected, atol=1e-5)


def test_score_is_symmetric_and_that_of_cached_embeddings(model):
    pairs = [pair[:2] for pair in PAIRS]
    scores = model.score(pairs)
    assert_close(model.score([(b, a) for a, b in pairs]), scores, atol=1e-6)
    vectors = dict(zip(TEXTS, model.encode(TEXTS, batch_size=8)))
    cached = [vectors[a] @ vectors[b] for a, b in pairs[:6]]
    assert_close(cached, scores[:6], atol=1e-6)
    assert_close(model.score(pairs[2:3]), scores[2:3], atol=1e-5)
    assert_close(model.predict(PAIRS), scores, atol=1e-6)
    assert model.score([("上下", "上下")])[0] == pytest.approx(1.0, abs=1e-6) and scores.max() <= 1


def test_classes_head_trains_on_u_v_and_their_distance():
    """Sentence-BERT: softmax over [u, v, |u - v|] of vectors that are not normalised."""
    model = scatter_weights(matcher(num_classes=3))
    pairs = [(a, b, i % 3) for i, (a, b, _) in enumerate(PAIRS)] + [("人民", "the cat", 1)]
    labels = [pair[2] for pair in pairs]
    u, v = (model.encode([pair[i] for pair in pairs], normalize=False).astype("float64") for i in (0, 1))
    kernel, bias = map(to_numpy, model.classifier.weights)
    logits = np.concatenate([u, v, np.abs(u - v)], axis=1) @ kernel + bias
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(pairs, batch_size=8, epochs=8, verbose=0).history["loss"]
    assert history[0] == pytest.approx(softmax_cross_entropy(logits, labels), rel=1e-4)
    assert history[-1] < 0.9 * history[0]
    # The head's own decisions, of weights as they are now.
    u, v = (model.encode([pair[i] for pair in pairs], normalize=False).astype("float64") for i in (0, 1))
    kernel, bias = map(to_numpy, model.classifier.weights)
    logits = np.concatenate([u, v, np.abs(u - v)], axis=1) @ kernel + bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert_close(model.class_probabilities(pairs), odds / odds.sum(axis=1, keepdims=True), atol=1e-4)
    result = model.evaluate(pairs)
    assert set(result) == {"spearman", "pearson", "head_accuracy"}
    assert result["head_accuracy"] == np.mean(logits.argmax(axis=1) == labels)
    assert model.class_probabilities([]).shape == (0, 3)
    assert "head_accuracy" not in model.evaluate([("a", "b", 0.5), ("c", "d", 1)]), "half a class is none"
    with pytest.raises(ValueError, match="from 0 to 2"):
        model.fit([("a", "b", 3)])
    with pytest.raises(ValueError, match="part of the loss"):
        model.fit(pairs, micro_batch_size=2)


def test_info_nce_on_triplets(model):
    """Matches and negatives of all rows are the candidates; no labels, a list of three strings a row."""
    triplets = [
        ("今天天气很好", "天气今天很好", "人民"),
        ("北京大学", "北京大学的学生", "上下"),
        ("the cat", "play rope", ""),
    ]
    u, v, w = (unit(model.encode([row[i] for row in triplets]).astype("float64")) for i in range(3))
    logits = 20 * np.concatenate([u @ v.T, u @ w.T], axis=1)
    expected = softmax_cross_entropy(logits, np.arange(3))
    assert loss_at_start(model, triplets, InfoNCE()) == pytest.approx(expected, rel=1e-4)
    assert (
        model.as_records(triplets) == zoo.data.as_triplets(triplets) == model.as_records(zoo.data.as_triplets(triplets))
    )


@pytest.mark.parametrize(
    ("loss", "records", "words"),
    [
        (CoSENT(), [("a", "b")], "CoSENT needs labelled pairs"),
        (AnglE(), [("a", "b")], "AnglE needs labelled pairs"),
        (InfoNCE(grouped=True), [("a", "b")], "InfoNCE needs labelled pairs"),
        (CoSENT(), [("a", "b", "c")], "CoSENT needs labelled pairs"),
        (InfoNCE(), [("a", "b", 1), ("c", "d", 0)], "takes every row for a match"),
        (Triplet(), [("a", "b", 0)], "takes every row for a match"),
        (Circle(), [("a", "b", 2), ("c", "d", 0)], "takes labels 0 and 1"),
        (CosineRegression(), [("a", "b", 5), ("c", "d", 0)], r"from 0 to 1, got 0 to 5; .*CosineRegression\(0, 5\)"),
        (CoSENT(), [("a", "b", float("nan"))], r"pairs\[0\]\[2\] is the label nan"),
        (CoSENT(), [], "x is empty"),
    ],
)
def test_records_that_the_loss_cannot_mean(model, loss, records, words):
    model.compile(keras.optimizers.SGD(0.0), loss)
    with pytest.raises(ValueError, match=words):
        model.fit(records)


REPEATED = [("今天天气很好", text) for text in TEXTS[1:6]] + [("上下", "人民")]


def test_rows_that_in_batch_negatives_leave_out_are_told(model):
    """One text in five rows, two batches: three rows sit out, unless groups say that they mean the same."""
    model.compile(keras.optimizers.SGD(0.0), InfoNCE())
    words = r"3 of 6 rows sit out .*'今天天气很好' stands in 5 rows while there are 2 batches.*grouped=True"
    with pytest.warns(UserWarning, match=words) as caught:
        model.fit(REPEATED, batch_size=3, epochs=2, verbose=0)
    assert [one.filename for one in caught if one.category is UserWarning] == [__file__]
    model.compile(keras.optimizers.SGD(0.0), InfoNCE(grouped=True))
    grouped = [(a, b, int(a == "上下")) for a, b in REPEATED]
    model.fit(grouped, batch_size=3, verbose=0)  # a warning would be an error
    assert model.distinct(model.as_records(grouped)) is None


def test_only_matches_are_kept_apart_beside_cosent(model):
    """Texts of pairs below `positive` are no negatives, so they may meet."""
    records = model.as_records([(a, b, 0.2 * i) for i, (a, b) in enumerate(REPEATED)])
    for loss, expected in (
        (CoSENTInfoNCE(positive=0.8), [(), (), (), (), *REPEATED[4:]]),
        (CoSENTInfoNCE(weight=0.0), None),
        (CoSENT(), None),
    ):
        model.compile(keras.optimizers.SGD(0.0), loss)
        assert model.distinct(records) == expected
    model.compile(keras.optimizers.SGD(0.0), CoSENTInfoNCE())
    with pytest.warns(UserWarning, match="3 of 6 rows sit out each epoch: CoSENTInfoNCE .*smaller batch_size$"):
        model.fit([(*pair, 1) for pair in REPEATED], batch_size=3, verbose=0)


class OwnLoss(keras.losses.Loss):
    """Squared error of the cosine, by somebody who has read `zoo.losses.needs`."""

    inputs = "embeddings"
    labels = "binary"
    repeats_hint = ", or say it in your own words"

    def call(self, y_true, y_pred):
        cosine = zoo.losses.cosine_similarity(y_pred[:, 0], y_pred[:, 1])
        return (keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "float32") - cosine) ** 2

    def distinct_texts(self, rows, labels):
        return [row if label else () for row, label in zip(rows, labels)]


def test_a_loss_of_ones_own_says_what_it_needs(model):
    loss = loss_at_start(model, PAIRS, OwnLoss(reduction="mean_with_sample_weight"))
    assert loss == pytest.approx(np.mean((LABELS - model.score(PAIRS)) ** 2), rel=1e-4)
    with pytest.raises(ValueError, match=r"OwnLoss takes labels 0 and 1, got also \[0.5\]"):
        model.fit([("a", "b", 0.5), ("c", "d", 1)])
    with pytest.raises(ValueError, match="OwnLoss needs labelled pairs"):
        model.fit([("a", "b")])
    with pytest.warns(UserWarning, match="3 of 6 rows sit out .*OwnLoss .* or say it in your own words$"):
        model.fit([(*pair, 1) for pair in REPEATED], batch_size=3, verbose=0)
    model.fit([(*pair, 0) for pair in REPEATED], batch_size=3, verbose=0)  # a warning would be an error


def test_a_loss_that_says_nothing_takes_scores_and_any_labels(model):
    graded = [(a, b, i / 7) for i, (a, b, _) in enumerate(PAIRS)]
    expected = np.mean((model.score(graded) - [pair[2] for pair in graded]) ** 2)
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    assert loss_at_start(model, graded, loss) == pytest.approx(expected, rel=1e-4)
    assert model.distinct(model.as_records(REPEATED)) is None


def test_validation_needs_labels(model):
    model.compile(keras.optimizers.SGD(0.0), InfoNCE())
    with pytest.raises(ValueError, match=r"expected \(text_a, text_b, label\)"):
        model.fit([("a", "b")], validation_data=[("a", "b")])
    with pytest.raises(ValueError, match="labelled pairs"):
        model.fit([("a", "b", "c")], validation_data=[("a", "b", "c")])


def test_validation_pairs_are_checked_before_training(model):
    model.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match="validation_data is empty"):
        model.fit(PAIRS, validation_data=[])


def test_one_label_has_no_correlation_and_stops_no_training(model):
    model.compile(keras.optimizers.SGD(0.0))
    dev = [(a, b, 1) for a, b, _ in PAIRS]
    with pytest.warns(UserWarning, match="all 7 labels are 1, so there is no val_spearman") as caught:
        history = model.fit(PAIRS, validation_data=dev, callbacks=[zoo.callbacks.StopOnNaN()], verbose=0).history
    assert [one.filename for one in caught if one.category is UserWarning] == [__file__]
    assert "val_best_accuracy" in history and not {"val_spearman", "val_pearson"} & set(history)
    assert np.isnan(model.evaluate(dev)["spearman"])


def test_no_head_of_classes(model):
    with pytest.raises(ValueError, match="num_classes"):
        model.class_probabilities([("a", "b")])


def test_options_that_do_not_exist():
    with pytest.raises(ValueError, match="pooling='average'"):
        matcher(pooling="average")
    with pytest.raises(ValueError, match="decision"):
        matcher(decision={"metric": "f1"})
    with pytest.raises(ValueError, match="here each is alone"):
        matcher(pooling="comparison")


# Interaction


def test_cosent_ranks_free_scores_by_graded_labels(interaction):
    pairs = [(a, b, grade) for (a, b, _), grade in zip(PAIRS, [5, 0.5, 4, 1, 0.5, 3, 2])]
    labels, scores = [pair[2] for pair in pairs], interaction.score(pairs).astype("float64")
    (loss,) = interaction.fit(pairs, batch_size=8, verbose=0).history["loss"]
    assert loss == pytest.approx(cosent(labels, scores, scale=1.0), rel=1e-4)
    start = interaction.get_weights()
    interaction.optimizer.learning_rate = 0.02
    interaction.fit(pairs, batch_size=8, epochs=15, verbose=0)
    result = interaction.evaluate(pairs)
    assert np.abs(interaction.score(pairs)).max() > 1, "free scores, not cosines"
    interaction.set_weights(start)
    assert set(result) == {"spearman", "pearson"}
    assert result["spearman"] > zoo.metrics.spearman(labels, scores)


def test_packed_pairs_come_back_in_their_order(interaction):
    """Both texts in one row: the order of the two matters, that of the pairs and their batches does not."""
    pairs = [pair[:2] for pair in PAIRS] + [(b, a) for a, b, _ in PAIRS]
    scores = interaction.score(pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    for batch_size in (1, 8):
        shuffled = interaction.score([pairs[i] for i in order], batch_size=batch_size)
        assert_close(shuffled, scores[order], atol=1e-5)
    assert np.abs(scores[:7] - scores[7:]).max() > 1e-3


def test_segment_ids_reach_the_model(interaction):
    """0 for both texts as the lineage fine-tunes its rotary models, 0 and 1 where asked for."""
    first, second = [pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]
    scores = {}
    for segment_ids in ("zeros", "pair"):
        interaction.segment_ids = segment_ids
        tokens = interaction.tokenizer(first, second, pad_to=16, max_length=16, segment_ids=segment_ids)
        assert tokens["segment_ids"].any() == (segment_ids == "pair")
        tokens = {name: np.concatenate([x, x[-1:]]) for name, x in tokens.items()}  # 8 rows, as score fills up
        scores[segment_ids] = interaction.score(PAIRS)
        assert_close(scores[segment_ids], np.asarray(interaction.predict_on_batch(tokens))[:7], atol=1e-5)
    interaction.segment_ids = "zeros"
    assert np.abs(scores["zeros"] - scores["pair"]).max() > 1e-3


def test_segment_ids_of_each_family(interaction):
    families = {name: getattr(zoo, name).pair_segment_ids for name in zoo.FAMILIES}
    assert families == {
        "BERT": "pair",
        "ALBERT": "pair",
        "RoFormer": "zeros",
        "RoFormerV2": "zeros",
        "GAUAlpha": "zeros",
        "NEZHA": "pair",
        "ELECTRA": "pair",
    }
    assert interaction.segment_ids == "zeros"
    for kind, expected in (("pair", [0, 0, 0, 1, 1, 0]), ("zeros", [0] * 6)):
        rows = TokenRows(interaction.tokenizer, ["a"], ["b"], 16, kind)
        assert rows.batch([0], 6)["segment_ids"][0].tolist() == expected


def test_comparison_starts_as_the_cosine_of_the_two_texts(tmp_path):
    """The means of the hidden states before and after the first [SEP], each with the [SEP] behind it."""
    model = zoo.InteractionMatcher(scatter_weights(backbone()), pooling="comparison", max_length=16)
    tokens = model.tokenizer(*zip(*[pair[:2] for pair in PAIRS]), pad_to=16, max_length=16, segment_ids="zeros")
    hidden = np.asarray(model.backbone.predict_on_batch({n: tokens[n] for n in model.backbone.input}), "float64")
    cosines = []
    for row, ids in zip(hidden, tokens["token_ids"].tolist()):
        first = ids.index(model.tokenizer.sep_token_id) + 1
        end = ids.index(model.tokenizer.sep_token_id, first) + 1
        u, v = row[:first].mean(0), row[first:end].mean(0)
        cosines.append(u @ v / np.sqrt((u @ u) * (v @ v)))
    scores = model.score(PAIRS)
    assert_close(scores, 20 * np.array(cosines) - 10, atol=1e-4)
    model.compile(keras.optimizers.Adam(0.01), zoo.losses.CoSENT(scale=1.0))
    model.fit(PAIRS, batch_size=8, verbose=0)
    model.save_to_preset(tmp_path / "saved")
    loaded = zoo.InteractionMatcher.from_preset(tmp_path / "saved")
    assert np.abs(model.score(PAIRS) - scores).max() > 0.1
    assert_close(loaded.score(PAIRS), model.score(PAIRS), atol=1e-5)
    loaded.tokenizer = None
    with pytest.raises(ValueError, match="finds the second text by"):
        loaded.predict_on_batch(tokens)


def test_long_pairs_lose_the_longer_text_first(interaction):
    with pytest.warns(UserWarning, match="1 of 1 records have more than max_length=16 tokens, the longest 1,004"):
        encoded, _ = interaction.encode_records(zoo.data.as_pairs([("天" * 999, "北京")]))
    assert encoded.lengths.tolist() == [16]
    row = interaction.tokenizer.decode(encoded.batch([0], 16)["token_ids"][0].tolist())
    assert row.startswith("天" * 11) and row.endswith("北京")


def test_cross_entropy_leaves_out_the_rows_that_fill_up(interaction):
    """Seven pairs in a batch of eight: the loss is the mean over seven, in one batch and in parts."""
    before, labels = interaction.loss, [pair[2] for pair in PAIRS]
    scores = interaction.score(PAIRS).astype("float64")
    expected = np.mean(np.logaddexp(0, scores) - labels * scores)
    interaction.compile(keras.optimizers.SGD(0.0), metrics=[keras.metrics.BinaryAccuracy("correct", threshold=0.0)])
    for micro_batch_size in (None, 3):
        history = interaction.fit(PAIRS, batch_size=8, micro_batch_size=micro_batch_size, verbose=0).history
        assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
        assert_close(history["correct"], [np.mean((scores > 0) == labels)])
    interaction.compile(keras.optimizers.SGD(0.0), before)


def test_interaction_needs_zeros_and_ones_for_cross_entropy(interaction):
    loss = interaction.loss
    interaction.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match=r"also \[3\].*CoSENT"):
        interaction.fit([("a", "b", 3)])
    with pytest.raises(ValueError, match="labelled pairs"):
        interaction.fit([("a", "b")])
    interaction.compile(keras.optimizers.SGD(0.0), InfoNCE())
    with pytest.raises(ValueError, match="InfoNCE compares vectors of texts, which an interaction matcher has not"):
        interaction.fit([("a", "b", 1)])
    interaction.compile(keras.optimizers.SGD(0.0), Circle())
    with pytest.raises(ValueError, match="Circle takes labels 0 and 1"):
        interaction.fit([("a", "b", 2), ("c", "d", 0)])
    interaction.compile(keras.optimizers.SGD(0.0), loss)


def test_interaction_takes_odd_texts(interaction):
    with (
        pytest.warns(UserWarning, match="1 of 3 texts hold nothing"),
        pytest.warns(UserWarning, match="1 of 3 records"),
    ):
        scores = interaction.score([("", ""), (" ", "天" * 10_000), ("鑫", "\x00")])
    assert np.isfinite(scores).all() and interaction.score([]).shape == (0,)
    with pytest.raises(TypeError, match=r"pairs\[0\]\[1\] is None"):
        interaction.score([("a", None)])


@pytest.mark.parametrize("kind", ["representation", "interaction"])
def test_rank_is_the_order_of_the_scores(kind):
    model = matcher() if kind == "representation" else zoo.InteractionMatcher(backbone(), max_length=32)
    scatter_weights(model)
    texts = TEXTS
    expected = model.score([("今天天气很好", text) for text in texts])
    ids, scores = model.rank("今天天气很好", texts)
    assert sorted(ids) == list(range(len(texts)))
    np.testing.assert_array_equal(scores, expected[ids])
    assert (np.diff(scores) <= 0).all()
    best, _ = model.rank("今天天气很好", texts, k=2)
    np.testing.assert_array_equal(best, ids[:2])
    assert model.rank("今天天气很好", [])[0].shape == (0,)
    with pytest.raises(TypeError, match="rank takes one query, a str, got the list"):
        model.rank(["今天天气很好"], texts)
    with pytest.raises(ValueError, match="k=0"):
        model.rank("今天天气很好", texts, k=0)
    model.score = lambda pairs, verbose: np.array([0.5, 0.9, 0.5, 0.9], "float32")
    assert model.rank("今天天气很好", texts[:4])[0].tolist() == [1, 3, 0, 2]  # of equal scores the first one first


def test_similarity_is_the_table_of_the_scores():
    model = matcher()
    scatter_weights(model)
    table = model.similarity(TEXTS[:3], TEXTS[2:7])
    expected = model.score([(a, b) for a in TEXTS[:3] for b in TEXTS[2:7]]).reshape(3, 5)
    np.testing.assert_allclose(table, expected, atol=1e-6)
