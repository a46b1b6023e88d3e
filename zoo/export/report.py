"""Whether an export computes what its model computes: stored with it, and tried again anywhere, without Keras."""

import os
import warnings
from typing import Any

import numpy as np

from zoo import runtime
from zoo.store import Folder, PresetError

CANARIES = "canaries.json"
LIMIT = 2e-6  # of a number of a vector of length 1
FREE_LIMIT = 1e-5  # of scores, logits and hidden states of size 1, and so much more of larger ones
LEAST_COSINE = 0.9  # of a quantized model's vectors; its quality is measured on the caller's pairs


def verify(folder: str | os.PathLike, threads: int | None = None) -> dict[str, Any]:
    """Compute the canaries of an exported folder again, here, and compare with what the model gave.

    Args:
        folder: path of a folder that `export` wrote. threads: see `zoo.runtime.load`.

    Returns:
        dict of largest_difference, limit, least_cosine, canaries.

    Raises:
        PresetError: the outputs are not those of the model, or the folder is none of an export or damaged.
    """
    exported = runtime.load(folder, threads)
    files = Folder(folder)
    if not files.has(CANARIES):
        raise PresetError(f"{files.path} has no {CANARIES} to compare with")
    canaries = files.json(CANARIES, cap=1 << 28)
    return compare(exported, canaries, str(files.path))


def compare(exported, canaries, where):
    """The report of an exported model for canaries, see `verify`.

    Args:
        exported: `zoo.runtime.Runtime`. canaries: dict of inputs and outputs. where: str, what errors name.
    """
    expected = [np.asarray(array, "float32") for array in canaries["outputs"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # canaries are long and odd
        found = outputs(exported, canaries["inputs"])
    differences = [np.abs(a - b).max(initial=0.0) if a.shape == b.shape else np.inf for a, b in zip(found, expected)]
    largest = float(max(differences)) if len(found) == len(expected) else float("inf")
    task, quantized = exported.description["task"], exported.description["quantize"]
    size = max(1.0, max(float(np.abs(array).max(initial=0.0)) for array in expected))
    limit = LIMIT if task == "RepresentationMatcher" else FREE_LIMIT * size
    report = {
        "largest_difference": largest,
        "limit": None if quantized else limit,
        "least_cosine": _least_cosine(found, expected),
        "canaries": len(canaries["inputs"]),
    }
    met = report["least_cosine"] >= LEAST_COSINE if quantized else largest <= limit
    if not met:
        wanted = f"cosines of at least {LEAST_COSINE}" if quantized else f"at most {limit:.1e}"
        raise PresetError(
            f"{where}: the export's outputs differ from the model's by up to {largest:.2e} (least cosine "
            f"{report['least_cosine']:.6f}); expected {wanted}. A model on a GPU may multiply in TF32: export on the CPU. "
            "Without one please report it, with the model's config"
        )
    return report


def outputs(exported, inputs):
    """Outputs of an exported model for the inputs of its canaries, a list of arrays.

    Args:
        inputs: list of str, of pairs, or of dicts of arrays (a backbone's).
    """
    task = exported.description["task"]
    if task == "RepresentationMatcher":
        return [exported.encode(inputs)]
    if task == "InteractionMatcher":
        return [exported.score([tuple(pair) for pair in inputs])]
    if task == "TextClassifier":
        texts = [one for one in inputs if isinstance(one, str)]
        pairs = [tuple(one) for one in inputs if not isinstance(one, str)]
        return [exported.logits(texts), exported.logits(pairs)]
    found = []
    for arrays in inputs:
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        found.append(exported.compute(arrays) * arrays["padding_mask"][..., None])
    return found


def _least_cosine(found, expected):
    cosines = [1.0]
    for a, b in zip(found, expected):
        if a.shape != b.shape:
            return -1.0
        a, b = (x.reshape(-1, x.shape[-1] if x.ndim > 1 else x.size).astype("float64") for x in (a, b))
        sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        real = sizes > 0
        cosines.extend((np.sum(a * b, axis=1)[real] / sizes[real]).tolist())
    return float(min(cosines))
