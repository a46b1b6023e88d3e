"""A script of examples/ as a module, for tests of its functions."""

import contextlib
import importlib.util

from absl import flags

from support.paths import ROOT


@contextlib.contextmanager
def own_flags():
    """Flags that are defined inside are gone afterwards: absl has one set for the process, made for one script."""
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()


@contextlib.contextmanager
def imported_example(name):
    """The module of `examples/NAME.py`."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with own_flags():
        spec.loader.exec_module(module)
        yield module
