"""SECURITY.md keeps its word: every row has tests by its id, or says why it does not apply; floors are those of setup.cfg."""

import configparser
import re

import pytest
from support.library_source import ROOT

pytestmark = pytest.mark.neutral

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [f"{kind}{number}" for kind, last in (("T", 17), ("R", 12), ("D", 17)) for number in range(1, last + 1)]


def table():
    """Row id -> the cells after it."""
    lines = re.findall(r"^\| ([TRD]\d+) \| (.*) \|$", TEXT, re.MULTILINE)
    found = {row: cells.split(" | ") for row, cells in lines}
    assert len(found) == len(lines), "a row stands twice"
    return found


def files_by_row():
    """Row id -> names of the test files that have a test of this row."""
    found = {}
    for path in ROOT.glob("tests/test_*.py"):
        for name in re.findall(r"^def test_((?:[TRD]\d\d_)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            for row in name.strip("_").split("_"):
                found.setdefault(f"{row[0]}{int(row[1:])}", set()).add(path.name)
    return found


def test_every_row_is_there():
    assert list(table()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_its_tests_or_a_reason(row):
    _, tests = table()[row]
    named = set(re.findall(r"test_\w+\.py", tests))
    assert named == files_by_row().get(row, set()), "the table and the tests' names say different files"
    assert named or tests.startswith("does not apply: "), "no test and no reason"


def test_no_test_is_of_a_row_that_does_not_exist():
    assert set(files_by_row()) <= set(ROWS)


def test_floors_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    requirements = "\n".join([setup["options"]["install_requires"], *setup["options.extras_require"].values()])
    floors = dict(re.findall(r"^([\w-]+)>=([\d.]+)", requirements, re.MULTILINE))
    # Below these there are known holes in what zoo uses.
    for name, least in {"keras": (3, 13, 2), "torch": (2, 10), "safetensors": (0, 5), "tensorflow": (2, 7)}.items():
        assert tuple(map(int, floors[name].split("."))) >= least
        if name in ("keras", "torch"):
            assert f"{name.capitalize() if name == 'keras' else name} {floors[name]}" in TEXT
