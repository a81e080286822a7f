"""What the applications under test log: numbered lines that can be judged one by one.

`log(request)` returns when all lines of the request were accepted. From then on they are owed, and the
answer may go out. A line names its request, and counts the lines of its thread without a gap, so that a
line that was accepted for an unanswered request is missed too.
"""

from __future__ import annotations

import logging
import os
import threading

LINES = 4
LOGGER = logging.getLogger("owed")
_here = threading.local()


def message(request: str, process: str, thread: int, number: int) -> str:
    # Odd lengths: a length that divides the page hides torn records.
    return f"request={request} process={process} thread={thread} number={number} {'x' * (7 + number * 37 % 211)}."


def _process() -> str:
    """A name that no other process has, also when a pid comes again or the fork was C code's."""
    pid = os.getpid()
    if getattr(_here, "pid", None) != pid:
        _here.pid, _here.number = pid, 0
        _here.process = f"{pid}-{os.urandom(4).hex()}"
    return str(_here.process)


def log(request: str, lines: int = LINES) -> None:
    for line in range(lines):
        process = _process()
        number = _here.number
        # Before the call: a signal handler may log in the middle of it.
        _here.number += 1
        LOGGER.info("%s", message(f"{request}.{line}", process, threading.get_native_id(), number))


def accept(request: str, directory: str) -> None:
    """For requests that are never answered: notes that the lines were accepted."""
    with open(os.path.join(directory, "accepted"), "a") as file:
        file.write(request + "\n")
