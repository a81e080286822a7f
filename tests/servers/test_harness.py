"""The count itself: each fault is planted once, and must be found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import ledger
import pytest
from apps import owed

ANSWERED = {"0", "1", "2"}
START = "2026-01-31 12:00:00,000 [77] INFO owed "


def line(request: str, part: int, number: int) -> str:
    return START + owed.message(f"{request}.{part}", "77-ab", 5, number) + "\n"


def good(log: Path) -> list[str]:
    """Three requests of four lines, in two archives and the live file."""
    lines = [line(str(n // owed.LINES), n % owed.LINES, n) for n in range(3 * owed.LINES)]
    write(log, lines)
    return lines


def write(log: Path, lines: list[str]) -> None:
    third = len(lines) // 3
    for name, part in (
        ("app.log.2", lines[:third]),
        ("app.log.1", lines[third : 2 * third]),
        ("app.log", lines[2 * third :]),
    ):
        path = log.with_name(name)
        path.write_text("".join(part))
        os.utime(path, (third, {"app.log.2": 1, "app.log.1": 2}.get(name, 3)))


def swap(lines: list[str]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def mix(lines: list[str]) -> None:
    lines[4] = lines[4][:70] + lines[5]


def blank(lines: list[str]) -> None:
    lines.insert(5, "\n")


PLANTED: dict[str, tuple[Callable[[list[str]], Any], str]] = {
    "lost": (lambda lines: lines.pop(6), "1 of 12 lines are lost"),
    "lost at the end": (lambda lines: lines.pop(), "1 of 12 lines are lost"),
    "doubled": (lambda lines: lines.append(lines[-1]), "1 lines are doubled"),
    "out of order": (swap, "out of order or lost"),
    "torn": (lambda lines: lines.__setitem__(4, lines[4][:-5] + "\n"), "torn or mixed"),
    "torn at the end": (lambda lines: lines.append(lines[0][:40]), "ends within a line"),
    "mixed": (mix, "torn or mixed"),
    "blank": (blank, "blank line"),
    "of another process": (
        lambda lines: lines.__setitem__(3, lines[3].replace("[77]", "[78]")),
        "line of process 77-ab written as 78",
    ),
}


def test_what_is_good_is_found_good(log: Path) -> None:
    good(log)
    found = ledger.check(log, ANSWERED, 4000)
    assert (found.archives, found.processes()) == (2, {77})


@pytest.mark.parametrize("fault", PLANTED)
def test_each_fault_is_found(log: Path, fault: str) -> None:
    plant, words = PLANTED[fault]
    lines = good(log)
    plant(lines)
    write(log, lines)
    with pytest.raises(AssertionError, match=words):
        ledger.check(log, ANSWERED)


def test_a_write_to_an_archive_is_found(log: Path) -> None:
    good(log)
    os.utime(log.with_name("app.log.2"), (9, 9))
    with pytest.raises(AssertionError, match="written to after it was rotated"):
        ledger.check(log, ANSWERED)


def test_a_file_over_the_limit_is_found(log: Path) -> None:
    good(log)
    with pytest.raises(AssertionError, match="the limit is 100"):
        ledger.check(log, ANSWERED, 100)


def test_no_answer_is_no_success(log: Path) -> None:
    good(log)
    with pytest.raises(AssertionError, match="nothing is shown"):
        ledger.check(log, set())
