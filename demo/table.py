"""The table: one line of numbers and one bar a row."""

import sys
from typing import Union

from demo.count import Result

HEADINGS = ["answered", "monitor saw", "in all files", "lost", "doubled", "torn", "wrong file"]
WIDTHS = [9, 16, 13, 8, 8, 5, 11]
BAR = 60


def marks() -> tuple[str, str, str]:
    """Seen by the monitor, only in the files, nowhere."""
    try:
        "█▒·".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#", "-", "."
    return "█", "▒", "·"


def bar(result: Result) -> str:
    """All requests as one bar. Rounded down, so that a single missing line leaves a visible gap."""
    total = max(1, result.requests)
    seen_cells = BAR * result.monitor_saw // total
    known_cells = BAR * (result.monitor_saw + result.only_in_files) // total
    seen, filed, nowhere = marks()
    return seen * seen_cells + filed * (known_cells - seen_cells) + nowhere * (BAR - known_cells)


def table(results: list[tuple[str, Result]]) -> str:
    title_width = max(len(title) for title, _ in results)
    lines = [" " * title_width + "".join(h.rjust(w) for h, w in zip(HEADINGS, WIDTHS))]
    for title, r in results:
        saw = f"{r.monitor_saw:,} ({100 * r.monitor_saw // max(1, r.answered)} %)"
        numbers: list[Union[int, str]] = [
            r.answered,
            saw,
            r.in_files,
            r.lost,
            r.doubled,
            r.torn,
            r.wrong_file,
        ]
        cells = [f"{n:,}" if isinstance(n, int) else n for n in numbers]
        lines.append(title.ljust(title_width) + "".join(c.rjust(w) for c, w in zip(cells, WIDTHS)))
        lines.append(" " * title_width + "  " + bar(r))
    seen, filed, nowhere = marks()
    lines += ["", f"bar: {seen} the monitor saw it   {filed} not seen, but in some file   {nowhere} neither"]
    return "\n".join(lines)
