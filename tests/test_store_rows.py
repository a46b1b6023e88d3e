"""Rows of SECURITY.md about the state of a folder: R2 (no manifest), R11 (versions), R12 (tests that are lost)."""

import json
import pathlib
import subprocess
import sys

import pytest
from support.hostile_presets import files, load, put, with_config

import zoo
from zoo.formats import hub, zoo_preset
from zoo.store import Folder, PresetError, seal, write_folder

pytestmark = pytest.mark.neutral

COUNT_TESTS = pathlib.Path(__file__).resolve().parent.parent / ".ci" / "count_tests.py"


# R2


def test_R02_our_own_presets_need_their_manifest(tmp_path):
    """Without it a save or copy was cut short: nothing says that the files belong together."""
    put(tmp_path / "ours", files("matcher"))
    with pytest.raises(PresetError, match=r"ours: manifest\.json is missing.*zoo\.store\.seal"):
        load(tmp_path / "ours")
    seal(tmp_path / "ours")
    assert load(tmp_path / "ours").verified is True
    for kind in ("hugging_face", "tensorflow"):
        put(tmp_path / kind, files(kind))
        assert load(tmp_path / kind).verified is False
        seal(tmp_path / kind)
        assert load(tmp_path / kind).verified is True


def test_R02_an_edit_on_purpose_is_sealed(tmp_path):
    write_folder(tmp_path, files("matcher"))
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(text.replace("0.125", "0.625"), encoding="utf-8")
    with pytest.raises(PresetError, match=r"config\.json: .*if you edited it yourself, call zoo\.store\.seal"):
        load(tmp_path)
    (tmp_path / "notes.txt").write_text("added")
    seal(str(tmp_path))
    assert load(tmp_path).verified and Folder(tmp_path).text("notes.txt") == "added"
    assert zoo.RepresentationMatcher.from_preset(tmp_path).decision["threshold"] == 0.625
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "vocab.txt").symlink_to("/etc/hostname")
    with pytest.raises(PresetError, match=r"vocab\.txt is a symbolic link"):
        seal(tmp_path)


def test_R02_a_hub_gives_every_file_of_a_sealed_folder():
    import fnmatch

    for kind in ("matcher", "hugging_face", "tensorflow"):
        for name in [*files(kind), "manifest.json"]:
            patterns = [*hub.HUGGING_FACE_FILES, "checkpoint"]
            assert any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns), name


# R11


@pytest.mark.parametrize(
    ("format", "needed", "words"),
    [
        (2, "0.7", r"format 2.*it needs zoo 0\.7, pip install 'keras-zoo>=0\.7'"),
        (3, None, "format 3.*upgrade zoo"),
        (2, "1; rm -rf ~", "format 2.*upgrade zoo"),
        (2, ["1"], "format 2.*upgrade zoo"),
    ],
)
def test_R11_a_newer_format_says_which_version_it_needs(format, needed, words, tmp_path):
    """Whatever else is new in it."""

    def change(config):
        config.update(format=format, news=1)
        config.update(zoo=needed)

    write_folder(tmp_path, with_config("matcher", change))
    with pytest.raises(PresetError, match=rf"config\.json has {words}"):
        load(tmp_path)


def test_R11_presets_say_what_reads_them():
    config = json.loads(files("matcher")["config.json"])
    assert config["format"] == zoo_preset.FORMAT and config["zoo"] == zoo_preset.SINCE
    without = with_config("matcher", lambda config: config.pop("zoo"))
    assert set(json.loads(without["config.json"])) == {"format", "backbone", "task", "tokenizer"}


def test_R11_presets_from_before_the_version_are_read(tmp_path):
    write_folder(tmp_path, with_config("matcher", lambda config: config.pop("zoo")))
    assert load(tmp_path).verified


# R12


def report(folder, tests, skipped=()):
    cases = [f'<testcase classname="tests.x" name="{i}"/>' for i in range(tests)]
    cases += [f'<testcase classname="tests.x" name="{name}"><skipped message="why"/></testcase>' for name in skipped]
    (folder / "neutral.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    command = [sys.executable, COUNT_TESTS, folder, "neutral"]
    return subprocess.run(command, capture_output=True, text=True)


def test_R12_lost_and_skipped_tests_fail_the_run(tmp_path):
    assert report(tmp_path, 100_000).returncode == 0
    lost = report(tmp_path, 7)
    assert lost.returncode == 1 and "Was a test lost?" in lost.stderr
    skipped = report(tmp_path, 100_000, ["surprise"])
    assert skipped.returncode == 1 and "tests.x.surprise skipped, not in tests/allowed_skips.txt" in skipped.stderr
    (tmp_path / "neutral.xml").unlink()
    none = subprocess.run([sys.executable, COUNT_TESTS, tmp_path, "neutral"], capture_output=True, text=True)
    assert none.returncode == 1 and "did not finish" in none.stderr
