"""Files of the length lab: a folder of results for each seed, in it a file for each reading with its finished cells."""

import json
import os
import re
from dataclasses import asdict

import keras

from zoo.data.dataset import digest


def file_name(name):
    """A variant's name as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def path_of(output, seed, reading):
    return os.path.join(output, f"seed-{seed}", "results", f"{file_name(reading)}.json")


TESTED = ("factor", "test_tokens", "heldout")  # settings that a training does not depend on


def settings_of(setting, tokenizer, stream, heldout):
    """JSON values that say what the numbers of a folder were made with."""
    texts = {"text": digest(stream.ids[:100000])[:16], "heldout": digest(heldout.ids[: setting.test_tokens])[:16]}
    size = {"vocabulary": tokenizer.vocabulary_size, "tokens": len(stream)}
    return {**asdict(setting), **size, **texts, "backend": keras.backend.backend()}


def kept(path, settings):
    """Results in a file by cell, {} without one.

    Raises:
        ValueError: they were made with other settings.
    """
    made = _read(path)
    if made is None:
        return {}
    differing = {n: (made["settings"].get(n), v) for n, v in settings.items() if made["settings"].get(n) != v}
    if differing:
        raise ValueError(f"{path} was made with other settings, {differing}; take another --output or remove it")
    return made["cells"]


def keep(path, settings, found):
    """Write results by cell, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump({"cells": found, "settings": settings}, file, indent=1, ensure_ascii=False)
    os.replace(f"{path}.part", path)


def collected(output, seeds, readings):
    """Reading name -> seed -> cell -> {"loss", "accuracy"}, of what is there.

    Raises:
        ValueError: two files were made with different settings, and cannot be in one table.
    """
    found, first = {}, None
    for name in readings:
        for seed in range(seeds):
            path = path_of(output, seed, name)
            made = _read(path)
            if made is None:
                continue
            first = first or (path, made["settings"])
            if made["settings"] != first[1]:
                raise ValueError(
                    f"{path} was made with other settings than {first[0]}; remove one, or take another --output"
                )
            found.setdefault(name, {})[seed] = made["cells"]
    return found


def _read(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)
