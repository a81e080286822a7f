"""The same records through Python's handler and ours leave the same files with the same contents."""

from __future__ import annotations

import datetime
import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, contents, record

# Before 3.12.6 Python rolled an empty file over for a record that is too large (gh-116263), and before 3.12.3
# the times were reckoned differently (gh-115809).
STDLIB_IS_3_13 = sys.version_info >= (3, 12, 6)
new_stdlib = pytest.mark.skipif(
    not STDLIB_IS_3_13, reason="this Python's own handler has the rules of an older one"
)


def both(log: Path, name: str, prepare: Any, script: list[str], **arguments: Any) -> tuple[Any, Any]:
    """Names and contents, first Python's."""
    results = []
    for module in (logging.handlers, everyline):
        folder = log.parent / module.__name__
        folder.mkdir()
        target = folder / log.name
        prepare(target)
        handler = getattr(module, name)(target, **arguments)
        handler.setFormatter(FORMAT)
        for message in script:
            handler.emit(record(message))
        handler.close()
        if module is everyline:
            assert handler.stream is None
        results.append(contents(target))
    return results[0], results[1]


def nothing(target: Path) -> None:
    pass


SHORT = [f"record {n} {'.' * (n * 7 % 23)}" for n in range(60)]


@pytest.mark.parametrize("backups", [0, 1, 2, 5, 40])
@pytest.mark.parametrize("limit", [0, 50, 100, 101, 102, 4096])
def test_by_size(log: Path, limit: int, backups: int) -> None:
    theirs, ours = both(log, "RotatingFileHandler", nothing, SHORT, maxBytes=limit, backupCount=backups)
    assert ours == theirs


@new_stdlib
@pytest.mark.parametrize("limit", [1, 2, 10, 30])
def test_by_size_with_records_larger_than_the_limit(log: Path, limit: int) -> None:
    script = ["a" * (n * 13 % 40) for n in range(30)]
    theirs, ours = both(log, "RotatingFileHandler", nothing, script, maxBytes=limit, backupCount=4)
    assert ours == theirs


def test_a_file_reaches_one_byte_less_than_the_limit(log: Path) -> None:
    script = ["a" * 48, "b" * 49, "c" * 49]  # 49 + 50 = 99 < 100; 99 + 50 is too much
    theirs, ours = both(log, "RotatingFileHandler", nothing, script, maxBytes=100, backupCount=3)
    assert ours == theirs == {"app.log": "c" * 49 + "\n", "app.log.1": "a" * 48 + "\n" + "b" * 49 + "\n"}


def test_a_file_that_is_there_is_appended_to_and_counted(log: Path) -> None:
    def prepare(target: Path) -> None:
        target.write_text("o" * 60 + "\n")

    theirs, ours = both(log, "RotatingFileHandler", prepare, ["n" * 60], maxBytes=100, backupCount=1)
    assert ours == theirs == {"app.log": "n" * 60 + "\n", "app.log.1": "o" * 60 + "\n"}


def test_mode_w_empties_the_file_and_a_limit_forbids_it(log: Path) -> None:
    def prepare(target: Path) -> None:
        target.write_text("old\n")

    theirs, ours = both(log, "RotatingFileHandler", prepare, ["new"], mode="w")
    assert ours == theirs == {"app.log": "new\n"}


def test_mode_w_with_a_limit_is_a(log: Path) -> None:
    log.write_text("old\n")
    handler = everyline.RotatingFileHandler(log, mode="w", maxBytes=1000, backupCount=1)
    assert handler.mode == "a"
    handler.close()
    assert log.read_text() == "old\n"


def test_numbered_names_shift_up_to_the_first_gap_only(log: Path) -> None:
    # Python would move .3 to .4 as well. Nothing is lost either way.
    for number in (1, 3):
        log.with_name(f"app.log.{number}").write_text(f"{number}\n")
    log.write_text("live\n")
    handler = everyline.RotatingFileHandler(log, maxBytes=10, backupCount=5)
    handler.setFormatter(FORMAT)
    handler.emit(record("long enough"))
    handler.close()
    assert contents(log) == {
        "app.log.3": "3\n",
        "app.log.2": "1\n",
        "app.log.1": "live\n",
        "app.log": "long enough\n",
    }


def test_other_files_are_left_alone(log: Path) -> None:
    names = ["app.log.01", "app.log.1~", "app.log.bak", "app.log.2026-01-01", "other.log.1"]
    for name in names:
        log.with_name(name).write_text(name)
    handler = everyline.RotatingFileHandler(log, maxBytes=20, backupCount=1)
    handler.setFormatter(FORMAT)
    for message in SHORT:
        handler.emit(record(message))
    handler.close()
    assert all(log.with_name(name).read_text() == name for name in names)


# By time. The clock cannot be set, but a log last written long ago is rotated by its first record, and
# its name tells what was reckoned.

ZONES = ["UTC", "Europe/Berlin", "EST+05EDT,M3.2.0,M11.1.0"]
# Summer and winter, and days on which the clock changes in Berlin.
LAST_WRITES: list[Any] = [
    datetime.datetime(2024, 1, 8, 12, 30, 15),
    datetime.datetime(2024, 7, 1, 0, 0, 0),
    pytest.param(datetime.datetime(2024, 3, 31, 0, 59, 59), marks=new_stdlib),
    pytest.param(datetime.datetime(2024, 10, 27, 1, 0, 1), marks=new_stdlib),
]


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("when", ["S", "M", "h", "D", "midnight", "W0", "W6"])
@pytest.mark.parametrize("last_write", LAST_WRITES, ids=lambda at: f"{at:%m-%dT%H%M%S}")
def test_by_time(log: Path, zone: str, when: str, last_write: datetime.datetime) -> None:
    def prepare(target: Path) -> None:
        target.write_text("old\n")
        at = last_write.replace(tzinfo=datetime.timezone.utc).timestamp()
        os.utime(target, (at, at))

    arguments: list[dict[str, Any]] = [{}, {"utc": True}]
    if STDLIB_IS_3_13:
        arguments += [{"interval": 3}, {"atTime": datetime.time(2, 30)}, {"interval": 2, "utc": True}]
    for number, more in enumerate(arguments):
        below = log.parent / str(number)
        below.mkdir()
        theirs, ours = both(
            below / "app.log", "TimedRotatingFileHandler", prepare, ["new"], when=when, **more
        )
        assert ours == theirs, more
        assert len(ours) == 2 and ours["app.log"] == "new\n"


@pytest.mark.parametrize("backups", [0, 1, 3, 9])
def test_by_time_keeps_the_newest(log: Path, backups: int) -> None:
    def prepare(target: Path) -> None:
        for day in range(1, 8):
            target.with_name(f"app.log.2020-01-0{day}").write_text(str(day))
        target.with_name("app.log.notes").write_text("mine")
        target.write_text("old\n")
        os.utime(target, (1.6e9, 1.6e9))

    arguments = {"when": "D", "backupCount": backups, "utc": True}
    theirs, ours = both(log, "TimedRotatingFileHandler", prepare, ["new"], **arguments)
    assert ours == theirs


def test_an_archive_that_is_there_is_kept_and_the_log_rotated_all_the_same(log: Path) -> None:
    # Python 3.13 would not rotate until the name is free, and older ones would delete what is there.
    taken = log.with_name("app.log." + time.strftime("%Y-%m-%d", time.gmtime(1.6e9)))
    taken.write_text("first\n")
    log.write_text("second\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = everyline.TimedRotatingFileHandler(log, when="D", utc=True)
    handler.setFormatter(FORMAT)
    handler.emit(record("new"))
    handler.close()
    assert contents(log) == {
        taken.name: "first\n",
        taken.name + ".1": "second\n",
        "app.log": "new\n",
    }


def test_every_second(log: Path) -> None:
    handler = everyline.TimedRotatingFileHandler(log, when="s", utc=True)
    handler.setFormatter(logging.Formatter("%(created)f"))
    end = time.time() + 3.2
    while time.time() < end:
        handler.emit(record(""))
        time.sleep(0.01)
    handler.close()
    names = list(contents(log))
    assert 3 <= len(names) <= 5 and names == sorted(set(names) - {"app.log"}) + ["app.log"]
    for name, data in contents(log).items():
        stamps = [float(line) for line in data.splitlines()]
        assert stamps == sorted(stamps) and stamps
        if name != "app.log":
            start = datetime.datetime.strptime(name[8:], "%Y-%m-%d_%H-%M-%S").replace(
                tzinfo=datetime.timezone.utc
            )
            assert start.timestamp() <= stamps[0] and stamps[-1] < start.timestamp() + 1.1, name


def test_rollover_on_demand(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=10_000, backupCount=2)
    handler.setFormatter(FORMAT)
    handler.emit(record("one"))
    handler.doRollover()
    handler.emit(record("two"))
    handler.close()
    assert contents(log) == {"app.log.1": "one\n", "app.log": "two\n"}


def test_rollover_on_demand_without_archives_changes_nothing(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    handler.setFormatter(FORMAT)
    handler.emit(record("one"))
    handler.doRollover()
    handler.emit(record("two"))
    handler.close()
    assert contents(log) == {"app.log": "one\ntwo\n"}


def test_the_live_file_is_there_again_at_once(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=10_000, backupCount=2)
    handler.emit(record("one"))
    handler.doRollover()
    assert log.exists()
    handler.close()


def test_limits_can_be_changed_on_a_handler_in_use(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    handler.setFormatter(FORMAT)
    handler.emit(record("one"))
    handler.backupCount = 2
    handler.maxBytes = 5
    handler.emit(record("two"))
    handler.emit(record("three"))
    handler.emit(record("four"))
    handler.close()
    assert contents(log) == {"app.log.2": "two\n", "app.log.1": "three\n", "app.log": "four\n"}


@new_stdlib
@pytest.mark.parametrize("when", ["S", "M", "H", "D", "MIDNIGHT", "W0", "W3", "W6"])
def test_the_time_of_the_next_rollover(log: Path, zone: str, when: str) -> None:
    for more in ({}, {"utc": True}, {"interval": 4}, {"atTime": datetime.time(2, 30, 1)}):
        arguments: dict[str, Any] = {"when": when, "delay": True, **more}
        theirs = logging.handlers.TimedRotatingFileHandler(log, **arguments)
        ours = everyline.TimedRotatingFileHandler(log, **arguments)
        for attribute in (
            "when",
            "interval",
            "suffix",
            "extMatch",
            "utc",
            "atTime",
            "backupCount",
            "mode",
            "encoding",
        ):
            assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
        for now in range(1_700_000_000, 1_740_000_000, 1_234_567):
            assert ours.computeRollover(now) == theirs.computeRollover(now)
            assert ours.computeRollover(now + 0.25) == theirs.computeRollover(now + 0.25)
        theirs.close()
        ours.close()


def test_rollover_at_is_what_the_engine_has(log: Path) -> None:
    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    delayed = everyline.TimedRotatingFileHandler(log, when="H", delay=True)
    assert delayed.rolloverAt == 1.6e9 + 3600
    handler = everyline.TimedRotatingFileHandler(log, when="H")
    assert handler.rolloverAt == 1.6e9 + 3600
    assert handler.shouldRollover(record("new"))
    handler.emit(record("new"))
    assert not handler.shouldRollover(record("next"))
    assert 3590 < handler.rolloverAt - time.time() < 3601
    handler.close()
    delayed.close()
