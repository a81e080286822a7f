"""The documentation's own configuration, so that a page cannot say what no test has run.

A page names a file in code quotes on a line that ends in a colon; the fenced block after it is the file.
A test may change values in it (the path of the log, its size), each by a replacement that must fit once.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
_FENCE = "\n\n```"


def block(page: str, name: str) -> str:
    """The block that `page` gives as the file `name`."""
    text = (DOCS / page).read_text()
    found = re.findall(rf"`{re.escape(name)}`[^\n]*:\n\n```\w*\n(.*?)\n```", text, re.DOTALL)
    assert len(found) == 1, f"docs/{page}: {len(found)} blocks are introduced as `{name}`; expected one"
    return str(found[0]) + "\n"


def adapt(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the page's block, not once"
        text = text.replace(old, new)
    return text


def write(directory: Path, page: str, name: str, changes: dict[str, str], more: str = "") -> Path:
    """Makes the file of the page's block in `directory`, changed, with `more` of the test's own behind it."""
    path = directory / name
    path.write_text(adapt(block(page, name), changes) + more)
    return path
