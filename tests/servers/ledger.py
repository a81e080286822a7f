"""The count after a run: what stands in the files against what was answered.

Each line of an answered request must be there once and whole; each line of any other request at most
once. The lines of a thread must be numbered from 0 without a gap, in order over all files, oldest first.
No file may reach the limit, and none may have been written after the file behind it was begun.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from apps import owed
from oracle import files

# The format of all pages: time [pid] level logger message.
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[(?P<pid>\d+)\] [A-Z]+ (?P<logger>[\w.]+) (?P<message>.*)"
)
OWED = re.compile(r"request=(\S+)\.(\d+) process=(\S+) thread=(\d+) number=(\d+) x+\.")


@dataclass
class Ledger:
    """All that stands in the files of one log."""

    archives: int = 0
    copies: Counter[tuple[str, int]] = field(default_factory=Counter)
    numbers: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    others: list[tuple[int, str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def processes(self) -> set[int]:
        """Pids of those that logged for requests."""
        return {int(process.split("-")[0]) for process, _ in self.numbers}

    def said(self, text: str) -> bool:
        """Whether the server's own lines hold this."""
        return any(text in message for _, _, message in self.others)


def read(log: Path, max_bytes: int | None = None) -> Ledger:
    ledger = Ledger()
    found = files(log)
    ledger.archives = len(found) - 1
    for path in found:
        read_file(ledger, path.name, path.read_bytes(), max_bytes)
    ages = [os.stat(path).st_mtime_ns for path in found]
    if ages != sorted(ages):
        ledger.faults.append("an archive was written to after it was rotated")
    for (process, thread), numbers in ledger.numbers.items():
        if numbers != list(range(len(numbers))):
            gap = next(n for n, number in enumerate(numbers) if n != number)
            around = numbers[max(0, gap - 2) : gap + 3]
            ledger.faults.append(
                f"process {process}, thread {thread}: lines out of order or lost at {around}"
            )
    return ledger


def read_file(ledger: Ledger, name: str, data: bytes, max_bytes: int | None) -> None:
    if max_bytes is not None and len(data) >= max_bytes:
        ledger.faults.append(f"{name} has {len(data)} bytes, the limit is {max_bytes}")
    if data and not data.endswith(b"\n"):
        ledger.faults.append(f"{name} ends within a line")
    ours = True
    for line in data.decode(errors="replace").splitlines():
        # A warning that a server logs ends in a line break of its own. None of our lines does.
        if not line and ours:
            ledger.faults.append(f"{name} has a blank line")
        shape = LINE.fullmatch(line)
        if shape is None:
            # A traceback of the server's has lines of its own. None of ours looks like that.
            if "request=" in line or "xxxxx" in line:
                ledger.faults.append(f"{name}: torn or mixed: {line!r}")
            ours = False
            continue
        ours = shape["logger"] == "owed"
        if not ours:
            ledger.others.append((int(shape["pid"]), shape["logger"], shape["message"]))
        else:
            enter(ledger, name, int(shape["pid"]), shape["message"])


def enter(ledger: Ledger, name: str, pid: int, message: str) -> None:
    found = OWED.fullmatch(message)
    if found is not None:
        request, line, process, thread, number = found.groups()
        if message == owed.message(f"{request}.{line}", process, int(thread), int(number)):
            ledger.copies[request, int(line)] += 1
            ledger.numbers.setdefault((process, int(thread)), []).append(int(number))
            if not process.startswith(f"{pid}-"):
                ledger.faults.append(f"{name}: line of process {process} written as {pid}")
            return
    ledger.faults.append(f"{name}: torn or mixed: {message!r}")


def check(
    log: Path, answered: Iterable[str], max_bytes: int | None = None, lines: int = owed.LINES
) -> Ledger:
    """Fails unless the files hold every line of `answered` once, and all else is in order."""
    ledger = read(log, max_bytes)
    return settle(ledger, answered, lines)


def settle(ledger: Ledger, answered: Iterable[str], lines: int = owed.LINES) -> Ledger:
    answered = set(answered)
    assert answered, "no request was answered, so nothing is shown"
    lost = [(r, n) for r in sorted(answered) for n in range(lines) if (r, n) not in ledger.copies]
    doubled = [key for key, copies in ledger.copies.items() if copies > 1]
    if lost:
        ledger.faults.append(f"{len(lost)} of {len(answered) * lines} lines are lost: {lost[:10]}")
    if doubled:
        ledger.faults.append(f"{len(doubled)} lines are doubled: {doubled[:10]}")
    shown = "\n".join(ledger.faults[:20])
    assert not ledger.faults, f"{len(ledger.faults)} faults in {ledger.archives + 1} files:\n{shown}"
    return ledger
