"""Presets by name: those that come with zoo, and the published ones of the lineage with a way to get them."""

import dataclasses
import os
import re

import zoo
from zoo.backend.near_names import did_you_mean
from zoo.store import Folder, PresetError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ADDRESS = {"Hugging Face": "hf://", "Kaggle": "kaggle://"}


@dataclasses.dataclass(frozen=True)
class KnownPreset:
    """A preset that zoo knows by name.

    Args:
        name: str, for `from_preset`.
        family: str, name of the class in zoo.
        on_disk: bool, whether it comes with zoo; the others have to be fetched from their authors first.
        sizes: dict of constructor arguments.
        parameters: int, of the encoder without heads.
        language: str.
        units: str, "characters" or "words"; words need a segmenter in the tokenizer.
        licence: str as the authors state it, "unknown" where they do not.
        sources: list of dict, where the authors (or a converter) publish it and in which format.
        note: str.
    """

    name: str
    family: str
    on_disk: bool = False
    sizes: dict = dataclasses.field(default_factory=dict, repr=False)  # a list of presets fits a screen
    parameters: int | None = None
    language: str = "zh"
    units: str = "characters"
    licence: str = "unknown"
    sources: list = dataclasses.field(default_factory=list, repr=False)
    note: str = ""

    def how_to_get(self):
        """Steps to fetch and load it, as text."""
        return "\n".join(f"  - {_steps(self.family, source)}" for source in self.sources)


def presets():
    """All presets that zoo knows by name, as `KnownPreset`: those on disk first, then the published ones."""
    published = _published()
    on_disk = [
        dataclasses.replace(published.get(name) or _described(name), name=name, on_disk=True) for name in _bundled()
    ]
    return on_disk + [preset for name, preset in published.items() if name not in _bundled()]


def bundled_folder(name):
    """The folder of a preset that comes with zoo, or None."""
    return os.path.join(_root(), name) if _NAME.fullmatch(name) and name in _bundled() else None


def not_on_disk(name):
    """The error for a name that is neither bundled nor a folder: how to get it, or what is known instead."""
    known = _published()
    if name in known:
        preset = known[name]
        note = f"\nNote: {preset.note}." if preset.note else ""
        return PresetError(
            f"{name} ({preset.family}, {preset.parameters:,} parameters, licence {preset.licence}) is "
            f"published, but not on this disk. Ways to get it:\n{preset.how_to_get()}{note}"
        )
    names = [preset.name for preset in presets()]
    guess = did_you_mean(name, names)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):  # as hubs name their models
        guess = f"did you mean 'hf://{name}' (needs keras-zoo[hub])" + (f", or{guess[12:]}" if guess else "?")
    hint = f" {guess[:1].upper()}{guess[1:]}" if guess else ""
    return PresetError(
        f"{str(name)[:200]!r} is no folder and no preset that zoo knows.{hint} Known names: {', '.join(names)}. "
        f"Presets on a hub are written hf://org/name or kaggle://owner/model/framework/variation"
    )


def _steps(family, source):
    where, repository = source["hub"], source["repository"]
    if where == "GitHub":
        folder = source["file"].removesuffix(".zip")
        return (
            f"{source['file']}, linked in the README of github.com/{repository}: unzip it, then "
            f'zoo.{family}.from_preset("{folder}")'
        )
    text = f'{where} (needs keras-zoo[hub]): zoo.{family}.from_preset("{_ADDRESS[where]}{repository}")'
    if where == "Hugging Face":
        text += (
            f"; if only a pytorch_model.bin is there, `hf download {repository} --local-dir FOLDER` and "
            f'zoo.{family}.from_preset("FOLDER") says how to convert it'
        )
    return text


def _root():
    """The folder of presets: beside zoo/ in a checkout, inside it when installed."""
    places = [os.path.join(place, "presets") for place in zoo.__path__]
    found = [place for place in places if os.path.isfile(os.path.join(place, "index.json"))]
    if not found:
        raise FileNotFoundError(f"zoo's presets/index.json is in none of {places}; is the installation complete?")
    return found[0]


def _bundled():
    return sorted(entry.name for entry in os.scandir(_root()) if os.path.isfile(os.path.join(entry, "config.json")))


def _published():
    return {name: KnownPreset(name=name, **record) for name, record in _json(_root(), "index.json").items()}


def _described(name):
    """A bundled preset that was never published elsewhere, by its own config.json."""
    backbone = _json(os.path.join(_root(), name), "config.json")["backbone"]
    return KnownPreset(name=name, family=backbone["class"], sizes=backbone["config"], licence="Apache-2.0")


def _json(folder, name):
    # Some installers make hard links to their cache.
    return Folder(folder, links=True).json(name)
