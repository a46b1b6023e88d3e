"""Add up pytest's JUnit files and hold them against what is stored.

    python .ci/count_tests.py build/tests neutral torch jax tensorflow

Fails when a run has fewer tests than tests/minimum_tests.txt says (a file that is no longer collected would
otherwise go unseen) or skips a test that tests/allowed_skips.txt does not name.
"""

import fnmatch
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent


def stored_lines(name):
    """Yield the words of each line of tests/`name`, comments left out."""
    for line in (ROOT / "tests" / name).read_text(encoding="utf-8").splitlines():
        words = line.split("#", 1)[0].split()
        if words:
            yield words


def main(folder, *runs):
    minimum = {run: int(count) for run, count in stored_lines("minimum_tests.txt")}
    allowed = list(stored_lines("allowed_skips.txt"))
    passed = failed = skipped = 0
    complaints = []
    for run in runs:
        report = pathlib.Path(folder, f"{run}.xml")
        if not report.exists():
            complaints.append(f"{run}: no report {report}, so the run did not finish")
            continue
        cases = list(ElementTree.parse(report).iter("testcase"))
        print(f"{run}: {len(cases)} tests, at least {minimum[run]} wanted")
        if len(cases) < minimum[run]:
            complaints.append(
                f"{run}: {len(cases)} tests, tests/minimum_tests.txt demands {minimum[run]}. "
                "Was a test lost? If it was removed on purpose, lower the number in that commit and say why."
            )
        for case in cases:
            name = f"{case.get('classname')}.{case.get('name')}"
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif skip is not None:
                skipped += 1
                if not any(run == where and fnmatch.fnmatchcase(name, what) for where, what in allowed):
                    reason = skip.get("message")
                    complaints.append(f"{run}: {name} skipped, not in tests/allowed_skips.txt: {reason}")
            else:
                passed += 1
    print("\n".join(complaints), file=sys.stderr)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or complaints or not passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
