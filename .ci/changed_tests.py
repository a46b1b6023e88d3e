"""The test files that concern what differs from main: committed on this branch, not committed yet, or not yet known to git.

    python .ci/changed_tests.py [BASE]    # BASE: main, or origin/main where there is no main

A test file concerns itself; a module of the library its namesakes (layers/rotary.py: test_layers_rotary.py, test_rotary.py) and
whoever names it by its path (zoo.formats.hub); a module of tests/support whoever imports it.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def differing(base):
    start = git("merge-base", "HEAD", base)[0]
    # The working tree against the start of the branch: commits and what is not committed, at once.
    changed = git("diff", "--name-only", "--diff-filter=d", start)
    return [pathlib.PurePath(name) for name in changed + git("ls-files", "--others", "--exclude-standard")]


def concerned(path, tests):
    """Names of those of `tests`, name -> text, that concern the file `path`."""
    if str(path) in tests:
        return {str(path)}
    if path.suffix != ".py" or path.parts[0] not in ("zoo", "layers", "tests"):
        return set()
    module = path.with_suffix("").parts
    if module[:2] == ("tests", "support"):
        named = re.compile(rf"\bsupport(\.| import ){path.stem}\b")
        return {name for name, text in tests.items() if named.search(text)}
    if module[-1] == "__init__":
        module = module[:-1]
    namesakes = {f"tests/test_{'_'.join(module[start:])}.py" for start in range(len(module))}
    dotted = ".".join(module if module[0] == "zoo" else ("zoo", *module))
    # Those of a whole package, zoo.layers or zoo.data, would be nearly all tests.
    named = re.compile(rf"\b{re.escape(dotted)}\b") if path.stem != "__init__" else None
    return {name for name, text in tests.items() if name in namesakes or (named and named.search(text))}


def main(base=None):
    base = base or next((name for name in ("main", "origin/main") if git("branch", "--all", "--list", name)), "HEAD")
    tests = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py")}
    files = set()
    for path in differing(base):
        files |= concerned(path, tests)
    print("\n".join(sorted(files)))


if __name__ == "__main__":
    main(*sys.argv[1:])
