"""Where the checkout and the numbers of the original lie."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens"
