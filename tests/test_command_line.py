"""Programs with the manners of a terminal: what is wrong is one line, and exit status 2."""

import io
import sys

import pytest
from absl import app, flags

from zoo import command_line
from zoo.data import DataError

FLAGS = flags.FLAGS


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(main, *arguments)`: exit status, standard output and error of a script with one flag."""
    flags.DEFINE_integer("size_of_batches", 8, "Rows.", lower_bound=1)
    monkeypatch.setattr(command_line, "keep_freed_memory", lambda: None)

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["folder/example.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.run(main)
        return ended.value.code, *capsys.readouterr()

    yield run
    delattr(FLAGS, "size_of_batches")
    FLAGS.unparse_flags()


def raising(error):
    def main(_):
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "arguments", "says"),
    [
        (print, ["--size_of_batches=0"], "size_of_batches=0"),
        (print, ["--size_of_batchs=3"], "Did you mean: size_of_batches"),
        (print, ["train.tsv"], "unexpected train.tsv; flags are written --name=value"),
        (raising(app.UsageError("--train needs --dev")), [], "--train needs --dev"),
        (raising(DataError("no rows", "a.tsv", 3)), [], "a.tsv:3: no rows"),
        (raising(FileNotFoundError("a.tsv: no such data file")), [], "no such data file"),
        (raising(ModuleNotFoundError("No module named 'usearch'")), [], "usearch"),
    ],
)
def test_what_is_wrong_is_one_line(run, main, arguments, says):
    code, out, told = run(main, *arguments)
    assert code == 2 and not out
    assert told.startswith("example.py: ") and says in told and told.count("\n") == 1


def test_a_traceback_for_whoever_asks(run):
    with pytest.raises(DataError):
        run(raising(DataError("no rows", "a.tsv", 3)), "--traceback")
    FLAGS.unparse_flags()
    with pytest.raises(ZeroDivisionError):
        run(lambda _: 1 / 0)


def test_any_encoding_of_a_terminal_prints(run, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    run(lambda _: sys.stdout.write("ρ 0.41 今天\n"))
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u03c1 0.41 \\u4eca\\u5929\n"
