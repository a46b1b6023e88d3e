"""Select, from a full set of goldens, the arrays that the tests compare with.

    python tests/goldens/select_goldens.py FULL_SET FOLDER

Nothing is computed: arrays are dropped, thinned out, or rounded from float64 to float32.
"""

import pathlib
import sys

import numpy as np

MODELS = ("roformer_v2", "roformer_v2_mlm", "gau_alpha", "roformer", "bert")
LINEAGE = ("albert", "nezha", "electra")
GRADIENTS = (
    "embeddings/word_embeddings",
    "embeddings/token_type_embeddings",
    "layer_0/attention/self/query/kernel",
)


def is_wanted_of_model(key, keys, model):
    """Inputs and outputs. Weights are in the checkpoint beside, probabilities are the logits' softmax."""
    if key.startswith("weights/") or key.endswith(("/mlm_proba", "odd/all_hidden_states")):
        return False
    if model == "roformer_v2" and key.startswith(("out_lm/", "out_unilm/")):
        return False  # the same model as roformer_v2_mlm, which has them
    return not (key.startswith("out/") and "out64/" + key.removeprefix("out/") in keys)


def is_wanted_of_lineage(key, keys):
    """Fewer lengths: what padding and length may change is tested by its own laws."""
    return is_wanted_of_model(key, keys, "lineage") and not {"l16", "l40", "l7_padded_to_16"} & set(key.split("/"))


def is_wanted_of_finetuning(key):
    if key.startswith("grad64/"):
        return key.endswith(GRADIENTS)
    return key.startswith(("in/", "cls64/")) or key.endswith(("/losses", "/losses64", "/cls_final"))


def thin_scores(arrays):
    """Every third query row of the attention normalisers' arrays: rows do not see each other."""
    thin = {}
    for key, array in arrays.items():
        rows = key.startswith("attn_norm/") and array.shape[-2:] == (37, 37)
        thin[key] = array[..., ::3, :] if rows else array
    return thin


def copy(source, target, change):
    with np.load(source, allow_pickle=False) as file:
        arrays = change({key: file[key] for key in file.files})
    narrow = {k: a.astype("float32") if a.dtype == np.float64 and a.ndim else a for k, a in arrays.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **narrow)


def main(full, folder):
    for model in MODELS:
        copy(
            full / model / "golden.npz",
            folder / model / "golden.npz",
            lambda arrays, model=model: {k: a for k, a in arrays.items() if is_wanted_of_model(k, arrays, model)},
        )
    for model in LINEAGE:
        copy(
            full / "lineage" / model / "golden.npz",
            folder / model / "golden.npz",
            lambda arrays: {k: a for k, a in arrays.items() if is_wanted_of_lineage(k, arrays)},
        )
    copy(full / "layers.npz", folder / "layers.npz", dict)
    copy(full / "ops.npz", folder / "ops.npz", thin_scores)
    copy(
        full / "finetune_roformer_v2.npz",
        folder / "finetune_roformer_v2.npz",
        lambda arrays: {k: a for k, a in arrays.items() if is_wanted_of_finetuning(k)},
    )


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:3]))
