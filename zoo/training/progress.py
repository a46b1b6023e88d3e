"""When a progress bar is shown: on a terminal or in a notebook. In a file it is megabytes of backspaces."""

import sys


def shows_bar():
    """Whether `verbose="auto"` shows a bar. Keras' own "auto" takes every POSIX system for a terminal."""
    return "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", bool)())


def resolved(verbose, without_terminal=2):
    """`verbose` as Keras is given it: "auto" is a bar where one is shown, else a line an epoch (2), or nothing (0)."""
    return verbose if verbose != "auto" or shows_bar() else without_terminal
