"""What every test shares: seeds, no network, goldens, one way to compare arrays."""

import ipaddress
import os
import pathlib
import random
import socket
import sys

# Without it Keras would follow the user's own ~/.keras/keras.json.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
GOLDENS = HERE / "goldens"

# What several test files share lies in tests/support; its assertions shall tell as much as theirs.
pytest.register_assert_rewrite("support")


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


def pytest_ignore_collect(collection_path, config):
    """Under `-m neutral` leave out files without a neutral test, so that no backend is imported in vain."""
    if config.option.markexpr.startswith("neutral") and collection_path.suffix == ".py":
        return "mark.neutral" not in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.fixture(autouse=True)
def seed():
    """The same random numbers in every test, whichever ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(20220301)
    else:
        random.seed(20220301)
        np.random.seed(20220301)  # noqa: NPY002


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
