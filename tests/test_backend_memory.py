"""A process that keeps freed memory still has it when an array of a size it has had before is gone."""

import os
import platform
import subprocess
import sys

import keras
import numpy as np
import pytest

from zoo.backend import give_back_freed_memory, keep_freed_memory
from zoo.data import dataset

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


def test_each_epoch_gives_memory_back(monkeypatch):
    given_back = []
    monkeypatch.setattr(dataset, "give_back_freed_memory", lambda: given_back.append(1))
    batches = dataset.Batches([0, 1], lambda number: (np.full((2, 1), number, "float32"), np.zeros((2, 1), "float32")))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(batches, epochs=3, verbose=0, shuffle=False, callbacks=[batches.follow()])
    assert len(given_back) == 3
