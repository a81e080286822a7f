"""Archives on their way to their names, where code of the application's names or treats them.

The engine cuts the live file to a hidden, staged name. Whoever notices takes the right to treat archives
(one appender of one process has it, and it goes with its process), moves numbered archives up to the first
gap in a short step under the lease, and calls `rotate(staged, name)` without it: a rotator may take its
time, log, fork, raise or hang, and nobody waits. What it leaves or fails on gets its name without it and is
reported, so no record is lost. A staged file whose process died is treated by the next one.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from everyline._native import Appender
from everyline._step import here

if TYPE_CHECKING:
    from everyline._rotating import Rotating

# A staged file that nobody with code of his own has treated for so long is given the default name.
_ABANDONED_S = 60
_NAME_TRIES = 100_000
# Files that one log call treats: as many as rotations came in a burst, not a backlog.
_AT_ONCE = 16


class Staged:
    """A file that waits: when it was cut, and when its period ended (0: by size only)."""

    def __init__(self, path: str, cut_ns: int, rollover_at: int) -> None:
        self.path = path
        self.cut_at = cut_ns // 1_000_000_000
        self.rollover_at = rollover_at


def stem(name: str) -> str:
    """What stands for the log's name in a staged one: the same as the engine's (`rotation/naming.rs`)."""
    data = os.fsencode(name)
    if len(data) <= 200:
        return name
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    begins = data[:184].decode("utf-8", "ignore")
    return begins + "~" * (185 - len(begins.encode())) + f"{value:016x}"


def staged_name(handler: Rotating) -> str:
    """A new staged name, as the engine makes them (`rotation/naming.rs`)."""
    folder, name = os.path.split(handler.baseFilename)
    rollover_at = int(getattr(handler, "rolloverAt", 0) or 0)
    return os.path.join(folder, f".{stem(name)}.staged-{time.time_ns():016x}-{rollover_at:x}")


def waiting(handler: Rotating, age_s: float = 0) -> list[Staged]:
    """The staged files of this log of at least that age, oldest first."""
    folder, name = os.path.split(handler.baseFilename)
    pattern = re.compile(rf"\.{re.escape(stem(name))}\.staged-([0-9a-f]{{16}})-([0-9a-f]+)(?:\.gz)?")
    names = sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    found = []
    for name in names:
        match = pattern.fullmatch(name)
        assert match is not None
        staged = Staged(os.path.join(folder, name), int(match[1], 16), int(match[2], 16))
        if age_s == 0 or time.time() - staged.cut_at > age_s:
            found.append(staged)
    return found


def treat_abandoned(handler: Rotating, appender: Appender) -> None:
    """For a handler without code of its own: what somebody with code of his own has left long ago."""
    try:
        if waiting(handler, _ABANDONED_S):
            treat(handler, appender, None, _ABANDONED_S)
    except OSError:
        # A directory that cannot be listed has no archives of ours.
        return


def treat(
    handler: Rotating, appender: Appender, record: logging.LogRecord | None, age_s: float = 0
) -> bool | None:
    """Brings staged files to their names: those that wait now, in a log call some of them.

    Not those that are cut meanwhile: a rotator that logs could go on for ever. False: there is more to do, by
    whoever comes next. None: somebody else is at it.
    """
    key = (os.getpid(), handler.baseFilename)
    if key in here.treated:
        return True
    here.treated.add(key)
    try:
        found = waiting(handler, age_s)
        if not found:
            return True
        if not appender.begin_maintenance():
            return None
        try:
            # Somebody else may have treated some before the right was ours.
            for staged in found[:_AT_ONCE] if record is not None else found:
                if os.path.lexists(staged.path):
                    _treat_one(handler, staged, record)
        finally:
            if os.getpid() == key[0]:
                appender.end_maintenance()
        # After the right is given back: who found it taken has left.
        return not waiting(handler, age_s)
    except Exception:
        _report(handler, record)
        return False
    finally:
        here.treated.discard(key)


def _treat_one(handler: Rotating, staged: Staged, record: logging.LogRecord | None) -> None:
    name = ""
    try:
        name = handler._archive_name(staged)
        handler._rotate_staged(staged.path, name)
        if os.path.lexists(staged.path):
            raise RuntimeError(f"{staged.path} is still there after it was to be rotated to {name}")
    except Exception:
        # First the record's safety, then the report: a `handleError` may raise.
        kept = _keep(handler, staged, name)
        _report(handler, record)
        if not kept:
            return
    try:
        handler._expire()
    except Exception:
        _report(handler, record)


def _keep(handler: Rotating, staged: Staged, name: str) -> bool:
    """Gives a file that its rotator failed on its name, or the next free one behind it."""
    candidates = [name] if name else []
    candidates.append(handler._default_name(staged))

    def act() -> bool:
        for candidate in candidates:
            try:
                ending = ".gz" if staged.path.endswith(".gz") else ""
                os.rename(staged.path, free_name(counted(candidate), (ending,)) + ending)
                return True
            except OSError:
                continue
        return not os.path.lexists(staged.path)

    try:
        return handler._in_step(act)
    except Exception:
        return False


def free_name(name: Callable[[int], str], endings: tuple[str, ...] = ("",)) -> str:
    """The first of `name(0)`, `name(1)`, ... that is not taken."""
    before = ""
    for clash in range(_NAME_TRIES):
        candidate = name(clash)
        if not stands(candidate, endings):
            return candidate
        if candidate == before:
            # A namer that knows of no counter.
            return free_name(counted(f"{candidate}.1"), endings)
        before = candidate
    raise FileExistsError(f"{before}: no free name behind it")


def counted(name: str) -> Callable[[int], str]:
    """`name`, then `name.1`, `name.2` and so on."""
    return lambda clash: name if clash == 0 else f"{name}.{clash}"


def stands(name: str, endings: tuple[str, ...]) -> bool:
    """Whether an archive stands under a name, with any of the endings."""
    return any(os.path.lexists(name + ending) for ending in endings)


def shift(count: int, name: Callable[[int], str], endings: tuple[str, ...] = ("",)) -> None:
    """Moves numbered archives up to the first gap, so that `name(1)` is free. No gap: the oldest goes.

    `endings`: what may follow the name of an archive.
    """
    gap = next((number for number in range(1, count + 1) if not stands(name(number), endings)), 0)
    if gap == 0:
        gap = count
        for ending in endings:
            if os.path.lexists(name(gap) + ending):
                os.remove(name(gap) + ending)
    for number in range(gap, 1, -1):
        for ending in endings:
            if os.path.lexists(name(number - 1) + ending):
                os.rename(name(number - 1) + ending, name(number) + ending)


def _report(handler: Rotating, record: logging.LogRecord | None) -> None:
    """The exception at hand, to `handleError`, with the record that was being written."""
    if record is None:
        text = f"archives of {handler.baseFilename}: %s"
        error = sys.exc_info()[1]
        record = logging.LogRecord("everyline", logging.ERROR, __file__, 0, text, (error,), None)
    handler.handleError(record)


def next_name(name: Callable[[int], str], endings: tuple[str, ...] = ("",)) -> str:
    """The one of `name(0)`, `name(1)`, ... after the highest taken: retention takes the lowest first."""
    folder, first = os.path.split(name(0))
    highest = 0 if stands(name(0), endings) else -1
    for other in os.listdir(folder):
        if other[0] != first[0]:
            continue
        for number in map(int, set(re.findall(r"\d{1,6}", other))):
            if (
                number > highest
                and stands(name(number), endings)
                and other.startswith(os.path.basename(name(number)))
            ):
                highest = number
    return free_name(lambda clash: name(highest + 1 + clash), endings)


def remembering(name: Callable[[int], str]) -> Callable[[int], str]:
    """`name`, asked once for each number: a namer is the application's, and not called under the lease."""
    known: dict[int, str] = {}

    def remembered(number: int) -> str:
        if number not in known:
            known[number] = name(number)
        return known[number]

    return remembered


def start_of_period(rollover_at: float, interval: float, now: float, utc: bool) -> time.struct_time:
    """The time an archive is named after: the start of its period, as Python 3.13 reckons it."""
    start = rollover_at - interval
    if utc:
        return time.gmtime(start)
    then = time.localtime(start)
    # The period was taken off as if every day had 24 hours.
    correction = 3600 * (time.localtime(now).tm_isdst - then.tm_isdst)
    return time.localtime(start + correction) if correction else then
