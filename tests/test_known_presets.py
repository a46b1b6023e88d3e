"""The index of published presets: complete, true to the sizes, and helpful to whoever lacks one."""

import json
import pathlib
import re

import pytest

import zoo
from zoo.formats import catalogue, hub
from zoo.store import PresetError

pytestmark = pytest.mark.neutral

KNOWN = {preset.name: preset for preset in catalogue.presets()}
PUBLISHED = [preset for preset in KNOWN.values() if not preset.on_disk]


def parameters_of(preset):
    """Weights of an encoder without heads, counted by hand."""
    sizes = preset.sizes
    d, layers, rows = sizes["hidden_dim"], sizes["num_layers"], sizes["vocabulary_size"] + 2
    layers = 1 if preset.family == "ALBERT" else layers
    if preset.family == "GAUAlpha":
        e, s = sizes["expanded_dim"], sizes["key_dim"]
        return rows * d + layers * (d * (2 * e + s) + 2 * s + e * d)
    inner = sizes["intermediate_dim"]
    if preset.family == "RoFormerV2":
        return rows * d + layers * (4 * d * d + 2 * d * inner)
    embedding = sizes.get("embedding_dim", d)
    kernels = rows * embedding + layers * (4 * d * d + 2 * d * inner)
    biases_and_norms = 2 * embedding + layers * (4 * d + inner + d + 4 * d)
    mapping = 0 if embedding == d else (embedding + 1) * d
    return (
        kernels
        + biases_and_norms
        + mapping
        + (0 if preset.family in ("RoFormer", "NEZHA") else sizes["max_sequence_length"] * embedding)
    )


@pytest.mark.parametrize("preset", [one for one in KNOWN.values() if one.on_disk], ids=lambda preset: preset.name)
def test_records_of_bundled_presets_say_what_their_cards_say(preset):
    card = " ".join(
        (pathlib.Path(catalogue.bundled_folder(preset.name)) / "README.md").read_text(encoding="utf-8").split()
    )
    assert "weights for research use" in card and preset.licence.startswith("research use")
    assert f"{preset.parameters:,} parameters" in card
    assert hasattr(zoo, preset.kind) and preset.sizes["num_layers"]
    for number in re.findall(r"0\.\d+", preset.score):
        assert number in card or f"{float(number) * 100:.1f}" in card
    assert preset.score and preset.licence in repr(zoo.presets())


def test_a_name_with_a_slash_is_one_of_the_hub():
    error = str(catalogue.not_on_disk("junnyu/roformer_v2_chinese_char_small"))
    assert 'from_preset("hf://junnyu/roformer_v2_chinese_char_small")' in error and "'roformer_v2_small_zh'" in error
    assert "Did you mean" not in str(catalogue.not_on_disk("somebody/else"))


def test_the_lineage_is_known():
    assert {
        "roformer_v2_small_zh",
        "roformer_v2_base_zh",
        "roformer_v2_large_zh",
        "gau_alpha_base_zh",
        "roformer_base_zh",
        "roformer_small_zh",
        "roformer_char_base_zh",
        "roformer_sim_base_zh",
        "bert_base_zh",
        "simbert_base_zh",
    } <= set(KNOWN)
    assert KNOWN["roformer_v2_base_zh"].parameters == 94_152_192  # counted in the model's own post
    assert KNOWN["gau_alpha_base_zh"].parameters == 96_517_632


@pytest.mark.parametrize("preset", PUBLISHED, ids=lambda preset: preset.name)
def test_records_are_complete_and_true(preset):
    assert re.fullmatch(r"[a-z0-9_]+_zh", preset.name)
    assert preset.family in zoo.FAMILIES
    assert set(preset.sizes) <= set(getattr(zoo, preset.family).arguments())
    assert preset.parameters == parameters_of(preset)
    assert preset.licence in ("Apache-2.0", "unknown")
    assert preset.units in ("characters", "words")
    for source in preset.sources:
        assert source["hub"] in ("GitHub", "Hugging Face", "Kaggle")
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+", source["repository"])
        # the name of the original's archives states layers, width and heads
        if file := source.get("file"):
            stated = re.search(r"_L-(\d+)_H-(\d+)(?:_A-(\d+))?\.zip$", file)
            sizes = preset.sizes
            assert tuple(map(int, filter(None, stated.groups()))) == tuple(
                filter(None, (sizes["num_layers"], sizes["hidden_dim"], sizes.get("num_heads")))
            )


@pytest.mark.parametrize("preset", PUBLISHED, ids=lambda preset: preset.name)
def test_asking_for_one_that_is_not_there_says_how_to_get_it(preset):
    text = str(catalogue.not_on_disk(preset.name))
    assert isinstance(catalogue.not_on_disk(preset.name), PresetError)
    for source in preset.sources:
        assert source["repository"] in text
    assert f"zoo.{preset.family}.from_preset(" in text and preset.licence in text
    addresses = re.findall(r'from_preset\("((?:hf|kaggle)://[^"]+)"', text)
    for address in addresses:
        assert hub._HUGGING_FACE.fullmatch(address) or hub._KAGGLE.fullmatch(address)
    assert len(addresses) == sum(source["hub"] != "GitHub" for source in preset.sources)


def test_from_preset_says_it():
    with pytest.raises(PresetError, match="roformer_v2_large_zh .*published, but not on this disk"):
        zoo.RoFormerV2.from_preset("roformer_v2_large_zh")
    with pytest.raises(PresetError, match="Did you mean roformer_v2_base_zh"):
        zoo.RoFormerV2.from_preset("roformer_v2_bas_zh")
    with pytest.raises(PresetError, match="Known names"):
        zoo.RoFormerV2.from_preset("nothing like it")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "a/b", "roformer\0", "index.json", "x" * 5000])
def test_odd_names_are_no_bundled_presets(name):
    assert catalogue.bundled_folder(name) is None
    assert isinstance(catalogue.not_on_disk(name), PresetError)


def test_bundled_presets_come_first(tmp_path, monkeypatch):
    index = {
        "far_zh": {"family": "BERT", "parameters": 1},
        "near_zh": {"family": "RoFormer", "parameters": 2},
    }
    (tmp_path / "index.json").write_text(json.dumps(index))
    for name in ("near_zh", "own_zh"):
        (tmp_path / name).mkdir()
        config = {"format": 1, "backbone": {"class": "RoFormerV2", "config": {"num_layers": 1}}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "no_preset").mkdir()
    monkeypatch.setattr(catalogue, "_root", lambda: str(tmp_path))
    found = [(preset.name, preset.family, preset.on_disk) for preset in catalogue.presets()]
    assert found == [("near_zh", "RoFormer", True), ("own_zh", "RoFormerV2", True), ("far_zh", "BERT", False)]
    assert catalogue.bundled_folder("own_zh") == str(tmp_path / "own_zh")
    assert catalogue.bundled_folder("far_zh") is None


def test_presets_is_a_function_of_zoo():
    assert [preset.name for preset in zoo.presets()] == list(KNOWN)


def test_a_folder_of_a_bundled_name_is_never_passed_over(tmp_path, monkeypatch):
    """`save_to_preset(name)` and `from_preset(name)` would be of two models."""
    name = "roformer_v2_tiny_zh"
    model = zoo.BERT(vocabulary_size=11, num_layers=1, hidden_dim=4, num_heads=1, intermediate_dim=4)
    model.save_to_preset(tmp_path / name)
    assert type(zoo.Backbone.from_preset(name)) is zoo.RoFormerV2
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PresetError, match=f"'{name}' is a preset that comes with zoo, and a folder here.*\"./{name}\""):
        zoo.Backbone.from_preset(name)
    assert type(zoo.Backbone.from_preset(f"./{name}")) is zoo.BERT
    monkeypatch.chdir(catalogue.bundled_folder(name) + "/..")
    assert type(zoo.Backbone.from_preset(name)) is zoo.RoFormerV2, "zoo's own folder is no other one"
