"""The handlers: arguments, attributes, hooks and file names of Python 3.13's, on every Python from 3.9 on.

Where they differ from Python's, and why, is written in `docs/python.md`.
"""

from __future__ import annotations

import datetime
import logging
import logging.handlers
import math
import os
import re
from typing import Any

from everyline import _archives
from everyline._arguments import engine_options, text_encoding
from everyline._bends import WATCHED
from everyline._engine_handler import EngineHandler
from everyline._in_place_of import InPlaceOf, of_pythons
from everyline._rotating import Rotating
from everyline._step import is_in_step
from everyline._stepping import PythonsFileHandler
from everyline._stream import LogStream
from everyline._timed import ByTime, unit, units_of

# Theirs, whatever stands under these names later.
PythonsWatched = logging.handlers.WatchedFileHandler
PythonsRotating = logging.handlers.RotatingFileHandler
PythonsTimed = logging.handlers.TimedRotatingFileHandler


class FileHandler(EngineHandler, metaclass=InPlaceOf, theirs=PythonsFileHandler):
    """`logging.FileHandler` for any number of processes on one file.

    `mode` is `a`, `w` (empties the file, unless another process uses it) or `x` (FileExistsError if there is
    one). `encoding` and `errors` are those of `open`; `delay` puts off opening to the first record. The
    arguments after `errors` are the engine's; `docs/python.md` describes them. What the system refuses is an
    OSError with errno and path, an unknown encoding a LookupError, a bad option a ValueError.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
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
        if not isinstance(self, EngineHandler):
            # After `install()`, a handler of Python's that names its base.
            PythonsFileHandler.__init__(self, filename, mode, encoding, delay, errors)
            return
        encoding = text_encoding(encoding)
        engine = engine_options(commit, fsync, full, wait, ring_bytes, overflow_bytes, journal_dir)
        EngineHandler.__init__(self, filename, mode, encoding, delay, errors, engine)
        self._start()


class WatchedFileHandler(
    EngineHandler,
    PythonsWatched,
    metaclass=InPlaceOf,
    theirs=PythonsWatched,
):
    """`logging.handlers.WatchedFileHandler` for any number of processes on one file.

    The file is looked for before each record: renamed or removed by somebody else (logrotate), it is followed
    or made anew at once. `dev` and `ino` name the file as it was last seen; -1 before that. Arguments and
    errors are those of `FileHandler`.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
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
        if not isinstance(self, EngineHandler):
            # After `install()`, a handler of Python's that names its base.
            PythonsWatched.__init__(self, filename, mode, encoding, delay, errors)
            return
        encoding = text_encoding(encoding)
        engine = engine_options(commit, fsync, full, wait, ring_bytes, overflow_bytes, journal_dir)
        self.dev, self.ino = -1, -1
        EngineHandler.__init__(self, filename, mode, encoding, delay, errors, engine)
        self._start()

    def _attached(self, stream: LogStream) -> None:
        super()._attached(stream)
        self._statstream()

    def _statstream(self) -> None:
        if self._stream is not None:
            try:
                found = os.stat(self.baseFilename)
            except OSError:
                return
            self.dev, self.ino = found.st_dev, found.st_ino

    def reopenIfNeeded(self) -> None:
        """Looks whether the file is still the one at its path, and goes on in the one that is."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "reopenIfNeeded")()
        stream = self._stream
        if stream is None:
            return
        try:
            found = os.stat(self.baseFilename)
            is_same = (found.st_dev, found.st_ino) == (self.dev, self.ino)
        except FileNotFoundError:
            is_same = False
        if not is_same:
            stream.appender.reopen()
            if self._opens:
                self._call_open()
            self._statstream()

    def emit(self, record: logging.LogRecord) -> None:
        """Looks for the file, then formats the record and hands it over."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "emit")(record)
        try:
            self.reopenIfNeeded()
        except Exception:
            # The record is written all the same.
            self.handleError(record)
        EngineHandler.emit(self, record)


class RotatingFileHandler(
    Rotating,
    PythonsRotating,
    metaclass=InPlaceOf,
    theirs=PythonsRotating,
):
    """`logging.handlers.RotatingFileHandler` for any number of processes on one file.

    The file stays smaller than `maxBytes`, in bytes, unless a single record is larger. `app.log.1` is the
    newest of at most `backupCount` archives. As with Python's, nothing is rotated if either is 0. All of
    Python's hooks are honoured. The arguments after `errors` are the engine's; `docs/python.md` describes
    them. Errors are those of `FileHandler`.
    """

    _watched = WATCHED | {"maxBytes", "backupCount"}

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
        if not isinstance(self, EngineHandler):
            # After `install()`, a handler of Python's that names its base.
            PythonsRotating.__init__(self, filename, mode, maxBytes, backupCount, encoding, delay, errors)
            return
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
        # Not a number, or beyond any file: never, as in Python.
        if not (0 < self.maxBytes < 1 << 63 and self.backupCount > 0):
            return {}
        # Python's limit is the size a file never reaches, the engine's one that it may.
        limit = max(1, math.ceil(self.maxBytes) - 1)
        if self._names:
            return {"max_bytes": limit, "naming": "staged", "keep": None}
        return {"max_bytes": limit, "naming": "numbered", "keep": min(self.backupCount, 99_999)}

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether this record would make the file reach `maxBytes`, in bytes."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "shouldRollover")(record)
        found = self._stat_regular() if self.maxBytes > 0 else None
        # An empty file is never rotated.
        is_due = (
            found is not None
            and found.st_size > 0
            and found.st_size + len(self._encode(record)) >= self.maxBytes
        )
        if not is_in_step(self.baseFilename):
            self._note_question(is_due)
        return is_due

    def _roll(self) -> None:
        self._close_in_step()
        if self.backupCount > 0:
            self._cut(self._make_room)
        if not self.delay:
            self.stream = self._open()

    def _numbered(self, number: int) -> str:
        return self.rotation_filename(f"{self.baseFilename}.{number}")

    def _make_room(self) -> str:
        """The name of the newest archive, free: in a step under the lease."""
        name = _archives.remembering(self._numbered)
        _archives.shift(self.backupCount, name, self._endings())
        return name(1)

    def _archive_name(self, staged: _archives.Staged) -> str:
        name = _archives.remembering(self._numbered)
        count = max(1, self.backupCount)
        # Names first: they may be the application's code.
        for number in range(1, count + 1):
            if not _archives.stands(name(number), self._endings()):
                break
        self._in_step(lambda: _archives.shift(count, name, self._endings()))
        return name(1)

    def _default_name(self, staged: _archives.Staged) -> str:
        return f"{self.baseFilename}.1"


class TimedRotatingFileHandler(  # type: ignore[misc]
    ByTime,
    PythonsTimed,
    metaclass=InPlaceOf,
    theirs=PythonsTimed,
):
    """`logging.handlers.TimedRotatingFileHandler` for any number of processes on one file.

    An archive is named after the time its period began. The newest `backupCount` archives are kept, or
    all if it is 0. All of Python's hooks are honoured. The arguments after `errors` are the engine's;
    `docs/python.md` describes them. An `interval` below 1 or a `when` that is not known is a ValueError;
    other errors are those of `FileHandler`.
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
        if not isinstance(self, EngineHandler):
            # After `install()`, a handler of Python's that names its base.
            PythonsTimed.__init__(
                self, filename, when, interval, backupCount, encoding, delay, utc, atTime, errors
            )
            return
        encoding = text_encoding(encoding)
        when = when.upper()
        unit_s, suffix, pattern = unit(when)
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
        self.interval = unit_s * units_of(interval)  # type: ignore[assignment]
        self._start()
