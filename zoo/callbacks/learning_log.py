"""What a long training writes down: a row an epoch, its learning curve, TensorBoard's files."""

import csv
import importlib.util
import io
import os
import time

import keras

from zoo.backend.arguments import PlainNumbers
from zoo.plots import learning_curve


class LearningLog(PlainNumbers, keras.callbacks.Callback):
    """A row an epoch in a CSV file, and the curve of training and held-out loss.

    Columns: epoch; where every step has as many tokens, tokens (trained on so far) and tokens_per_second (of training
    alone, evaluation and compilation left out); then what `fit` reports. Standing before `zoo.callbacks.Resume` among
    the callbacks, it misses no epoch and holds none twice, however often the training was killed.

    Args:
        path: path of the CSV file.
        tokens_per_step: int, or None where steps differ.
        initial_epoch: int. Rows of this epoch and later ones are of an attempt that was killed; they go.
        picture: path of the curve, drawn anew after each epoch, or None.
    """

    def __init__(self, path, tokens_per_step=None, initial_epoch=0, picture=None):
        super().__init__()
        if picture is not None and importlib.util.find_spec("matplotlib") is None:
            # Now, and not after an hour
            raise ImportError("the learning curve needs matplotlib: pip install 'keras-zoo[plots]', or picture=None")
        self.path, self.tokens_per_step, self.picture = path, tokens_per_step, picture
        self.rows = [row for row in read_csv_rows(path) if int(row["epoch"]) < initial_epoch]

    def on_train_begin(self, logs=None):
        for row in self.rows if self.tokens_per_step else []:  # of a log that was begun by another callback
            row.setdefault("tokens", self._tokens(int(row["epoch"])))

    def on_epoch_begin(self, epoch, logs=None):
        self._first = self._last = None

    def on_train_batch_end(self, batch, logs=None):
        self._last = batch, time.perf_counter()
        self._first = self._first or self._last  # the first step of a process compiles

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch}
        if self.tokens_per_step is not None:
            steps, seconds = (last - first for first, last in zip(self._first, self._last))
            row["tokens"] = self._tokens(epoch)
            row["tokens_per_second"] = round(steps * self.tokens_per_step / seconds) if steps else ""
        self.rows.append(row | {name: float(value) for name, value in (logs or {}).items()})
        write_csv_rows(self.path, self.rows)
        if self.picture is not None:
            learning_curve(self.rows).savefig(self.picture)

    def _tokens(self, epoch):
        return (epoch + 1) * self.params["steps"] * self.tokens_per_step


def tensorboard(folder):
    """`keras.callbacks.TensorBoard` of the metrics, on any backend; TensorFlow writes its files.

    Raises:
        ImportError: tensorflow or tensorboard is missing.
    """
    missing = [name for name in ("tensorflow", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"TensorBoard's files are written by TensorFlow, on any backend: pip install {' '.join(missing)}; "
            "without it, the CSV log holds the same numbers"
        )
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def read_csv_rows(path):
    """Rows of a CSV file with a header, a list of dicts of str; empty without a file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_csv_rows(path, rows):
    """Write rows (dicts) as CSV, the file whole or not at all; what a row lacks stays empty.

    Args:
        path: path; its folder is made.
        rows: list of dicts, not empty. Columns are all their keys in the order met.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    unfinished = f"{path}.{os.getpid()}"
    with open(unfinished, "w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
    os.replace(unfinished, path)
