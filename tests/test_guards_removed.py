"""A hostile test is worth something if it fails without its guard: each guard is taken out of a copy of the package.

python -m pytest -m slow tests/test_guards_removed.py
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support.library_source import ROOT

pytestmark = [pytest.mark.neutral, pytest.mark.slow]

# row -> (file, guard, what takes its place, the test that must fail)
GUARDS = {
    "T1": ("zoo/formats/zoo_preset.py", 'if entry["class"] not in classes:', "if False:", "T01_a_preset_names_only"),
    "T1, imports": (
        "zoo/models/preset.py",
        "import re\n",
        "import re\nimport pickle\n",
        "T01_T05_T17_library",
    ),
    "T2": ("zoo/store/names.py", "if not is_plain(name):", "if False:", "T02_odd_names_are_refused"),
    "T2, opening": ("zoo/models/preset.py", "folder = resolve(preset)", "folder = open(preset)", "T02_only_the_store"),
    "T3": (
        "zoo/formats/shards.py",
        "if not isinstance(file, str) or not pattern.fullmatch(file):",
        "if False:",
        "T03_shards_lie_beside",
    ),
    "T3, index": ("zoo/formats/hugging_face.py", "if promised != set(content):", "if False:", "T03_an_index_agrees"),
    "T4": ("zoo/store/folder.py", "if not stat.S_ISREG(state.st_mode):", "if False:", "T04_links_pipes"),
    "T4, hard links": ("zoo/store/folder.py", "if state.st_nlink > 1 and not links:", "if False:", "T04_links_pipes"),
    "T6, keys": ("zoo/store/strict_json.py", "if len(found) < len(pairs):", "if False:", "T06_json_means_one_thing"),
    "T6, sizes": (
        "zoo/formats/fields.py",
        "if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:",
        "if False:",
        "T06_config_fields",
    ),
    "T7": ("zoo/models/preset.py", "            found.check_sizes()\n", "", "T07_bombs"),
    "T7, heads": (
        "zoo/formats/checkpoint.py",
        "        if classes is not None:",
        "        if False:",
        "T07_bombs",
    ),
    "T7, values": ("zoo/store/strict_json.py", "_MOST_VALUES = 1_000_000", "_MOST_VALUES = 1 << 40", "T07_bombs"),
    "T8": (
        "zoo/store/safetensors.py",
        "            if begin != end:",
        "            if False:",
        "T08_safetensors_headers",
    ),
    "T8, fuzz": ("zoo/store/names.py", "_MOST_BYTES = 1 << 62", "_MOST_BYTES = 1 << 99", "T08_safetensors_headers"),
    "T8, R1": (
        "zoo/store/folder.py",
        "if (got := hashlib.sha256(content).hexdigest()) != expected:",
        "if (got := expected) != expected:",
        "T08_what_a_reader_lets_pass or R01_every_flipped_bit",
    ),
    "T9": ("zoo/formats/checkpoint.py", "if missing or extra or misfits:", "if missing:", "T09_weights"),
    "T10": ("zoo/models/preset.py", "if tokenizer.vocabulary_size > size:", "if False:", "T10_vocabularies"),
    "T11": (
        "zoo/store/names.py",
        "if not isinstance(name, str) or not _TENSOR.fullmatch(name):",
        "if False:",
        "T11_odd_names_are_not_written",
    ),
    "T12": (
        "zoo/formats/tensorflow/checkpoint.py",
        "if mask(crc32c(self._data)) != self._checksum:",
        "if False:",
        "T12_flipped_and_cut",
    ),
    "T12, index": (
        "zoo/formats/tensorflow/leveldb_table.py",
        "if mask(crc32c(content[start : end + 1])) != checksum:",
        "if False:",
        "T12_flipped_and_cut",
    ),
    "T13": ("zoo/tasks/classification.py", "if class_names is not None:", "if False:", "T13_edited_labels"),
    "T14": (
        "zoo/store/folder.py",
        "self.path = pathlib.Path(path)",
        "self.path = pathlib.Path(os.path.expandvars(path))",
        "T14_T15_strings",
    ),
    "T16": ("zoo/models/preset.py", "import re\n", "import re\nimport urllib.request\n", "T16_only_the_hub"),
    "R2": (
        "zoo/formats/zoo_preset.py",
        "if not folder.verify():",
        "if folder.verify() is None:",
        "R02_our_own_presets",
    ),
    "R11": ("zoo/formats/zoo_preset.py", "if version > FORMAT:", "if False:", "R11_a_newer_format"),
}
FILES = ["test_hostile.py", "test_library_source.py", "test_store.py", "test_store_rows.py"]
WHOLE = "nothing removed"

# Imports what costs seconds once, and runs pytest in forks; zoo and the tests are imported in the forks alone.
RUN_IN_FORKS = """
import json, os, pathlib, sys
import h5py, keras, numpy, pytest, scipy
keras.ops.ones(1)
place, files = pathlib.Path(sys.argv[1]), sys.argv[2].split()
results = {}
for row, (name, guard, instead, chosen) in json.load(open(place / "guards.json")).items():
    source = (place / name).read_text(encoding="utf-8")
    (place / name).write_text(source.replace(guard, instead), encoding="utf-8")
    output = place / "output.txt"
    child = os.fork()
    if child == 0:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        options = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-m", "not slow", "-k", chosen, "--rootdir", str(place)]
        code = pytest.main([*options, *(str(place / "tests" / file) for file in files)])
        sys.stdout.flush()
        os._exit(int(code))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (place / name).write_text(source, encoding="utf-8")
    results[row] = [status, output.read_text(encoding="utf-8", errors="replace")[-3000:]]
json.dump(results, open(place / "results.json", "w"))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Row -> (exit status, output) of the test that must fail without its guard, in a copy of the package."""
    place = tmp_path_factory.mktemp("copy")
    for name in ("zoo", "layers", "presets", "tests", ".ci"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", place)
    everything = " or ".join(test for *_, test in GUARDS.values())
    cases = {WHOLE: ("setup.cfg", "", "", everything)} | GUARDS
    (place / "guards.json").write_text(json.dumps(cases), encoding="utf-8")
    paths = os.pathsep.join([str(place), str(place / "tests")])
    # Without bytecode: a file that changes twice in a second would be taken for the same.
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN_IN_FORKS, place, " ".join(FILES)]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((place / "results.json").read_text(encoding="utf-8"))


def test_the_copy_passes_as_it_is(results):
    status, output = results[WHOLE]
    assert status == 0, output


@pytest.mark.parametrize("row", GUARDS)
def test_without_its_guard_a_test_fails(row, results):
    name, guard, _, _ = GUARDS[row]
    assert (ROOT / name).read_text(encoding="utf-8").count(guard) == 1, (
        "that guard is to be taken out, and nothing else"
    )
    status, output = results[row]
    assert status == 1 and "1 failed" in output, output
