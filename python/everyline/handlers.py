"""The handlers: arguments, attributes and file names of Python 3.13's, on every Python from 3.9 on.

Where they differ from Python's, and why, is written in `docs/python.md`.
"""

from __future__ import annotations

import datetime
import logging
import logging.handlers
import math
import operator
import os
import re
import time
from typing import Any

from everyline import _native
from everyline._engine_handler import EngineHandler, engine_options, text_encoding, whole
from everyline._native import Error

_DAY_S = 24 * 60 * 60

# `when`: length of the unit in seconds, suffix of archives, pattern of the suffix. As in Python 3.13.
_DAY_PATTERN = r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)"
_UNITS = {
    "S": (1, "%Y-%m-%d_%H-%M-%S", r"(?<!\d)\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}(?!\d)"),
    "M": (60, "%Y-%m-%d_%H-%M", r"(?<!\d)\d{4}-\d{2}-\d{2}_\d{2}-\d{2}(?!\d)"),
    "H": (60 * 60, "%Y-%m-%d_%H", r"(?<!\d)\d{4}-\d{2}-\d{2}_\d{2}(?!\d)"),
    "D": (_DAY_S, "%Y-%m-%d", _DAY_PATTERN),
    "MIDNIGHT": (_DAY_S, "%Y-%m-%d", _DAY_PATTERN),
    **{f"W{day}": (7 * _DAY_S, "%Y-%m-%d", _DAY_PATTERN) for day in range(7)},
}


class RotatingFileHandler(EngineHandler, logging.handlers.RotatingFileHandler):
    """`logging.handlers.RotatingFileHandler` for any number of processes on one file.

    The file stays smaller than `maxBytes`, in bytes, unless a single record is larger. `app.log.1` is the
    newest of at most `backupCount` archives. As with Python's, nothing is rotated if either is 0. The
    arguments after `errors` are the engine's; `docs/python.md` describes them.
    """

    _live = frozenset({"maxBytes", "backupCount"})

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        maxBytes: int = 0,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        errors: str | None = None,
        *,
        commit: str = "write-through",
        fsync: str = "never",
        full: str = "drop",
        wait: float = 1.0,
        ring_bytes: int | None = None,
        overflow_bytes: int | None = None,
        journal_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        # As in Python: archives and a file that is emptied at each start make no sense together.
        if maxBytes > 0:
            mode = "a"
        encoding = text_encoding(encoding)
        engine = engine_options(commit, fsync, full, wait, ring_bytes, overflow_bytes, journal_dir)
        EngineHandler.__init__(self, filename, mode, encoding, delay, errors, engine)
        self.maxBytes = maxBytes
        self.backupCount = backupCount
        self._start()

    def _rotation(self) -> dict[str, Any]:
        if not 0 <= self.maxBytes < 1 << 63:
            raise ValueError(f"maxBytes: {self.maxBytes!r} is not a size in bytes; 0 means no rotation")
        keep = whole("backupCount", self.backupCount)
        if self.maxBytes == 0 or keep == 0:
            return {}
        # Python's limit is the size a file never reaches, the engine's one that it may.
        return {"max_bytes": max(1, math.ceil(self.maxBytes) - 1), "naming": "numbered", "keep": keep}

    def doRollover(self) -> None:
        """Rotates now. For callers: the engine does not call it, it rotates by itself."""
        if self._rotation():
            super().doRollover()
        else:
            # As Python's, which then only opens the file again.
            self._attach().appender.reopen()

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether this record would make the file reach `maxBytes`. For callers, as `doRollover`."""
        found = self._stat_regular() if self.maxBytes > 0 else None
        # An empty file is never rotated.
        if found is None or found.st_size == 0:
            return False
        return found.st_size + len(self._encode(record)) >= self.maxBytes


class TimedRotatingFileHandler(EngineHandler, logging.handlers.TimedRotatingFileHandler):
    """`logging.handlers.TimedRotatingFileHandler` for any number of processes on one file.

    An archive is named after the time its period began. The newest `backupCount` archives are kept, or
    all if it is 0. The arguments after `errors` are the engine's; `docs/python.md` describes them.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        when: str = "h",
        interval: int = 1,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        utc: bool = False,
        atTime: datetime.time | None = None,
        errors: str | None = None,
        *,
        commit: str = "write-through",
        fsync: str = "never",
        full: str = "drop",
        wait: float = 1.0,
        ring_bytes: int | None = None,
        overflow_bytes: int | None = None,
        journal_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        encoding = text_encoding(encoding)
        when = when.upper()
        unit_s, suffix, pattern = _unit(when)
        engine = engine_options(commit, fsync, full, wait, ring_bytes, overflow_bytes, journal_dir)
        EngineHandler.__init__(self, filename, "a", encoding, delay, errors, engine)
        self.when = when
        self.backupCount = backupCount
        self.utc = utc
        self.atTime = atTime
        if when.startswith("W"):
            self.dayOfWeek = int(when[1])
        self.suffix = suffix
        self.extMatch = re.compile(pattern, re.ASCII)
        self._units = operator.index(interval)
        self.interval = unit_s * self._units
        self._start()

    def _schedule(self) -> dict[str, Any]:
        at = self.atTime
        at_s = None if at is None else (at.hour * 60 + at.minute) * 60 + at.second
        return {"when": self.when, "interval": self._units, "at_time": at_s, "utc": bool(self.utc)}

    def _rotation(self) -> dict[str, Any]:
        # The engine's `None` keeps all, as Python's 0 does.
        keep = whole("backupCount", self.backupCount) or None
        return {**self._schedule(), "naming": "dated", "keep": keep}

    @property
    def rolloverAt(self) -> int:  # type: ignore[override]
        """When the file will be rotated, by the first record that comes then or later."""
        stream = self._stream
        if stream is not None:
            try:
                due = stream.appender.status()["rollover_at"]
            except (Error, OSError):
                due = None
            if due is not None:
                return due
        # Not attached, or degraded: what the engine would begin with.
        found = self._stat_regular()
        return int(self.computeRollover(int(time.time() if found is None else found.st_mtime)))

    def computeRollover(self, currentTime: float) -> float:  # type: ignore[override]
        """When the period that holds `currentTime` ends."""
        seconds = math.floor(currentTime)
        # Python's answer keeps the fraction.
        return _native.next_rollover(**self._schedule(), now=seconds) + (currentTime - seconds)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether the next record will be the first of a new file. For callers, as `doRollover`."""
        return self._stat_regular() is not None and int(time.time()) >= self.rolloverAt


def _unit(when: str) -> tuple[int, str, str]:
    """The row of `_UNITS`, or ValueError in Python's words."""
    if when in _UNITS:
        return _UNITS[when]
    if not when.startswith("W"):
        raise ValueError(f"Invalid rollover interval specified: {when}")
    if len(when) != 2:
        raise ValueError(f"You must specify a day for weekly rollover from 0 to 6 (0 is Monday): {when}")
    raise ValueError(f"Invalid day specified for weekly rollover: {when}")
