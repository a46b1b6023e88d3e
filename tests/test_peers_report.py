"""The peers' table: what a ratio is taken against, what a turn times, and that each row says when it was measured."""

import importlib
import json
import pathlib
import sys
import time

import pytest

pytestmark = pytest.mark.neutral
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "peers"


@pytest.fixture(scope="module")
def peers():
    """Imports a module of benchmarks/peers; none of these needs a peer."""
    names = ("rows", "report", "worker", "products", "small")
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name in names:
        sys.modules.pop(name, None)


def measured(row, seconds, date="2026-01-01"):
    """Results in which a contender took `seconds[name]`, all others 1.0."""
    results = [
        {"name": c.name, "seconds": [1.0], "median": seconds.get(c.name, 1.0), "work": 1} for c in row.contenders
    ]
    machine = {"processor": "a processor", "cores": 2, "python": "3.11", "date": date}
    rates = {
        f"{backend} {dtype}": 1e9 for backend in ("torch", "jax", "tensorflow") for dtype in ("float32", "bfloat16")
    }
    return {"machine": machine, "matmul": rates, "repeats": 5, "contenders": results}


def test_each_peer_has_a_ratio_at_the_same_dtype_and_backend(peers):
    row = peers("rows").ROWS["train_small"]
    seconds = {f"keras-hub {kind}": 2.0 + n for n, kind in enumerate(("torch float32", "torch mixed_bfloat16"))}
    seconds |= {"keras-hub tensorflow mixed_bfloat16": 4.0, "keras-hub jax float32": 0.5, "bert4keras float32": 8.0}
    results = measured(row, seconds)["contenders"]
    names = [contender.name for contender in row.contenders]
    ratios = lambda name: [
        peers("report").ratio(row, results, names.index(name), p) for p in peers("report").peers(row)
    ]
    assert peers("report").peers(row) == ["bert4keras", "keras-hub", "transformers RoFormer"]
    assert ratios("zoo torch float32") == [8.0, 2.0, 1.0]
    assert ratios("zoo torch mixed_bfloat16") == [8.0, 3.0, 1.0]
    assert ratios("zoo tensorflow mixed_bfloat16") == [8.0, 4.0, 1.0]
    assert ratios("zoo jax float32") == [8.0, 0.5, 1.0]
    assert ratios("keras-hub jax float32") == [None] * 3


def test_a_peer_of_one_backend_is_held_against_all(peers):
    row = peers("rows").ROWS["encode_minilm"]
    results = measured(row, {"sentence-transformers bfloat16": 0.25, "sentence-transformers float32": 3.0})[
        "contenders"
    ]
    names = [contender.name for contender in row.contenders]
    ratio = lambda name: peers("report").ratio(row, results, names.index(name), "sentence-transformers")
    assert ratio("zoo jax float32") == 3.0 and ratio("zoo torch bfloat16") == 0.25


def test_zoo_and_keras_hub_meet_at_every_backend_and_dtype(peers):
    for name in ("train_small", "infer_small"):
        contenders = peers("rows").ROWS[name].contenders
        kinds = [
            {(c.backend, c.dtype) for c in contenders if c.side == side} for side in ("zoo_side", "keras_hub_side")
        ]
        assert kinds[0] == kinds[1] and ("tensorflow", "bfloat16") in kinds[0]


def test_rows_say_when_they_were_measured_and_which_were_not(peers):
    rows = peers("rows").ROWS
    text = peers("report").markdown(
        {"tokenize": measured(rows["tokenize"], {}), "start": measured(rows["start"], {}, date="2026-02-02")}
    )
    assert "2026-01-01, 2 cores of a processor, Python 3.11, 5 rounds." in text and "Rows: tokenize." in text
    assert "2026-02-02" in text and "Rows: start." in text
    assert "Not measured: encode_minilm (needs --sentences), train_small" in text


def test_matmul_share_and_agreement_are_shown(peers):
    row = peers("rows").ROWS["tokenize"]
    row = measured(row, {})
    row["contenders"][0]["flops"] = 5e8
    row["matmul"]["jax float32"] = 2e9  # the machine's rate is that of its fastest backend
    row["contenders"][1]["same_ids"], row["contenders"][2]["same_ids"] = True, False
    lines = peers("report").table("tokenize", row).splitlines()
    cells = [line.split(" | ") for line in lines if line.startswith("| ")][2:]
    assert [line[6].strip() for line in cells] == ["25%", "", "", ""]
    assert [line[-1].strip(" |") for line in cells] == ["", "agree", "differ", ""]


def test_products_are_those_of_tokens_without_padding(peers):
    small, products = peers("small"), peers("products")
    lengths = (small.batch(32)[0] != 0).sum(1)
    assert 32 * 64 > lengths.sum()
    by_hand = 6 * sum(2 * n * (4 * 384**2 + 2 * 384 * 1536) + 2 * (2 * n * n * 384) for n in lengths.tolist())
    assert small.flops(32) == by_hand and small.flops(32, 3) == 3 * by_hand
    one = 2 * 5 * 8 * (3 * 16 + 4) + 2 * 5 * 5 * (4 + 16)
    assert products.gated([5, 5], layers=2, width=8, expanded=16, key=4) == 4 * one


def test_short_jobs_fill_a_turn(peers, monkeypatch):
    worker, calls = peers("worker"), []
    monkeypatch.setattr(worker, "TURN", 0.02)
    seconds = worker.turn(lambda: (calls.append(time.perf_counter()), time.sleep(1e-3)), expected=1e-3)
    assert len(calls) > 2 and 1e-3 <= seconds < 0.02, "a mean over runs, after one that is not timed"
    calls.clear()
    worker.turn(lambda: (calls.append(0), time.sleep(0.03)), expected=0.03)
    assert len(calls) == 1, "a job longer than a turn runs once"


def test_rows_with_other_contenders_are_not_shown(peers, tmp_path):
    path = tmp_path / "results.json"
    row = measured(peers("rows").ROWS["start"], {})
    path.write_text(json.dumps({"rows": {"start": row, "tokenize": row, "cosent_64": [], "gone": row}}))
    assert set(peers("report").known(path)) == {"start"}
