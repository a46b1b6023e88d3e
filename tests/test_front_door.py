"""One front door: the verbs of every task take or refuse raw texts alike; options are refused before a step is trained."""

import keras
import numpy as np
import pytest
from support.tiny_models import PAIRS, TEXTS, backbone, matcher

import zoo
from zoo.losses import InfoNCE

LABELLED = [(text, index % 2) for index, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def tasks():
    made = {
        "representation": (matcher(), PAIRS),
        "interaction": (zoo.InteractionMatcher(backbone(), max_length=32), PAIRS),
        "classifier": (zoo.TextClassifier(backbone(), 2, max_length=16, class_names=["account", "parcel"]), LABELLED),
        "language model": (zoo.CausalLM(backbone(attention_mask="causal"), max_length=16), TEXTS),
        "masked language model": (zoo.MaskedLM(backbone()), TEXTS),
    }
    for task, _ in made.values():
        task.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return made


CONTAINERS = {
    "object array": lambda rows: np.array(rows, object),
    "zip or map": lambda rows: map(str, rows) if isinstance(rows[0], str) else zip(*zip(*rows)),
    "generator": lambda rows: (row for row in rows),
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize(
    "name", ["representation", "interaction", "classifier", "language model", "masked language model"]
)
def test_every_verb_takes_what_is_plainly_rows(tasks, name, kind):
    task, rows = tasks[name]
    held = CONTAINERS[kind]
    expected = task.evaluate(rows, verbose=0)
    assert task.evaluate(held(rows), verbose=0) == expected
    found = task.fit(held(rows), validation_data=held(rows), batch_size=4, verbose=0).history
    assert {f"val_{metric}" for metric in expected} <= set(found)
    if "language model" not in name:
        texts = [row[:-1] for row in rows]
        np.testing.assert_array_equal(task.predict(held(texts), verbose=0), task.predict(texts, verbose=0))
        assert list(task.classify(held(texts))) == list(task.classify(texts))


DICTS = [dict(zip(("text_a", "text_b", "label"), row)) for row in PAIRS]


@pytest.mark.parametrize(
    "name", ["representation", "interaction", "classifier", "language model", "masked language model"]
)
def test_what_has_columns_is_refused_by_every_verb(tasks, name):
    task, _ = tasks[name]
    verbs = ["fit", "evaluate", "predict"] if "language model" not in name else ["fit", "evaluate"]
    for verb in verbs:
        for data in (DICTS, {key: [row[key] for row in DICTS] for key in DICTS[0]}):
            with pytest.raises(TypeError, match=r"make rows of it: .*(row|data)\['text_a'\], (row|data)\['text_b'\]"):
                getattr(task, verb)(data)
    with pytest.raises(TypeError, match=r"validation_data: .*make rows of it"):
        task.fit(tasks[name][1], validation_data=DICTS)


def test_texts_never_reach_keras(tasks):
    for task, _ in tasks.values():
        for call in (task, task.predict_on_batch, task.test_on_batch, task.train_on_batch):
            with pytest.raises(TypeError, match=r"takes arrays of token ids, got the list .*model\.tokenizer\(texts\)"):
                call(["今天天气"])
    head = zoo.NextSentence(backbone("BERT"))
    for call in (head, head.fit, head.evaluate, head.predict, head.predict_on_batch):
        with pytest.raises(TypeError, match=r"takes arrays of token ids, got the list .*model\.tokenizer\(texts\)"):
            call([("今天", "天气")])
    with pytest.raises(ValueError, match=r"not compiled; call compile\(optimizer, loss\)"):
        head.fit({"token_ids": np.ones((1, 3), "int32")}, np.ones((1, 3)))


@pytest.mark.parametrize("name", ["representation", "interaction", "classifier"])
def test_arrays_by_other_names_are_refused_by_name(tasks, name):
    """Keras' KeyError named one input; the model is as it was."""
    task, rows = tasks[name]
    before, ids = task.evaluate(rows, verbose=0), np.ones((2, 1, 4), "int32")
    says = r"got inputs \['input_ids'\]; expected a dict of token_ids and padding_mask.*raw texts go into"
    for call in (task, lambda x: task.predict(x, verbose=0), task.predict_on_batch):
        with pytest.raises(ValueError, match=says):
            call({"input_ids": ids})
    with pytest.raises(ValueError, match=r"got (ndarray|Tensor|ArrayImpl|EagerTensor); expected a dict of token_ids"):
        task(ids)
    assert task.evaluate(rows, verbose=0) == before


def test_arrays_without_labels_are_refused(tasks):
    for task, _ in tasks.values():
        with pytest.raises(ValueError, match=r"arrays need labels beside them, fit\(x, y\); raw texts go into fit"):
            task.fit({"token_ids": np.ones((2, 3), "int32")})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epoch": 3}, "did you mean epochs?"),
        ({"batchsize": 3}, "did you mean batch_size?"),
        ({"validation": TEXTS}, "did you mean validation_data?"),
        ({"learning_rate": 0.1}, "it is of the optimizer"),
        ({"validation_split": 0.1}, "zoo.data.split"),
        ({"epochs": 0}, r"fit\(epochs=0\): expected a whole number of at least 1"),
        ({"epochs": 1.5}, r"fit\(epochs=1.5\)"),
        ({"batch_size": 0}, r"fit\(batch_size=0\)"),
        ({"batch_size": "8"}, r"fit\(batch_size='8'\)"),
        ({"callbacks": ["early"]}, r"callbacks\[0\] is 'early'"),
        ({"callbacks": keras.callbacks.TerminateOnNaN}, r"TerminateOnNaN\(\.\.\.\)"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_training(tasks, options, says):
    for task, rows in tasks.values():
        steps = int(task.optimizer.iterations)
        with pytest.raises((TypeError, ValueError), match=says):
            task.fit(rows, verbose=0, **options)
        assert int(task.optimizer.iterations) == steps


def test_a_label_that_is_a_string_is_no_text():
    model = matcher()
    model.compile(keras.optimizers.SGD(0.0), InfoNCE(), jit_compile=False)
    strings = [(a, b, str(label)) for a, b, label in PAIRS]
    for rows in (strings, np.array(PAIRS), [(a, b, f"{label}.0") for a, b, label in PAIRS]):
        for verb in (model.fit, model.evaluate):
            with pytest.raises(TypeError, match=r"pairs\[0\] is .*its last value is the str '1.*int\(label\)"):
                verb(rows)
    for words in (["no", "yes"], ["match", "match"]):
        with pytest.raises(TypeError, match=r"its last value is the str .* become numbers of yours"):
            model.fit([(a, b, words[label]) for a, b, label in PAIRS])
    with pytest.raises(TypeError, match=r"pairs\[1\]\[2\] is the str '0'"):
        model.fit([PAIRS[0], strings[1]])
    negatives = [(a, b, f"{a}？") for a, b, _ in PAIRS]
    assert isinstance(model.as_records(negatives), zoo.data.Triplets)
    assert isinstance(model.as_records(zoo.data.as_triplets(strings)), zoo.data.Triplets), "said to be texts"
    with_classes = matcher(num_classes=2)
    with pytest.raises(TypeError, match=r"pairs\[0\]\[2\] is the str '1'"):
        with_classes.fit(strings)


def test_names_of_classes_are_no_texts(tasks):
    model, _ = tasks["classifier"]
    named = [("今天", "account"), ("天气", "parcel")]
    for call in (model.fit, model.evaluate, model.predict, model.classify):
        with pytest.raises(
            TypeError, match=r"records\[0\] .*the str 'account', the name of class 0; expected its number"
        ):
            call(named)
    for verb in (model.fit, model.evaluate):
        with pytest.raises(
            TypeError, match=r"records\[0\] .*its label is the str '1'; expected a number, int\(label\)"
        ):
            verb([("今天", "1")])
        with pytest.raises(TypeError, match=r"the str 'account', the name of class 0"):
            verb([("今天", "天气", "account")])
    assert model.predict([("今天", "天气")]).shape == (1, 2), "pairs without labels are pairs"


def test_a_name_is_no_backbone():
    for task in (zoo.RepresentationMatcher, zoo.InteractionMatcher, zoo.CausalLM, zoo.MaskedLM, zoo.NextSentence):
        with pytest.raises(TypeError, match=rf"{task.__name__}\.from_preset\('roformer_v2_tiny_zh'\)"):
            task("roformer_v2_tiny_zh")


def test_what_is_no_tokenizer_of_the_model():
    large = zoo.Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"t{n}" for n in range(200))])
    for task in (
        zoo.RepresentationMatcher,
        zoo.InteractionMatcher,
        lambda *args: zoo.TextClassifier(*args[:1], 2, *args[1:]),
    ):
        for wrong in ("vocab.txt", zoo.Tokenizer, ["a", "b"], 7):
            with pytest.raises(
                TypeError, match="tokenizer is the .*expected an object such as zoo.Tokenizer.from_vocabulary"
            ):
                task(backbone(), wrong)
        with pytest.raises(ValueError, match="the tokenizer has 205 tokens, the RoFormerV2 rows for 120"):
            task(backbone(), large)
    for model, ask in (
        (matcher(), lambda model: model.encode(["t1"])),
        (zoo.CausalLM(backbone(attention_mask="causal")), lambda model: model.generate(["t1"], 2)),
    ):
        model.tokenizer = large
        with pytest.raises(ValueError, match="the tokenizer has 205 tokens"):
            ask(model)
        model.tokenizer = None
        with pytest.raises(ValueError, match="has no tokenizer: use from_preset"):
            ask(model)
        model.verified = False  # as of a folder of others
        with pytest.raises(ValueError, match=r"has no tokenizer: its preset holds none.*AutoTokenizer"):
            ask(model)


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        ({}, {}, "got an empty dict; several sets of records are a dict"),
        ({1: PAIRS}, {}, "got the name 1 of type int"),
        ({"a": PAIRS, 2: PAIRS}, {}, "got the name 2 of type int"),
        ({"a": PAIRS}, {"mixture": 0.7}, r"fit\(mixture=0.7\): expected zoo.training.Mixture\(alpha=0.7\)"),
        (PAIRS, {"mixture": "even"}, r"fit\(mixture='even'\): expected zoo.training.Mixture"),
    ],
)
def test_sets_that_are_none(data, options, says):
    model = matcher()
    with pytest.raises(TypeError, match=says):
        model.fit(data, verbose=0, **options)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: zoo.TextClassifier(backbone(), "3"), "TextClassifier: num_classes='3'; expected a whole number"),
        (lambda: zoo.TextClassifier(backbone(), True), "num_classes=True"),
        (lambda: zoo.RepresentationMatcher(backbone(), num_classes=2.5), "num_classes=2.5"),
        (lambda: zoo.InteractionMatcher(backbone(), dropout="0.1"), "InteractionMatcher: dropout='0.1'"),
        (lambda: zoo.TextClassifier(backbone(), 2, dropout=1.5), "dropout=1.5; expected a number in"),
        (lambda: matcher().fit(PAIRS, micro_batch_size="2"), r"fit\(micro_batch_size='2'\)"),
        (lambda: matcher().fit(PAIRS, seed=1.5), r"fit\(seed=1.5\)"),
        (lambda: matcher().encode(TEXTS, batch_size="4"), "batch_size='4'"),
        (lambda: matcher().score(PAIRS, batch_size=2.5), "batch_size=2.5"),
        (lambda: matcher().compile(loss={"a": zoo.losses.CoSENT()}), "loss is a dict; a RepresentationMatcher has one"),
        (
            lambda: zoo.optimizers.LowRank("adam", form=zoo.optimizers.GaLore),
            r"expected an object such as .*GaLore\(\)",
        ),
        (lambda: zoo.freeze(matcher(), ["layer_0"]), "as the pattern of paths; expected a regular expression"),
        (lambda: zoo.freeze(matcher(), "layer_("), "is no regular expression"),
        (
            lambda: zoo.CausalLM(backbone(attention_mask="causal")).generate([[2, 5]], 2, end=["[SEP]"]),
            r"token_to_id\('\[SEP\]'\)",
        ),
        (
            lambda: zoo.MaskedLM(backbone(), masked_positions=True).predict(
                {"token_ids": np.array([[2, 5, 3]]), "masked_positions": np.array([[1, 3]])}
            ),
            "masked_positions go from 1 to 3 in rows of 3 tokens",
        ),
    ],
)
def test_wrong_values_are_named(ask, says):
    with pytest.raises((TypeError, ValueError), match=says):
        ask()


def test_a_loss_by_its_class():
    model = matcher()
    model.compile(loss=zoo.losses.InfoNCE)
    assert isinstance(model.loss, InfoNCE)
    model.compile(loss=zoo.losses.CoSENT)
    model.fit(PAIRS, verbose=0)
    classifier = zoo.TextClassifier(backbone(), 2, max_length=16)
    with pytest.raises(ValueError, match=r"loss=TaiLr is a class that needs gamma: loss=zoo.losses.TaiLr\(gamma=...\)"):
        classifier.compile(loss=zoo.losses.TaiLr)
    both = zoo.MultiTask({"match": model})
    both.compile(loss={"match": zoo.losses.InfoNCE})
    assert isinstance(model.loss, InfoNCE)


def test_labels_of_one_value_are_refused_before_training():
    model = matcher()
    alike = [(a, b, 1) for a, b, _ in PAIRS]
    for data, where in ((alike, ""), ({"a": PAIRS, "b": alike}, "set 'b': ")):
        with pytest.raises(ValueError, match=f"{where}CoSENT compares rows of different labels, and all 7 are 1"):
            model.fit(data, verbose=0)


def test_a_threshold_set_by_hand_comes_back(tmp_path):
    model = matcher()
    model.threshold = np.float32(0.25)
    model.save_to_preset(tmp_path / "preset")
    again = zoo.RepresentationMatcher.from_preset(tmp_path / "preset")
    assert again.decision == {"threshold": 0.25, "metric": "manual"} and again.threshold == 0.25
    assert (again.classify([pair[:2] for pair in PAIRS]) == (again.score(PAIRS) >= 0.25)).all()
    assert zoo.RepresentationMatcher.from_preset(tmp_path / "preset", decision=0.75).threshold == 0.75
    assert keras.models.clone_model(zoo.TextClassifier(backbone(), 2)) is not None
    with pytest.raises(ValueError, match="matcher.threshold = 0.8"):
        matcher().classify(PAIRS)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: zoo.losses.Cosent, "did you mean CoSENT"),
        (lambda: zoo.optimizers.AdamW, "did you mean FusedAdamW"),
        (lambda: zoo.data.read_csv, "did you mean read_"),
        (lambda: zoo.layers.RotaryEmbeding, "did you mean RotaryEmbedding"),
        (lambda: zoo.callbacks.resume_, "did you mean Resume"),
        (lambda: zoo.training.Mixtur, "did you mean Mixture"),
        (lambda: zoo.RepresentationMatchr, "did you mean RepresentationMatcher"),
    ],
)
def test_a_misspelt_name_is_told_the_nearest(ask, says):
    with pytest.raises(AttributeError, match=says):
        ask()


def test_misspelt_options_of_presets_and_losses():
    load = zoo.RepresentationMatcher.from_preset
    for options, says in (
        ({"max_lenght": 32}, "did you mean max_length"),
        ({"with_mlm": True}, r"zoo\.MaskedLM\.from_preset"),
    ):
        with pytest.raises(TypeError, match=says):
            load("roformer_v2_tiny_zh", load_weights=False, **options)
    with pytest.raises(ValueError, match=r"losses of zoo are objects: loss=zoo\.losses\.CoSENT\(\)"):
        matcher().compile(loss="cosent")
    with pytest.raises(zoo.store.PresetError, match='from_preset."hf://junnyu/roformer_v2_chinese_char_small".'):
        load("junnyu/roformer_v2_chinese_char_small")


def test_no_bar_where_nobody_sees_it(tasks, capsys):
    """`verbose="auto"` in a file or a pipe: a line an epoch, no backspaces."""
    for task, rows in tasks.values():
        task.fit(rows, epochs=2, batch_size=2)
        out = capsys.readouterr().out
        assert "\b" not in out and "\r" not in out and out.count("\n") <= 4
    task, rows = tasks["representation"]
    task.encode([f"{text}{number}" for number in range(200) for text in TEXTS], batch_size=256)
    assert capsys.readouterr().out == ""


def test_language_models_have_a_validation_loss(tasks):
    task, rows = tasks["language model"]
    history = task.fit(rows, validation_data=rows, verbose=0).history
    assert history["val_loss"] == history["val_cross_entropy"]
