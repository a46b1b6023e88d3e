"""The log of a pretraining: columns, tokens, rows of killed attempts, logs of other callbacks, the curve."""

import importlib.util
import time

import numpy as np
import pytest

from zoo.callbacks.learning_log import LearningLog, read_csv_rows, tensorboard, write_csv_rows
from zoo.plots import learning_curve

pytestmark = pytest.mark.neutral


def train(path, epochs, initial=0, picture=None):
    """The calls of a `fit` of 3 steps an epoch, 10 ms each after a first one of 100 ms."""
    log = LearningLog(path, tokens_per_step=100, initial_epoch=initial, picture=picture)
    log.set_params({"steps": 3})
    log.on_train_begin()
    for epoch in range(initial, epochs):
        log.on_epoch_begin(epoch)
        for step in range(3):
            time.sleep(0.01 if step else 0.1)
            log.on_train_batch_end(step)
        time.sleep(0.1)  # evaluation
        log.on_epoch_end(epoch, {"loss": np.float32(2.5 - epoch), "val_loss": 2.0})
    return read_csv_rows(path)


def test_rows(tmp_path):
    rows = train(tmp_path / "run" / "log.csv", 2, picture=tmp_path / "curve.png")
    assert [list(row) for row in rows] == [["epoch", "tokens", "tokens_per_second", "loss", "val_loss"]] * 2
    assert [(row["epoch"], row["tokens"], row["loss"]) for row in rows] == [("0", "300", "2.5"), ("1", "600", "1.5")]
    # 200 tokens in 20 ms, however long compilation and evaluation take
    assert all(1000 < float(row["tokens_per_second"]) <= 10000 for row in rows)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_rows_of_a_killed_attempt_go(tmp_path):
    path = tmp_path / "log.csv"
    train(path, 3)
    assert [row["epoch"] for row in train(path, 4, initial=2)] == ["0", "1", "2", "3"]


def test_goes_on_with_the_log_of_another_callback(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,accuracy,loss,val_accuracy,val_loss\n0,0.1,7.2,0.1,6.1\n1,0.2,6.0,0.2,5.5\n")
    rows = train(path, 3, initial=2)
    assert [row["tokens"] for row in rows] == ["300", "600", "900"] and rows[0]["accuracy"] == "0.1"
    assert rows[2]["accuracy"] == "" and rows[0]["tokens_per_second"] == ""


def test_curve():
    rows = [{"tokens": (i + 1) * 1e6, "loss": 7 - i, "val_loss": 6 - i} for i in range(3)] + [{"loss": 1.0}]
    training, heldout = learning_curve(rows).axes[0].lines
    assert training.get_xdata().tolist() == [1, 2, 3] and training.get_ydata().tolist() == [7, 6, 5]
    assert heldout.get_ydata().tolist() == [6, 5, 4] and "4.000" in heldout.get_label()


def test_csv_rows(tmp_path):
    assert read_csv_rows(tmp_path / "none.csv") == []
    write_csv_rows(tmp_path / "x.csv", [{"a": 1}, {"b": "x,y", "a": 2}])
    assert (tmp_path / "x.csv").read_bytes() == b'a,b\n1,\n2,"x,y"\n'
    assert read_csv_rows(tmp_path / "x.csv") == [{"a": "1", "b": ""}, {"a": "2", "b": "x,y"}]


def test_what_is_missing_is_told_before_training(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name != "keras" else find(name))
    with pytest.raises(ImportError, match=r"keras-zoo\[plots\]"):
        LearningLog(tmp_path / "log.csv", 1, picture=tmp_path / "x.png")
    LearningLog(tmp_path / "log.csv", 1)
    with pytest.raises(ImportError, match="pip install tensorflow tensorboard"):
        tensorboard(tmp_path)
