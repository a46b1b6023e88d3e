"""benchmarks/precision.py: results that were made otherwise are not continued."""

import importlib
import json
import pathlib
import sys

import pytest
from absl import app, flags

pytestmark = pytest.mark.neutral
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def precision(monkeypatch, tmp_path):
    """The module, with results and matcher in a folder of their own."""
    before = set(flags.FLAGS)
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("precision")
    flags.FLAGS(["precision", f"--output={tmp_path}/precision.json", f"--folder={tmp_path}/matcher"])
    yield module
    for name in ("precision", "records"):
        sys.modules.pop(name, None)
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def test_results_of_other_epochs_or_versions_are_refused(precision, tmp_path):
    made = precision.opened()
    assert made["cells"] == {}
    path = tmp_path / "precision.json"
    path.write_text(json.dumps({**made, "cells": {"a": {}}}))
    assert precision.opened()["cells"] == {"a": {}}
    for change in ({"epochs": 1}, {"versions": {**made["versions"], "keras": "0"}}, {"machine": {}}):
        path.write_text(json.dumps({**made, **change}))
        with pytest.raises(app.UsageError, match=f"other settings.*{next(iter(change))}"):
            precision.opened()


def test_only_the_matcher_of_the_results_is_evaluated(precision, tmp_path):
    with pytest.raises(app.UsageError, match="None"):
        precision.check_reference({precision.REFERENCE: {"weights": "ab"}})
    (tmp_path / "matcher").mkdir()
    manifest = {"files": {"model.safetensors": {"sha256": "ab"}}}
    (tmp_path / "matcher" / "manifest.json").write_text(json.dumps(manifest))
    precision.check_reference({precision.REFERENCE: {"weights": "ab"}})
    with pytest.raises(app.UsageError, match="weights cd"):
        precision.check_reference({precision.REFERENCE: {"weights": "cd"}})
