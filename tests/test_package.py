"""The package as a thing: its public names, how it installs, and the rules that every source file keeps.

The rules that keep hostile files harmless are in test_hostile.py.
"""

import ast
import configparser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from support.library_source import LIBRARY, called, name_of
from support.paths import ROOT

pytestmark = pytest.mark.neutral

PYTHON_FILES = LIBRARY + sorted(
    path for folder in ("benchmarks", "examples", "tests") for path in ROOT.glob(f"{folder}/**/*.py")
)
PRESET_FILES = [path for path in ROOT.glob("presets/**/*") if path.is_file() and "__pycache__" not in path.parts]
BACKENDS = {"torch", "jax", "jaxlib", "tensorflow"}


def package_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup["metadata"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What a wheel of this tree installs, built from a copy so that no build folder stays behind."""
    source = tmp_path_factory.mktemp("source") / "zoo"
    litter = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests", "benchmarks")
    shutil.copytree(ROOT, source, ignore=litter)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, source], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = source.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(source.parent / "installed")
    return source.parent / "installed"


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
    if name == "BERT":  # a model of one family is a part of the library
        assert len(["zoo", *loaded]) <= 60, len(loaded)


def test_a_matcher_loads_no_library_beside_keras_and_its_tokenizer():
    script = "import sys, keras; before = set(sys.modules); import zoo; zoo.RepresentationMatcher; "
    script += "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    others = {
        "scipy",
        "safetensors",
        "transformers",
        "keras_hub",
        "huggingface_hub",
        "kagglehub",
        "matplotlib",
        "sklearn",
    }
    assert not others & set(done.stdout.split())


def test_wheel_holds_the_library_and_nothing_else(wheel):
    packed = {path.relative_to(wheel).as_posix() for path in wheel.glob("**/*") if path.is_file()}
    packed = {name for name in packed if not name.partition("/")[0].endswith(".dist-info")}
    expected = {"zoo/py.typed", "zoo/__init__.pyi"}
    expected |= {name_of(path) for path in LIBRARY if name_of(path).startswith("zoo/")}
    expected |= {f"zoo/{name_of(path)}" for path in LIBRARY if name_of(path).startswith("layers/")}
    expected |= {f"zoo/{name_of(path)}" for path in PRESET_FILES}
    assert packed == expected, f"lacks {sorted(expected - packed)}, has beside {sorted(packed - expected)}"


def test_an_editable_install_is_found_from_wherever_python_is_started(tmp_path):
    """Beside the clone too, where its folder `zoo` without __init__.py comes first on the path."""
    clone = tmp_path / "zoo"
    shutil.copytree(
        ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests")
    )
    build = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, tmp_path], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(*tmp_path.glob("*.whl")) as archive:
        archive.extractall(tmp_path / "site")
    ask = "import site, sys; site.addsitedir(sys.argv[1]); import zoo, zoo.losses.needs, zoo.layers; print(zoo.layers.__file__)"
    others = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    for place in (tmp_path, clone, tmp_path / "site"):
        command = [sys.executable, "-S", "-c", ask, tmp_path / "site"]
        done = subprocess.run(
            command, cwd=place, env={**os.environ, "PYTHONPATH": others}, capture_output=True, text=True
        )
        assert done.stdout.strip() == str(clone / "layers/__init__.py"), done.stderr[-2000:]


def test_wheel_carries_the_licence(wheel):
    assert list(wheel.glob("*.dist-info/licenses/LICENSE"))


def test_the_stub_names_what_the_gate_names():
    """zoo/__init__.pyi says to editors and type checkers what zoo/__init__.py says to Python."""
    import zoo

    stub = ast.parse((ROOT / "zoo/__init__.pyi").read_text(encoding="utf-8"))
    named = {
        alias.asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert named == zoo._NAMES | dict.fromkeys(zoo._MODULES, "zoo")


def test_type_checkers_see_through_the_gate(wheel, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import zoo\n\nzoo.RoFormerV2, zoo.layers.RotaryEmbedding, zoo.RoFormerV3\n", encoding="utf-8")
    # The stub and the program alone: what the stub names is checked by `make check`.
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run(
        [*command, program, wheel / "zoo/__init__.pyi"], cwd=wheel, capture_output=True, text=True, check=False
    )
    assert re.findall(r"program.py:3: error: (.*)", done.stdout) == [
        'Module has no attribute "RoFormerV3"  [attr-defined]'
    ]


def test_presets_hold_data_only():
    suffixes = {path.suffix for path in PRESET_FILES if path.name != "__init__.py"}
    assert suffixes <= {".json", ".md", ".safetensors", ".txt"}
    for path in PRESET_FILES:
        if path.name == "__init__.py":
            assert [type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body] == [ast.Expr]


# The rules of the house: most are ruff's (.ruff.toml) and import-linter's (test_arrows.py)


def test_files_are_short_and_well_named():
    drawers = {"utils", "util", "helpers", "helper", "misc", "common", "snippets"}
    assert not [name_of(path) for path in PYTHON_FILES if path.stem in drawers]
    lengths = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in PYTHON_FILES}
    assert not {name: lines for name, lines in lengths.items() if lines > 600}, "one idea a file, 600 lines at most"


def test_library_never_waits_for_the_keyboard():
    assert not [(name_of(path), line) for path in LIBRARY for name, line in called(path) if name == "input"]


def test_ruff_refuses_what_the_house_forbids(tmp_path):
    """Each rule is on where it is needed: a file of this name and content would not pass `make check`."""
    refused = {
        ("zoo/models/bert.py", "T201"): "print(1)",
        ("layers/norm.py", "T100"): "breakpoint()",
        ("layers/dense.py", "S101"): "assert dense",
        ("zoo/store/folder.py", "S102"): "exec(content)",
        ("zoo/formats/hdf5.py", "S307"): "eval(content)",
        ("zoo/backend/updates.py", "FIX001"): "# FIX" + "ME",
        ("zoo/data/rows.py", "FIX002"): "# TO" + "DO",
        ("tests/test_package.py", "FIX002"): "# TO" + "DO",
        ("layers/rotary.py", "TID251"): "import torch.nn",
        ("zoo/losses/cosent.py", "TID251"): "def loss():\n    from jax import numpy",
        ("zoo/tasks/matching.py", "TID251"): "from keras import backend\nbackend.backend()",
        ("zoo/callbacks/resume.py", "TID251"): "import keras\nkeras.config.backend()",
        ("zoo/models/gau.py", "TID251"): "from layers import norm",
    }
    shutil.copy(ROOT / ".ruff.toml", tmp_path)
    for (name, _), content in refused.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n", encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = set(re.findall(r"^(\S+?):\d+:\d+: (\S+) ", done.stdout, re.MULTILINE))
    assert set(refused) <= found, done.stdout + done.stderr


NEVER_MEETS_KERAS = """
import importlib, pathlib, sys
import pytest

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "keras":
            raise ImportError("keras is hidden")

sys.meta_path.insert(0, Refuse())
for path in sorted(pathlib.Path("tests").glob("test_*.py")):
    try:
        module = importlib.import_module(path.stem)
    except ImportError as error:
        assert "keras is hidden" in str(error), (path, error)
        continue
    marks = getattr(module, "pytestmark", [])
    if pytest.mark.neutral.mark not in [mark.mark for mark in (marks if isinstance(marks, list) else [marks])]:
        print(path.name)
"""


def test_files_that_import_no_keras_are_neutral():
    """Who forgets `pytestmark = pytest.mark.neutral` pays for the file three times."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, "-c", NEVER_MEETS_KERAS], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # These take keras in their tests, through the lazy names of zoo.
    late = {
        "test_bundled_presets.py",
        "test_example_constant_memory_generation.py",
        "test_heads_masked_positions.py",
        "test_keras_hub.py",
    }
    assert set(done.stdout.split()) <= late
