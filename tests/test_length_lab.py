"""The length lab on a tiny model: what is trained, reread, tested, kept, and when a ranking agrees with its post."""

import dataclasses
import json
import pathlib
import sys
import types

import numpy as np
import pytest
from support.arrays import assert_close

pytestmark = pytest.mark.neutral
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "length"
MODULES = ("lab_criteria", "lab_model", "lab_report", "lab_results", "lab_variants")
SIZES = {
    "layers": 4, "width": 16, "key_dim": 8, "length": 8, "batch_size": 4, "steps": 4, "steps_per_epoch": 2,
    "dtype": "float32", "test_tokens": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def lab():
    """The lab's modules by name, its flags apart."""
    from absl import flags

    before = set(flags.FLAGS)
    sys.path.insert(0, str(FOLDER))
    found = types.SimpleNamespace(**{name: __import__(name) for name in (*MODULES, "lab")})
    sys.path.remove(str(FOLDER))
    yield found
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    for name in (*MODULES, "lab"):
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def corpus():
    """A tokenizer, text to train on and held-out text."""
    import zoo
    from zoo.data.corpus import TokenStream

    tokenizer = zoo.Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"甲乙丙丁戊己庚辛"])
    ids = np.random.default_rng(0).integers(5, 13, 600).astype("uint16")
    return tokenizer, TokenStream(ids[:400]), TokenStream(ids[400:])


@pytest.fixture(scope="module")
def baseline(lab, corpus, tmp_path_factory):
    """A setting and a baseline trained in it."""
    tokenizer, train, _ = corpus
    setting = lab.lab_model.Setting(**SIZES)
    options = lab.lab_variants.TRAININGS["baseline"](setting.layers, setting.length)
    return setting, lab.lab_model.trained(setting, options, tokenizer, train, 0, str(tmp_path_factory.mktemp("lab")))


def test_labels_are_the_next_tokens(lab, corpus):
    tokenizer, train, _ = corpus
    setting = lab.lab_model.Setting(**SIZES)
    data = lab.lab_model.NextTokens(train, setting, tokenizer, 0)
    inputs, labels = data[0]
    assert inputs["token_ids"].shape == labels.shape == (4, 8)
    assert (inputs["token_ids"][:, 0] == tokenizer.cls_token_id).all()
    np.testing.assert_array_equal(inputs["token_ids"][:, 1:], labels[:, :-1])
    assert tokenizer.sep_token_id not in labels, "no row teaches where it ends"
    stream = "".join(map(chr, train.ids))
    assert all("".join(map(chr, row)) in stream for row in labels)
    first = data[1][1]
    data.epoch = 1
    assert (data[1][1] != first).any(), "another epoch, other rows"


def test_every_length_cuts_the_same_text_and_repeats_its_beginning(lab, corpus):
    setting, ids = lab.lab_model.Setting(**SIZES), corpus[2].ids
    for length in (8, 16, 32):
        inputs, labels = lab.lab_model.held_out_rows(ids, setting, length, False, 2)
        np.testing.assert_array_equal(labels.ravel(), ids[:64])
        np.testing.assert_array_equal(inputs, np.insert(labels[:, :-1], 0, 2, axis=1))
        _, repeated = lab.lab_model.held_out_rows(ids, setting, length, True, 2)
        for place in range(length):
            np.testing.assert_array_equal(repeated[:, place], labels[:, place % 8])
    with pytest.raises(ValueError, match="64 of 63 held-out tokens do not fill a row of 16"):
        lab.lab_model.held_out_rows(ids[:63], setting, 16, False, 2)
    assert lab.lab_model.cells(setting, [8, 16]) == [(8, False), (16, False), (16, True)]


def test_loss_and_accuracy_are_over_all_tokens(lab, corpus, baseline):
    (setting, model), ids = baseline, corpus[2].ids
    inputs, labels = lab.lab_model.held_out_rows(ids, setting, 16, True, 2)
    logits = model.predict({"token_ids": inputs}, verbose=0).astype("float64")
    right = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    expected = {
        "loss": np.mean(np.log(np.exp(logits).sum(-1)) - right),
        "accuracy": 100 * np.mean(logits.argmax(-1) == labels),
    }
    found = lab.lab_model.tested(model, setting, ids, 16, True, 2)
    assert_close([found["loss"], found["accuracy"]], [expected["loss"], expected["accuracy"]], atol=1e-4)


def test_readings_change_nothing_that_they_should_not(lab, corpus, baseline):
    """At N tokens windows, log-n and ReRoPE of a window of N are the baseline; scaled frequencies are not."""
    from zoo.layers.attention_options import AttentionOptions
    from zoo.layers.rerope import ReRoPE

    setting, model = baseline
    inputs, _ = lab.lab_model.held_out_rows(corpus[2].ids, setting, 8, False, 2)
    logits = model.predict_on_batch({"token_ids": inputs})
    readings = {reading.name: reading for reading in lab.lab_variants.READINGS}

    def difference(options):
        other = lab.lab_model.reread(model, setting, options)
        return np.abs(other.predict_on_batch({"token_ids": inputs}) - logits).max()

    def reading(name):
        return difference(readings[name].layer_attention(setting.layers, setting.length, setting.factor))

    assert max(map(reading, ("baseline", "window N", "baseline, log-n after"))) < 1e-5
    assert difference(AttentionOptions(position=ReRoPE(setting.length, True))) < 1e-5
    assert min(map(reading, ("PI", "NTK-fixed", "YaRN", "ReRoPE N/2", "ReRoPE N/4"))) > 1e-5


def test_every_reading_fits_its_training(lab):
    setting, variants = lab.lab_model.Setting(), lab.lab_variants
    for reading in variants.READINGS:
        trained = variants.TRAININGS[reading.training](setting.layers, setting.length)
        read = reading.layer_attention(setting.layers, setting.length, setting.factor)
        assert isinstance(read, list) == isinstance(trained, list)
        for options in read if isinstance(read, list) else [read]:
            options.check(1, setting.key_dim)
            options.check_pattern("causal")
    assert {reading.training for reading in variants.READINGS} == set(variants.TRAININGS)
    files = {lab.lab_results.file_name(reading.name) for reading in variants.READINGS}
    assert len(files) == len(variants.READINGS)


def test_finished_cells_are_not_measured_again(lab, corpus, tmp_path, monkeypatch):
    setting, measured, fitted = lab.lab_model.Setting(**SIZES), [], []
    tested, trained = lab.lab.tested, lab.lab.trained
    monkeypatch.setattr(lab.lab, "tested", lambda *a: measured.append(a[3:5]) or tested(*a))
    monkeypatch.setattr(lab.lab, "trained", lambda *a: fitted.append(a[4]) or trained(*a))
    work = lambda lengths, **changes: lab.lab.work(
        "bias", 0, lab.lab_model.Setting(**{**SIZES, **changes}), lengths, *corpus, str(tmp_path)
    )
    work([8, 16])
    assert measured == [(8, False), (16, False), (16, True)] and fitted == [0]
    path = pathlib.Path(lab.lab_results.path_of(str(tmp_path), 0, "bias"))
    before = json.loads(path.read_text(encoding="utf-8"))["cells"]
    work([8, 16])
    assert len(measured) == 3 and fitted == [0], "nothing missing, nothing read"
    work([8, 16, 32])
    assert measured[3:] == [(32, False), (32, True)]
    path.unlink()
    work([8, 16])
    assert json.loads(path.read_text(encoding="utf-8"))["cells"] == before, "the same trained model"
    with pytest.raises(ValueError, match=r"bias\.json was made with other settings.*steps.*\(4, 2\)"):
        work([8], steps=2)
    path.unlink()
    with pytest.raises(ValueError, match=r"settings\.json was made with other settings"):
        work([8], steps=2)
    page = lab.lab.summarize(setting, [8, 16], 1, str(tmp_path))
    assert "not measured" in page and (tmp_path / "lab.png").exists()
    for name, steps in (("baseline", 2), ("PI", 4)):
        lab.lab_results.keep(lab.lab_results.path_of(str(tmp_path), 0, name), {**SIZES, "steps": steps}, before)
    with pytest.raises(ValueError, match=r"was made with other settings than .*; remove one"):
        lab.lab.summarize(setting, [8, 16], 1, str(tmp_path))


def test_a_stopped_training_ends_where_it_would_have(lab, corpus, baseline, tmp_path, monkeypatch):
    tokenizer, train, _ = corpus
    (setting, whole), data = baseline, lab.lab_model.NextTokens
    options = lab.lab_variants.TRAININGS["baseline"](setting.layers, setting.length)
    train_it = lambda: lab.lab_model.trained(setting, options, tokenizer, train, 0, str(tmp_path))

    def stopping(self, index):
        if self.epoch == 1:
            raise RuntimeError("the power is off")
        return serve(self, index)

    serve = data.__getitem__
    with monkeypatch.context() as broken:
        broken.setattr(data, "__getitem__", stopping)
        with pytest.raises(Exception, match="the power is off"):  # TensorFlow wraps it
            train_it()
    for ours, expected in zip(train_it().get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)


def numbers(**readings):
    """Results: reading -> accuracy at 1,024 tokens by seed; the loss is 10 minus a tenth of it."""
    return {
        name: {
            seed: {"1024": {"accuracy": value, "loss": 10 - value / 10}, "128": {"accuracy": 30.0, "loss": 7.0}}
            for seed, value in enumerate(values)
        }
        for name, values in readings.items()
    }


def test_agreement(lab):
    ranking = lab.lab_criteria.Ranking("a claim", "archives/1", ("PI", "baseline"))
    verdict = lambda **readings: ranking.verdict(numbers(**readings), 128)
    assert verdict(PI=[20.0], baseline=[10.0]) == "yes (1 of 1 seeds agree)"
    assert verdict(PI=[9.0], baseline=[10.0]) == verdict(PI=[9.0], baseline=[9.0]) == "no (1 of 3 seeds run)"
    with_ties = dataclasses.replace(ranking, ties=True)
    assert with_ties.verdict(numbers(PI=[9.0], baseline=[9.0]), 128) == "yes (1 of 1 seeds agree)"
    assert with_ties.verdict(numbers(PI=[8.9], baseline=[9.0]), 128) == "no (1 of 3 seeds run)"
    assert verdict(PI=[9.0, 9.0, 11.0], baseline=[10.0, 10.0, 10.0]) == "no (1 of 3 seeds agree)"
    assert verdict(PI=[9.0, 9.0, 13.0], baseline=[10.0, 10.0, 10.0]) == "yes (1 of 3 seeds agree)", "the mean decides"
    assert verdict(PI=[9.0]) == verdict() == "not measured"
    assert verdict(PI=[9.0, 20.0], baseline=[8.0]) == "yes (1 of 1 seeds agree)", "seeds that have both"
    assert ranking.smallest_gap(numbers(PI=[9.0, 12.0], baseline=[10.0, 10.0]), 128) == 0.5
    assert ranking.smallest_gap(numbers(), 128) is None


def test_losses_rank_the_other_way_round(lab):
    criteria = lab.lab_criteria
    longer = criteria.Ranking("", "", (criteria.Term("PI"), criteria.Term("PI", (1,))), "loss", ties=True)
    assert longer.verdict(numbers(PI=[30.0]), 128)[:3] == longer.verdict(numbers(PI=[31.0]), 128)[:3] == "yes"
    assert longer.verdict(numbers(PI=[29.0]), 128) == "no (1 of 3 seeds run)"


def test_means_over_lengths_need_all_of_them(lab):
    term = lab.lab_criteria.Term("PI", (1, 8))
    assert term.values(numbers(PI=[20.0]), 128, "accuracy") == {0: 25.0}
    assert lab.lab_criteria.Term("PI", (1, 8, 16)).values(numbers(PI=[20.0]), 128, "accuracy") == {}


def test_the_posts_agree_with_their_own_rankings(lab):
    names = {reading.name for reading in lab.lab_variants.READINGS}
    for ranking in lab.lab_criteria.RANKINGS:
        assert {term.reading for term in ranking.ranked()} <= names, ranking.claim
        known = [number for number in ranking.posts() if number is not None]
        assert len(known) < 2 or ranking.in_order(known), ranking.claim
    claims = [ranking.claim for ranking in lab.lab_criteria.RANKINGS]
    assert len(set(claims)) == len(claims)


def test_pairs_in_the_posts_order(lab):
    results = numbers(**{"PI": [5.0], "baseline": [6.0], "NTK-fixed": [8.0], "NTK-mixed": [7.0]})
    rows = lab.lab_criteria.order_of(results, 128)
    assert [row[0] for row in rows] == ["NTK-mixed", "NTK-fixed", "baseline", "PI"]
    assert lab.lab_criteria.pairs_in_order(rows, "NTK-mixed") == (2, 3)
    assert lab.lab_criteria.pairs_in_order(rows, "PI") == (3, 3)
    page = lab.lab_report.report(results, lab.lab_model.Setting(), [128, 1024])
    assert (
        "5 of 6 pairs of rows" in page and "| PI | 30.00 | 5.00 |  | 49.41 | 15.04 | 13.54 | 4 | 4 | 3 of 3 |" in page
    )
    assert "| no (1 of 3 seeds run) |" in page and "--seeds=3 settles them" in page
