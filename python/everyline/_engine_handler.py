"""What all handlers share: from a record to the engine, over close, fork, spawn and pickle.

Promises. Formatting is Python's: `format`, `emit`, `handleError`, filters and `terminator` may be
replaced, on the class or on the object. A record is bytes before the engine sees it. `emit` never raises; a
failure goes to `handleError` and costs no other record. Not here: `stream` and steps under the lease
(`_stepping.py`), rotation (`_rotating.py`), and the arguments, which are the classes'.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from everyline import _warn
from everyline._bends import OPENS, WATCHED, is_any_bent
from everyline._in_place_of import emit_of_pythons, of_pythons
from everyline._native import Options
from everyline._step import is_in_step, is_treating
from everyline._stepping import PythonsFileHandler, Stepping
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

_MISSING = object()


class EngineHandler(Stepping):
    """Base of the handlers. Not meant to be instantiated."""

    _ended = False
    # Asked by every log call: False, and the engine does it all. True until the constructor is done: a
    # subclass may leave ours out, and call that of a base of Python's.
    _bent = True
    # Python decides about rotation; Python names or treats archives.
    _decides = False
    _names = False
    # The file was made by `_open` just now, before the engine was there.
    _is_opened = False
    # Attributes that are settings of the engine, or that say whose code runs.
    _watched: frozenset[str] = WATCHED
    _starting_pid = 0
    _reported_at = float("-inf")

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str,
        encoding: str | None,
        delay: bool,
        errors: str | None,
        engine: dict[str, Any],
    ) -> None:
        if not isinstance(mode, str):
            raise TypeError(f"mode: {mode!r} is not text; expected 'a', 'w' or 'x'")
        if errors is not None and not isinstance(errors, str):
            raise TypeError(f"errors: {errors!r} is not a name or None")
        if mode.rstrip("t+") not in ("a", "w", "x"):
            raise ValueError(
                f"mode: {mode!r} cannot be used for a log that is shared; expected 'a', 'w' or 'x'"
            )
        # Python would find a wrong name when it opens the file, which with `delay` is at the first record.
        self._codec = Codec(encoding or "locale", errors)
        self._engine = engine
        # Only the first start of this handler, in this process, may empty or claim the file: not a start
        # after `close`, nor one in a process that the handler came to by fork or pickle.
        self._starting_pid = os.getpid() if mode[0] in "wx" else 0
        # Always delayed, so that Python never opens the file.
        PythonsFileHandler.__init__(self, os.fsdecode(filename), mode, encoding, delay=True, errors=errors)
        self.mode = mode
        self.encoding = encoding
        self.errors = errors
        self.delay = delay

    def _rotation(self) -> dict[str, Any]:
        """The engine's options for rotation, as the attributes are now. The classes have theirs."""
        return {}

    def _options(self, truncate: bool = False) -> Options:
        # Before the constructor is done there may be nothing yet to tell it from.
        rotation = {} if self._decides or not self._ready else self._rotation()
        return Options(**rotation, **self._engine, truncate=truncate)

    def _start(self) -> None:
        """The end of every constructor."""
        self._get_ready()
        # A bad option is an error of whoever makes the handler, not of the first record.
        self._options()
        if self.delay:
            return
        try:
            self._warn(self._attach())
        except BaseException:
            self._set_stream(None)
            raise

    def _get_ready(self) -> None:
        self._codec = self._make_codec()
        self._look()
        self._ready = True

    def _get_ready_late(self) -> None:
        """At the first record of a handler whose class has left our constructor out."""
        self._get_ready()
        if self._stream is not None:
            self._set_stream(None)

    def _look(self) -> None:
        """Finds anew whose code runs."""
        state = self.__dict__
        state["_opens"] = is_any_bent(self, OPENS)
        state["_decides"] = self._opens
        self._look_at_rotation()
        state["_bent"] = self._decides or self._names or self._foreign is not None

    def _look_at_rotation(self) -> None:
        pass

    # To the engine

    def _open(self) -> Any:
        """What to assign to `stream`. In a step under the lease: the file itself, opened to append."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "_open")()
        if not is_in_step(self.baseFilename):
            return self._new_stream()
        encoding = None if self.encoding == "locale" else self.encoding
        return open(self.baseFilename, "a", encoding=encoding, errors=self.errors)

    def _make_codec(self, otherwise: str | None = None) -> Codec:
        """For `encoding` and `errors` as they are now. `otherwise`: `errors` where there are none."""
        if self._opened_codec is not None:
            return self._opened_codec
        wanted = (self.encoding or "locale", self.errors or otherwise)
        known = self._codec
        # Not made again without need: at the end of the interpreter nothing can be imported any more.
        return known if known is not None and known.wanted == wanted else Codec(*wanted)

    def _new_stream(self) -> LogStream:
        self._codec = self._make_codec()
        options = self._options()
        is_start, self._starting_pid = self._starting_pid == os.getpid(), 0
        if is_start and self.mode[0] == "x":
            os.close(os.open(self.baseFilename, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        truncating = self._options(truncate=True) if is_start and self.mode[0] == "w" else options
        stream = LogStream(self.baseFilename, truncating, self._codec, self.mode)
        self.__dict__["_in_force"] = options
        return stream

    def _attach(self) -> LogStream:
        # `emit` may be called without the lock, by tests and by other handlers.
        self.acquire()
        try:
            stream = self._stream
            if stream is None:
                is_new = self._opens and not os.path.lexists(self.baseFilename)
                self._is_opened = is_new and self._make_by_open()
                self._stream = stream = self._new_stream()
                self._attached(stream)
            return stream
        finally:
            self.release()

    def _attached(self, stream: LogStream) -> None:
        if self._is_opened:
            self._saw_open(stream)
        elif self._opens:
            self._call_open()

    def _warn(self, stream: LogStream) -> None:
        _warn.of_attaching(self.baseFilename, stream.appender, stacklevel=4)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._watched or not self._ready:
            object.__setattr__(self, name, value)
            return
        before = self.__dict__.get(name, _MISSING)
        object.__setattr__(self, name, value)
        try:
            self._changed(name)
        except BaseException:
            if before is _MISSING:
                self.__dict__.pop(name, None)
            else:
                self.__dict__[name] = before
            self._look()
            raise

    @classmethod
    def _noticed_on_the_class(cls, name: str) -> bool:
        """Something was put into the class. Whether its handlers have to look anew."""
        return name in cls._watched

    def _class_changed(self, name: str) -> None:
        if self._ready:
            self.acquire()
            try:
                self._changed(name)
            finally:
                self.release()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in self._watched and self._ready:
            self._changed(name)

    def _changed(self, name: str) -> None:
        """An attribute that matters was set: the engine takes the settings of whoever comes last."""
        if name in ("encoding", "errors"):
            # As with Python's, for the next time the file is opened.
            if self._stream is None:
                self._codec = self._make_codec()
            return
        self._look()
        stream = self._stream
        if stream is None:
            self._options()
        else:
            self._renew(stream)

    def _renew(self, stream: LogStream) -> None:
        """Attaches with the settings as they are now, if that is not how it is attached."""
        if self._options() != self.__dict__.get("_in_force"):
            self._stream = self._new_stream()
            stream.close()

    # logging.Handler

    def emit(self, record: logging.LogRecord) -> None:
        """Formats the record and hands it over."""
        try:
            if self._bent:
                self._emit_bent(record)
                return
            # A record made by `makeLogRecord` may have no level.
            level = record.levelno or 0
            data = self._encode(record)
            stream = self._stream
            if stream is not None:
                stream.appender.append(data, level)
            elif not self._is_over():
                stream = self._attach()
                stream.appender.append(data, level)
                # After the record: warnings may have been turned into errors.
                self._warn(stream)
        except RecursionError:
            raise
        except Exception as error:
            if not isinstance(self, EngineHandler):
                # After `install()`, a handler of Python's that names its base.
                emit_of_pythons(self, record)
            elif self._is_worth_a_report(error):
                self.handleError(record)

    def _is_over(self) -> bool:
        """As Python's: after `close`, a handler that empties its file writes no more."""
        return self._ended and self.mode.startswith("w")

    def _emit_bent(self, record: logging.LogRecord) -> None:
        """The same with code of the application's before and after. A failure in it costs no record."""
        if not self._ready:
            self._get_ready_late()
            if not self._bent:
                EngineHandler.emit(self, record)
                return
        if self._foreign is not None:
            logging.StreamHandler.emit(self, record)
            return
        level = record.levelno or 0
        is_start = self._stream is None
        if is_start:
            if self._is_over():
                return
            # Before the record is made bytes: the file that `_open` opens may say how.
            self._guarded(record, self._attach)
        data = self._encode(record)
        # Code of the application's may log: such a record is only written.
        is_inner = is_in_step(self.baseFilename) or is_treating(self.baseFilename)
        if not is_inner:
            self._before_append(record)
        stream = self._stream or self._attach()
        self._write_out(stream, record, data, level)
        if is_start:
            self._warn(stream)
        if not is_inner:
            self._after_append(record)

    def _write_out(self, stream: LogStream, record: logging.LogRecord, data: bytes, level: int) -> None:
        stream.appender.append(data, level)

    def _before_append(self, record: logging.LogRecord) -> None:
        stream = self._stream
        if self._opens and stream is not None:
            seen = stream.appender.glance()
            if seen is not None and (seen[0] != self._opened_epoch or not os.path.lexists(self.baseFilename)):
                self._guarded(record, self._call_open)

    def _after_append(self, record: logging.LogRecord) -> None:
        pass

    def _guarded(self, record: logging.LogRecord, act: Callable[[], Any]) -> None:
        """Runs code of the application's; what it raises is reported, and the record goes on."""
        if time.monotonic() < self._pause_until:
            return
        try:
            act()
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def _encode(self, record: logging.LogRecord) -> bytes:
        return self._its_codec().encode(self.format(record) + self.terminator)

    def _its_codec(self) -> Codec:
        codec = self._codec
        if codec is None:
            codec = self._codec = self._make_codec()
        return codec

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
        stream = self.stream
        if stream is not None and hasattr(stream, "flush") and not getattr(stream, "closed", False):
            stream.flush()

    def close(self) -> None:
        """Flushes and detaches. A record that comes after it attaches again, unless `mode` is `w`."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "close")()
        self.acquire()
        try:
            foreign = self._foreign
            try:
                self.stream = None
            finally:
                if foreign is not None and hasattr(foreign, "close"):
                    foreign.close()
        finally:
            self._ended = True
            self.release()
            logging.Handler.close(self)

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
        for name in ("lock", "_stream", "_foreign", "_step", "_closed", "_in_force", "_opened_epoch"):
            state.pop(name, None)
        state["_starting_pid"] = 0
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Makes the lock and registers the handler for `logging.shutdown` and for forks.
        logging.Handler.__init__(self)
        # Past `__setattr__`: this was checked when it was set.
        self.__dict__.update(state)
        self.set_name(state["_name"])
        self._look()
