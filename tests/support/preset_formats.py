"""Presets in each released format, kept for ever: tests/goldens/preset_format_<n>, and what they must give.

A new format takes a new number and a new folder; those that are there are never written again:

    KERAS_BACKEND=torch python tests/support/preset_formats.py 2

The folder holds a preset of a text classifier, random weights, and the logits that it gives for `lines()`.
Format 1: Keras 3.15.1, torch 2.13.0, NumPy's seed 7 for the weights and 8 for the lines.
"""

import pathlib
import sys

import numpy as np

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"
CLASSES = ["一", "二", "三", "四", "五"]


def folder(number):
    return GOLDENS / f"preset_format_{number}"


def lines(count=1000):
    """Texts of 2 to 24 characters of the goldens' vocabulary, some of them unknown."""
    rng = np.random.default_rng(8)
    vocabulary = (GOLDENS / "roformer_v2" / "vocab.txt").read_text(encoding="utf-8").split()
    characters = [token for token in vocabulary if len(token) == 1] + ["龘", " "]
    return ["天" + "".join(rng.choice(characters, rng.integers(1, 24))) for _ in range(count)]


def main(number):
    import zoo
    from support.tiny_models import backbone, scatter_weights, to_numpy
    from zoo.formats import zoo_preset

    if zoo_preset.FORMAT != number or folder(number).exists():
        sys.exit(f"this zoo writes format {zoo_preset.FORMAT}; {folder(number)} must not exist")
    model = zoo.TextClassifier(scatter_weights(backbone(max_sequence_length=32)), len(CLASSES), class_names=CLASSES)
    scatter_weights(model)
    tokens = model.tokenizer(lines(), max_length=model.max_length)
    bias = model.classifier.bias  # so that every class is the best of some lines
    bias.assign(to_numpy(bias) - np.mean(model.predict_on_batch(tokens), axis=0))
    model.save_to_preset(folder(number))
    np.savez_compressed(folder(number) / "golden.npz", logits=np.asarray(model.predict_on_batch(tokens), "float32"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
