"""Makes `zoo/text/unicode_runs.py` from the tables of the Python that runs it: python tests/support/unicode_runs.py.

Run it with a Python whose `unicodedata.unidata_version` is the version that the file names: another one's tables would
change ids of published models.
"""

import pathlib
import sys
import textwrap
import unicodedata

TARGET = pathlib.Path(__file__).resolve().parents[2] / "zoo" / "text" / "unicode_runs.py"
SIGMA, FINAL_SIGMA = "\u03a3", "\u03c2"
HEADER = '''"""Classes of characters of Unicode {version}: lengths of runs outside and inside of a class by turns, in base 36.

Made by tests/support/unicode_runs.py; read by `zoo.text.unicode_classes`.
"""

VERSION = "{version}"
'''


def classes():
    """Name of a class -> what tells whether a character is in it, by Python's own tables."""
    category = unicodedata.category
    final = lambda text: text.lower().endswith(FINAL_SIGMA)  # as `str.lower` itself looks at what stands before a sigma
    cased = lambda c: final(c + SIGMA)
    return {
        "unassigned": lambda c: category(c) == "Cn",
        "punctuation": lambda c: category(c)[0] == "P",
        "blank": lambda c: category(c) in ("Zs", "Zl", "Zp"),
        "control": lambda c: category(c) in ("Cc", "Cf"),
        "mark": lambda c: category(c) == "Mn",
        "cased": cased,
        "case_ignorable": lambda c: final("A" + c + SIGMA) and not cased(c),
    }


def runs(belongs):
    """Lengths of the runs outside and inside of a class by turns, in base 36."""
    lengths, inside, start = [], False, 0
    for code in range(sys.maxunicode + 1):
        if belongs(chr(code)) != inside:
            lengths.append(code - start)
            inside, start = not inside, code
    if inside:
        lengths.append(sys.maxunicode + 1 - start)
    return " ".join(map(base_36, lengths))


def base_36(number):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number] if number < 36 else base_36(number // 36) + digits[number % 36]


def main():
    lines = [HEADER.format(version=unicodedata.unidata_version)]
    for name, belongs in classes().items():
        lines.append(f'{name.upper()} = """')
        lines.extend(textwrap.wrap(runs(belongs), 118))
        lines.append('"""')
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
