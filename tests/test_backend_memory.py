"""A process that keeps freed memory gets no new pages for arrays of a size it has had before."""

import os
import platform
import subprocess
import sys

import keras
import pytest

from zoo.backend import keep_freed_memory

FAULTS = """
import resource, sys
import keras
from keras import ops
from zoo.backend import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    ops.ones((48, 2**18)) + 1  # two arrays of 48 MB, larger than what malloc keeps by itself
before = faults()
for _ in range(5):
    ops.ones((48, 2**18)) + 1
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has these options")
def test_arrays_of_a_known_size_need_no_new_pages():
    if keras.backend.backend() != "torch":  # the others have allocators of their own
        assert keep_freed_memory() is False
        return

    def faults(how):
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, env=os.environ, check=True, capture_output=True, text=True).stdout)

    new = faults("leave")
    assert new > 100 and faults("keep") < new / 5  # with huge pages there are 240 to hand out
