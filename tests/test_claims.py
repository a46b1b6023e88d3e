"""The claims table's machinery: what is run, kept, compared and said; the rows themselves take minutes and stand alone."""

import ast
import json
import math
import pathlib
import random
import sys

import numpy as np
import pytest
from absl import flags

pytestmark = pytest.mark.neutral
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "claims"
ROWS = sorted(path for path in FOLDER.glob("*.py") if path.name not in ("claim.py", "training.py", "tasks.py"))


@pytest.fixture
def claim(monkeypatch, tmp_path):
    """The module, its flags parsed with results in a folder of their own."""
    before = set(flags.FLAGS)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", ["row.py"])
    import claim

    flags.FLAGS(["row.py", f"--output={tmp_path}"])
    yield claim
    sys.modules.pop("claim")
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def example(claim, calls, **changes):
    def variant(name, offset):
        def numbers(seed):
            calls.append((name, seed))
            return {"64": offset + seed, "128": 2.0 * offset + random.random()}

        return numbers

    options = {
        "text": "b is better", "url": "https://example.org", "criterion": "b beats a at 64",
        "holds": lambda s: s.beats("b", "a", "64"), "variants": {"a": variant("a", 1.0), "b": variant("b", 5.0)},
        "unit": "points", "x": "tokens",
    }  # fmt: skip
    return claim.Claim(**{**options, **changes})


def test_each_run_once_and_the_verdict(claim, tmp_path):
    calls = []
    table = claim.measured(example(claim, calls), "row")
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert "| a | 2 ± 1 |" in table and "| b | 6 ± 1 |" in table and "**Holds here: yes.**" in table
    assert (tmp_path / "row.md").read_text(encoding="utf-8") == table and (tmp_path / "row.png").exists()
    assert table.startswith("## row: yes\n") and table in (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "row" / "b-1.json").unlink()
    assert claim.measured(example(claim, calls), "row") == table and calls[6:] == [("b", 1)], "seeds decide the numbers"


def test_a_difference_within_the_spread_is_none(claim):
    summary = claim.Summary(a={"x": [1.0, 2.0, 3.0]}, b={"x": [2.0, 3.0, 4.4]})
    assert summary.std("a", "x") == pytest.approx(1.0) and summary.mean("b", "x") == pytest.approx(9.4 / 3)
    spread = math.hypot(1.0, np.std([2.0, 3.0, 4.4], ddof=1))
    assert summary.gain("b", "a", "x") == pytest.approx(9.4 / 3 - 2) and summary.gain("b", "a", "x") < spread
    assert not summary.beats("b", "a", "x") and not summary.beats("a", "b", "x")


def test_no_verdict_before_all_runs(claim):
    flags.FLAGS.only = ["a"]
    assert "not yet known, ['b'] missing" in claim.measured(example(claim, []), "row")
    flags.FLAGS.only, flags.FLAGS.seeds = [], 2
    assert "not yet known, 2 of 3 seeds" in claim.measured(example(claim, []), "row")


def test_results_of_other_settings_are_refused(claim, tmp_path):
    claim.measured(example(claim, []), "row")
    path = tmp_path / "row" / "a-0.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) == {"numbers", "seconds", "cpu_seconds", "made", "settings"}
    path.write_text(json.dumps({**found, "settings": {**found["settings"], "backend": "abacus"}}), encoding="utf-8")
    with pytest.raises(claim.app.UsageError, match=r"a-0\.json was made with other settings.*abacus"):
        claim.measured(example(claim, []), "row")


def test_what_compares_variants_stands_in_the_table(claim):
    says = lambda s: f"b is {s.mean('b', '64') / s.mean('a', '64'):.0f} times a"
    assert "\nb is 3 times a\n" in claim.measured(example(claim, [], says=says), "row")
    flags.FLAGS.only = ["a"]
    assert "times a" not in claim.measured(example(claim, [], says=says), "other-row"), "b has not run"


def test_the_page_has_every_row(claim, tmp_path):
    for row in ("first", "other"):
        claim.measured(example(claim, []), row)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert page.count("\n## ") == 2 and all(f"![{row}]({row}.png)" in page for row in ("first", "other"))


def test_low_rank_is_held_against_the_gain_of_fine_tuning(claim):
    import low_rank

    accuracy = lambda value, state: {"lcqmc accuracy": [value], "lcqmc optimizer state / weights": [state]}
    summary = claim.Summary(
        {"frozen": accuracy(70, 0), "fine-tuned": accuracy(80, 2.0), "rank-8": accuracy(79.5, 0.08)}
    )
    assert low_rank.share_of_gain(summary) == pytest.approx(0.95) and low_rank.share_of_state(summary) == 0.04
    summary["fine-tuned"] = accuracy(69, 2.0)
    assert math.isnan(low_rank.share_of_gain(summary)), "where fine-tuning gains nothing there is nothing to share"
    for name in ("low_rank", "training", "recipe"):
        sys.modules.pop(name)


def test_bars(claim):
    summary = claim.Summary(a={"x": [1.0, 2.0], "y": [3.0]}, b={"x": [2.0]})
    figure = claim._picture(example(claim, [], x=None, pictured=["x"]), summary)
    assert len(figure.axes) == 1 and figure.axes[0].get_title() == "x"


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.name)
def test_a_row_says_what_it_tests(path):
    """Its claim has an address, its criterion stands in the file, and its head shows the command."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert f"python benchmarks/claims/{path.name}" in ast.get_docstring(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Claim"]
    given = {keyword.arg: keyword.value for call in calls for keyword in call.keywords}
    assert len(calls) == 1 and {"text", "url", "criterion", "holds", "variants", "unit"} <= set(given)
    assert given["url"].value.startswith("https://kexue.fm/archives/") and given["criterion"].value.endswith(".")
