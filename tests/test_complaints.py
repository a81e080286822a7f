"""What users of other handlers complain about (docs/complaints.md), where no other test shows it."""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import everyline
import pytest
from oracle import FORMAT, contents, record

DAY_S = 24 * 60 * 60


def test_a_restart_after_midnight_rotates_at_the_first_record(log: Path) -> None:
    log.write_text("of yesterday\n")
    yesterday = time.time() - DAY_S
    os.utime(log, (yesterday, yesterday))
    handler = everyline.TimedRotatingFileHandler(log, when="midnight", utc=True)
    handler.setFormatter(FORMAT)
    handler.emit(record("of today"))
    handler.close()
    day = datetime.datetime.fromtimestamp(yesterday, datetime.timezone.utc).strftime("%Y-%m-%d")
    assert contents(log) == {f"app.log.{day}": "of yesterday\n", "app.log": "of today\n"}


def test_a_day_that_is_not_bound_to_midnight_begins_anew_with_the_last_write_at_a_restart(log: Path) -> None:
    # As in Python. A service that is restarted every hour never rotates such a log.
    log.write_text("of an hour ago\n")
    an_hour_ago = int(time.time()) - 3600
    os.utime(log, (an_hour_ago, an_hour_ago))
    handler = everyline.TimedRotatingFileHandler(log, when="D", utc=True)
    assert handler.rolloverAt == an_hour_ago + DAY_S
    handler.close()


def test_the_time_of_rotation_does_not_move_while_anybody_is_attached(log: Path) -> None:
    first = everyline.TimedRotatingFileHandler(log, when="H", utc=True)
    before = first.rolloverAt
    script = (
        "import everyline, sys, os\n"
        "os.utime(sys.argv[1], (0, 0))\n"
        "handler = everyline.TimedRotatingFileHandler(sys.argv[1], when='H', utc=True)\n"
        "print(handler.rolloverAt)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(log)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{before}\n", done.stderr
    assert first.rolloverAt == before
    first.close()


def test_the_package_needs_no_other() -> None:
    assert importlib.metadata.requires("everyline") in (None, [])


@pytest.mark.parametrize("commit", ["write-through", "deferred"])
def test_each_handler_formats_for_itself_and_leaves_the_record_alone(log: Path, commit: str) -> None:
    short = everyline.RotatingFileHandler(log, commit=commit)
    short.setFormatter(logging.Formatter("short %(message)s"))
    long = everyline.RotatingFileHandler(log.with_name("other.log"), commit=commit)
    long.setFormatter(logging.Formatter("%(levelname)s %(name)s %(extra)s %(args)s %(message)s"))
    logger = logging.Logger("complaints")
    logger.addHandler(short)
    logger.addHandler(long)
    arguments = ([1, 2],)
    try:
        raise KeyError("k")
    except KeyError:
        logger.exception("got %s", *arguments, extra={"extra": "more"})
    for handler in (short, long):
        handler.close()
    first, *traceback = log.read_text().splitlines()
    assert first == "short got [1, 2]" and traceback[-1] == "KeyError: 'k'"
    other = log.with_name("other.log").read_text()
    assert other.startswith("ERROR complaints more ([1, 2],) got [1, 2]\nTraceback ")


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_memory_does_not_grow_with_records_or_with_handlers(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=1_000_000, backupCount=2)
    handler.setFormatter(FORMAT)
    one = record("x" * 200)

    def use(rounds: int) -> None:
        for _ in range(rounds * 500):
            handler.emit(one)
        for _ in range(rounds):
            other = everyline.RotatingFileHandler(log.with_name("other.log"), maxBytes=1000, backupCount=1)
            other.emit(one)
            other.close()

    use(60)
    before = resident_bytes()
    use(300)
    grown = resident_bytes() - before
    handler.close()
    # 150,000 records and 300 handlers: a leak of ten bytes a record would be more.
    assert grown < 1_500_000, f"{grown:,} bytes"
