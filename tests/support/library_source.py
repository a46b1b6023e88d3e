"""The library's source files as syntax trees, for tests that hold all of them to a rule."""

import ast
import functools

from support.paths import ROOT

LIBRARY = sorted([*ROOT.glob("zoo/**/*.py"), *ROOT.glob("layers/**/*.py")])


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))))


def imported(path):
    """Dotted names of the modules that a file imports anywhere in it, relative imports resolved."""
    package = list(path.relative_to(ROOT).parts[:-1])
    if package[0] == "layers":
        package.insert(0, "zoo")
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, node.module] if node.module else above)
            # `from zoo import layers` imports zoo.layers as far as the arrows are concerned.
            yield from (f"{module}.{alias.name}" if module == "zoo" else module for alias in node.names)


def called(path):
    """(dotted name, line) of every call."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno
