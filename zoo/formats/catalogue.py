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
        kind: str, name of the class that it loads as: the backbone's, or a matcher's over it.
        score: str, what it reaches, from its card; "" where nothing was measured.
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
    kind: str = ""
    score: str = ""
    sources: list = dataclasses.field(default_factory=list, repr=False)
    note: str = ""

    def how_to_get(self):
        """Steps to fetch and load it, as text."""
        return "\n".join(f"  - {_steps(self.family, source)}" for source in self.sources)


class PresetTable(list):
    """A list of `KnownPreset` that prints as a table."""

    def __repr__(self):
        head = ("name", "loads as", "parameters", "language", "licence", "on disk", "score")
        rows = [head] + [
            (
                preset.name,
                preset.kind or preset.family,
                f"{preset.parameters:,}" if preset.parameters else "",
                preset.language,
                preset.licence,
                "yes" if preset.on_disk else "",
                preset.score,
            )
            for preset in self
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    __str__ = __repr__


def presets() -> PresetTable:
    """All presets that zoo knows by name, as `KnownPreset`: those on disk first, then the published ones.

    The list prints as a table; sizes and sources of one are its attributes.
    """
    bundled, published = _bundled(), _published()
    on_disk = [
        KnownPreset(**{"name": name, **_described(name), **published.get(name, {}), "on_disk": True})
        for name in bundled
    ]
    return PresetTable(
        on_disk + [KnownPreset(name=name, **record) for name, record in published.items() if name not in bundled]
    )


def bundled_folder(name):
    """The folder of a preset that comes with zoo, or None."""
    return os.path.join(_root(), name) if _NAME.fullmatch(name) and name in _bundled() else None


def not_on_disk(name):
    """The error for a name that is neither bundled nor a folder: how to get it, or what is known instead."""
    known = _published()
    if name in known and name not in _bundled():
        preset = KnownPreset(name=name, **known[name])
        note = f"\nNote: {preset.note}." if preset.note else ""
        return PresetError(
            f"{name} ({preset.family}, {preset.parameters:,} parameters, licence {preset.licence}) is "
            f"published, but not on this disk. Ways to get it:\n{preset.how_to_get()}{note}"
        )
    text = str(name)[:200]
    names = [preset.name for preset in presets()]
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text):
        same = [
            one for one in names for source in known.get(one, {}).get("sources", ()) if source["repository"] == text
        ]
        own = f" zoo knows it as {same[0]!r}, whose error tells all ways to get it." if same else ""
        return PresetError(
            f'{text!r} is no folder here. On Hugging Face\'s hub it is from_preset("hf://{text}"), which downloads it (needs '
            f"keras-zoo[hub]).{own}"
        )
    guess = did_you_mean(name, names)
    hint = f" {guess[:1].upper()}{guess[1:]}" if guess else ""
    return PresetError(
        f"{text!r} is no folder and no preset that zoo knows.{hint} Known names: {', '.join(names)}. "
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
    """Name -> record of the index, in which those that come with zoo have what their config.json does not say."""
    return _json(_root(), "index.json")


def _described(name):
    """What a bundled preset's own config.json says."""
    config = _json(os.path.join(_root(), name), "config.json")
    backbone, task = config["backbone"], config.get("task") or config["backbone"]
    return {"family": backbone["class"], "sizes": backbone["config"], "kind": task["class"]}


def _json(folder, name):
    # Some installers make hard links to their cache.
    return Folder(folder, links=True).json(name)
