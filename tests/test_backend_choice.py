"""Which backend `import zoo` leaves Keras with, in environments that lack some and in which nobody has chosen."""

import json
import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest
from support.paths import ROOT

pytestmark = pytest.mark.neutral

SITE = pathlib.Path(sysconfig.get_path("purelib"))
HIDDEN = {"torch", "jax", "tensorflow"}


@pytest.fixture
def python(tmp_path):
    """A function that runs Python with these backends alone installed: (backends, code, variables) -> (stdout, stderr)."""

    def run(backends, code, **variables):
        packages = tmp_path / "-".join(["with", *backends])
        if not packages.exists():
            packages.mkdir()
            for path in SITE.iterdir():
                if path.name not in HIDDEN or path.name in backends:
                    (packages / path.name).symlink_to(path)
        kept = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "KERAS_HOME")}
        where = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)])}
        command = [sys.executable, "-S", "-c", code]  # -S: without the site-packages that hold them all
        done = subprocess.run(command, cwd=tmp_path, env={**kept, **where, **variables}, capture_output=True, text=True)
        return done.stdout.strip(), done.stderr.strip()

    return run


ASK = "import zoo; zoo.BERT; import keras; print(keras.backend.backend())"


def test_the_only_one_is_taken_whatever_keras_wrote(python, tmp_path):
    assert python(["torch"], ASK)[0] == "torch"
    written = json.loads((tmp_path / ".keras" / "keras.json").read_text(encoding="utf-8"))
    assert written["backend"] == "tensorflow", "Keras leaves its own default, which is no choice of anybody's"
    assert python(["torch"], ASK)[0] == "torch"
    assert python(["jax"], ASK)[0] == "jax"


def test_none_and_two_are_one_sentence(python):
    for backends, mend in (
        ([], "pip install torch, jax"),
        (["jax", "torch"], "set KERAS_BACKEND=torch or jax, before"),
    ):
        said = python(backends, ASK)[1].splitlines()[-1]
        assert (
            said.startswith("ImportError: Keras takes the backend tensorflow, which is not installed: ")
            and mend in said
        )


def test_a_choice_is_a_choice(python, tmp_path):
    late = "import zoo, os; os.environ['KERAS_BACKEND'] = 'jax'; " + ASK
    assert python(["torch", "jax"], ASK, KERAS_BACKEND="jax")[0] == "jax"
    assert python(["torch", "jax"], late)[0] == "jax"
    assert (
        python(["torch", "jax"], f"import os; os.environ['KERAS_BACKEND'] = 'torch'; import keras; {ASK}")[0] == "torch"
    )
    (tmp_path / ".keras" / "keras.json").write_text('{"backend": "jax"}', encoding="utf-8")
    assert python(["torch", "jax"], ASK)[0] == "jax"


def test_what_needs_no_backend_needs_none(python):
    assert python([], "import zoo, zoo.metrics; print(zoo.metrics.accuracy([1, 0], [1, 1]))") == ("0.5", "")
