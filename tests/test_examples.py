"""Every example runs as it stands: here in this process, with a tiny model.

The main job runs on each backend; what its options choose between is tested there on its own, so that they run once.
"""

import ast
import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import app, flags
from scipy.stats import rankdata
from support.examples import own_flags

import zoo
from zoo.backend.variables import to_numpy, weights_of
from zoo.callbacks.learning_log import read_csv_rows

once = pytest.mark.neutral
ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FAQ = ROOT / "examples" / "data" / "faq_zh"
SHORT = [
    "怎么改密码",
    "密码如何修改",
    "快递到哪了",
    "怎么查快递",
    "医保卡丢了",
    "补办医保卡",
    "话费怎么查",
    "查一下话费",
]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Folder of an untrained backbone that knows the characters of the bundled data."""
    keras.utils.set_random_seed(0)
    texts = [(FAQ / f"{name}.tsv").read_text(encoding="utf-8").lower() for name in ("questions", "paraphrases")]
    characters = sorted({character for text in texts for character in text if not character.isspace()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    backbone = zoo.RoFormerV2(
        vocabulary_size=len(vocabulary), num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.1
    )
    backbone.tokenizer = zoo.Tokenizer(vocabulary)
    folder = tmp_path_factory.mktemp("preset")
    backbone.save_to_preset(folder)
    return str(folder)


@pytest.fixture
def load(preset, monkeypatch):
    """`load(name, *arguments)` imports an example, its flags set by the arguments. Once a test."""

    def load(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
        example = importlib.util.module_from_spec(spec)
        arguments = [spec.name, *([f"--preset={preset}"] if name != "pretrain_mlm" else []), *arguments]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setitem(sys.modules, spec.name, example)
        spec.loader.exec_module(example)
        return example, flags.FLAGS(arguments)

    with own_flags():
        yield load


@pytest.fixture
def run(load, capsys):
    """`run(name, *arguments)` runs an example and gives what it prints."""

    def run(name, *arguments):
        example, arguments = load(name, *arguments)
        example.main(arguments)
        return capsys.readouterr().out

    return run


def write(path, header, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]), encoding="utf-8")
    return str(path)


def pair_file(path, labels, header=("text_a", "text_b", "label"), rows=24):
    """Pairs of short texts, the labels by turns."""
    cells = [(SHORT[i % 8], SHORT[(3 * i + i // 8 + 1) % 8], labels[i % len(labels)]) for i in range(rows)]
    return write(path, header, cells)


@pytest.fixture
def matching(run, tmp_path):
    """`matching(labels, *arguments)` runs the main job on small files and gives its output, folder and metrics."""

    def matching(labels, *arguments, header=("text_a", "text_b", "label")):
        paths = [f"--{name}={pair_file(tmp_path / f'{name}.tsv', labels, header)}" for name in ("train", "dev", "test")]
        folder = tmp_path / "output"
        small = ["--epochs=2", "--batch_size=8", "--max_length=16", "--learning_rate=0.001", f"--output={folder}"]
        out = run("text_matching", *paths, *small, *arguments)
        return out, folder, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))

    return matching


def test_text_matching(matching):
    """Both matchers: their presets score and classify as reported, and the figures are there."""
    out, folder, metrics = matching([1, 0], "--matcher=both")
    assert set(metrics["test"]) == {"shared characters", "representation", "interaction"}
    pictures = "training representation_scores interaction_scores reliability precision_recall"
    assert {path.stem for path in folder.glob("*.png")} == set(pictures.split())
    assert metrics["run"]["epochs"] == 2 and metrics["run"]["matcher"] == "both"
    test = zoo.data.read_pairs(folder.parent / "test.tsv")
    for kind, cls in (("representation", zoo.RepresentationMatcher), ("interaction", zoo.InteractionMatcher)):
        assert len(metrics["dev"][kind]["val_spearman"]) == 2
        assert f"{metrics['test'][kind]['accuracy']:.4f}" in out
        matcher = cls.from_preset(folder / kind)
        assert np.mean(matcher.classify(test) == test.labels) == pytest.approx(metrics["test"][kind]["accuracy"])


@once
def test_text_matching_with_classes(matching):
    out, folder, metrics = matching(["no", "maybe", "yes"], "--matcher=all", "--label=no,maybe,yes", "--epochs=1")
    assert set(metrics["test"]) == {"shared characters", "representation", "sbert", "interaction"}
    assert {"accuracy", "macro_f1"} <= set(metrics["test"]["interaction"])
    assert not (folder / "precision_recall.png").exists()
    assert zoo.TextClassifier.from_preset(folder / "interaction").class_names == ["no", "maybe", "yes"]


@once
def test_two_classes_are_no_match_and_match(matching):
    """The interaction matcher that was promised, not a classifier; its columns are those of the representation matcher."""
    _, folder, metrics = matching(["no", "yes"], "--label=no,yes", "--epochs=1")
    assert set(metrics["test"]["interaction"]) == set(metrics["test"]["representation"])
    assert "auc" in metrics["test"]["shared characters"]
    model = zoo.InteractionMatcher.from_preset(folder / "interaction")
    assert model.decision is not None and model.pooling == "comparison", "of a plain backbone"


@once
@pytest.mark.filterwarnings("ignore:validation_data", "ignore:Early stopping conditioned")
def test_a_dev_set_of_one_label_ends_with_the_plots_there_are(matching, tmp_path):
    dev = pair_file(tmp_path / "ones.tsv", [1], rows=3)
    out, folder, _ = matching([1, 0], "--matcher=representation", f"--dev={dev}", "--epochs=1")
    assert "dev is too small to judge by" in out
    assert {path.stem for path in folder.glob("*.png")} == {"representation_scores"}


@once
def test_text_matching_with_scores_and_micro_batches(matching):
    """Graded labels under another column name; CoSENT for both, the big batch in parts."""
    labels, header = [0.5, 2, 3.25, 5], ("text_a", "text_b", "score")
    options = ["--label=score", "--columns=text_a,text_b,score", "--micro_batch_size=4", "--epochs=1"]
    _, folder, metrics = matching(labels, *options, header=header)
    assert {"spearman", "pearson"} <= set(metrics["test"]["interaction"])
    assert (folder / "interaction_scores.png").exists()


@once
def test_text_matching_with_whole_grades(matching):
    """A Sentence-BERT head of as many classes as there are grades."""
    _, folder, metrics = matching(
        [0, 3, 1, 2], "--label=score", "--matcher=sbert", "--micro_batch_size=4", "--epochs=1"
    )
    assert zoo.RepresentationMatcher.from_preset(folder / "sbert").num_classes == 4
    assert "head_accuracy" in metrics["test"]["sbert"]


@once
@pytest.mark.parametrize("loss", ["AnglE", "Circle", "Contrastive", "CosineRegression", "InfoNCE"])
def test_text_matching_with_each_loss(matching, loss):
    # The small files hold eight texts, each in more rows than InfoNCE has batches.
    with pytest.warns(UserWarning, match="sit out each epoch") if loss == "InfoNCE" else contextlib.nullcontext():
        _, _, metrics = matching([1, 0], "--matcher=representation", f"--loss={loss}", "--epochs=1")
    assert np.isfinite(metrics["dev"]["representation"]["loss"]).all()


@once
def test_text_matching_cuts_off_what_is_missing(run, tmp_path):
    """From one file of 60 unrelated pairs; dev and test then share no text with train."""
    cells = [
        (f"{a}{b}", f"{b}{a}", i // 2 % 2) for i, (a, b) in enumerate(zip("的一是了我不人在他有" * 6, range(100, 160)))
    ]
    path = write(tmp_path / "all.tsv", ("text_a", "text_b", "label"), cells)
    out = run("text_matching", f"--train={path}", "--matcher=representation", "--epochs=1", f"--output={tmp_path}/o")
    assert "train: 54 pairs; dev: 3 pairs; test: 3 pairs; 0 leaked between them" in out


def test_multi_task(run, tmp_path):
    """Three tasks alone and together; the preset holds all three over one backbone."""
    small = ["--epochs=1", "--batch_size=8", "--limit=40", "--combine=min_norm", f"--output={tmp_path}/out"]
    out = run("multi_task", *small)
    assert "combine=min_norm" in out and (tmp_path / "out" / "multi_task.png").exists()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    model = zoo.MultiTask.from_preset(tmp_path / "out")
    assert list(model.tasks) == list(metrics["together"]) == ["match", "question", "lookalike"]
    assert f"{metrics['together']['match']:.3f}" in out


@once
def test_calibrated_classification(run, preset, tmp_path):
    """Four losses on labels of which a known share was made wrong."""
    small = [
        "--epochs=1",
        "--batch_size=8",
        "--limit=24",
        "--wrong=0.25",
        f"--matcher={preset}",
        f"--output={tmp_path}/out",
    ]
    out = run("calibrated_classification", *small)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["test"]) == ["cross entropy", "smoothed labels", "TaiLr(0.1)", "EMO"]
    assert 0.05 < metrics["wrong"] < 0.5 and (tmp_path / "out" / "calibration.png").exists()
    for row in metrics["test"].values():
        assert 0 <= row["ECE"] <= 1 and f"{row['log loss']:.3f}" in out


@pytest.mark.parametrize("kind", ["representation", pytest.param("interaction", marks=once)])
def test_mixture_matching(run, tmp_path, kind):
    """Sets of three kinds; the kept preset scores dev as the best epoch did."""
    sets = [
        ("faq", "pair", "label", [1, 0]),
        ("nli", "nli", "label", ["neutral", "entailment"]),
        ("sts", "sts", "score", [0, 5, 3]),
    ]
    files = {
        name: f"{name}={pair_file(tmp_path / f'{name}.tsv', labels, ('text_a', 'text_b', column))}:{kind}"
        for name, kind, column, labels in sets
    }
    dev = pair_file(tmp_path / "dev.tsv", [0, 1], rows=9)
    options = ["--epochs=2", "--steps_per_epoch=4", "--batch_size=8", "--max_length=16", f"--output={tmp_path}/out"]
    options += ["--dropout=0", f"--matcher={kind}", f"--dev=faq={dev}:pair"]
    options += ["--loss=cross_entropy", "--pooling=attention"] if kind == "interaction" else ["--info_nce=0.1"]
    left_out = pytest.warns(UserWarning, match="sit out each epoch: CoSENTInfoNCE")
    with left_out if kind == "representation" else contextlib.nullcontext():
        out = run("mixture_matching", *(f"--data={file}" for file in files.values()), *options)
    assert "faq: 14 pairs" in out, "24, of which dev holds 10 in one order or the other"
    history = read_csv_rows(tmp_path / "out" / "history" / "log.csv")
    cls = zoo.RepresentationMatcher if kind == "representation" else zoo.InteractionMatcher
    kept = cls.from_preset(tmp_path / "out").evaluate(zoo.data.read_pairs(dev), verbose=0)
    assert kept["spearman"] == pytest.approx(max(float(row["val_spearman"]) for row in history))


@once
def test_silver_pairs(run, tmp_path):
    """New pairs of near texts, none of them given or excluded, ranked as the teacher ranks them."""
    texts = ["手机号怎么过户", "手机号如何过户", "怎么办理手机号过户", "猫喜欢吃鱼", "猫爱吃鱼", "狗喜欢吃骨头"]
    given = write(tmp_path / "given.tsv", ("text_a", "text_b"), zip(texts[::2], texts[1::2]))
    excluded = write(tmp_path / "dev.tsv", ("text_a", "text_b"), [("猫爱吃鱼。", "猫喜欢吃鱼")])
    teacher = zoo.InteractionMatcher.from_preset("roformer_v2_tiny_zh", pooling="comparison")
    teacher.save_to_preset(tmp_path / "teacher")
    files = [f"--data={given}", f"--exclude={excluded}", f"--output={tmp_path}/silver.jsonl.gz"]
    run("silver_pairs", f"--teacher={tmp_path}/teacher", "--neighbours=3", *files)
    silver = zoo.data.read_pairs(tmp_path / "silver.jsonl.gz", ("text_a", "text_b", "score"), "score")
    found = {frozenset(pair[:2]) for pair in silver}
    assert found <= {frozenset(pair) for pair in itertools.combinations(texts, 2)} and len(found) == len(silver) >= 3
    assert not found & {frozenset(pair) for pair in [*zip(texts[::2], texts[1::2]), ("猫爱吃鱼", "猫喜欢吃鱼")]}
    ranks = rankdata(teacher.score(list(zip(*silver.columns)))) / len(silver)
    np.testing.assert_allclose(silver.labels, ranks.round(2), atol=0.011)


def test_distil(load, preset, tmp_path):
    """The layer that is kept follows the teacher, and the teacher computes each block of texts once."""
    pairs = pair_file(tmp_path / "pairs.tsv", [1, 0], rows=32)
    small = ["--layers=1", "--batch_size=4", "--epochs=60,1", "--learning_rate=0.01", f"--output={tmp_path}/out"]
    example, arguments = load("distil", f"--teacher={preset}", f"--pairs={pairs}", f"--test={pairs}", *small)
    teacher, before = zoo.RepresentationMatcher.from_preset(preset), example.new_student()
    kept, given = weights_of(before), weights_of(teacher)
    assert sum(path.startswith("layer_0") for path in kept) == sum(path.startswith("layer_1") for path in given) > 0
    for path, variable in kept.items():
        np.testing.assert_array_equal(to_numpy(variable), to_numpy(given[path.replace("layer_0", "layer_1")]))
    example.main(arguments)
    student = zoo.RepresentationMatcher.from_preset(tmp_path / "out" / "preset")
    assert student.backbone.num_layers == 1
    wanted = teacher.encode(SHORT)
    mean = wanted.mean(axis=0)

    def distance(model):
        centred = [vectors - mean for vectors in (model.encode(SHORT), wanted)]
        lengths = [np.linalg.norm(vectors, axis=1) for vectors in centred]
        return 1 - np.mean((centred[0] * centred[1]).sum(axis=1) / lengths[0] / lengths[1])

    assert distance(student) < 0.5 * distance(before)


@once
def test_distil_computes_a_teachers_vectors_once(load, tmp_path):
    """Killed between blocks it goes on with those that are missing; any object with `encode` is a teacher."""
    example, _ = load("distil")
    asked = []

    class Teacher:
        def encode(self, texts):
            asked.append(texts)
            return [[3.0 * len(text), 4.0 * len(text)] for text in texts]

    for _ in range(2):
        vectors = example.teacher_vectors(Teacher(), SHORT, tmp_path / "vectors", block=3)
        assert vectors.dtype == "float16" and asked == [SHORT[:3], SHORT[3:6], SHORT[6:]]
        np.testing.assert_allclose(vectors, np.tile([0.6, 0.8], (8, 1)), atol=1e-3)
    sorted((tmp_path / "vectors").glob("*.npy"))[0].unlink()
    example.teacher_vectors(Teacher(), SHORT, tmp_path / "vectors", block=3)
    assert len(asked) == 4


@once
def test_distil_fits_vectors_into_the_students_width(load):
    """Wider: the same angles. Narrower: the best approximation of the products of vectors of low rank."""
    example, _ = load("distil")
    vectors = np.random.default_rng(0).normal(size=(20, 3)) @ np.random.default_rng(1).normal(size=(3, 8))
    for width in (3, 5, 8, 12):
        fitted = example.fitted(vectors, width)
        assert fitted.shape == (20, width) and fitted.dtype == "float32"
        np.testing.assert_allclose(fitted @ fitted.T, vectors @ vectors.T, atol=1e-3)


@once
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("mixture_matching", ["--loss=cross_entropy"], "cosines take cosent"),
        ("mixture_matching", ["--info_nce=0.1", "--matcher=interaction"], "--info_nce compares vectors"),
        ("mixture_matching", ["--dev=a={path}:pair"], "two sets are named a: say another name for"),
        ("text_matching", ["--loss=InfoNCE", "--label=score"], "it takes --label=binary"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(run, tmp_path, name, arguments, words):
    path = pair_file(tmp_path / "a.tsv", [0, 1])
    files = [f"--data=a={path}:pair", f"--dev=a={path}:pair"] if name == "mixture_matching" else []
    with pytest.raises(app.UsageError, match=words):
        run(name, *files, *(argument.format(path=path) for argument in arguments))


@once
@pytest.mark.parametrize("option", ["--whole_word", "--optimizer=lamb", "--family=GAUAlpha"])
def test_pretrain_mlm_goes_on_after_a_kill(load, tmp_path, monkeypatch, option):
    """Stopped in its second epoch and started again, it ends with the numbers and the log of an unbroken run."""
    from zoo.data.language_model_rows import MaskedRows

    text = "\n".join(f"{text}，第{i}次问{text}。" for i in range(40) for text in SHORT)
    (tmp_path / "texts.txt").write_text(text, encoding="utf-8")
    small = "--layers=1 --width=16 --heads=2 --key_dim=8 --length=16 --batch_size=4 --vocabulary_size=90".split()
    small += ["--steps=9", "--steps_per_epoch=3", "--accumulate=2", "--dropout=0.1", "--dtype=float32", option]
    example, arguments = load("pretrain_mlm", f"--corpus={tmp_path}/*.txt", *small)
    flags.FLAGS.output = str(tmp_path / "whole")
    example.main(arguments)
    flags.FLAGS.output = str(tmp_path / "cut")
    rows = MaskedRows.__getitem__

    def killed(self, index):
        if self.epoch == 1 and index == 2:
            raise KeyboardInterrupt
        return rows(self, index)

    monkeypatch.setattr(MaskedRows, "__getitem__", killed)
    with pytest.raises(KeyboardInterrupt):
        example.main(arguments)
    assert not (tmp_path / "cut" / "heldout.json").exists()
    monkeypatch.setattr(MaskedRows, "__getitem__", rows)
    example.main(arguments)
    whole, cut = (json.loads((tmp_path / name / "heldout.json").read_text()) for name in ("whole", "cut"))
    assert cut == whole and 0 < whole["loss"] < 6
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "cut")]
    fields = [[line.split(",")[:2] + line.split(",")[3:] for line in log] for log in logs]  # without tokens_per_second
    assert fields[0] == fields[1] and len(logs[0]) == 4
    assert fields[0][0] == ["epoch", "tokens", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert (tmp_path / "cut" / "curve.png").exists()
    backbone = zoo.Backbone.from_preset(tmp_path / "cut" / "backbone")
    assert backbone.tokenizer.tokenize("密码12") == ["[CLS]", "密", "码", "1", "##2", "[SEP]"]


@once
def test_pretrain_mlm_goes_on_from_a_preset(run, preset, tmp_path):
    """Its vocabulary, sizes and, before any training, its weights."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(SHORT * 99), encoding="utf-8")
    options = [
        "--steps=1",
        "--steps_per_epoch=1",
        "--batch_size=2",
        "--length=16",
        "--learning_rate=0",
        "--dtype=float32",
    ]
    run("pretrain_mlm", f"--corpus={path}", f"--preset={preset}", f"--output={tmp_path}/run", *options)
    old, new = (zoo.Backbone.from_preset(folder) for folder in (preset, tmp_path / "run" / "backbone"))
    assert new.tokenizer.vocabulary == old.tokenizer.vocabulary
    for a, b in zip(old.weights, new.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    with pytest.raises(ValueError, match="ids of another vocabulary"):
        run("pretrain_mlm", f"--corpus={path}", "--preset=roformer_v2_tiny_zh", f"--output={tmp_path}/run", *options)


@once
def test_classification(run, tmp_path):
    """On own files; the bundled ones below."""
    rows = [(text, ("account", "parcel")[i % 4 // 2]) for i, text in enumerate(SHORT[:4] * 4)]
    path = write(tmp_path / "texts.tsv", ("text", "label"), rows)
    files = [f"--train={path}", f"--dev={path}", f"--test={path}", "--classes=account,parcel"]
    options = ["--epochs=2", "--max_length=16", "--batch_size=8", "--query=怎么改密码", f"--output={tmp_path}/o"]
    out = run("classification", *files, *options)
    metrics = json.loads((tmp_path / "o" / "metrics.json").read_text(encoding="utf-8"))
    assert f"test, 16 texts: accuracy {metrics['test']['accuracy']:.4f}" in out
    model = zoo.TextClassifier.from_preset(tmp_path / "o")
    assert model.classify(["怎么改密码"])[0] in out.splitlines()[-2]


@once
def test_classification_of_pairs(run, tmp_path):
    """Three columns: both texts in one input; a query is two texts."""
    rows = [(a, b, ("neutral", "entailment")[a == b]) for a in SHORT[:4] for b in SHORT[:4]]
    path = write(tmp_path / "nli.tsv", ("text_a", "text_b", "label"), rows)
    files = [f"--train={path}", f"--dev={path}", f"--test={path}", "--classes=neutral,entailment"]
    options = ["--columns=text_a,text_b,label", "--epochs=1", "--max_length=8", "--batch_size=8"]
    out = run("classification", *files, *options, "--query=a", "--query=b", f"--output={tmp_path}/o")
    assert "test, 16 texts: accuracy" in out and "a | b" in out
    model = zoo.TextClassifier.from_preset(tmp_path / "o")
    assert model.max_length == 16
    assert model.classify([("a", "b")])[0] in out.splitlines()[-2]


@once
def test_classification_asks_of_a_pair_both_texts(run):
    with pytest.raises(app.UsageError, match="given 1 times; a pair is two texts"):
        run("classification", "--train=t.tsv", "--columns=text_a,text_b,label", "--query=a")


@once
def test_bundled_domains_share_nothing_between_parts(load):
    """Every text is in one part, every part has all nine domains."""
    classes, *parts = load("classification")[0].read_faq()
    texts = [{text for text, _ in part} for part in parts]
    assert [len(part) for part in parts] == [739, 396, 510]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    assert [len({label for _, label in part}) for part in parts] == [len(classes)] * 3 == [9] * 3


def test_semantic_search(run):
    """On the bundled data; a standard question finds itself."""
    out = run("semantic_search", "--query=忘记登录密码了怎么找回？", "--k=3")
    assert "510 queries: recall@1 0." in out
    assert "of the exact neighbours" in out or "keras-zoo[search]" in out
    found = out.rstrip().rpartition("\n\n")[2].splitlines()
    assert found[:2] == ["忘记登录密码了怎么找回？", "   1.000  acc-01  忘记登录密码了怎么找回？"]
    assert len(found) == 4


def test_semantic_search_in_own_files(run, tmp_path):
    corpus = write(tmp_path / "corpus.tsv", ("id", "text"), [(f"t{i}", text) for i, text in enumerate(SHORT)])
    queries = write(tmp_path / "queries.tsv", ("text", "id"), [(text, f"t{i}") for i, text in enumerate(SHORT)])
    out = run("semantic_search", f"--corpus={corpus}", f"--queries={queries}", "--k=5")
    assert "8 queries: recall@1 1.0000, recall@5 1.0000, MRR 1.0000" in out


def test_export_matcher(run, tmp_path):
    out = run("export_matcher", f"--folder={tmp_path}/export", "--preset=roformer_v2_mini_zh_matching")
    rows = re.findall(r"^ *(-?\d\.\d{4})  +(-?\d\.\d{4})  (yes|no)", out, re.M)
    assert len(rows) == 5 and all(of_model == of_export for of_model, of_export, _ in rows)
    assert {decision for *_, decision in rows} == {"yes", "no"} and "model.onnx" in out


def test_sentence_embeddings(run, tmp_path):
    out = run("sentence_embeddings", f"--output={tmp_path}/vectors.npy", "--pairs=7")
    vectors = np.load(tmp_path / "vectors.npy", allow_pickle=False)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    cosines = vectors.astype("float64") @ vectors.astype("float64").T
    best = np.sort(cosines[np.triu_indices(len(vectors), 1)])[::-1][:7]
    printed = [float(line.split()[0]) for line in out.partition("most similar pairs\n")[2].splitlines()]
    np.testing.assert_allclose(printed, best, atol=6e-4)


def test_sentence_embeddings_has_a_row_for_each_line(run, tmp_path):
    """A repeated text has its rows in the file, and is not its own most similar text."""
    path = write(tmp_path / "texts.tsv", ("text", "id"), [(SHORT[i], i) for i in (0, 1, 0, 2)])
    out = run("sentence_embeddings", f"--texts={path}", f"--output={tmp_path}/vectors.npy")
    vectors = np.load(tmp_path / "vectors.npy", allow_pickle=False)
    assert len(vectors) == 4 and (vectors[0] == vectors[2]).all() and np.abs(vectors[0] - vectors[3]).max() > 1e-4
    pairs = [tuple(line[10:].split("  |  ")) for line in out.partition("most similar pairs\n")[2].splitlines()]
    assert sorted(pairs) == sorted(itertools.combinations([SHORT[0], SHORT[1], SHORT[2]], 2))


def test_sentence_embeddings_of_arguments(run):
    out = run("sentence_embeddings", *SHORT[:2])
    assert "2 texts, 16 numbers each" in out and "怎么改密码  |  密码如何修改" in out


@once
def test_an_example_is_a_script(preset, tmp_path):
    """As a user starts it: from another folder, with the package on the path."""
    script = str(ROOT / "examples" / "sentence_embeddings.py")
    done = subprocess.run(
        [sys.executable, script, f"--preset={preset}", *SHORT[:2]],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "most similar pairs" in done.stdout and not list(tmp_path.iterdir())


@once
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_stand_alone_and_say_how_to_run(path):
    """A page each, no imports between examples; the head shows the command; every flag's help is a sentence."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    tree = ast.parse(text)
    assert f"    python examples/{path.name}" in text.split('"""')[1]
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.partition(".")[0] for name in imported} & {example.stem for example in EXAMPLES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("flags.DEFINE"):
            strings = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            assert strings[-1].endswith("."), f"line {node.lineno}: a help text is a sentence"
