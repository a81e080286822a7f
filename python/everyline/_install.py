"""Ours in the place of Python's, so that a configuration becomes safe without being touched.

After `install()`, whoever looks a class up in `logging` or `logging.handlers` finds ours: dictConfig,
fileConfig, basicConfig, Django, gunicorn. What was imported by name before, and subclasses defined before,
stay what they were; the environment variable EVERYLINE_INSTALL=1 installs before anything is imported.
`isinstance` and `issubclass` answer as before. `install(loggers=True)` also gives `logging.Logger` native
methods (`_fast.py`).
"""

from __future__ import annotations

import logging
import logging.handlers
import threading
from typing import Any

from everyline import _fast, handlers

_PLACES: list[tuple[Any, str, type]] = [
    (logging, "FileHandler", handlers.FileHandler),
    (logging.handlers, "WatchedFileHandler", handlers.WatchedFileHandler),
    (logging.handlers, "RotatingFileHandler", handlers.RotatingFileHandler),
    (logging.handlers, "TimedRotatingFileHandler", handlers.TimedRotatingFileHandler),
]
_lock = threading.Lock()
_before: dict[tuple[str, str], type] = {}


def install(*, loggers: bool = False) -> None:
    """Puts our handlers in the place of Python's. Doing it twice is doing it once.

    With `loggers`, log calls are native, too: `info` and its kin of `logging.Logger` are replaced.
    RuntimeError if somebody else has replaced one of them.
    """
    with _lock:
        if loggers:
            # First: it may be refused.
            _fast.install_loggers()
        for module, name, ours in _PLACES:
            theirs = getattr(module, name)
            if theirs is not ours:
                _before[module.__name__, name] = theirs
                setattr(module, name, ours)


def uninstall() -> None:
    """Puts back what `install()` has replaced. Handlers that were made meanwhile stay ours."""
    with _lock:
        _fast.uninstall_loggers()
        for module, name, ours in _PLACES:
            theirs = _before.pop((module.__name__, name), None)
            # Somebody else may have put his own class there since.
            if theirs is not None and getattr(module, name) is ours:
                setattr(module, name, theirs)
