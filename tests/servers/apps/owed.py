"""What the applications under test log: numbered lines that can be judged one by one.

`log(request)` returns when all lines of the request were accepted. From then on they are owed, and the
answer may go out. A line names its request, and counts the lines of its thread without a gap, so that a
line that was accepted for an unanswered request is missed too.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

LINES = 4
LOGGER = logging.getLogger("owed")
_here = threading.local()


def message(request: str, process: str, thread: int, number: int) -> str:
    # Odd lengths: a length that divides the page hides torn records.
    padding = "x" * (7 + number * 37 % 211)
    return f"request={request} process={process} thread={thread} number={number} {padding}."


def _process() -> str:
    """A name that no other process has, also when a pid comes again or the fork was C code's."""
    pid = os.getpid()
    if getattr(_here, "pid", None) != pid:
        _here.pid, _here.numbers = pid, {}
        _here.process = f"{pid}-{os.urandom(4).hex()}"
    return str(_here.process)


def log(request: str, lines: int = LINES, thread: int | None = None, wrap: Any = str) -> None:
    """Logs the lines of a request.

    `thread`: what interrupts a log call, and so comes before it, counts for itself. `wrap` makes the object
    that is formatted.
    """
    if thread is None:
        thread = threading.get_native_id()
    for line in range(lines):
        process = _process()
        number = _here.numbers.get(thread, 0)
        _here.numbers[thread] = number + 1
        LOGGER.info("%s", wrap(message(f"{request}.{line}", process, thread, number)))


def accept(request: str, directory: str) -> None:
    """For requests that are never answered: notes that the lines were accepted."""
    # Not `open`, which is gone when the interpreter ends.
    file = os.open(f"{directory}/accepted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{request}\n".encode())
    os.close(file)
