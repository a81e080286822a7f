"""`Handler`: everything the engine can do, under names of its own.

Promises. A bad option is a `ValueError` that names it, when the handler is made. `emit` never raises; a
failure goes to `handleError`. Options are numbers and text only, so that a handler can be described in a
`dictConfig`, also as JSON, and is pickled by its options. It may be used after a fork, after `close`, and by
any number of threads and processes. Rotation, compression and retention are the engine's: no log call waits
for them.
"""

from __future__ import annotations

import datetime
import grp
import logging
import os
import pwd
import time
from typing import Any, Union

from everyline import _warn
from everyline._native import Appender, Options
from everyline._stream import Codec
from everyline._types import Counters, Status
from everyline.json_lines import JsonFormatter

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

# What `open` makes of a line break.
_NEWLINES = {None: os.linesep, "": "\n", "\n": "\n", "\r": "\r", "\r\n": "\r\n"}

Seconds = Union[int, float, datetime.timedelta]
Owner = Union[str, int, tuple[Union[str, int], Union[str, int]], list[Union[str, int]]]


class Handler(logging.Handler):
    """One log file for any number of processes. The options are described in `docs/python.md`.

    Rotation by size (`max_bytes`) and by time (`when`, `interval`, `at_time`, `utc`), together or alone.
    Archives: `naming`, `keep`, `keep_age`, `keep_total_bytes`, `compress`, `compress_after`, `link`.
    The file: `owner`, `mode`, `encoding`, `errors`, `newline`, `terminator`, `truncate`. Records: `format`.
    The engine: `commit`, `fsync`, `full`, `wait`, `urgent_level`, `ring_bytes`, `overflow_bytes`,
    `journal_dir`.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        *,
        level: int | str = logging.NOTSET,
        format: str = "text",
        max_bytes: int | None = None,
        when: str | None = None,
        interval: int = 1,
        at_time: datetime.time | str | None = None,
        utc: bool = False,
        naming: str = "sequence",
        keep: int | None = None,
        keep_age: Seconds | None = None,
        keep_total_bytes: int | None = None,
        compress: str | None = None,
        compress_after: Seconds | None = None,
        link: str | None = None,
        owner: Owner | None = None,
        mode: int | str | None = None,
        encoding: str = "utf-8",
        errors: str = "backslashreplace",
        newline: str | None = "\n",
        terminator: str = "\n",
        truncate: bool = False,
        delay: bool = False,
        commit: str = "write-through",
        fsync: str = "never",
        full: str = "drop",
        wait: Seconds = 1.0,
        urgent_level: int = logging.ERROR,
        ring_bytes: int | None = None,
        overflow_bytes: int | None = None,
        journal_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(level)
        self.baseFilename = os.path.abspath(os.fsdecode(filename))
        self.terminator = _text("terminator", terminator)
        self._newline = _newline(newline)
        self._codec = _codec(encoding, errors)
        if format not in ("text", "json"):
            raise ValueError(f"format: {format!r} is not known; expected 'text' or 'json'")
        if format == "json":
            # A UTF takes all characters; elsewhere what is missing must be escaped as JSON escapes it.
            self.setFormatter(JsonFormatter(ensure_ascii=not self._codec.encoding.lower().startswith("utf")))
        self._settings: dict[str, Any] = {
            "max_bytes": _whole("max_bytes", max_bytes),
            **_schedule(when, interval, at_time, utc),
            "naming": _text("naming", naming),
            "keep": _whole("keep", keep),
            "keep_age": _seconds("keep_age", keep_age),
            "keep_total_bytes": _whole("keep_total_bytes", keep_total_bytes),
            "compress": "none" if compress is None else _text("compress", compress),
            "compress_after": _seconds("compress_after", compress_after),
            "link": None if link is None else _text("link", link),
            "owner": None if owner is None else _owner(owner),
            "mode": _mode(mode),
            "commit": _text("commit", commit),
            "fsync": _text("fsync", fsync),
            "full": _text("full", full),
            "wait": _needed("wait", _seconds("wait", wait)),
            "urgent_level": _needed("urgent_level", _whole("urgent_level", urgent_level)),
            "ring_bytes": _whole("ring_bytes", ring_bytes),
            "overflow_bytes": _whole("overflow_bytes", overflow_bytes),
            # A handler may go to a process with another working directory.
            "journal_dir": None if journal_dir is None else os.path.abspath(os.fsdecode(journal_dir)),
        }
        # Only the first start of this handler, in this process, may empty the file.
        self._truncating_pid = os.getpid() if truncate else 0
        self._reported_at = -_REPORT_EVERY_S
        self._appender: Appender | None = None
        # Also with `delay`: a bad option is an error of whoever makes the handler, not of the first record.
        Options(**self._settings)
        if not delay:
            _warn.of_attaching(self.baseFilename, self._attach(), stacklevel=2)

    @property
    def options(self) -> dict[str, Any]:
        """The engine's options, as they were understood."""
        return dict(self._settings)

    # logging.Handler

    def emit(self, record: logging.LogRecord) -> None:
        """Formats the record and hands it over."""
        try:
            # A record made by `makeLogRecord` may have no level.
            level = record.levelno or 0
            data = self._encode(record)
            appender = self._appender
            if appender is not None:
                appender.append(data, level)
            else:
                appender = self._attach()
                appender.append(data, level)
                # After the record: warnings may have been turned into errors.
                _warn.of_attaching(self.baseFilename, appender, stacklevel=2)
        except Exception as error:
            if self._is_worth_a_report(error):
                self.handleError(record)

    def flush(self) -> None:
        """Returns when all records of this process are in the file; TimeoutError after `wait` seconds."""
        appender = self._appender
        if appender is not None:
            appender.flush()

    def close(self) -> None:
        """Flushes and detaches. A record that comes after it attaches again."""
        self.acquire()
        try:
            appender, self._appender = self._appender, None
            if appender is not None:
                appender.close()
        finally:
            self.release()
            super().close()

    # Beyond Python's

    def rotate(self) -> None:
        """Rotates now."""
        self._attach().rotate()

    def reopen(self) -> None:
        """Looks at the path again before the next write: for those who rotate from outside."""
        self._attach().reopen()

    def sync(self) -> None:
        """Returns when all records of this process are on disk."""
        appender = self._appender
        if appender is not None:
            appender.sync()

    def status(self) -> Status:
        """The state of the log and of every process attached to it."""
        return self._attach().status()

    def counters(self) -> Counters:
        """What this handler did since it last attached."""
        appender = self._appender
        return _NOTHING_YET.copy() if appender is None else appender.counters()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.baseFilename} ({logging.getLevelName(self.level)})>"

    # pickle

    def __getstate__(self) -> dict[str, Any]:
        """The options. A lock and an open log belong to their process."""
        state = self.__dict__.copy()
        for name in ("lock", "_appender", "_closed"):
            state.pop(name, None)
        state["_truncating_pid"] = 0
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Makes the lock and registers the handler for `logging.shutdown` and for forks.
        logging.Handler.__init__(self)
        self.__dict__.update(state)
        self._appender = None
        self.set_name(state["_name"])

    # To the engine

    def _attach(self) -> Appender:
        # `emit` may be called without the lock, by tests and by other handlers.
        self.acquire()
        try:
            if self._appender is None:
                truncate = self._truncating_pid == os.getpid()
                options = Options(**self._settings, truncate=truncate)
                self._appender = Appender(self.baseFilename, options)
                self._truncating_pid = 0
            return self._appender
        finally:
            self.release()

    def _encode(self, record: logging.LogRecord) -> bytes:
        text = self.format(record) + self.terminator
        if self._newline != "\n":
            text = text.replace("\n", self._newline)
        return self._codec.encode(text)

    def _is_worth_a_report(self, error: Exception) -> bool:
        if not isinstance(error, TimeoutError) and getattr(error, "kind", None) != "dropped":
            return True
        now = time.monotonic()
        if now - self._reported_at < _REPORT_EVERY_S:
            return False
        self._reported_at = now
        return True


# Options, from what people write to what the engine takes. It checks the values once more.


def _text(option: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{option}: {value!r} is not text")
    return value


def _whole(option: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{option}: {value!r} is not a whole number")
    if not 0 <= value < 1 << 63:
        raise ValueError(f"{option}: {value} is out of range; expected 0 or more, below 2**63")
    return int(value)


def _seconds(option: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{option}: {value!r} is not a time; expected seconds or a timedelta")
    return float(value)


def _needed(option: str, value: float | None) -> float:
    if value is None:
        raise ValueError(f"{option}: None is no value; leave the option out for its default")
    return value


def _schedule(
    when: str | None, interval: int, at_time: datetime.time | str | None, utc: bool
) -> dict[str, Any]:
    if when is None:
        if at_time is not None or interval != 1 or utc:
            raise ValueError("at_time, interval and utc belong to a rotation by time; give `when`, too")
        return {}
    when = _text("when", when).upper()
    second = None
    if at_time is not None:
        if when != "MIDNIGHT" and not when.startswith("W"):
            raise ValueError(f"at_time: when={when!r} has no time of day; take 'MIDNIGHT', or 'W0' to 'W6'")
        at = _time_of_day(at_time)
        second = (at.hour * 60 + at.minute) * 60 + at.second
    return {
        "when": when,
        "interval": _needed("interval", _whole("interval", interval)),
        "at_time": second,
        "utc": bool(utc),
    }


def _time_of_day(value: object) -> datetime.time:
    if isinstance(value, str):
        try:
            value = datetime.time.fromisoformat(value)
        except ValueError:
            raise ValueError(f"at_time: {value!r} is not a time of day such as '13:45'") from None
    if not isinstance(value, datetime.time):
        raise ValueError(f"at_time: {value!r} is not a time of day; expected datetime.time or '13:45'")
    if value.tzinfo is not None:
        raise ValueError("at_time: a time of day without a zone is expected; `utc` says which one is meant")
    return value


def _mode(value: object) -> int | None:
    if isinstance(value, str):
        try:
            return int(value, 8)
        except ValueError:
            raise ValueError(
                f"mode: {value!r} is not octal; expected permission bits such as '640'"
            ) from None
    return _whole("mode", value)


def _owner(value: Owner) -> tuple[int, int]:
    """User and group as numbers, from numbers or names; without a group, the user's own."""
    user: object = value
    group: object = None
    if isinstance(value, str):
        name, colon, rest = value.partition(":")
        user, group = name, rest if colon else None
    elif isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(
                f"owner: {value!r} is not a user and a group; expected 'user:group' or (uid, gid)"
            )
        user, group = value
    uid = _id("user", user)
    if group is None:
        try:
            return uid, pwd.getpwuid(uid).pw_gid
        except KeyError:
            raise ValueError(f"owner: user {uid} is not known, so its group is not; give both") from None
    return uid, _id("group", group)


def _id(kind: str, value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, str):
        try:
            return pwd.getpwnam(value).pw_uid if kind == "user" else grp.getgrnam(value).gr_gid
        except KeyError:
            raise ValueError(f"owner: there is no {kind} {value!r} here") from None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < (1 << 32) - 1:
        return int(value)
    raise ValueError(f"owner: {value!r} is no {kind}; expected a name or a number")


def _newline(value: str | None) -> str:
    try:
        return _NEWLINES[value]
    except (KeyError, TypeError):
        raise ValueError(f"newline: {value!r} is not one of None, '', '\\n', '\\r' and '\\r\\n'") from None


def _codec(encoding: str, errors: str) -> Codec:
    try:
        return Codec(_text("encoding", encoding), _text("errors", errors))
    except LookupError as error:
        raise ValueError(f"encoding, errors: {error}") from None
