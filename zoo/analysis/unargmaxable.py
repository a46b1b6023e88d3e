"""Words that a model can never predict (kexue.fm/archives/9046; arXiv 2203.06462).

A softmax over x W + b has no x for which class k is the largest if, without b, the vector w_k lies in the convex hull of
the other columns: another class is then always at least as large. It takes more classes than d + 1.
"""

import dataclasses
from typing import Any

import keras
import numpy as np

from zoo.backend.variables import to_numpy

BLOCK = 1024  # classes screened at once
STEPS = 300  # of the perceptron
CUTS = 64  # constraints added to a linear programme at once
TINY = 1e-9  # margins and distances below it, relative to the size of the vectors, decide nothing


@dataclasses.dataclass(frozen=True)
class UnargmaxableReport:
    """What `unargmaxable` found. Every class is in exactly one of four sets; `str` gives their sizes.

    Attributes:
        unargmaxable: int64, ids that no input can make the largest, not even as one of several.
        tied: int64, ids that some input can make as large as any other and none can make larger than all others
            (inputs that make all classes equal apart).
        undecided: int64, ids too near the border for float64.
        classes: int, V. All other ids are argmaxable.
        duplicates: list of lists of ids of equal column and bias. They are judged as one class; the members of a group
            that can win are in `tied`, since the tie decides between them.
        inputs: float64 `[V, d]`, an input that makes the class the largest; NaN where there is none.
    """

    unargmaxable: np.ndarray
    tied: np.ndarray
    undecided: np.ndarray
    classes: int
    duplicates: list
    inputs: np.ndarray

    def __str__(self) -> str:
        return (
            f"{self.classes:,} classes: {len(self.unargmaxable)} cannot be the largest, {len(self.tied)} only tie, "
            f"{len(self.undecided)} undecided, {len(self.duplicates)} groups of equal ones"
        )


def unargmaxable(kernel: Any, bias: Any = None, verbose: int = 0, results: Any = None) -> UnargmaxableReport:
    """The classes of a linear output that no input can make the largest.

    Cheap screens find inputs for most classes: the class' own vector, then a perceptron. For what is left a linear
    programme looks for the input with the largest margin, over growing sets of other classes. Every answer is checked
    in float64: an input by its scores, its absence by weights of other classes whose mix gives the class' own vector.

    Inputs are free in length and direction. Without a bias the length decides nothing, so that the answer holds after
    a norm too. With one it may need inputs longer than a norm gives: the length of `inputs` tells.

    Args:
        kernel: `[d, V]`, as in `keras.layers.Dense`; or a layer with a `kernel` (and `bias`); or `zoo.MaskedLM` or
            `zoo.CausalLM`, whose classes are the rows of its token embedding.
        bias: `[V]` or None.
        verbose: 1 shows a progress bar of the linear programmes.
        results: dict or None, filled by the way. After an interruption, a call with the same dict goes on where the
            last one was.

    Returns:
        UnargmaxableReport.

    Raises:
        ValueError: shapes that do not fit, NaN or infinity, results of other numbers.
        ImportError: SciPy is missing.
    """
    vectors, bias, homogeneous = _read(kernel, bias)
    distinct, first, group = np.unique(np.column_stack([vectors, bias]), axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    rows = np.argsort(first)  # groups in the order of their first ids
    place = np.argsort(rows)[group]  # [V], the group of every class
    problem = _Problem(distinct[rows], homogeneous)
    inputs = problem.screened()
    left = np.flatnonzero(np.isnan(inputs[:, 0]))
    verdicts = np.full(len(inputs), "argmaxable", object)
    results = {} if results is None else results
    mark = [*problem.points.shape, float(np.abs(problem.points).sum()), float((problem.points**2).sum())]
    if results.setdefault("numbers", mark) != mark:
        raise ValueError("results are of another kernel or bias; expected those of these numbers, or an empty dict")
    progress = keras.utils.Progbar(len(left), unit_name="class") if verbose and len(left) else None
    for k in map(int, left):
        verdicts[k], found = results[k] if k in results else results.setdefault(k, problem.solved(k))
        if found is not None:
            inputs[k] = found
        if progress is not None:
            progress.add(1)
    sizes = np.bincount(place)
    verdicts = verdicts[place]
    verdicts[(verdicts == "argmaxable") & (sizes[place] > 1)] = "tied"
    duplicates = [np.flatnonzero(place == g).tolist() for g in np.flatnonzero(sizes > 1)]
    sets = (np.flatnonzero(verdicts == name) for name in ("unargmaxable", "tied", "undecided"))
    unargmaxable, tied, undecided = sets
    return UnargmaxableReport(unargmaxable, tied, undecided, len(place), duplicates, problem.as_inputs(inputs)[place])


def _read(kernel, bias):
    """Vectors float64 `[V, d]`, bias `[V]`, and whether there is none."""
    head = kernel
    embedding = getattr(getattr(head, "backbone", None), "token_embedding", None)
    if embedding is not None:
        vectors = to_numpy(embedding.embeddings)
        biases = [w for w in head.weights if w.path.endswith("mlm_bias/bias")]
        bias = to_numpy(biases[0]) if biases and bias is None else bias
    elif hasattr(head, "kernel"):
        vectors = to_numpy(head.kernel).T
        bias = to_numpy(head.bias) if bias is None and getattr(head, "bias", None) is not None else bias
    else:
        vectors = np.asarray(kernel, "float64").T
    vectors = np.asarray(vectors, "float64")
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"kernel of shape {vectors.T.shape}; expected (d, V)")
    numbers = np.zeros(len(vectors)) if bias is None else np.asarray(bias, "float64")
    if numbers.shape != (len(vectors),):
        raise ValueError(
            f"bias of shape {numbers.shape}; expected ({len(vectors)},), one for each column of the kernel"
        )
    if not (np.isfinite(vectors).all() and np.isfinite(numbers).all()):
        raise ValueError("kernel or bias holds NaN or infinity")
    return vectors, numbers, not numbers.any()


class _Problem:
    """Distinct points p_k = (w_k, b_k): k is argmaxable if (x, s) with s >= 0 has (x, s)·(p_k − p_i) > 0 for all i.

    Any solution with s = 0 stays one for a small s > 0, so that x / s is the input; without a bias s is left out.
    """

    def __init__(self, points, homogeneous):
        self.homogeneous = homogeneous
        points = points[:, :-1] if homogeneous else points
        self.points = points - points.mean(axis=0)  # the same differences, rounded less
        self.size = np.linalg.norm(self.points, axis=1).max() or 1.0
        # The bias as the last coordinate may have another scale than the rest: a factor on s changes nothing.
        if not homogeneous and self.points[:, -1].any():
            width = np.abs(self.points[:, :-1]).max() or 1.0
            self.points[:, -1] *= width / np.abs(self.points[:, -1]).max()
            self.factor = width / np.abs(points[:, -1] - points[:, -1].mean()).max()
            self.size = np.linalg.norm(self.points, axis=1).max()
        else:
            self.factor = 1.0

    def wins(self, k, x):
        """Whether class k is the largest at x, by more than rounding can be."""
        if not x.any() or (not self.homogeneous and x[-1] < 0):
            return False
        margins = (self.points[k] - self.points) @ x
        margins[k] = np.inf
        return bool(margins.min() > TINY * self.size * np.linalg.norm(x))

    def screened(self):
        """Inputs `[V, d (+ 1)]` that cheap ways find, NaN elsewhere."""
        points, found = self.points, np.full(self.points.shape, np.nan)
        for start in range(0, len(points), BLOCK):
            ids = np.arange(start, min(start + BLOCK, len(points)))
            x = points[ids].copy()
            for _ in range(STEPS):
                if not self.homogeneous:
                    x[:, -1] = np.maximum(x[:, -1], 0.0)
                scores = x @ points.T
                scores[np.arange(len(ids)), ids] = -np.inf
                rival = scores.argmax(axis=1)
                ahead = np.einsum("kd,kd->k", x, points[ids] - points[rival])
                open_ = ahead <= TINY * self.size * np.linalg.norm(x, axis=1)
                found[ids[~open_]] = x[~open_]
                if not open_.any():
                    break
                ids, x, rival, ahead = ids[open_], x[open_], rival[open_], ahead[open_]
                step = points[ids] - points[rival]
                length = np.maximum(np.einsum("kd,kd->k", step, step), 1e-300)
                # As far as makes the rival fall behind by a little.
                x += np.maximum(0.0, (0.01 * length - ahead) / length)[:, None] * step
        return found

    def solved(self, k):
        """("argmaxable", x), ("tied" | "unargmaxable" | "undecided", None) by linear programmes.

        The largest margin t over x in a box, subject to a few rivals; rivals that the solution forgets are added until
        none is left (an input) or the margin is 0 (no input: more rivals leave it 0).
        """
        differences = self.points[k] - self.points
        others = np.delete(np.arange(len(self.points)), k)
        if not len(others):
            return "argmaxable", np.ones(self.points.shape[1])
        near = np.linalg.norm(differences[others], axis=1)
        active = others[np.argsort(near, kind="stable")[: max(CUTS, 2 * self.points.shape[1])]]
        while True:
            x, margin, duals = self._largest_margin(differences[active])
            if self.wins(k, x):
                return "argmaxable", x
            if margin <= TINY * self.size:
                return self._without_input(k, active, duals), None
            margins = differences[others] @ x
            behind = others[np.argsort(margins, kind="stable")[:CUTS]]
            added = behind[(differences[behind] @ x < margin * (1 - 1e-6)) & ~np.isin(behind, active)]
            if not len(added):
                return "undecided", None
            active = np.concatenate([active, added])

    def _largest_margin(self, differences):
        try:
            from scipy.optimize import linprog
        except ImportError as error:
            raise ImportError("unargmaxable needs SciPy: pip install 'keras-zoo[analysis]'") from error
        count, width = differences.shape
        scale = np.abs(differences).max() or 1.0
        low = [-1.0] * width if self.homogeneous else [-1.0] * (width - 1) + [0.0]
        solution = linprog(
            np.append(np.zeros(width), -1.0),
            A_ub=np.column_stack([-differences / scale, np.ones(count)]),
            b_ub=np.zeros(count),
            bounds=[*((lower, 1.0) for lower in low), (None, None)],
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if not solution.success:
            raise RuntimeError(f"HiGHS: {solution.message}")
        return solution.x[:-1], solution.x[-1] * scale, -solution.ineqlin.marginals

    def _without_input(self, k, active, duals):
        """ "unargmaxable", "tied" or "undecided", by the rivals whose mix is at least as large as k everywhere.

        The duals are weights of rivals: the mix Σ α_i p_i has the vector of p_k, and a bias no smaller.
        """
        weights = np.maximum(duals, 0.0)
        weights = weights / weights.sum()
        rest = weights @ self.points[active] - self.points[k]
        if not self.homogeneous:
            rest[-1] = min(rest[-1], 0.0)  # a larger bias only helps the rivals
        if np.linalg.norm(rest) > 1e-7 * self.size:
            return "undecided"
        return "tied" if self._ties(k) else "unargmaxable"

    def _ties(self, k):
        """Whether some input other than 0 lets no rival pass: k lies on the border of the hull."""
        from scipy.optimize import linprog

        differences = np.delete(self.points[k] - self.points, k, axis=0)
        scale = np.abs(differences).max()
        width = differences.shape[1]
        low = [-1.0] * width if self.homogeneous else [-1.0] * (width - 1) + [0.0]
        # The mean rival falls as far behind as it can while none gets ahead: not at all for points inside the hull.
        solution = linprog(
            -differences.mean(axis=0) / scale,
            A_ub=-differences / scale,
            b_ub=np.zeros(len(differences)),
            bounds=[(lower, 1.0) for lower in low],
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        return bool(solution.success and -solution.fun > 1e-7)

    def as_inputs(self, x):
        """x / s for solutions (x, s): what the layer takes."""
        if self.homogeneous:
            return x
        s = x[:, -1:] * self.factor
        return x[:, :-1] / np.where(s > 0, s, 1e-12)
