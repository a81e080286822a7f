"""Steps of Python's under the writer lease: who is in one, on which log.

A step belongs to the thread that runs it, in the process that began it. A child that a step forks is in
none, and other threads of the process log on as ever.
"""

from __future__ import annotations

import os
import threading
from typing import Any


class Step:
    """One step, and what `handler.stream` is to the code in it."""

    def __init__(self, path: str, stream: Any) -> None:
        self.path = path
        self.stream = stream
        self._pid = os.getpid()
        self._thread = threading.get_ident()

    def is_here(self) -> bool:
        return self._thread == threading.get_ident() and self._pid == os.getpid()


class _Here(threading.local):
    def __init__(self) -> None:
        self.steps: list[Step] = []
        # Logs whose archives this thread treats, each with the process it does so in.
        self.treated: set[tuple[int, str]] = set()


here = _Here()


def is_in_step(path: str) -> bool:
    """Whether this thread is in a step on that log, of whichever handler."""
    return any(step.path == path and step.is_here() for step in here.steps)


def is_treating(path: str) -> bool:
    """Whether this thread treats archives of that log."""
    return (os.getpid(), path) in here.treated
