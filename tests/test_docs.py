"""docs/posts.md says the truth: every cited post stands there, every name in it exists."""

import functools
import re

import pytest
from support.paths import ROOT

import zoo

pytestmark = pytest.mark.neutral

POSTS = ROOT / "docs" / "posts.md"
NUMBER = re.compile(r"archives/(\d{3,5})(?!\d)")


def test_every_cited_post_is_listed():
    listed = set(NUMBER.findall(POSTS.read_text(encoding="utf-8")))
    cited = {}
    for folder in ("zoo", "layers", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            # "kexue.fm/archives/8870, 8896 and 8907" cites three
            for first, more in re.findall(r"archives/(\d{3,5})((?:(?:,| and| or) \d{4,5})*)", text):
                for number in (first, *re.findall(r"\d{4,5}", more)):
                    cited.setdefault(number, path.name)
    assert cited and {number: where for number, where in cited.items() if number not in listed} == {}


def test_every_name_exists():
    names = re.findall(r"`(zoo(?:\.\w+)+)`", POSTS.read_text(encoding="utf-8"))
    assert len(names) > 60
    for name in names:
        functools.reduce(getattr, name.split(".")[1:], zoo)


def test_every_link_inside_the_repository_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", POSTS.read_text(encoding="utf-8")):
        assert (POSTS.parent / target).exists(), target
