"""The package as a thing: its public names, how it installs, and the rules that every source file keeps.

The rules that keep hostile files harmless are in test_hostile.py.
"""

import ast
import configparser
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from support.library_source import LIBRARY, ROOT, called, each, imported, name_of, nodes

pytestmark = pytest.mark.neutral

PYTHON_FILES = LIBRARY + sorted(
    path for folder in ("benchmarks", "examples", "tests") for path in ROOT.glob(f"{folder}/**/*.py")
)
PRESET_FILES = [path for path in ROOT.glob("presets/**/*") if path.is_file() and "__pycache__" not in path.parts]
BACKENDS = {"torch", "jax", "jaxlib", "tensorflow"}

# The arrows of the design: on the left a part of the library, on the right all of zoo that it may import.
ARROWS = {
    "layers/": ("zoo.layers.", "zoo.backend."),
    "zoo/losses/": ("zoo.losses.", "zoo.backend."),
    "zoo/metrics": ("zoo.metrics.",),
    "zoo/data": ("zoo.data.",),
    "zoo/backend/": ("zoo.backend.",),
    "zoo/store": ("zoo.store.",),
}


def package_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup["metadata"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names of the files in a wheel of this tree, built from a copy so that no build folder stays behind."""
    source = tmp_path_factory.mktemp("source") / "zoo"
    litter = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests", "benchmarks")
    shutil.copytree(ROOT, source, ignore=litter)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, source], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = source.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def checkout_import(tmp_path_factory):
    """What a new process sees that finds the bare checkout on its path but was not started inside it."""
    script = """
import json, sys
import keras
before = set(sys.modules)
import zoo
added = sorted(set(sys.modules) - before)
import zoo.layers
names = {name: getattr(getattr(zoo, name, None), "__doc__", None) or "" for name in zoo.__all__}
print(json.dumps({"added": added, "names": names, "listed": dir(zoo), "version": zoo.__version__,
                  "zoo": zoo.__file__, "layers": zoo.layers.__file__, "top": "layers" in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# The package


def test_public_names_resolve_and_are_documented(checkout_import):
    assert checkout_import["names"], "zoo.__all__ is empty"
    assert not [name for name, documentation in checkout_import["names"].items() if not documentation.strip()]
    assert set(checkout_import["names"]) <= set(checkout_import["listed"]), "dir(zoo) hides public names"


def test_unknown_name_is_an_attribute_error():
    import zoo

    with pytest.raises(AttributeError, match="no_such_name"):
        zoo.no_such_name  # noqa: B018


def test_version_is_that_of_setup_cfg(checkout_import):
    assert checkout_import["version"] == package_version()


def test_checkout_import_uses_the_checkout(checkout_import):
    assert pathlib.Path(checkout_import["zoo"]) == ROOT / "zoo/__init__.py"
    assert pathlib.Path(checkout_import["layers"]) == ROOT / "layers/__init__.py"
    assert not checkout_import["top"], "imported as `layers` too: every class would exist twice"


def test_import_is_lazy(checkout_import):
    """`import zoo` after `import keras` loads a handful of modules: no tokenizer, no SciPy, no backend."""
    added = checkout_import["added"]
    heavy = BACKENDS | {"scipy", "tokenizers", "safetensors", "transformers", "keras_hub", "matplotlib"}
    assert not heavy & {name.partition(".")[0] for name in added}
    assert len(added) <= 10, added


@pytest.mark.parametrize("name", ["BERT", "GAUAlpha"])
def test_a_model_needs_nothing_that_trains_it(name):
    """A backbone stands below optimizers, callbacks, data and tasks: it imports none of them."""
    script = f"import sys, zoo; zoo.{name}; print(*(name for name in sys.modules if name.startswith('zoo.')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = done.stdout.split()
    above = {"optimizers", "callbacks", "data", "training", "tasks", "generation", "metrics", "losses"}
    assert not [module for module in loaded if module.split(".")[1] in above]


def test_wheel_holds_the_library_and_nothing_else(wheel):
    packed = {name for name in wheel if not name.partition("/")[0].endswith(".dist-info")}
    expected = {name_of(path) for path in LIBRARY if name_of(path).startswith("zoo/")}
    expected |= {f"zoo/{name_of(path)}" for path in LIBRARY if name_of(path).startswith("layers/")}
    expected |= {f"zoo/{name_of(path)}" for path in PRESET_FILES}
    assert packed == expected, f"lacks {sorted(expected - packed)}, has beside {sorted(packed - expected)}"


def test_wheel_carries_the_licence(wheel):
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_presets_hold_data_only():
    suffixes = {path.suffix for path in PRESET_FILES if path.name != "__init__.py"}
    assert suffixes <= {".json", ".md", ".safetensors", ".txt"}
    for path in PRESET_FILES:
        if path.name == "__init__.py":
            assert [type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body] == [ast.Expr]


# The rules of the house


@each(PYTHON_FILES)
def test_file_is_short_and_well_named(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 600, "one idea a file, 600 lines at most"
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common", "snippets"}
    for word in ("TO" + "DO", "FIX" + "ME"):
        assert word not in text, f"{word}: open an issue instead"


@each(LIBRARY)
def test_library_neither_prints_nor_asserts(path):
    asserts = [node.lineno for node in nodes(path) if isinstance(node, ast.Assert)]
    assert not asserts, "raise an error that teaches"
    assert not [line for name, line in called(path) if name in {"print", "breakpoint", "input"}]


@each([path for path in LIBRARY if not name_of(path).startswith("zoo/backend/")])
def test_only_backend_knows_backends(path):
    assert not BACKENDS & {module.partition(".")[0] for module in imported(path)}
    asking = {"keras.backend.backend", "keras.config.backend"}
    assert not [(name, line) for name, line in called(path) if name in asking]


@each(LIBRARY)
def test_arrows_point_one_way(path):
    assert "layers" not in {module.partition(".")[0] for module in imported(path)}, "its name is zoo.layers"
    for part, allowed in ARROWS.items():
        if name_of(path).startswith(part):
            ours = {module for module in imported(path) if module.partition(".")[0] == "zoo"}
            assert {module for module in ours if not f"{module}.".startswith(allowed)} == set()
