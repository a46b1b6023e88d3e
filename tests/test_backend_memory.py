"""A process that keeps freed memory still has it when an array of a size it has had before is gone."""

import os
import platform
import subprocess
import sys

import keras
import pytest

from zoo.backend import keep_freed_memory

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
