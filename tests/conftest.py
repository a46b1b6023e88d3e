"""What every test shares: seeds, no network, goldens."""

import ipaddress
import os
import random
import socket
import sys

# Without it Keras would follow the user's own ~/.keras/keras.json.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

# What several test files share lies in tests/support; its assertions shall tell as much as theirs.
pytest.register_assert_rewrite("support")

from support.paths import GOLDENS, ROOT  # noqa: E402

# What JAX compiled stays for the next run. Each worker has its own folder: JAX does not write a file at one stroke. A
# worker inherits what was set here before it was started.
_COMPILED = ROOT / "build" / "jax"
if os.environ.get("JAX_COMPILATION_CACHE_DIR", str(_COMPILED / "alone")) == str(_COMPILED / "alone"):
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_COMPILED / os.environ.get("PYTEST_XDIST_WORKER", "alone"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def _stay_on_this_machine(connect):
    """Wrap a socket method so that it reaches only UNIX sockets and the loopback range."""

    def guarded(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and not _is_loopback(address[0]):
            raise RuntimeError(f"a test tried to reach {address!r}: tests run without the network")
        return connect(self, address)

    return guarded


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# At import, not in a fixture: importing test modules must not reach the network either.
socket.socket.connect = _stay_on_this_machine(socket.socket.connect)
socket.socket.connect_ex = _stay_on_this_machine(socket.socket.connect_ex)


@pytest.fixture(autouse=True)
def seed():
    """The same random numbers in every test, whichever ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(20220301)
    else:
        random.seed(20220301)
        np.random.seed(20220301)  # noqa: NPY002


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def golden():
    """`golden("bert/golden")` gives the arrays of tests/goldens/bert/golden.npz, each read when asked for."""
    opened = {}

    def load(name):
        if name not in opened:
            opened[name] = np.load(GOLDENS / f"{name}.npz", allow_pickle=False)
        return opened[name]

    yield load
    for arrays in opened.values():
        arrays.close()
