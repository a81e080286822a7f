"""What both handlers share: from a record to the engine, over close, fork, spawn and pickle.

Promises. Formatting is Python's: `format`, `emit`, `handleError`, filters and `terminator` may be
replaced, on the class or on the object. A record is bytes before the engine sees it, so no other Python
code runs while the engine holds anything. `emit` never raises; a failure goes to `handleError`. Not here:
when and how the file is rotated, which is the engine's, and the arguments, which are the two classes'.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import stat
import sys
import time
import warnings
from typing import Any

from everyline._guard import NotSupported, check_assignment, check_class
from everyline._native import Options
from everyline._stream import Codec, LogStream
from everyline._types import Counters, Status

# A burst of drops, or of waits that reach their bound, comes to `handleError` once in so many seconds.
# Nothing is lost from sight: the engine counts every drop and announces the count in the log.
_REPORT_EVERY_S = 1.0

_NOTHING_YET: Counters = {
    "records": 0,
    "bytes": 0,
    "dropped": 0,
    "failed": 0,
    "degraded": 0,
    "waited": 0,
    "is_degraded": False,
}


class EngineHandler(logging.handlers.BaseRotatingHandler):
    """Base of the handlers. Not meant to be instantiated."""

    # None: not attached. The only way to the engine.
    _stream: LogStream | None = None
    # Attributes that take effect when they are set.
    _live: frozenset[str] = frozenset({"backupCount"})

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str,
        encoding: str | None,
        delay: bool,
        errors: str | None,
        engine: dict[str, Any],
    ) -> None:
        check_class(type(self))
        if mode.rstrip("t+") not in ("a", "w"):
            raise ValueError(f"mode: {mode!r} cannot be used for a log that is shared; expected 'a' or 'w'")
        # Python would find a wrong name when it opens the file, which with `delay` is at the first record.
        self._codec = Codec(encoding or "locale", errors)
        self._engine = engine
        # Only the first start of this handler, in this process, may empty the file: not a start after
        # `close`, nor one in a process that the handler came to by fork or pickle.
        self._truncating_pid = os.getpid() if mode.startswith("w") else 0
        self._reported_at = -_REPORT_EVERY_S
        # Always delayed, so that Python never opens the file.
        path = os.fsdecode(filename)
        logging.handlers.BaseRotatingHandler.__init__(self, path, mode, encoding, delay=True, errors=errors)
        self.__dict__["delay"] = delay

    def _rotation(self) -> dict[str, Any]:
        """The engine's options for rotation, as the attributes are now. The classes have theirs."""
        raise NotImplementedError

    def _options(self, truncate: bool = False) -> Options:
        return Options(**self._rotation(), **self._engine, truncate=truncate)

    def _start(self) -> None:
        """The end of every constructor."""
        if self.delay:
            # A bad option is an error of whoever makes the handler, not of the first record.
            self._options()
        else:
            self._warn_if_degraded(self._attach())

    # To the engine

    def _open(self) -> LogStream:  # type: ignore[override]
        """What to assign to `stream`."""
        options = self._options(truncate=self._truncating_pid == os.getpid())
        stream = LogStream(self.baseFilename, options, self._codec, self.mode)
        self._truncating_pid = 0
        return stream

    def _attach(self) -> LogStream:
        # `emit` may be called without the lock, by tests and by other handlers.
        self.acquire()
        try:
            if self._stream is None:
                self._stream = self._open()
            return self._stream
        finally:
            self.release()

    def _warn_if_degraded(self, stream: LogStream) -> None:
        reason = stream.appender.degraded
        if reason is not None:
            warnings.warn(
                f"{self.baseFilename}: there is no journal, so records are written whole, but the file is "
                f"not rotated. This is tried again every second. The reason: {reason}",
                RuntimeWarning,
                stacklevel=4,
            )

    @property  # type: ignore[override]
    def stream(self) -> LogStream | None:
        """The log as this process has it open; None before the first record, if delayed, and after `close`.

        It can be set to None, which detaches, and to what this handler's `_open` returns, which attaches.
        """
        return self._stream

    @stream.setter
    def stream(self, value: Any) -> None:
        if value is not None and not (isinstance(value, LogStream) and value.name == self.baseFilename):
            raise NotSupported(
                f"{type(self).__qualname__}: only the engine writes to the log, no other file can be put "
                "under it. Way out: assign None, or what the handler's _open() returns."
            )
        self.acquire()
        try:
            old, self._stream = self._stream, value
            if old is not None and old is not value:
                old.close()
        finally:
            self.release()

    def __setattr__(self, name: str, value: Any) -> None:
        check_assignment(self, name, value)
        if name not in self._live or name not in self.__dict__:
            object.__setattr__(self, name, value)
            return
        before = self.__dict__[name]
        self.__dict__[name] = value
        try:
            self._options()
            if self._stream is not None and value != before:
                # The engine takes the options of whoever comes last.
                self.stream = self._open()
        except BaseException:
            self.__dict__[name] = before
            raise

    # logging.Handler

    def emit(self, record: logging.LogRecord) -> None:
        """Formats the record and hands it over."""
        try:
            # A record made by `makeLogRecord` may have no level.
            level = record.levelno or 0
            data = self._encode(record)
            stream = self._stream
            if stream is not None:
                stream.appender.append(data, level)
            else:
                stream = self._attach()
                stream.appender.append(data, level)
                # After the record: warnings may have been turned into errors.
                self._warn_if_degraded(stream)
        except Exception as error:
            if self._is_worth_a_report(error):
                self.handleError(record)

    def _encode(self, record: logging.LogRecord) -> bytes:
        return self._codec.encode(self.format(record) + self.terminator)

    def _is_worth_a_report(self, error: Exception) -> bool:
        if not isinstance(error, TimeoutError) and getattr(error, "kind", None) != "dropped":
            return True
        now = time.monotonic()
        if now - self._reported_at < _REPORT_EVERY_S:
            return False
        self._reported_at = now
        return True

    def flush(self) -> None:
        """Returns when all records of this process are in the file; TimeoutError after `wait` seconds."""
        # Without `lock`: other threads may log while this one waits.
        stream = self._stream
        if stream is not None:
            stream.flush()

    def close(self) -> None:
        """Flushes and detaches. A record that comes after it attaches again."""
        self.acquire()
        try:
            self.stream = None
        finally:
            self.release()
            logging.Handler.close(self)

    # logging.handlers.BaseRotatingHandler

    def doRollover(self) -> None:
        """Rotates now. For callers: it is not called by the handler, the engine rotates by itself."""
        self._attach().appender.rotate()

    def _stat_regular(self) -> os.stat_result | None:
        """The file, if there is one that can be rotated: devices and pipes never are."""
        try:
            found = os.stat(self.baseFilename)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    # Beyond Python's

    def sync(self) -> None:
        """Returns when all records of this process are on disk."""
        stream = self._stream
        if stream is not None:
            stream.appender.sync()

    def status(self) -> Status:
        """The state of the log and of every process attached to it."""
        return self._attach().appender.status()

    def counters(self) -> Counters:
        """What this handler did since it last attached."""
        stream = self._stream
        return _NOTHING_YET.copy() if stream is None else stream.appender.counters()

    # pickle

    def __getstate__(self) -> dict[str, Any]:
        """The settings. A lock and an open log belong to their process."""
        state = self.__dict__.copy()
        for name in ("lock", "_stream", "_closed"):
            state.pop(name, None)
        state["_truncating_pid"] = 0
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Makes the lock and registers the handler for `logging.shutdown` and for forks.
        logging.Handler.__init__(self)
        # Past `__setattr__`: this was checked when it was set.
        self.__dict__.update(state)
        self.set_name(state["_name"])


def text_encoding(encoding: str | None) -> str:
    """`io.text_encoding` for a constructor's argument: also on Python 3.9, which has none."""
    known = getattr(io, "text_encoding", None)
    if known is not None:
        # The frame to warn about is that of the constructor's caller.
        return str(known(encoding, 3))
    if encoding is not None:
        return encoding
    return "utf-8" if sys.flags.utf8_mode else "locale"


def engine_options(
    commit: str,
    fsync: str,
    full: str,
    wait: float,
    ring_bytes: int | None,
    overflow_bytes: int | None,
    journal_dir: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """The constructors' common options, in the engine's words. The engine checks them."""
    return {
        "commit": commit,
        "fsync": fsync,
        "full": full,
        "wait": wait,
        "ring_bytes": ring_bytes,
        "overflow_bytes": overflow_bytes,
        # A handler may go to a process with another working directory.
        "journal_dir": None if journal_dir is None else os.path.abspath(os.fsdecode(journal_dir)),
    }


def whole(name: str, value: int) -> int:
    """A number of files, or ValueError."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}: {value!r} is not a count; expected a whole number, 0 or more")
    return value
