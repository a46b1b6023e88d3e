"""Who may import whom: the contracts under [importlinter] in setup.cfg, and that each of them can be broken."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from support.paths import ROOT

pytestmark = pytest.mark.neutral

BREACHES = {  # contract -> a file and the import that it may not hold
    "Imports point downward": ("backend/variables.py", "import zoo.layers.masks"),
    "No circles": ("data/rows.py", "from zoo.data.reader import read_rows"),
    "A backbone imports nothing that trains it": ("models/sizes.py", "import zoo.losses.cosent"),
    "Optimizers know no data": ("optimizers/decay.py", "import zoo.data.rows"),
    "Losses, metrics, data and text stand without layers and store": ("metrics/ranking.py", "import zoo.store.names"),
    "Nothing inside goes through the gate": ("tasks/matching.py", "def late():\n    import zoo"),
}


@pytest.fixture(scope="module")
def lint(tmp_path_factory):
    """`lint()` gives the report on a copy of the library with layers/ inside, as it is installed."""
    tree = tmp_path_factory.mktemp("tree")
    for source, target in (("zoo", "zoo"), ("layers", "zoo/layers")):
        shutil.copytree(ROOT / source, tree / target, ignore=shutil.ignore_patterns("__pycache__"))

    def report(breaches=()):
        before = {}
        for name, line in breaches:
            path = pathlib.Path(tree, "zoo", name)
            before[path] = path.read_text(encoding="utf-8")
            path.write_text(f"{before[path]}\n{line}\n", encoding="utf-8")
        command = [pathlib.Path(sys.executable).parent / "lint-imports", "--config", ROOT / "setup.cfg", "--no-cache"]
        environment = os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        for path, content in before.items():
            path.write_text(content, encoding="utf-8")
        return done.stdout + done.stderr

    return report


def test_imports_keep_the_contracts(lint):
    report = lint()
    assert "0 broken" in report and f"{len(BREACHES)} kept" in report, report


def test_every_contract_can_be_broken(lint):
    report = lint(BREACHES.values())
    assert [contract for contract in BREACHES if f"{contract} BROKEN" not in report] == [], report
