"""Numbered records, and the check that each one is in the log: once, whole, in order, in the right file.

A record is `<writer> <number> <padding>.`; the padding depends on the number, so a torn or mixed record
is seen.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

FORMAT = logging.Formatter("%(message)s")


def text(writer: str, number: int) -> str:
    # Odd lengths: a length that divides the page hides torn records.
    return f"{writer} {number} {'x' * (7 + number * 37 % 211)}."


def record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("oracle", level, __file__, 1, message, None, None)


def write(handler: logging.Handler, writer: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        handler.handle(record(text(writer, number)))


def files(log: Path) -> list[Path]:
    """The log and its archives, oldest first."""

    def age(path: Path) -> tuple[object, ...]:
        suffix = path.name[len(log.name) :]
        if suffix == "":
            return (2,)
        if re.fullmatch(r"\.\d{1,3}", suffix):
            return (0, -int(suffix[1:]))
        stamp, _, clash = suffix[1:].partition(".")
        return (1, stamp, int(clash or 0))

    return sorted((p for p in log.parent.iterdir() if p.name.startswith(log.name)), key=age)


def contents(log: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in files(log)}


def check(log: Path, expected: dict[str, range], may_end_later: bool = False) -> None:
    """Fails unless the files hold exactly the records of `expected`.

    `may_end_later`: a writer that was killed may have handed over one record more than it could tell.
    """
    seen: dict[str, list[int]] = {}
    for path in files(log):
        data = path.read_bytes()
        assert data.endswith(b"\n") or not data, f"{path.name} ends within a record"
        for line in data.decode().splitlines():
            writer, number, _ = line.split(" ", 2)
            assert line == text(writer, int(number)), f"{path.name}: torn or mixed: {line!r}"
            seen.setdefault(writer, []).append(int(number))
    for writer, numbers in expected.items():
        found = seen.pop(writer, [])
        if may_end_later and len(found) == len(numbers) + 1:
            numbers = range(numbers.start, numbers.stop + 1)
        assert found == list(numbers), f"{writer}: {_difference(found, numbers)}"
    assert not seen, f"records that nobody wrote: {sorted(seen)}"
    # A process that goes on writing to a file that was rotated makes it younger than the file after it.
    ages = [path.stat().st_mtime_ns for path in files(log)]
    assert ages == sorted(ages), "an archive was written to after it was rotated"


def _difference(found: list[int], expected: range) -> str:
    lost = sorted(set(expected) - set(found))
    doubled = sorted({n for n in found if found.count(n) > 1})
    ordered = found == sorted(found)
    return f"{len(found)} of {len(expected)}, lost {lost[:10]}, doubled {doubled[:10]}, in order: {ordered}"


def run(
    script: str, *arguments: object, options: Sequence[str] = (), environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script in a new interpreter, where a hang or a crash is no more than a failed test."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [
        sys.executable,
        "-W",
        "error::DeprecationWarning",
        *options,
        "-c",
        script,
        *map(str, arguments),
    ]
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return done
