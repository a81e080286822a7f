"""Rotation where code of the application's has a part in it: what both rotating classes share.

Nothing bent: the engine rotates, and this module does nothing. Only names or treatment of archives bent: the
engine cuts to a staged name, and `_archives.py` brings the file to its own after the record is written.
`shouldRollover`, `doRollover`, `computeRollover` or `_open` bent: each rotation is one step under the writer
lease, in which Python's algorithm runs by names, as if there were one process. A step that fails is
reported, and the record is written all the same.
"""

from __future__ import annotations

import functools
import logging
import logging.handlers
import os
import stat
import time
import types
from collections.abc import Callable
from typing import Any

from everyline import _archives
from everyline._bends import DECIDES, NAMES, is_any_bent, is_bent, is_home
from everyline._engine_handler import EngineHandler
from everyline._in_place_of import of_pythons
from everyline._step import is_in_step
from everyline._stream import LogStream

# A rotator that logs could go on for ever.
_LAST_ROUNDS = 8
# Who asks whether to rotate, and rotates, does so within this time.
_ASKED_S = 2.0
# While another process treats archives, this one looks again so often.
_LOOK_AGAIN_S = 1.0


class Rotating(EngineHandler):
    """Base of the handlers that rotate."""

    backupCount: int
    namer: Callable[[str], str] | None
    rotator: Callable[[str, str], None] | None

    # Rotations of the log when archives were last looked at, and when to look again in any case.
    _treated_upto = -1
    _look_again_at = 0.0

    # The epoch of the file about which `shouldRollover` has said yes outside of a step, and when.
    _asked_about: tuple[int, float] | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        _wrap_overrides(cls)

    @classmethod
    def _noticed_on_the_class(cls, name: str) -> bool:
        if name in ("doRollover", "shouldRollover"):
            _wrap_overrides(cls)
        return super()._noticed_on_the_class(name)

    def _look_at_rotation(self) -> None:
        state = self.__dict__
        state["_decides"] = self._opens or is_any_bent(self, DECIDES)
        state["_names"] = is_any_bent(self, NAMES)

    # logging.handlers.BaseRotatingHandler

    def rotation_filename(self, default_name: str) -> str:
        """The name for an archive: what `namer` makes of the default one."""
        namer = self.namer
        return namer(default_name) if callable(namer) else default_name

    def rotate(self, source: str, dest: str) -> None:
        """Brings an archive to its name: by `rotator`, or by a rename."""
        rotator = self.rotator
        if callable(rotator):
            rotator(source, dest)
        elif os.path.exists(source):
            os.rename(source, dest)

    def doRollover(self) -> None:
        """Rotates now, in one step for all processes.

        Nothing is rotated if `backupCount` is 0 and names are numbers, as with Python's. In a step (called by
        a `doRollover` of a subclass's): Python's algorithm, with `rotation_filename`, `rotate` and
        `getFilesToDelete`.
        """
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "doRollover")()
        if is_in_step(self.baseFilename):
            self._roll()
            return
        stream = self._attach()
        if self._asked_about is not None and stream.appender.glance() is not None:
            # An `emit` that asks and rotates by itself.
            is_rotated = self._take_question()
            self._in_step(lambda: None if is_rotated() else self._roll())
            if self._names:
                self._treat(None)
            return
        if self._decides and stream.appender.glance() is not None:
            self._in_step(self._roll)
        elif self._rotation():
            stream.appender.rotate()
        else:
            # As Python's, which then only opens the file again.
            stream.appender.reopen()
        if self._names:
            self._treat(None)

    def _note_question(self, answer: Any) -> None:
        """`shouldRollover` was asked by code of the application's: that of the file as it is now."""
        stream = self._stream
        seen = None if not answer or stream is None else stream.appender.glance()
        self._asked_about = None if seen is None else (seen[0], time.monotonic())

    def _take_question(self) -> Callable[[], bool]:
        """To be called under the lease: whether another process has rotated since this one has asked."""
        asked, self._asked_about = self._asked_about, None

        def is_rotated() -> bool:
            if asked is None or time.monotonic() - asked[1] > _ASKED_S:
                return False
            stream = self._stream
            seen = None if stream is None else stream.appender.glance()
            return seen is not None and seen[0] != asked[0]

        return is_rotated

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        raise NotImplementedError

    def _roll(self) -> None:
        """Python's `doRollover` by names, in a step under the lease. Does nothing to an empty file."""
        raise NotImplementedError

    def _cut(self, name: Callable[[], str]) -> None:
        """The live file out of the way: to the name that `name` makes free, or to a staged one."""
        if self._must_stage():
            # The treatment may take long; the lease is not to be held for it.
            os.rename(self.baseFilename, _archives.staged_name(self))
        else:
            self.rotate(self.baseFilename, name())

    def _archive_name(self, staged: _archives.Staged) -> str:
        """Where a staged file belongs; free."""
        raise NotImplementedError

    def _default_name(self, staged: _archives.Staged) -> str:
        """The same if the application's code cannot tell."""
        raise NotImplementedError

    def _rotate_staged(self, source: str, dest: str) -> None:
        if source.endswith(".gz"):
            # Compressed by a process that did not live to name it.
            os.rename(source, dest + ".gz")
        else:
            self.rotate(source, dest)

    def _endings(self) -> tuple[str, ...]:
        """What may follow the name of an archive."""
        return ("",)

    def _expire(self) -> None:
        """Deletes archives beyond the count, where they are not moved up."""

    def _must_stage(self) -> bool:
        # Code around `super().doRollover()` wants to find the archive.
        return is_any_bent(self, ("rotate", "rotator")) and not is_bent(self, "doRollover")

    def _close_in_step(self) -> None:
        stream = self.stream
        if stream is not None:
            stream.close()
            self.stream = None

    def _before_append(self, record: logging.LogRecord) -> None:
        super()._before_append(record)
        stream = self._stream
        # Without a journal nothing is rotated: nobody could keep other processes out.
        if self._decides and stream is not None and stream.appender.glance() is not None:
            self._guarded(record, lambda: self._roll_if_due(record))

    def _roll_if_due(self, record: logging.LogRecord) -> None:
        # First without the lease, which is cheap. Then another process may have rotated: asked once more.
        if self.shouldRollover(record):
            self._asked_about = None
            self._in_step(lambda: self.doRollover() if self.shouldRollover(record) else None)

    # Archives on their way to their names

    def _attached(self, stream: LogStream) -> None:
        super()._attached(stream)
        self._treated_upto = -1
        if not self._names and not is_in_step(self.baseFilename):
            _archives.treat_abandoned(self, stream.appender)

    def _after_append(self, record: logging.LogRecord) -> None:
        if self._names:
            self._treat(record)

    def _treat(self, record: logging.LogRecord | None) -> bool | None:
        stream = self._stream
        seen = None if stream is None else stream.appender.glance()
        if stream is None or seen is None:
            return True
        if seen[1] == self._treated_upto and time.monotonic() < self._look_again_at:
            return True
        self._treated_upto = seen[1]
        done = _archives.treat(self, stream.appender, record)
        self._look_again_at = float("inf") if done else time.monotonic() + _LOOK_AGAIN_S
        return done

    def _treat_before_leaving(self) -> None:
        """Nothing of ours stays behind staged, as far as it is ours to say: others may be cutting on."""
        stream = self._stream
        if stream is None:
            return
        try:
            # What is written now may be what cuts the file once more.
            stream.flush()
        except OSError:
            # `close` tells of it.
            pass
        rounds, until = 0, time.monotonic() + self._engine["wait"]
        while rounds < _LAST_ROUNDS:
            self._treated_upto = -1
            done = self._treat(None)
            if done:
                return
            if done is None:
                # Whoever is at it looks once more when he is done. But he may be leaving, as this one is.
                if time.monotonic() >= until:
                    return
                time.sleep(0.01)
            else:
                rounds += 1

    def close(self) -> None:
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "close")()
        self.acquire()
        try:
            if self._names and not is_in_step(self.baseFilename):
                self._treat_before_leaving()
        finally:
            self.release()
            super().close()

    def _stat_regular(self) -> os.stat_result | None:
        """The file, if there is one that can be rotated: devices and pipes never are."""
        try:
            found = os.stat(self.baseFilename)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_treated_upto", "_look_again_at", "_asked_about"):
            state.pop(name, None)
        return state


def _wrap_overrides(cls: type) -> None:
    """A `doRollover` of a subclass's becomes a step; what its `shouldRollover` says is noted."""
    for name, wrap in (("doRollover", _as_step), ("shouldRollover", _as_question)):
        found = next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), None)
        if isinstance(found, types.FunctionType) and not is_home(found) and not hasattr(found, "_is_wrapped"):
            type.__setattr__(cls, name, wrap(found))


def _as_step(found: Any) -> Any:
    @functools.wraps(found)
    def doRollover(self: Rotating, *arguments: Any, **named: Any) -> Any:
        stream = self._attach()
        if stream.appender.glance() is None:
            # No journal, or no regular file. The engine says why it cannot be rotated.
            return stream.appender.rotate()
        is_rotated = self._take_question()
        result = self._in_step(lambda: None if is_rotated() else found(self, *arguments, **named))
        if self._names and not is_in_step(self.baseFilename):
            self._treat(None)
        return result

    doRollover._is_wrapped = True  # type: ignore[attr-defined]
    return doRollover


def _as_question(found: Any) -> Any:
    @functools.wraps(found)
    def shouldRollover(self: Rotating, *arguments: Any, **named: Any) -> Any:
        answer = found(self, *arguments, **named)
        if not is_in_step(self.baseFilename):
            self._note_question(answer)
        return answer

    shouldRollover._is_wrapped = True  # type: ignore[attr-defined]
    return shouldRollover
