"""The pages keep their word: each test that they name is there, and so is each page they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest

ROOT = pages.DOCS.parent
PAGES = sorted([*pages.DOCS.rglob("*.md"), *ROOT.glob("*.md")])
TEST = re.compile(r"`((?:tests|crates)/[\w/.-]+\.(?:py|rs))::(\w+)`")


def test_every_test_that_a_page_names_is_there() -> None:
    named = [(page, path, name) for page in PAGES for path, name in TEST.findall(page.read_text())]
    assert len(named) > 40
    for page, path, name in named:
        word = "def" if path.endswith(".py") else "fn"
        file = ROOT / path
        assert file.exists() and f"{word} {name}(" in file.read_text(), f"{page.name}: {path}::{name}"


def test_every_file_on_the_map_is_there() -> None:
    part = (ROOT / "ARCHITECTURE.md").read_text().split("## Where things are")[1].split("\n## ")[0]
    rows = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in part.splitlines() if row.startswith("| `")]
    assert len(rows) > 20
    source = ROOT / "crates/everyline/src"
    for row in rows:
        first = row[0]
        # The others of a row stand beside the first one.
        beside = [(ROOT / first).parent, (source / first).parent]
        for name in row:
            assert any((place / name).exists() for place in (ROOT, source, *beside)), f"no {name} ({row})"


def test_all_twenty_complaints_are_answered() -> None:
    parts = re.split(r"^## (\d+)\. ", (pages.DOCS / "complaints.md").read_text(), flags=re.MULTILINE)
    assert parts[1::2] == [str(number) for number in range(1, 21)]
    for number, text in zip(parts[1::2], parts[2::2]):
        assert TEST.search(text) or "\n\nNothing: " in text, f"complaint {number}: no test, and no plain no"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
