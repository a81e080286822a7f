"""Rotation that the application decides: `shouldRollover`, `doRollover`, `computeRollover` and `_open`.

Each rotation is a step under the writer lease. What a subclass for one process does is safe for many.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, contents, record, run


def texts(log: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(log.parent.iterdir()) if p.is_file()}


def emit(handler: logging.Handler, *messages: str) -> None:
    for message in messages:
        handler.emit(record(message))


class WhenTold(everyline.RotatingFileHandler):
    def shouldRollover(self, record: logging.LogRecord) -> bool:
        return record.getMessage().startswith("cut")


def test_shouldrollover(log: Path) -> None:
    handler = WhenTold(log, maxBytes=5, backupCount=3)
    handler.setFormatter(FORMAT)
    emit(handler, "longer than five", "b", "cut 1", "c", "cut 2")
    handler.close()
    assert contents(log) == {
        "app.log.2": "longer than five\nb\n",
        "app.log.1": "cut 1\nc\n",
        "app.log": "cut 2\n",
    }


def test_shouldrollover_set_on_a_handler_and_taken_away(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=10, backupCount=5)
    handler.setFormatter(FORMAT)
    handler.shouldRollover = lambda record: False  # type: ignore[method-assign]
    emit(handler, "one two three", "four five six")
    del handler.shouldRollover
    emit(handler, "seven")
    handler.close()
    assert contents(log) == {"app.log.1": "one two three\nfour five six\n", "app.log": "seven\n"}


def test_dorollover_of_ones_own_by_the_book(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        turn = 0

        def doRollover(self) -> None:
            if self.stream:
                self.stream.close()
                self.stream = None
            Mine.turn += 1
            os.rename(self.baseFilename, f"{self.baseFilename}.part{Mine.turn}")
            self.stream = self._open()
            self.stream.write("# begins\n")

    handler = Mine(log, maxBytes=12, backupCount=1)
    handler.setFormatter(FORMAT)
    emit(handler, "record 0", "record 1", "record 2")
    handler.doRollover()
    handler.close()
    assert texts(log) == {
        "app.log.part1": "record 0\n",
        "app.log.part2": "# begins\nrecord 1\n",
        "app.log.part3": "# begins\nrecord 2\n",
        "app.log": "# begins\n",
    }


def test_dorollover_around_pythons(log: Path) -> None:
    class Mine(everyline.TimedRotatingFileHandler):
        def doRollover(self) -> None:
            super().doRollover()
            (archive,) = log.parent.glob("app.log.2020-09-13")
            archive.rename(archive.with_name("mine"))

    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = Mine(log, when="D", utc=True)
    handler.setFormatter(FORMAT)
    emit(handler, "new", "newer")
    handler.close()
    assert texts(log) == {"mine": "old\n", "app.log": "new\nnewer\n"}


def test_a_file_opened_by_hand_in_dorollover(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        def doRollover(self) -> None:
            self.stream.close()
            os.rename(self.baseFilename, self.baseFilename + ".old")
            self.stream = open(self.baseFilename, "a")  # noqa: SIM115

    handler = Mine(log, maxBytes=12, backupCount=1)
    handler.setFormatter(FORMAT)
    emit(handler, "record 0", "record 1")
    assert type(handler.stream).__name__ == "LogStream"
    handler.close()
    assert texts(log) == {"app.log.old": "record 0\n", "app.log": "record 1\n"}


def test_a_live_file_that_gets_another_name(log: Path) -> None:
    class Mine(everyline.TimedRotatingFileHandler):
        turn = 0

        def shouldRollover(self, record: logging.LogRecord) -> bool:
            return record.getMessage() == "cut"

        def doRollover(self) -> None:
            self.stream.close()
            Mine.turn += 1
            self.baseFilename = str(log.with_name(f"day{Mine.turn}.log"))
            self.stream = self._open()

    handler = Mine(log)
    handler.setFormatter(FORMAT)
    emit(handler, "a", "cut", "b", "cut", "c")
    handler.close()
    assert texts(log) == {"app.log": "a\n", "day1.log": "cut\nb\n", "day2.log": "cut\nc\n"}


def test_computerollover(log: Path) -> None:
    class Mine(everyline.TimedRotatingFileHandler):
        def computeRollover(self, currentTime: float) -> float:
            return currentTime + 1_000_000

    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = Mine(log, when="S", utc=True)
    handler.setFormatter(FORMAT)
    assert handler.rolloverAt == 1_601_000_000
    emit(handler, "new", "newer")
    assert abs(handler.rolloverAt - time.time() - 1_000_000) < 100
    handler.close()
    # Named after the start of the period, which Python takes to be one `interval` long.
    name = "app.log." + time.strftime("%Y-%m-%d_%H-%M-%S", time.gmtime(1_601_000_000 - 1))
    assert contents(log) == {name: "old\n", "app.log": "new\nnewer\n"}


def test_open_sets_modes_and_headers_whenever_the_file_is_made(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        def _open(self) -> Any:
            stream = super()._open()
            os.chmod(self.baseFilename, 0o640)
            if stream.tell() == 0:
                stream.write("# header\n")
            return stream

    handler = Mine(log, maxBytes=25, backupCount=9)
    handler.setFormatter(FORMAT)
    emit(handler, "record 0", "record 1")
    log.unlink()
    emit(handler, "record 2")
    handler.close()
    found = texts(log)
    assert found["app.log.1"] == "# header\nrecord 0\n"
    # Deleted by hand: what was written last is brought over, so the file is not empty when it is opened.
    assert found["app.log"].endswith("record 2\n")
    assert log.stat().st_mode & 0o777 == 0o640


def test_a_dorollover_that_raises_costs_no_record_and_is_reported(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        def doRollover(self) -> None:
            self.stream.close()
            os.rename(self.baseFilename, self.baseFilename + f".{time.time_ns()}")
            raise RuntimeError("half way")

    handler = Mine(log, maxBytes=12, backupCount=1)
    handler.setFormatter(FORMAT)
    failures: list[Any] = []
    handler.handleError = lambda _: failures.append(str(sys.exc_info()[1]))  # type: ignore[method-assign]
    emit(handler, "record 0", "record 1", "record 2")
    handler.close()
    assert sorted(texts(log).values()) == ["record 0\n", "record 1\n", "record 2\n"]
    assert failures == ["half way"] * 2


def test_a_shouldrollover_that_raises_costs_no_record(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    failures: list[Any] = []
    handler.handleError = failures.append  # type: ignore[method-assign]
    handler.shouldRollover = lambda record: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    emit(handler, "a", "b")
    handler.close()
    assert log.read_text() == "a\nb\n" and len(failures) == 2


def test_logging_in_a_step_neither_waits_nor_recurs(log: Path) -> None:
    logger = logging.getLogger("stepping")
    logger.propagate = False

    class Mine(everyline.RotatingFileHandler):
        def doRollover(self) -> None:
            logger.error("before")
            super().doRollover()
            logger.error("after")

    handler = Mine(log, maxBytes=60, backupCount=99)
    other = everyline.RotatingFileHandler(log, maxBytes=60, backupCount=99)
    logger.addHandler(handler)
    logger.addHandler(other)
    started = time.monotonic()
    for number in range(20):
        logger.warning("number %d", number)
    # An urgent record in a step would wait for itself, a second each time.
    assert time.monotonic() - started < 15
    logger.handlers.clear()
    handler.close()
    other.close()
    lines = "".join(texts(log).values()).splitlines()
    assert sorted(line for line in lines if "number" in line) == sorted(
        f"number {n}" for n in range(20) for _ in range(2)
    )
    assert lines.count("before") == lines.count("after") > 2


def test_threads_log_on_while_a_step_runs(log: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Mine(everyline.RotatingFileHandler):
        def doRollover(self) -> None:
            began.set()
            assert go_on.wait(60)
            super().doRollover()

    handler = Mine(log, maxBytes=12, backupCount=3)
    other = everyline.RotatingFileHandler(log, maxBytes=12, backupCount=3)
    for each in (handler, other):
        each.setFormatter(FORMAT)
    emit(handler, "record 0")
    slow = threading.Thread(target=emit, args=(handler, "record 1"))
    slow.start()
    assert began.wait(60)
    emit(other, *(f"other {n}" for n in range(10)))
    go_on.set()
    slow.join()
    other.flush()
    handler.close()
    other.close()
    lines = "".join(texts(log).values()).splitlines()
    assert {f"other {n}" for n in range(7, 10)} <= set(lines) and "record 1" in lines


def test_a_step_that_forks(log: Path) -> None:
    script = """
import os, sys, everyline
from oracle import FORMAT, write

class Mine(everyline.RotatingFileHandler):
    children = []
    def doRollover(self):
        pid = os.fork()
        if pid == 0:
            # Not in the step, not under the lease: the child logs like any process.
            write(self, f"child{len(self.children)}", range(4))
            self.close()
            os._exit(0)
        self.children.append(pid)
        super().doRollover()

handler = Mine(sys.argv[1], maxBytes=3000, backupCount=90)
handler.setFormatter(FORMAT)
write(handler, "main", range(60))
for pid in Mine.children:
    assert os.waitpid(pid, 0)[1] == 0
handler.close()
print(len(Mine.children))
"""
    children = int(run(script, log).stdout)
    assert children > 1
    found = "".join(texts(log).values()).splitlines()
    for writer, count in {"main": 60, **{f"child{n}": 4 for n in range(children)}}.items():
        assert sorted(int(s.split()[1]) for s in found if s.split()[0] == writer) == list(range(count))


def test_a_journal_that_is_deleted_under_way(log: Path) -> None:
    handler = WhenTold(log, maxBytes=5, backupCount=9)
    handler.setFormatter(FORMAT)
    emit(handler, "a")
    shutil.rmtree(log.with_name(".app.log.everyline"))
    emit(handler, "cut 1", "b")
    # The journal is looked for every 100 ms.
    time.sleep(0.2)
    emit(handler, "c", "cut 2", "d")
    handler.close()
    lines = "".join(contents(log).values()).splitlines()
    assert lines == ["a", "cut 1", "b", "c", "cut 2", "d"] and log.read_text() == "cut 2\nd\n"


def test_without_a_journal_nothing_is_rotated_and_everything_written(log: Path) -> None:
    with pytest.warns(RuntimeWarning, match="there is no journal"):
        handler = WhenTold(log, maxBytes=5, backupCount=9, journal_dir="/sys")
    handler.setFormatter(FORMAT)
    emit(handler, "a", "cut 1", "b")
    with pytest.raises(everyline.Error):
        handler.doRollover()
    handler.close()
    assert contents(log) == {"app.log": "a\ncut 1\nb\n"}


def test_a_child_may_rotate_before_it_logs(log: Path) -> None:
    script = """
import os, sys, everyline
from oracle import FORMAT, record

class Mine(everyline.RotatingFileHandler):
    def doRollover(self):
        self.stream.close()
        os.rename(self.baseFilename, self.baseFilename + ".mine")
        self.stream = self._open()

handler = Mine(sys.argv[1], maxBytes=1000, backupCount=3)
handler.setFormatter(FORMAT)
handler.emit(record("parent"))
pid = os.fork()
if pid == 0:
    handler.doRollover()
    handler.emit(record("child"))
    handler.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
handler.close()
"""
    run(script, log)
    assert texts(log) == {"app.log.mine": "parent\n", "app.log": "child\n"}


def test_times_that_the_engine_has_no_rule_for(log: Path) -> None:
    handler = everyline.TimedRotatingFileHandler(log, when="H", interval=1.5)  # type: ignore[arg-type]
    handler.setFormatter(FORMAT)
    assert handler.interval == 5400
    emit(handler, "one")
    handler.rolloverAt = time.time() - 10
    assert handler.shouldRollover(record("two"))
    emit(handler, "two")
    handler.close()
    assert sorted(contents(log).values()) == ["one\n", "two\n"]


@pytest.mark.parametrize("attached", [False, True])
def test_rolloverat_set_by_hand(log: Path, attached: bool) -> None:
    handler = everyline.TimedRotatingFileHandler(log, when="H", delay=not attached)
    handler.setFormatter(FORMAT)
    if attached:
        emit(handler, "one")
    else:
        log.write_text("one\n")
    handler.rolloverAt = int(time.time()) - 1
    emit(handler, "two", "three")
    handler.close()
    assert sorted(contents(log).values()) == ["one\n", "two\nthree\n"]
    assert handler.rolloverAt > time.time()


def test_interval_and_when_set_by_hand_take_effect_from_the_next_rotation_on(log: Path) -> None:
    handler = everyline.TimedRotatingFileHandler(log, when="H")
    handler.setFormatter(FORMAT)
    emit(handler, "one")
    due = handler.rolloverAt
    handler.interval = 2 * 3600
    assert handler.rolloverAt == due
    handler.rolloverAt = int(time.time()) - 1
    emit(handler, "two")
    assert 7000 < handler.rolloverAt - time.time() < 7201
    handler.close()


def test_the_first_file_is_made_by_the_open_of_the_subclass(tmp_path: Path) -> None:
    class Private(everyline.RotatingFileHandler):
        def _open(self) -> Any:
            os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
            return open(self.baseFilename, "a", opener=lambda path, flags: os.open(path, flags, 0o600))

    log = tmp_path / "new" / "audit.log"
    handler = Private(log, maxBytes=30, backupCount=3)
    for number in range(3):
        handler.emit(record(f"secret {number} " + "x" * 20))
    handler.close()
    made = sorted(path for path in log.parent.iterdir() if path.is_file())
    assert [path.name for path in made] == ["audit.log", "audit.log.1", "audit.log.2"]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}, (
        "also the first, from the first moment on"
    )


def test_an_open_that_makes_the_directory_and_leaves_the_rest_to_its_base(tmp_path: Path) -> None:
    class Deep(everyline.FileHandler):
        def _open(self) -> Any:
            os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
            return super()._open()

    for delay in (False, True):
        log = tmp_path / f"deep-{delay}" / "app.log"
        handler = Deep(log, delay=delay)
        handler.emit(record("there"))
        handler.close()
        assert "there" in log.read_text()
