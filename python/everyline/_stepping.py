"""What `stream` and `_open` are to code of the application's, and the steps under the lease that it runs in.

Promises. Code that opens the file or rotates it runs as a step under the writer lease (`_step.py`), in which
`stream` and `_open` are plain files, as that code expects. Outside of a step `stream` is the log as this
process has it open, and what is assigned to it takes effect as with Python's handlers. A file that is open
on the log itself is closed, for the engine writes it; one that would do more to the text is refused by name.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from everyline._arguments import DEFAULTS
from everyline._step import Step, here, is_in_step
from everyline._stream import Codec, LogStream, codec_of_file

_T = TypeVar("_T")

# Python's own, also after `install()` has put ours in its place.
PythonsFileHandler = logging.FileHandler

# After a step that could not be had within `wait`, none is tried for so long.
_STEP_PAUSE_S = 1.0


class Stepping(PythonsFileHandler):
    """Base of `EngineHandler`."""

    # None: not attached. The only way to the engine.
    _stream: LogStream | None = None
    # Another stream that was put under the handler: records go there, as with Python's.
    _foreign: Any = None
    _step: Step | None = None
    # The constructor is done.
    _ready = False
    # `_open` is replaced.
    _opens = False
    _opened_epoch = -1
    _pause_until = 0.0
    _codec: Codec | None = None
    # What the file that `_open` returned does with text.
    _opened_codec: Codec | None = None
    _engine: dict[str, Any] = DEFAULTS

    def _attach(self) -> LogStream:
        raise NotImplementedError

    def _new_stream(self) -> LogStream:
        raise NotImplementedError

    def _make_codec(self, otherwise: str | None = None) -> Codec:
        raise NotImplementedError

    def _look(self) -> None:
        raise NotImplementedError

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

    # What `_open` returns

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

    def _saw_open(self, stream: LogStream) -> None:
        seen = stream.appender.glance()
        self._opened_epoch = -1 if seen is None else seen[0]

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
