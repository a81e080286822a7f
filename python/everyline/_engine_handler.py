"""What all handlers share: from a record to the engine, over close, fork, spawn and pickle.

Promises. Formatting is Python's: `format`, `emit`, `handleError`, filters and `terminator` may be
replaced, on the class or on the object. A record is bytes before the engine sees it. `emit` never raises; a
failure goes to `handleError` and costs no other record. Code of the application's that opens the file or
rotates it runs as a step under the writer lease (`_step.py`), in which `stream` and `_open` are plain
files, as that code expects. Not here: rotation (`_rotating.py`), and the arguments, which are the classes'.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from everyline import _warn
from everyline._arguments import DEFAULTS
from everyline._bends import OPENS, WATCHED, is_any_bent
from everyline._in_place_of import emit_of_pythons, of_pythons
from everyline._native import Options
from everyline._step import Step, here, is_in_step, is_treating
from everyline._stream import Codec, LogStream, codec_of_file
from everyline._types import Counters, Status

_T = TypeVar("_T")

# Python's own, also after `install()` has put ours in its place.
PythonsFileHandler = logging.FileHandler

# A burst of drops, or of waits that reach their bound, comes to `handleError` once in so many seconds.
# Nothing is lost from sight: the engine counts every drop and announces the count in the log.
_REPORT_EVERY_S = 1.0
# After a step that could not be had within `wait`, none is tried for so long.
_STEP_PAUSE_S = 1.0

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


class EngineHandler(PythonsFileHandler):
    """Base of the handlers. Not meant to be instantiated."""

    # None: not attached. The only way to the engine.
    _stream: LogStream | None = None
    # Another stream that was put under the handler: records go there, as with Python's.
    _foreign: Any = None
    _step: Step | None = None
    # The constructor is done.
    _ready = False
    _ended = False
    # Asked by every log call: False, and the engine does it all. True until the constructor is done: a
    # subclass may leave ours out, and call that of a base of Python's.
    _bent = True
    # `_open` is replaced; Python decides about rotation; Python names or treats archives.
    _opens = False
    _decides = False
    _names = False
    _opened_epoch = -1
    # The file was made by `_open` just now, before the engine was there.
    _is_opened = False
    _pause_until = 0.0
    # Attributes that are settings of the engine, or that say whose code runs.
    _watched: frozenset[str] = WATCHED
    _codec: Codec | None = None
    # What the file that `_open` returned does with text.
    _opened_codec: Codec | None = None
    _engine: dict[str, Any] = DEFAULTS
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

    def _make_by_open(self) -> bool:
        """The first file is made by whose code that is: in his directory, and with his mode at once."""
        step = Step(self.baseFilename, None)
        self._step = step
        here.steps.append(step)
        try:
            opened = self._open()
            if opened is not None:
                self._take_over(opened)
            return True
        except Exception:
            # It is called once more when the engine has made the file, and then the error is told.
            return False
        finally:
            here.steps.remove(step)
            self._step = None

    def _take_over(self, opened: Any) -> None:
        """A file that `_open` has opened on the log: the engine writes it from now on, with its encoding."""
        codec = codec_of_file(opened)
        opened.close()
        if codec is None:
            if self._stream is not None:
                # Not called for each record.
                self._saw_open(self._stream)
            raise ValueError(
                f"_open: {opened!r} is no plain text file, and what it does to the text would not reach "
                f"{self.baseFilename}, which all processes write through the engine; return what `open` "
                "returns for it. To compress archives, use `rotator` or everyline.Handler(compress='gzip')"
            )
        self._codec = self._opened_codec = codec

    def _attached(self, stream: LogStream) -> None:
        if self._is_opened:
            self._saw_open(stream)
        elif self._opens:
            self._call_open()

    def _saw_open(self, stream: LogStream) -> None:
        seen = stream.appender.glance()
        self._opened_epoch = -1 if seen is None else seen[0]

    def _warn(self, stream: LogStream) -> None:
        _warn.of_attaching(self.baseFilename, stream.appender, stacklevel=4)

    @property
    def stream(self) -> Any:
        """The log as this process has it open; None before the first record, if delayed, and after `close`.

        It can be set. None detaches. What this handler's `_open` returns, or a file that is open on the log,
        attaches; the file is closed, for the engine writes. Any other stream takes the records from then on.
        """
        step = self._step
        if step is not None and step.is_here():
            return step.stream
        return self._stream if self._foreign is None else self._foreign

    @stream.setter
    def stream(self, value: Any) -> None:
        step = self._step
        if step is not None and step.is_here():
            step.stream = value
        elif "lock" in self.__dict__:
            self._set_stream(value)
        # Else a class that sets it before it calls the constructor, as Python's then sets it again.

    def _set_stream(self, value: Any) -> None:
        self.acquire()
        try:
            if value is not None and not self._is_mine(value) and self._is_the_log(value):
                value.close()
                value = self._new_stream()
            is_mine = self._is_mine(value)
            old, self._stream = self._stream, value if is_mine else None
            self._foreign = None if is_mine else value
            if is_mine:
                value.closed = False
            if self._ready:
                self._look()
                if value is None:
                    self._codec = self._make_codec()
            if old is not None and old is not value:
                old.close()
        finally:
            self.release()

    def _is_mine(self, stream: Any) -> bool:
        return isinstance(stream, LogStream) and stream.name == self.baseFilename

    def _is_the_log(self, stream: Any) -> bool:
        """Whether it is a file that is open on this log."""
        if isinstance(stream, LogStream):
            return False
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(self.baseFilename))
        except (OSError, ValueError, AttributeError, TypeError):
            return False

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

    # Steps of Python's under the lease

    def _in_step(self, act: Callable[[], _T]) -> _T:
        """Runs `act` while no process writes to the log. TimeoutError if that cannot be had within `wait`."""
        step = self._step
        if step is not None and step.is_here():
            return act()
        stream = self._attach()
        if is_in_step(self.baseFilename) or stream.appender.glance() is None:
            # In a step of another handler; or there is no journal, and nobody to keep out.
            result = self._run_step(stream, act)
        else:
            try:
                result = stream.appender.exclusive(lambda: self._run_step(stream, act), self._engine["wait"])
            except TimeoutError:
                self._pause_until = time.monotonic() + _STEP_PAUSE_S
                raise
        self._after_step(stream)
        return result

    def _run_step(self, stream: LogStream, act: Callable[[], _T]) -> _T:
        step = Step(self.baseFilename, stream)
        self._step = step
        here.steps.append(step)
        try:
            return act()
        finally:
            if step.is_here():
                try:
                    self._leave_step(step, stream)
                finally:
                    here.steps.remove(step)
                    self._step = None
            else:
                # A child that the step has forked.
                here.steps.clear()
                self._step = None

    def _leave_step(self, step: Step, stream: LogStream) -> None:
        if self._opens and not os.path.lexists(self.baseFilename):
            # The file is made anew in any case, so it is made by whose code that is.
            step.stream = self._open()
        opened = step.stream
        if opened is None or opened is stream:
            return
        if self._is_the_log(opened):
            self._take_over(opened)
        elif not getattr(opened, "closed", False):
            self.__dict__["_left_behind"] = opened

    def _after_step(self, stream: LogStream) -> None:
        stream.closed = False
        foreign = self.__dict__.pop("_left_behind", None)
        if foreign is not None:
            self._set_stream(foreign)
        elif stream.name != self.baseFilename:
            # Code that gives the live file itself another name.
            self._set_stream(None)
            self._attach()
        self._saw_open(stream)

    def _call_open(self) -> None:
        def act() -> None:
            assert self._step is not None
            self._step.stream = self._open()

        self._in_step(act)

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
