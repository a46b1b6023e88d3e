"""Memory that a process has freed: torch on Linux gives large arrays back to the system and asks for them anew."""

import ctypes

import keras

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h


def keep_freed_memory():
    """Let this process keep the memory of arrays it frees, for the next ones; on torch with glibc, elsewhere nothing.

    A training step makes and frees some hundred arrays of megabytes. By default glibc returns the large ones to the
    system, which hands them out again page by page, each filled with zeros: a tenth to a quarter of a step on a CPU.
    The process stays as large as it has once been, until `give_back_freed_memory`.

    Returns:
        bool, whether something was changed.
    """
    library = _glibc()
    if library is None:
        return False
    # Before glibc 2.35 no threshold above 32 MB is taken
    large = library.mallopt(MMAP_THRESHOLD, 2**30) or library.mallopt(MMAP_THRESHOLD, 2**25)
    return bool(large and library.mallopt(TRIM_THRESHOLD, -1))


def give_back_freed_memory():
    """Give the system all freed memory; on torch with glibc, elsewhere nothing.

    Batches of ever other sizes leave the memory in pieces that fit no later array: a training of 256 pairs a step, which
    holds 1 GB between steps, had grown to 12 GB in ten epochs; it grows as fast with glibc's own options. Once an epoch
    this costs a tenth of a second, and the next step some 0.3 s for new pages.
    """
    if library := _glibc():
        library.malloc_trim(0)


def _glibc():
    """The C library of this process, where it is glibc and torch takes its memory from it; else None."""
    if keras.backend.backend() != "torch":
        return None
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None  # others number their options differently
