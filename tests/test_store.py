"""Reading folders: names, kinds of files, sizes, seals, JSON."""

import hashlib
import json
import os

import numpy as np
import pytest

from zoo.store import Folder, PresetError, check_name, check_tensor_name, strict_json, write_folder

pytestmark = pytest.mark.neutral


@pytest.fixture
def preset(tmp_path):
    folder = tmp_path / "preset"
    write_folder(folder, {"config.json": b'{"a": 1}', "vocab.txt": b"[PAD]\nx\n", "README.md": b"# card\n"})
    return folder


# Names


@pytest.mark.parametrize("name", ["config.json", "bert_model.ckpt.data-00000-of-00001", "a", "1.x_y-z", "x" * 128])
def test_plain_names_are_accepted(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "a/..", "./a", "a/.", "", "a\0", "é", "a b", "x" * 1025])
def test_odd_tensor_names_are_refused(name):
    with pytest.raises(PresetError, match="tensor name"):
        check_tensor_name(name)


@pytest.mark.parametrize("name", ["bert/embeddings/word_embeddings", "a.b..c", "layer_0/x", "/x", "a..b/c"])
def test_plain_tensor_names_are_accepted(name):
    assert check_tensor_name(name) == name


# Kinds of files


def test_links_are_allowed_by_argument(tmp_path):
    """The cache of Hugging Face: links to files whose names are hashes."""
    cache = tmp_path / "cache"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshot").mkdir()
    (cache / "blobs" / "abc").write_bytes(b"{}")
    (cache / "snapshot" / "config.json").symlink_to("../blobs/abc")
    os.link(cache / "blobs" / "abc", cache / "snapshot" / "hard.json")
    os.mkfifo(cache / "snapshot" / "pipe")
    folder = Folder(cache / "snapshot", links=True)
    assert folder.names() == ["config.json", "hard.json"]
    assert folder.json("config.json") == folder.json("hard.json") == {}
    with pytest.raises(PresetError, match="named pipe"):
        folder.bytes("pipe")


def test_subfolder(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "vocab.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    assert Folder(tmp_path).subfolder("assets").text("vocab.txt") == "x"
    assert Folder(tmp_path).subfolder("nothing") is None and Folder(tmp_path).subfolder("file") is None


@pytest.mark.parametrize("path", ["nothing", "file", "x" * 300, "a\0b", "~", "$HOME"])
def test_path_that_is_no_folder(path, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PresetError, match="folder"):
        Folder(tmp_path / path)


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PresetError, match="config.json: cannot be read: Permission denied"):
        Folder(tmp_path).bytes("config.json")


# Content


def test_ways_to_read(tmp_path):
    content = bytes(range(256)) * 20
    (tmp_path / "data.bin").write_bytes(content)
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbf\xe4\xb8\xad")
    (tmp_path / "bad.txt").write_bytes(b"abc\xff")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    folder = Folder(tmp_path)
    assert str(folder) == str(tmp_path) and not folder.sealed and not folder.verify()
    assert folder.names() == ["bad.txt", "bom.txt", "data.bin", "empty"]
    assert folder.has("empty") and not folder.has("nothing")
    assert folder.bytes("data.bin") == content and folder.bytes("empty") == b""
    assert folder.text("bom.txt") == "中"
    mapped = folder.memory_map("data.bin")
    assert mapped.dtype == np.uint8 and mapped.tobytes() == content and not mapped.flags.writeable
    with folder.open("data.bin") as file:
        assert file.read(3) == content[:3] and file.seek(-2, 2) == len(content) - 2 and file.read() == content[-2:]
        assert file.seek(10) == 10 and file.seek(5, 1) == 15 and file.read(1) == content[15:16]
    with pytest.raises(PresetError, match=r"bad.txt: not UTF-8 text \(byte 3\)"):
        folder.text("bad.txt")
    with pytest.raises(PresetError, match="nothing is missing"):
        folder.bytes("nothing")


def test_size_is_capped_before_reading(tmp_path):
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room on the disk, and would take all of the memory
    folder = Folder(tmp_path)
    for method in (folder.json, folder.text, folder.bytes):
        with pytest.raises(PresetError, match="config.json has 1099511627776 bytes"):
            method("config.json")
    assert len(folder.memory_map("config.json")) == 1 << 40


# JSON


def test_json_is_read_as_it_stands():
    value = {
        "a": [1, -2.5, True, None, "中\U0001f600", {"b": {}}],
        "deep": 1,
        "n": 2**63,
        "$HOME": "~/x ${PATH} file:x",
    }
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert strict_json.parse(b"\xef\xbb\xbf" + text.encode(), "x") == value
    assert strict_json.parse(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}", "x")


# Seals


def test_seal_holds_sizes_and_hashes(preset):
    manifest = json.loads((preset / "manifest.json").read_bytes())
    assert manifest["files"].keys() == {"config.json", "vocab.txt", "README.md"}
    for name, seal in manifest["files"].items():
        content = (preset / name).read_bytes()
        assert seal == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    folder = Folder(preset)
    assert folder.sealed and folder.verify() and folder.json("config.json") == {"a": 1}


def test_file_outside_the_manifest_is_not_part_of_the_preset(preset):
    (preset / "extra.json").write_text("{}")
    folder = Folder(preset)
    assert not folder.has("extra.json") and "extra.json" not in folder.names()
    with pytest.raises(PresetError, match="manifest.json has no file extra.json"):
        folder.json("extra.json")


def test_R01_every_flipped_bit_shows(tmp_path):
    content = bytes(range(256)) * 4
    write_folder(tmp_path, {"model.safetensors": content})
    for position in np.linspace(0, len(content) - 1, 32).astype(int):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        (tmp_path / "model.safetensors").write_bytes(damaged)
        with pytest.raises(PresetError, match="model.safetensors: damaged or edited: its SHA-256 is"):
            Folder(tmp_path).memory_map("model.safetensors")
        with pytest.raises(PresetError, match=hashlib.sha256(content).hexdigest()[:12]):
            Folder(tmp_path).verify()


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_R08_every_cut_shows(name, preset):
    content = (preset / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        (preset / name).write_bytes(content[:length])
        with pytest.raises(PresetError, match=f"{name}: has {length} bytes, manifest.json says {len(content)}"):
            Folder(preset).verify()
        with pytest.raises(PresetError, match=name):
            Folder(preset).bytes(name)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "README.md"])
def test_R08_missing_file_is_named(name, preset):
    (preset / name).unlink()
    with pytest.raises(PresetError, match=f"{name} missing"):
        Folder(preset)


def test_card_may_be_edited(preset):
    (preset / "README.md").write_text("# a better card")
    assert Folder(preset).verify() and Folder(preset).text("README.md") == "# a better card"


def test_version_stays_that_of_the_opening(preset):
    """A later save does not reach into a folder that is open."""
    opened = Folder(preset)
    write_folder(preset, {"config.json": b'{"a": 2}', "vocab.txt": b"y"})
    assert opened.json("config.json") == {"a": 1} and opened.text("vocab.txt") == "[PAD]\nx\n"
    assert Folder(preset).json("config.json") == {"a": 2} and not Folder(preset).has("README.md")


SEAL = {"size": 8, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"zoo_manifest": 2, "files": {"config.json": SEAL}}, "update zoo"),
        ({"zoo_manifest": 1}, "files must be"),
        ({"zoo_manifest": 1, "files": {}}, "files must be"),
        ({"zoo_manifest": 1, "files": ["config.json"]}, "files must be"),
        ({"zoo_manifest": 1, "files": {f"f{i}": SEAL for i in range(300)}}, "files must be"),
        ({"zoo_manifest": 1, "files": {"../secret": SEAL}}, "name"),
        ({"zoo_manifest": 1, "files": {"config.json": {"size": 8}}}, "size and sha256"),
        ({"zoo_manifest": 1, "files": {"config.json": {**SEAL, "path": "x"}}}, "size and sha256"),
        ({"zoo_manifest": 1, "files": {"config.json": {**SEAL, "size": "8"}}}, "whole number"),
        ({"zoo_manifest": 1, "files": {"config.json": {**SEAL, "size": True}}}, "whole number"),
        ({"zoo_manifest": 1, "files": {"config.json": {**SEAL, "sha256": None}}}, "64 digits"),
        ([1], "expected a JSON object"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_odd_manifest_is_refused(manifest, message, preset):
    (preset / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PresetError, match=rf"manifest\.json.*{message}"):
        Folder(preset)


def test_cut_manifest_is_refused(preset):
    content = (preset / "manifest.json").read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 2):
        (preset / "manifest.json").write_bytes(content[:length])
        with pytest.raises(PresetError, match="manifest.json"):
            Folder(preset)


def test_manifest_of_another_program_seals_nothing(preset):
    (preset / "manifest.json").write_text('{"name": "my web app", "icons": []}')
    folder = Folder(preset)
    assert not folder.sealed and folder.json("config.json") == {"a": 1}
