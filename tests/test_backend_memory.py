"""A process that keeps freed memory still has it when an array of a size it has had before is gone."""

import os
import platform
import subprocess
import sys

import keras
import pytest
from support.tiny_models import PAIRS, matcher

from zoo.backend import give_back_freed_memory, keep_freed_memory
from zoo.data import as_pairs
from zoo.tasks import record_task

# The size of the address space: how many of its pages are in memory is the system's affair.
GIVEN_BACK = """
import sys
from keras import ops
from zoo.backend import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmSize")) / 1024
ops.ones((48, 2**18)) + 1  # two arrays of 48 MB, larger than what malloc keeps by itself
array = ops.ones((48, 2**18))
before = megabytes()
del array
print(before - megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has these options")
def test_memory_of_freed_arrays_is_kept():
    if keras.backend.backend() != "torch":  # the others have allocators of their own
        assert keep_freed_memory() is False
        return

    def given_back(how):
        command = [sys.executable, "-c", GIVEN_BACK, how]
        return float(subprocess.run(command, env=os.environ, check=True, capture_output=True, text=True).stdout)

    assert given_back("leave") > 40 and given_back("keep") < 1


IN_PIECES = """
import sys
from keras import ops
from zoo.backend import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
arrays = [ops.ones((1 + i % 2, 2**18)) for i in range(200)]  # of 1 and 2 MB in turn
del arrays[1::2]
before = megabytes()
give_back_freed_memory()
print(before - megabytes(), float(ops.sum(arrays[0])))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has these options")
def test_memory_between_arrays_in_use_is_given_back():
    if keras.backend.backend() != "torch":
        assert give_back_freed_memory() is None
        return
    command = [sys.executable, "-c", IN_PIECES]
    given_back, whole = subprocess.run(
        command, env=os.environ, check=True, capture_output=True, text=True
    ).stdout.split()
    assert float(given_back) > 150 and float(whole) == 2**18


@pytest.mark.parametrize("data", ["records", "dataset"])
def test_each_epoch_gives_memory_back_once(data, monkeypatch):
    given_back = []
    monkeypatch.setattr(record_task, "give_back_freed_memory", lambda: given_back.append(1))
    model, pairs = matcher(), as_pairs(PAIRS)
    model.compile("adam")
    if data == "records":
        model.fit(pairs, epochs=2, batch_size=4, verbose=0)
    else:
        encoded, rows = model.encode_records(pairs)
        model.fit(encoded.batch(rows, 16), pairs.labels.astype("float32"), epochs=2, batch_size=4, verbose=0)
    assert given_back == [1, 1]
