"""Saving folders: all or nothing, whatever happens meanwhile. Kills, full disks, many processes at once."""

import errno
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from zoo.store import Folder, PresetError, safetensors_bytes, saving, write_folder

pytestmark = pytest.mark.neutral

ROOT = pathlib.Path(__file__).resolve().parent.parent


def version(number, size=1000):
    """The files of a version: each tells its number; odd versions have one file more."""
    files = {
        "config.json": json.dumps({"version": number}).encode(),
        "model.safetensors": lambda file: file.write(safetensors_bytes({"w": np.full(size, number)})),
        "vocab.txt": f"{number}\n".encode() * 100,
    }
    return files | ({"head.json": json.dumps({"version": number}).encode()} if number % 2 else {})


def number_of(path):
    """The version in a folder, once all of its files are found to be of it."""
    folder = Folder(path)
    assert folder.verify()
    number = folder.json("config.json")["version"]
    assert set(folder.text("vocab.txt").split()) == {str(number)}
    assert set(folder.safetensors("model.safetensors")["w"].tolist()) == {number}
    assert folder.has("head.json") == bool(number % 2)
    assert not number % 2 or folder.json("head.json")["version"] == number
    return number


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def start(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


PLAIN = ["config.json", "manifest.json", "model.safetensors", "vocab.txt"]


def test_saves_plain_files_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "preset"
    write_folder(path, version(2))
    assert names(path) == PLAIN and number_of(path) == 2
    write_folder(str(path), version(4))
    assert names(path) == PLAIN and number_of(path) == 4


def test_other_files_stay(tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "logs").mkdir()
    write_folder(tmp_path, version(0))
    assert (tmp_path / "notes.md").read_text() == "mine" and names(tmp_path) == sorted([*PLAIN, "logs", "notes.md"])


@pytest.mark.parametrize("own", ["config.json", "vocab.txt", "manifest.json"])
def test_files_that_zoo_did_not_write_are_not_replaced(own, tmp_path):
    (tmp_path / own).write_text('{"mine": 1}')
    with pytest.raises(PresetError, match=f"holds {own}, and no manifest.json says that zoo wrote them"):
        write_folder(tmp_path, version(0))
    assert os.listdir(tmp_path) == [own] and (tmp_path / own).read_text() == '{"mine": 1}'
    os.rename(tmp_path / own, tmp_path / "notes.txt")
    write_folder(tmp_path, version(0))
    os.remove(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("edited")
    write_folder(tmp_path, version(1))
    assert number_of(tmp_path) == 1, "a folder of zoo's own is replaced as ever"


def test_links_are_replaced_and_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = tmp_path / "preset"
    path.mkdir()
    (path / "config.json").symlink_to(secret)
    os.link(secret, path / "vocab.txt")
    write_folder(path, version(0), anything=True)
    assert secret.read_text() == "secret" and number_of(path) == 0


def test_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "vocab.txt").mkdir()
    with pytest.raises(PresetError, match=r"vocab\.txt is a folder"):
        write_folder(tmp_path, version(0))
    assert names(tmp_path) == ["vocab.txt"]


def test_planted_link_is_not_followed(tmp_path):
    outside, path = tmp_path / "outside", tmp_path / "preset"
    write_folder(outside, version(0))
    path.mkdir()
    (path / ".saved").symlink_to(outside)
    with pytest.raises(PresetError, match="symbolic link"):
        write_folder(path, version(2))
    assert number_of(outside) == 0 and names(outside) == PLAIN


def test_nothing_to_save(tmp_path):
    with pytest.raises(PresetError, match="at least one file"):
        write_folder(tmp_path, {})


def test_failure_inside_leaves_the_earlier_version(tmp_path):
    write_folder(tmp_path, version(0))

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path, version(2) | {"model.safetensors": fail})
    assert names(tmp_path) == PLAIN and number_of(tmp_path) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_read_only_folder_is_named(tmp_path, monkeypatch):
    def refuse(path, mode=0o777):
        raise PermissionError(errno.EACCES, "Permission denied")

    write_folder(tmp_path, version(0))
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(PermissionError, match="not saved .*Permission denied"):
        write_folder(tmp_path, version(2))
    assert number_of(tmp_path) == 0


# A process dies at every single step

DIE_AT_EACH_STEP = """
import os, pathlib, sys
from test_saving import number_of, version
from zoo.store import saving, write_folder
root, left = pathlib.Path(sys.argv[1]), -1

def mortal(function):
    def call(*arguments, **options):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return function(*arguments, **options)
    return call

os.fsync = lambda handle: None  # a step like any other, but slow
for name in ("mkdir", "rename", "replace", "rmdir", "unlink", "fsync", "listdir", "open"):
    setattr(os, name, mortal(getattr(os, name)))
saving.open = mortal(open)
step, outcomes = 0, []
while True:
    path = root / str(step)
    write_folder(path, version(6))
    child = os.fork()
    if child == 0:
        left = step
        write_folder(path, version(7))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    outcomes.append(number_of(path))
    write_folder(path, version(8))
    litter = [entry.name for entry in path.iterdir() if entry.name.startswith(".")]
    if number_of(path) != 8 or litter or status not in (0, 9):
        sys.exit(f"step {step}: {litter}, status {status}")
    if status == 0:
        break
    step += 1
print(step, *outcomes)
"""


def test_death_at_each_step_of_a_save(tmp_path):
    """Exactly the old version up to some step, exactly the new one from there on; the next save clears up."""
    process = start(DIE_AT_EACH_STEP, tmp_path)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    steps, *outcomes = map(int, output.split())
    assert steps > 20 and outcomes == sorted(outcomes) and set(outcomes) == {6, 7}


# Kills at random moments

SAVE_FOREVER = """
import itertools, sys
from test_saving import version
from zoo.store import write_folder
for number in itertools.count(int(sys.argv[2])):
    write_folder(sys.argv[1], version(number, size=200_000))
    print(number, flush=True)
"""


def kill_savers(path, rounds):
    generator, last = random.Random(20220301), -1
    for _ in range(rounds):
        process = start(SAVE_FOREVER, path, last + 1)
        first = process.stdout.readline()
        assert first, process.stderr.read()
        time.sleep(generator.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        last = int((first + output).split()[-1])
        found = number_of(path)
        assert found in (last, last + 1)
        last = found
    write_folder(path, version(0))
    assert number_of(path) == 0 and set(names(path)) <= {*PLAIN, "head.json"}


# Many processes, one folder

SAVE_AND_LOAD = """
import fcntl, random, sys
from test_saving import number_of, version
from zoo.store import write_folder
fcntl.flock = fcntl.lockf = lambda *arguments: None
path, worker, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for round in range(rounds):
    write_folder(path, version(1000 * worker + round, size=random.Random(round).choice([10, 100_000])))
    number_of(path)
    number_of(path)
"""


def save_and_load_at_once(path, workers, rounds):
    processes = [start(SAVE_AND_LOAD, path, worker, rounds) for worker in range(workers)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * workers, "\n".join(errors)
    assert number_of(path) % 1000 == rounds - 1
    assert set(names(path)) <= {*PLAIN, "head.json"}


def test_R07_many_processes_save_and_load_one_folder(tmp_path):
    save_and_load_at_once(tmp_path, workers=4, rounds=5)


@pytest.mark.slow
def test_R07_eight_processes_save_and_load_one_folder(tmp_path):
    save_and_load_at_once(tmp_path, workers=8, rounds=50)


# Leftovers


def test_only_dead_savers_are_cleared_up_after(tmp_path):
    machine, run = saving._MACHINE, saving._RUN
    alive = f".saving-{machine}-{os.getppid()}-00000000-0"
    mine = f".saving-{machine}-{os.getpid()}-{run}-99999"
    elsewhere = ".saving-othermachine-1-00000000-0"
    stale = ".saving-othermachine-2-00000000-0"
    reborn = f".saving-{machine}-{os.getpid()}-00000000-0"
    script = "import os; print(os.getpid())"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip()
    dead = f".saving-{machine}-{ended}-00000000-0"
    similar = [".saving-x", ".savings"]
    for name in (alive, mine, elsewhere, stale, reborn, dead, *similar):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("x")
    long_ago = time.time() - 2 * saving._ABANDONED
    os.utime(tmp_path / stale, (long_ago, long_ago))
    write_folder(tmp_path, version(0))
    assert {name for name in names(tmp_path) if name.startswith(".")} == {alive, mine, elsewhere, *similar}


def test_planted_leftover_cannot_remove_files_elsewhere(tmp_path):
    outside, path = tmp_path / "outside", tmp_path / "preset"
    outside.mkdir()
    path.mkdir()
    (outside / "precious").write_text("x")
    (path / f".saving-{saving._MACHINE}-{os.getpid()}-00000000-0").symlink_to(outside)
    write_folder(path, version(0))
    assert (outside / "precious").read_text() == "x" and number_of(path) == 0
