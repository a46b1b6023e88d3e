"""Tables of numbers by epoch as CSV files."""

import csv
import io
import os


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
