"""The nearest known name, for errors about unknown ones."""

import difflib


def near(name, known, most=3):
    """The known names nearest to a name, list of str; capitals do not count."""
    by_lower = {}
    for one in known:
        by_lower.setdefault(str(one).lower(), str(one))
    return [by_lower[found] for found in difflib.get_close_matches(str(name).lower(), by_lower, most)]


def did_you_mean(name, known):
    """ "did you mean X?", or "" where no known name is near."""
    found = near(name, known)
    return f"did you mean {' or '.join(found)}?" if found else ""


def no_attribute(module, name, known):
    """The AttributeError of a module that has no such name."""
    guess = did_you_mean(name, known)
    return AttributeError(f"module {module!r} has no attribute {name!r}{guess and '; ' + guess}")
