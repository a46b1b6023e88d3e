"""Keras' verbs on raw strings: order, batches, padding and odd texts decide nothing; training is reproducible."""

import keras
import numpy as np
import pytest
from support.arrays import assert_close
from support.tiny_models import PAIRS, TEXTS, backbone, matcher, scatter_weights

import zoo
from zoo.metrics import best_threshold
from zoo.text.token_rows import TokenRows

LABELS = np.array([pair[2] for pair in PAIRS])


@pytest.fixture(scope="module")
def model():
    """Only used for its outputs."""
    return scatter_weights(matcher())


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(11)
    model = matcher()
    model.compile(keras.optimizers.SGD(0.05))
    return model, model.get_weights()


@pytest.fixture
def trainee(compiled):
    """A model compiled once for all tests, back at its start."""
    model, start = compiled
    model.set_weights(start)
    model.optimizer.learning_rate = 0.05
    model.decision = None
    return model


# Encoding


def test_D08_order_is_restored(model):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    vectors = model.encode(TEXTS, batch_size=4)
    assert_close(model.encode([TEXTS[i] for i in order], batch_size=4), vectors[order], atol=1e-6)
    assert np.abs(vectors - vectors[0])[1:].max(axis=1).min() > 1e-3, "the texts must differ for this to say anything"


def test_any_list_in_any_batches_gives_each_text_its_vector(model):
    """40 random lists with repetitions: order, company, padding and batch size decide nothing."""
    alone = {text: model.encode([text], batch_size=1)[0] for text in TEXTS}
    rng = np.random.default_rng(5)
    for _ in range(40):
        texts = [TEXTS[i] for i in rng.integers(0, len(TEXTS), rng.integers(1, 30))]
        vectors = model.encode(texts, batch_size=int(rng.choice([1, 4, 8])))
        assert_close(vectors, [alone[text] for text in texts], atol=1e-5)


def test_repeated_texts_get_one_vector(model):
    twice = model.encode([*TEXTS, *TEXTS], batch_size=4)
    assert (twice[:12] == twice[12:]).all()
    assert_close(twice[:12], model.encode(TEXTS, batch_size=4), atol=1e-5)


def test_batches_and_padding_change_nothing(model):
    vectors = model.encode(TEXTS, batch_size=4, normalize=False)
    assert_close(model.encode(TEXTS[3:4], normalize=False), vectors[3:4], atol=1e-5)
    tokens = model.tokenizer(TEXTS, pad_to=29)
    padded = model.predict_on_batch({name: x[:, None] for name, x in tokens.items()})
    assert_close(padded[:, 0], vectors, atol=1e-5)


def test_batches_change_nothing_in_bfloat16():
    model = scatter_weights(matcher(dtype="mixed_bfloat16"))
    few = model.encode([TEXTS[9], TEXTS[0], TEXTS[5]], batch_size=4)
    vectors = model.encode(TEXTS, batch_size=4)
    assert vectors.dtype == np.float32
    assert_close(few, vectors[[9, 0, 5]], atol=2e-3)


def test_D04_odd_texts_have_finite_unit_vectors(model):
    odd = [
        "",
        " \t\n\u3000",
        "\x00\x01",
        "鑫龘",
        "天" * 100_000,
        "a" * 100_000,
        "e\u0301" * 50,
        "😀\u200d🔥",
        "[CLS] [SEP]",
    ]
    with pytest.warns(UserWarning, match="4 of 9 texts"), pytest.warns(UserWarning, match="2 of 9 records"):
        vectors = model.encode(odd, batch_size=4)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6, err_msg="white space is no text")
    with pytest.warns(UserWarning, match="4 of 9 texts"), pytest.warns(UserWarning, match="2 of 9 records"):
        scores = model.score([(text, "") for text in odd], batch_size=4)
    assert np.isfinite(scores).all() and scores[0] == pytest.approx(1.0)


def test_D05_cut_texts_are_reported_once_a_call(trainee):
    """16 tokens are 14 characters with [CLS] and [SEP]; what is just full is not cut."""
    full, longer, longest = "天" * 14, "天" * 15, "天气" * 500
    trainee.encode([full, *TEXTS])  # a warning would be an error
    pairs = [(full, longer, 1), (longest, longer, 0), ("上下", "人民", 1), ("人民", full, 0)]
    calls = [
        (lambda: trainee.encode([full, longer, longest]), "2 of 3 records"),
        (lambda: trainee.score(pairs), "2 of 5 records"),
        (lambda: trainee.predict(pairs), "2 of 5 records"),
        (lambda: trainee.evaluate(pairs), "2 of 5 records"),
        (lambda: trainee.fit_threshold(pairs), "2 of 5 records"),
        (lambda: trainee.classify(pairs), "2 of 5 records"),
        (lambda: trainee.fit(pairs, batch_size=4, epochs=2, validation_data=pairs, verbose=0), "2 of 5 records"),
        # Nothing cut in training: then the validation texts are reported, after the first epoch alone.
        (lambda: trainee.fit(PAIRS, batch_size=4, epochs=2, validation_data=pairs, verbose=0), "2 of 5 records"),
    ]
    for call, words in calls:
        with pytest.warns(UserWarning) as caught:
            call()
        (message,) = [str(one.message) for one in caught if one.category is UserWarning]
        assert words in message and "max_length=16 tokens, the longest 1,002" in message
        assert "built for no more" in message
    trainee.max_length = 12
    with pytest.warns(
        UserWarning, match=r"1 of 1 records.*max_length=12.*from_preset\(..., max_length=...\) takes up to 16"
    ):
        trainee.encode([full])
    trainee.max_length = 16


def test_shapes_that_cost_nothing_are_not_rounded(trainee, monkeypatch):
    """Only XLA compiles each shape: in eager and graph mode batches are as long as their longest row, results equal."""
    lengths = []
    batch = TokenRows.batch
    monkeypatch.setattr(
        TokenRows, "batch", lambda self, rows, n, *rest: lengths.append(n) or batch(self, rows, n, *rest)
    )
    vectors = trainee.encode(TEXTS, batch_size=4)
    compiled = keras.backend.backend() == "jax" or (keras.backend.backend() == "tensorflow" and trainee.jit_compile)
    assert set(lengths) == ({16} if compiled else {9, 7, 4})
    if keras.backend.backend() == "tensorflow":
        lengths.clear()
        graph = type(trainee).from_config(trainee.get_config())
        graph.tokenizer = trainee.tokenizer
        graph.set_weights(trainee.get_weights())
        graph.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        np.testing.assert_allclose(graph.encode(TEXTS, batch_size=4), vectors, atol=1e-5)
        assert set(lengths) == {9, 7, 4}
        graph.fit(PAIRS, batch_size=2, verbose=0)
        traced, pool = [], type(graph).pool
        monkeypatch.setattr(type(graph), "pool", lambda self, *args, **kw: traced.append(1) or pool(self, *args, **kw))
        for text in TEXTS:  # lengths and batches of every kind: the graph that is there already does for all of them
            graph.encode([text])
        assert not traced


def test_D04_none_is_an_error_with_its_index(model):
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        model.encode(["a", None])
    with pytest.raises(TypeError, match=r"pairs\[2\]\[1\] is None"):
        model.score([("a", "b"), ("c", "d"), ("e", None)])
    with pytest.raises(TypeError, match=r"pairs\[1\] is None"):
        model.fit([("a", "b", 1), None])
    with pytest.raises(TypeError, match=r"encode\(\[text\]\)"):
        model.encode("今天")


def test_nothing_in_nothing_out(model):
    assert model.encode([]).shape == (0, 16)
    assert model.score([]).shape == model.predict([]).shape == (0,)


def test_no_tokenizer(model):
    config = model.get_config()
    config["backbone"]["config"]["tokenizer"] = None
    bare = type(model).from_config(config)
    with pytest.raises(ValueError, match="no tokenizer"):
        bare.encode(["a"])


# Training


def test_D17_the_same_seed_gives_the_same_training(trainee):
    histories, start = [], trainee.get_weights()
    for seed in (3, 3, 4):
        trainee.set_weights(start)
        histories.append(trainee.fit(PAIRS, batch_size=4, epochs=2, seed=seed, verbose=0).history["loss"])
    assert histories[0] == histories[1] != histories[2]


def test_validation_is_over_the_whole_set(trainee):
    """In every epoch; the last one's numbers are those of evaluate, whatever the batch size."""
    history = trainee.fit(PAIRS, batch_size=4, epochs=2, validation_data=PAIRS, verbose=0).history
    assert {name for name in history if name.startswith("val_")} == {
        f"val_{name}"
        for name in ("loss", "spearman", "pearson", "auc", "average_precision", "best_accuracy", "accuracy", "f1")
    }
    for batch_size in (4, 64):
        result = trainee.evaluate(PAIRS, batch_size=batch_size)
        assert {f"val_{k}": v for k, v in result.items() if f"val_{k}" in history} == pytest.approx(
            {k: v[-1] for k, v in history.items() if k.startswith("val_") and k != "val_loss"}, abs=1e-6
        )


def test_threshold_is_fitted_after_training(trainee):
    trainee.fit(PAIRS, batch_size=4, validation_data=PAIRS, verbose=0)
    threshold, value = best_threshold(LABELS, trainee.score(PAIRS), "accuracy")
    assert trainee.decision["threshold"] == threshold and trainee.decision["value"] == value
    assert value == np.mean(trainee.classify(PAIRS) == LABELS) == trainee.evaluate(PAIRS)["accuracy"]


def test_training_drops_the_threshold_of_older_weights(trainee):
    """It neither classifies nor colours the metrics; what it made best is kept for the next one."""
    trainee.fit_threshold(PAIRS, "f1")
    old = trainee.decision["threshold"]
    history = trainee.fit(PAIRS, batch_size=4, verbose=0).history
    assert trainee.decision is None and "val_accuracy" not in history
    assert "accuracy" not in trainee.evaluate(PAIRS)
    with pytest.raises(ValueError, match=rf"threshold {old:.4g} was fitted before the last fit .*fit_threshold"):
        trainee.classify(PAIRS)
    history = trainee.fit(PAIRS, batch_size=4, validation_data=PAIRS, verbose=0).history
    assert trainee.decision["metric"] == "f1" and history["val_f1"] == [trainee.decision["value"]]
    assert trainee.decision["threshold"] == best_threshold(LABELS, trainee.score(PAIRS), "f1")[0]
    with pytest.raises(ValueError, match="no records"):
        trainee.fit([])
    with pytest.raises(TypeError, match="no shuffle with records: rows are shuffled by `seed`"):
        trainee.fit(PAIRS, shuffle=False)
    with pytest.raises(ValueError, match="batch_size=0"):
        trainee.fit(PAIRS, batch_size=0)
    with pytest.raises(ValueError, match="2 Resume callbacks"):
        trainee.fit(PAIRS, callbacks=[zoo.callbacks.Resume("a"), zoo.callbacks.Resume("b")])
    with pytest.raises(TypeError, match="no_such_option"):
        trainee.fit({"token_ids": np.zeros((1, 2, 4), "int32")}, np.ones(1), no_such_option=1)
    assert trainee.decision is not None, "nothing was trained"
    # Arrays that go straight to Keras change the weights just as well.
    encoded, rows = trainee.encode_records(trainee.as_records(PAIRS[:4]))
    trainee.fit(encoded.batch(rows, 16), LABELS[:4].astype("float32"), batch_size=4, verbose=0)
    assert trainee.decision is None


def test_the_best_preset_has_the_threshold_of_its_epoch(trainee, tmp_path):
    """Saved inside `fit`, it decides; an epoch that was worse leaves another threshold in the model."""
    best = zoo.callbacks.BestPreset(tmp_path / "best", "val_cut", mode="min")

    class Cut(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_cut"] = epoch  # the first epoch is the best

    history = trainee.fit(
        PAIRS, batch_size=4, epochs=2, validation_data=PAIRS, callbacks=[Cut(), best], verbose=0
    ).history
    loaded = zoo.RepresentationMatcher.from_preset(tmp_path / "best")
    assert loaded.decision["threshold"] == pytest.approx(best_threshold(LABELS, loaded.score(PAIRS), "accuracy")[0])
    assert loaded.decision["threshold"] != trainee.decision["threshold"]
    assert np.mean(loaded.classify(PAIRS) == LABELS) == history["val_accuracy"][0] == loaded.decision["value"]


def test_a_restored_state_drops_the_threshold_of_other_weights(trainee, tmp_path):
    trainee.fit(PAIRS, batch_size=4, callbacks=[zoo.callbacks.Resume(tmp_path)], verbose=0)
    trainee.fit_threshold(PAIRS)
    assert zoo.callbacks.Resume(tmp_path).restore(trainee) == 1
    assert trainee.decision is None


def test_early_stopping_on_a_whole_set_metric(trainee):
    trainee.optimizer.learning_rate = 0.0
    stop = keras.callbacks.EarlyStopping(monitor="val_spearman", mode="max", patience=1, restore_best_weights=True)
    history = trainee.fit(PAIRS, batch_size=4, epochs=9, validation_data=PAIRS, callbacks=[stop], verbose=0).history
    assert len(history["loss"]) == 2


def cosent(labels, scores, scale=20.0):
    """The formula, pair by pair in float64."""
    higher = np.asarray(labels)[:, None] > np.asarray(labels)[None, :]
    differences = scale * (scores[None, :] - scores[:, None])
    return np.log1p(np.exp(differences[higher]).sum())


def test_reported_loss_leaves_out_the_rows_that_fill_up(trainee):
    trainee.optimizer.learning_rate = 0.0
    (loss,) = trainee.fit(PAIRS, batch_size=8, verbose=0).history["loss"]
    assert loss == pytest.approx(cosent(LABELS, trainee.score(PAIRS).astype("float64")), rel=1e-4)


def test_default_training_in_bfloat16():
    """Nothing compiled by hand: AdamW and CoSENT."""
    model = matcher(dtype="mixed_bfloat16")
    before = model.get_weights()
    (loss,) = model.fit(PAIRS, batch_size=4, verbose=0).history["loss"]
    assert np.isfinite(loss) and type(model.loss).__name__ == "CoSENT"
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_default_optimizer_does_not_decay_norms_and_biases(model):
    optimizer = model.default_optimizer()
    assert float(optimizer.learning_rate) == pytest.approx(4e-5 * 768 / 16)
    names = ("kernel", "embeddings", "bias", "gamma", "beta")
    weights = [keras.Variable(np.ones(2, "float32"), name=name) for name in names]
    optimizer.apply([keras.ops.zeros(2)] * 5, weights)
    decayed = {name for name, w in zip(names, weights) if keras.ops.convert_to_numpy(w).max() < 1}
    assert decayed == {"kernel", "embeddings"}


def test_arrays_go_to_keras(model):
    tokens = model.tokenizer(TEXTS[:4], pad_to=16)
    arrays = {name: x[:, None] for name, x in tokens.items()}
    assert_close(model.predict(arrays, verbose=0)[:, 0], model.encode(TEXTS[:4], normalize=False, batch_size=4))


def datasets_of(arrays, labels=None):
    """The same batches as each kind of data set that Keras takes."""
    import tensorflow as tf
    import torch

    rows = len(next(iter(arrays.values())))
    batches = []
    for start in range(0, rows, 2):
        x = {name: array[start : start + 2] for name, array in arrays.items()}
        batches.append((x,) if labels is None else (x, labels[start : start + 2]))

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, index):
            return batches[index]

    whole = (arrays,) if labels is None else (arrays, labels)
    return {
        "PyDataset": Batches(),
        "tf.data": tf.data.Dataset.from_tensor_slices(whole).batch(2),
        "DataLoader": torch.utils.data.DataLoader(batches, batch_size=None),
    }


@pytest.mark.parametrize("kind", ["representation", "interaction", "classifier"])
def test_datasets_go_to_keras(kind):
    """predict, evaluate and fit of arrays and of every kind of data set: one rule, one result."""
    if kind == "representation":
        task = scatter_weights(matcher())
        tokens = {name: x[:, None] for name, x in task.tokenizer(TEXTS[:4], pad_to=16).items()}
        tokens = {name: np.concatenate([x, x[::-1]], axis=1) for name, x in tokens.items()}
    else:
        cls, options = (
            (zoo.InteractionMatcher, {}) if kind == "interaction" else (zoo.TextClassifier, {"num_classes": 2})
        )
        task = scatter_weights(cls(backbone(), dropout=0.0, max_length=16, **options))
        tokens = task.tokenizer(TEXTS[:4], pad_to=16)
    task.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    labels = np.array([0, 1, 0, 1], "int32" if kind == "classifier" else "float32")
    expected = np.asarray(task.predict_on_batch(tokens))
    assert_close(task.predict(tokens, verbose=0), expected, atol=1e-5)
    for data in datasets_of(tokens).values():
        assert_close(task.predict(data, verbose=0), expected, atol=1e-5)
    losses = []
    for data in datasets_of(tokens, labels).values():
        losses.append(task.evaluate(data, verbose=0))
    for data in datasets_of(tokens, labels).values():
        losses.append(task.fit(data, verbose=0, shuffle=False).history["loss"][0])
    assert np.ptp(losses) < 1e-4 * np.mean(losses)


def test_what_means_nothing_with_records_is_refused(trainee):
    with pytest.raises(ValueError, match=r"labels belong into the records: fit\("):
        trainee.fit([("a", "b")], [1])
    with pytest.raises(ValueError, match=r"labels belong into the records: evaluate\("):
        trainee.evaluate([("a", "b")], [1])
    for options in ({"validation_freq": 5}, {"sample_weight": [1.0]}, {"steps_per_epoch": 1}, {"validation_steps": 1}):
        with pytest.raises(TypeError, match=f"fit takes no {next(iter(options))} with records"):
            trainee.fit(PAIRS, **options)
    with pytest.raises(TypeError, match="evaluate takes no sample_weight with records"):
        trainee.evaluate(PAIRS, sample_weight=LABELS)
    with pytest.raises(ValueError, match="return_dict=False"):
        trainee.evaluate(PAIRS, return_dict=False)
    assert trainee.evaluate(PAIRS, return_dict=True) == trainee.evaluate(PAIRS)
    with pytest.raises(TypeError, match="predict takes no steps with records"):
        trainee.predict(PAIRS, steps=1)


class Frame:
    """What of a pandas.DataFrame matters here: it iterates over the names of its columns."""

    columns, iloc = ("text_a", "text_b", "label"), None

    def __iter__(self):
        return iter(self.columns)


def test_containers_that_do_not_iterate_over_rows_are_refused(model):
    for call in (model.encode, model.score, model.fit, model.evaluate):
        with pytest.raises(TypeError, match=r"the Frame with columns 'text_a'.*values\.tolist\(\)"):
            call(Frame())
    for wrong in ({"a": 1}, {"a", "b"}):
        with pytest.raises(TypeError, match=f"texts is the {type(wrong).__name__}"):
            model.encode(wrong)


@pytest.mark.parametrize(
    ("dtype", "mend"), [(None, "its weights hold NaN"), ("mixed_bfloat16", "try .*dtype='float32'")]
)
def test_scores_that_are_not_finite_are_no_decisions(dtype, mend):
    """NaN >= threshold would be 0, which is an answer. One text whose only token has a row of NaN."""
    model = scatter_weights(matcher(dtype=dtype))
    model.fit_threshold(PAIRS)
    table = model.backbone.token_embedding.embeddings
    values = np.array(keras.ops.convert_to_numpy(table))
    values[model.tokenizer.encode("the")[0][1]] = np.nan
    table.assign(values)
    assert np.isfinite(model.encode(TEXTS[:2])).all()
    with pytest.raises(zoo.callbacks.NonFiniteError, match=rf"output for texts\[7\].* 1 of 12 .*policy '.*': .*{mend}"):
        model.encode(TEXTS)
    for call in (model.classify, model.score, model.evaluate, model.fit_threshold):
        with pytest.raises(zoo.callbacks.NonFiniteError, match=r"output for pairs\[5\].* 2 of 7 are"):
            call(PAIRS)


def test_unknown_pooling_names_the_known():
    with pytest.raises(ValueError, match="first_last_mean"):
        matcher(pooling="average")
