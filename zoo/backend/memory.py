"""Memory that a process has freed: torch on Linux gives large arrays back to the system and asks for them anew."""

import ctypes

import keras

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h


def keep_freed_memory():
    """Let this process keep the memory of arrays it frees, for the next ones; on torch with glibc, elsewhere nothing.

    A training step makes and frees some hundred arrays of megabytes. By default glibc returns the large ones to the
    system, which hands them out again page by page, each filled with zeros: a tenth to a quarter of a step on a CPU.
    The process stays as large as it has once been.

    Returns:
        bool, whether something was changed.
    """
    if keras.backend.backend() != "torch":
        return False
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return False
    if not hasattr(library, "gnu_get_libc_version"):  # other libraries number their options differently
        return False
    # Before glibc 2.35 no threshold above 32 MB is taken
    large = library.mallopt(MMAP_THRESHOLD, 2**30) or library.mallopt(MMAP_THRESHOLD, 2**25)
    return bool(large and library.mallopt(TRIM_THRESHOLD, -1))
