"""Rotation by time: when a period ends, what its archive is called, and which archives go.

The times are those of Python 3.13, on every Python. As long as nothing is bent the engine reckons, with
the same rules. `rolloverAt` is one for all processes of a log: it stands in the journal.
"""

from __future__ import annotations

import datetime
import logging
import math
import os
import re
import time
from typing import Any

from everyline import _archives, _native
from everyline._bends import WATCHED
from everyline._engine_handler import EngineHandler
from everyline._in_place_of import of_pythons
from everyline._rotating import Rotating
from everyline._step import is_in_step
from everyline._stream import LogStream

_DAY_S = 24 * 60 * 60

# `when`: length of the unit in seconds, suffix of archives, pattern of the suffix. As in Python 3.13.
_DAY_PATTERN = r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)"
UNITS = {
    "S": (1, "%Y-%m-%d_%H-%M-%S", r"(?<!\d)\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}(?!\d)"),
    "M": (60, "%Y-%m-%d_%H-%M", r"(?<!\d)\d{4}-\d{2}-\d{2}_\d{2}-\d{2}(?!\d)"),
    "H": (60 * 60, "%Y-%m-%d_%H", r"(?<!\d)\d{4}-\d{2}-\d{2}_\d{2}(?!\d)"),
    "D": (_DAY_S, "%Y-%m-%d", _DAY_PATTERN),
    "MIDNIGHT": (_DAY_S, "%Y-%m-%d", _DAY_PATTERN),
    **{f"W{day}": (7 * _DAY_S, "%Y-%m-%d", _DAY_PATTERN) for day in range(7)},
}


class ByTime(Rotating):
    """Base of the handlers that rotate by time."""

    when: str
    interval: int
    utc: bool
    atTime: datetime.time | None
    dayOfWeek: int
    suffix: str
    extMatch: re.Pattern[str]
    _watched = WATCHED | {"backupCount", "when", "interval", "utc", "atTime", "dayOfWeek"}
    # Set before there is a journal to keep it in.
    _rollover_at_set: float | None = None

    def _look_at_rotation(self) -> None:
        super()._look_at_rotation()
        state = self.__dict__
        usual = UNITS.get(self.when)
        # Times that the engine has no rule for.
        if usual is None or self._units() is None:
            state["_decides"] = True
        if usual is None or (self.suffix, self.extMatch.pattern) != usual[1:]:
            state["_names"] = True

    def _units(self) -> int | None:
        """The interval in units, if it is a whole number of them."""
        unit_s = UNITS[self.when][0]
        units = self.interval / unit_s
        return int(units) if units >= 1 and units == int(units) and units < 1 << 31 else None

    def _schedule(self, units: int) -> dict[str, Any]:
        # As Python's, which looks at it for these only.
        at = self.atTime if self.when == "MIDNIGHT" or self.when.startswith("W") else None
        at_s = None if at is None else (at.hour * 60 + at.minute) * 60 + at.second
        when = f"W{self.dayOfWeek}" if self.when.startswith("W") else self.when
        return {"when": when, "interval": units, "at_time": at_s, "utc": bool(self.utc)}

    def _rotation(self) -> dict[str, Any]:
        # The engine's `None` keeps all, as Python's 0 does.
        keep = min(self.backupCount, 0xFFFF_FFFF) if self.backupCount > 0 else None
        if self._names:
            return {**self._schedule(self._units() or 1), "naming": "staged", "keep": None}
        return {**self._schedule(self._units() or 1), "naming": "dated", "keep": keep}

    def _renew(self, stream: LogStream) -> None:
        before = stream.appender.glance()
        super()._renew(stream)
        now = self._stream
        # As with Python's, what is set takes effect from the next rotation on.
        if before is not None and before[2] and now is not None and now.appender.glance() is not None:
            now.appender.set_rollover_at(before[2])

    def _attached(self, stream: LogStream) -> None:
        wanted = self._rollover_at_set
        if wanted is not None and stream.appender.glance() is not None:
            self._rollover_at_set = None
            self.rolloverAt = wanted
        super()._attached(stream)

    @property
    def rolloverAt(self) -> float:
        """When the file will be rotated, Unix time in seconds, by the first record that comes then or later.

        One value for all processes of the log. It can be set.
        """
        stream = self._stream
        seen = None if stream is None else stream.appender.glance()
        if seen is not None and seen[2]:
            return seen[2]
        if self._rollover_at_set is not None:
            return self._rollover_at_set
        # Not attached, or nobody has reckoned yet: one period after the last write to the file that is there.
        found = self._stat_regular()
        due = self.computeRollover(int(time.time() if found is None else found.st_mtime))
        if seen is not None and self._decides:
            self.rolloverAt = due
        return due

    @rolloverAt.setter
    def rolloverAt(self, value: float) -> None:
        stream = self._stream
        if stream is None or not self._ready or stream.appender.glance() is None:
            self._rollover_at_set = value
        else:
            # 0 is "not reckoned" in the journal.
            stream.appender.set_rollover_at(max(1, math.ceil(value)))

    def computeRollover(self, currentTime: float) -> float:
        """When the period that holds `currentTime` (Unix time in seconds) ends."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "computeRollover")(currentTime)
        if self.when != "MIDNIGHT" and not self.when.startswith("W"):
            return currentTime + self.interval
        units = self._units()
        seconds = math.floor(currentTime)
        # Python's answer keeps the fraction.
        end = _native.next_rollover(**self._schedule(units or 1), now=seconds) + (currentTime - seconds)
        return end if units is not None else end + self.interval - UNITS[self.when][0]

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether the next record will be the first of a new file."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "shouldRollover")(record)
        is_due = int(time.time()) >= self.rolloverAt and self._stat_regular() is not None
        if not is_in_step(self.baseFilename):
            self._note_question(is_due)
        return is_due

    def getFilesToDelete(self) -> list[str]:
        """The archives beyond the newest `backupCount`, oldest first."""
        if not isinstance(self, EngineHandler):
            return of_pythons(self, "getFilesToDelete")()
        folder, base = os.path.split(self.baseFilename)
        keyed = ((self._archive_key(base, name), name) for name in os.listdir(folder))
        found = sorted((key, name) for key, name in keyed if key is not None)
        if len(found) < self.backupCount:
            return []
        return [os.path.join(folder, name) for _, name in found[: len(found) - self.backupCount]]

    def _archive_key(self, base: str, name: str) -> tuple[str, int] | None:
        """Stamp and counter (0: none) of a name that this handler gives; else None."""
        for ending in self._endings():
            if ending and name.endswith(ending):
                name = name[: -len(ending)]
        usual = UNITS.get(self.when)
        if usual is not None and self.suffix != usual[1] and self.extMatch.pattern == usual[2]:
            return self._own_suffix_key(base, name)
        if self.namer is None:
            if not name.startswith(base + "."):
                return None
            whole = name[len(base) + 1 :]
            if self.extMatch.fullmatch(whole):
                return whole, 0
            stamp, _, counter = whole.rpartition(".")
            return (stamp, int(counter)) if counter.isdigit() and self.extMatch.fullmatch(stamp) else None
        at = 0
        while (match := self.extMatch.search(name, at)) is not None:
            default = f"{self.baseFilename}.{match[0]}"
            for clash in (0, *map(int, re.findall(r"\d+", name))):
                made = self.namer(f"{default}.{clash}" if clash else default)
                if os.path.basename(made) == name:
                    return match[0], clash
            at = match.start() + 1
        return None

    def _own_suffix_key(self, base: str, name: str) -> tuple[str, int] | None:
        """The same where `suffix` was set and `extMatch` was not: what the suffix reads as a time is a stamp.

        With a `namer`, names of that kind cannot be told from others', and nothing is deleted, as in Python.
        """
        if self.namer is not None or not name.startswith(base + "."):
            return None
        whole = name[len(base) + 1 :]
        stem, _, counter = whole.rpartition(".")
        for stamp, clash in ((whole, "0"), (stem, counter)):
            try:
                when = time.strptime(stamp, self.suffix)
            except ValueError:
                continue
            if clash.isdigit() and time.strftime(self.suffix, when) == stamp:
                return self._order(name, when), int(clash)
        return None

    def _order(self, name: str, when: time.struct_time) -> str:
        """A text that sorts as the archives were written."""
        if "%Y" in self.suffix and ("%j" in self.suffix or ("%m" in self.suffix and "%d" in self.suffix)):
            return time.strftime("%Y%m%d%H%M%S", when)
        # The suffix does not say which day it is.
        try:
            found = os.stat(os.path.join(os.path.dirname(self.baseFilename), name))
        except FileNotFoundError:
            return ""
        return f"{found.st_mtime_ns:020d}"

    def _roll(self) -> None:
        if self.stream is not None:
            self._close_in_step()
        due, now = self.rolloverAt, time.time()
        found = self._stat_regular()
        if found is not None and found.st_size > 0:
            self._cut(lambda: self._dated_name(due, now))
            if not self._must_stage():
                self._expire()
        if not self.delay:
            self.stream = self._open()
        self.rolloverAt = self.computeRollover(int(now))

    def _dated_name(self, rollover_at: float, now: float) -> str:
        start = _archives.start_of_period(rollover_at, self.interval, int(now), self.utc)
        default = f"{self.baseFilename}.{time.strftime(self.suffix, start)}"
        name = _archives.remembering(
            lambda clash: self.rotation_filename(default if clash == 0 else f"{default}.{clash}")
        )
        # What is there is never replaced.
        return _archives.next_name(name, self._endings())

    def _expire(self) -> None:
        if self.backupCount > 0:
            for name in self.getFilesToDelete():
                os.remove(name)

    def _archive_name(self, staged: _archives.Staged) -> str:
        return self._dated_name(staged.rollover_at or staged.cut_at, staged.cut_at)

    def _default_name(self, staged: _archives.Staged) -> str:
        start = _archives.start_of_period(
            staged.rollover_at or staged.cut_at, self.interval, staged.cut_at, self.utc
        )
        return f"{self.baseFilename}.{time.strftime(UNITS.get(self.when, UNITS['S'])[1], start)}"


def unit(when: str) -> tuple[int, str, str]:
    """The row of `UNITS`, or ValueError in Python's words."""
    if when in UNITS:
        return UNITS[when]
    if not when.startswith("W"):
        raise ValueError(f"Invalid rollover interval specified: {when}")
    if len(when) != 2:
        raise ValueError(f"You must specify a day for weekly rollover from 0 to 6 (0 is Monday): {when}")
    raise ValueError(f"Invalid day specified for weekly rollover: {when}")


def units_of(interval: float) -> float:
    """How many units make a period: a number of at least one, or ValueError."""
    if not isinstance(interval, (int, float)):
        raise TypeError(f"interval: {interval!r} is not a number")
    if not 1 <= interval < 1 << 31:
        raise ValueError(
            f"interval: {interval} is not from 1 to {(1 << 31) - 1}; it would rotate at every record"
        )
    return interval
