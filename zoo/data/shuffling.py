"""Seeded permutations that stay the same for ever."""

import numpy as np

# One stream a use, never 0: to NumPy's SeedSequence (seed, epoch) and (seed, epoch, 0) are the same.
ROWS, BATCHES, SPLITS, SETS = 1, 2, 3, 4


def permutation(n, *seeds):
    """A permutation of range(n) that depends on the seeds alone.

    NumPy promises the raw bits of its generators across versions but not what `Generator.permutation`
    makes of them, and a run must be resumable after an upgrade; so the bits are sorted here.

    Args:
        n: int.
        seeds: non-negative ints, such as seed, epoch and the stream.

    Returns:
        int64 array [n].
    """
    bits = np.random.PCG64(np.random.SeedSequence(seeds)).random_raw(n)
    return np.argsort(bits, kind="stable")
