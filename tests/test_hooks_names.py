"""Archives that the application names or treats: `namer`, `rotator` and their kin, in one process.

The engine cuts, and the hooks run after the record is written, on a staged file.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import everyline
from oracle import FORMAT, record


def make(log: Path, cls: Any = everyline.RotatingFileHandler, **arguments: Any) -> Any:
    arguments = {"maxBytes": 10, "backupCount": 3, **arguments}
    handler = cls(log, **arguments)
    handler.setFormatter(FORMAT)
    handler.failures = []
    return handler


def failing(handler: Any) -> list[BaseException | None]:
    """Collects what comes to `handleError`."""
    seen: list[BaseException | None] = []
    handler.handleError = lambda _: seen.append(sys.exc_info()[1])
    return seen


def emit(handler: logging.Handler, *numbers: int) -> None:
    for number in numbers:
        handler.emit(record(f"number {number}"))


def texts(log: Path) -> dict[str, str]:
    """All files but the journal."""
    return {p.name: p.read_text() for p in sorted(log.parent.iterdir()) if p.is_file()}


# Each hook, in a subclass and on an object


def test_namer(log: Path) -> None:
    handler = make(log)
    handler.namer = lambda name: name.replace("app.log", "old") + ".log"
    emit(handler, 0, 1, 2)
    handler.close()
    assert texts(log) == {"old.2.log": "number 0\n", "old.1.log": "number 1\n", "app.log": "number 2\n"}


def test_a_method_called_namer(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        def namer(self, name: str) -> str:
            return name + ".mine"

    handler = make(log, Mine)
    emit(handler, 0, 1)
    handler.close()
    assert texts(log) == {"app.log.1.mine": "number 0\n", "app.log": "number 1\n"}


def test_a_namer_that_is_set_and_taken_away_again(log: Path) -> None:
    handler = make(log)
    emit(handler, 0, 1)
    handler.namer = lambda name: name + ".x"
    emit(handler, 2)
    handler.namer = None
    emit(handler, 3)
    handler.close()
    assert texts(log) == {
        "app.log.2": "number 0\n",
        "app.log.1.x": "number 1\n",
        "app.log.1": "number 2\n",
        "app.log": "number 3\n",
    }


def test_a_namer_into_another_folder(log: Path) -> None:
    folder = log.parent / "archive"
    folder.mkdir()
    handler = make(log)
    handler.namer = lambda name: str(folder / os.path.basename(name))
    emit(handler, 0, 1, 2)
    handler.close()
    assert texts(folder / "x") == {"app.log.1": "number 1\n", "app.log.2": "number 0\n"}


def test_the_oldest_goes_and_the_shift_ends_at_the_first_gap(log: Path) -> None:
    handler = make(log)
    handler.namer = lambda name: name + ".x"
    emit(handler, *range(6))
    assert texts(log)["app.log.3.x"] == "number 2\n" and len(texts(log)) == 4
    log.with_name("app.log.2.x").unlink()
    emit(handler, 6)
    handler.close()
    assert texts(log)["app.log.3.x"] == "number 2\n", "behind the gap nothing moves"


def test_rotator_and_rotate_get_a_file_that_nobody_writes(log: Path) -> None:
    calls: list[tuple[str, str, str]] = []

    class Mine(everyline.RotatingFileHandler):
        def rotate(self, source: str, dest: str) -> None:
            calls.append((os.path.basename(source), os.path.basename(dest), Path(source).read_text()))
            super().rotate(source, dest)

    handler = make(log, Mine)
    emit(handler, 0, 1)
    assert [call[1:] for call in calls] == [("app.log.1", "number 0\n")]
    staged = calls[0][0]
    assert staged.startswith(".app.log.") and not staged.endswith(".log")
    assert log.read_text() == "number 1\n", "the record was written before"
    handler.close()


def test_the_cookbooks_gzip_recipe(log: Path) -> None:
    def rotator(source: str, dest: str) -> None:
        with open(source, "rb") as plain, gzip.open(dest, "wb") as packed:
            shutil.copyfileobj(plain, packed)
        os.remove(source)

    handler = make(log)
    handler.rotator, handler.namer = rotator, lambda name: name + ".gz"
    emit(handler, 0, 1, 2)
    handler.close()
    unpacked = [gzip.open(log.with_name(f"app.log.{n}.gz"), "rt").read() for n in (1, 2)]
    assert unpacked == ["number 1\n", "number 0\n"]


def test_rotation_filename(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        def rotation_filename(self, default_name: str) -> str:
            return super().rotation_filename(default_name) + "~"

    handler = make(log, Mine)
    emit(handler, 0, 1)
    handler.close()
    assert texts(log) == {"app.log.1~": "number 0\n", "app.log": "number 1\n"}


def timed(log: Path, **arguments: Any) -> Any:
    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = everyline.TimedRotatingFileHandler(log, when="D", utc=True, **arguments)
    handler.setFormatter(FORMAT)
    return handler


def test_suffix_and_pattern(log: Path) -> None:
    for day in range(1, 5):
        log.with_name(f"app.log.2020010{day}").write_text(str(day))
    log.with_name("app.log.2020-01-01").write_text("not by this suffix")
    handler = timed(log, backupCount=2)
    handler.suffix, handler.extMatch = "%Y%m%d", re.compile(r"^\d{8}$", re.ASCII)
    emit(handler, 1)
    handler.close()
    assert texts(log) == {
        "app.log.2020-01-01": "not by this suffix",
        "app.log.20200104": "4",
        "app.log.20200913": "old\n",
        "app.log": "number 1\n",
    }


def test_getfilestodelete(log: Path) -> None:
    class Mine(everyline.TimedRotatingFileHandler):
        def getFilesToDelete(self) -> list[str]:
            return [str(log.with_name("app.log.2020-01-02"))]

    for day in range(1, 4):
        log.with_name(f"app.log.2020-01-0{day}").write_text(str(day))
    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = Mine(log, when="D", utc=True, backupCount=1)
    emit(handler, 1)
    handler.close()
    assert sorted(texts(log)) == ["app.log", "app.log.2020-01-01", "app.log.2020-01-03", "app.log.2020-09-13"]


def test_dated_names_by_a_namer_are_kept_apart_and_counted(log: Path) -> None:
    handler = timed(log, backupCount=2)
    handler.namer = lambda name: name.replace("app.log.", "app-") + ".log"
    emit(handler, 0)
    for number in range(1, 5):
        handler.doRollover()
        emit(handler, number)
    handler.close()
    found = texts(log)
    assert found.pop("app.log") == "number 4\n"
    # All of one day: the newest two, and nothing was replaced.
    assert sorted(found.values()) == ["number 2\n", "number 3\n"], found


# Rotators that do odd things


def test_a_rotator_that_logs_to_the_same_log(log: Path) -> None:
    logger = logging.getLogger("rotated")
    logger.propagate = False
    handler = make(log, maxBytes=400, backupCount=50)
    logger.addHandler(handler)
    depth = 0

    def rotator(source: str, dest: str) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1, "called while it was at work"
        for _ in range(5):
            logger.error("rotating to %s", os.path.basename(dest))
        os.rename(source, dest)
        depth -= 1

    handler.rotator = rotator
    for number in range(30):
        logger.warning("number %d", number)
    logger.removeHandler(handler)
    handler.close()
    lines = "".join(texts(log).values()).splitlines()
    assert sorted(line for line in lines if line.startswith("number")) == sorted(
        f"number {n}" for n in range(30)
    )
    assert sum(line.startswith("rotating") for line in lines) % 5 == 0


def test_a_rotator_that_raises_costs_no_record_and_is_reported(log: Path) -> None:
    handler = make(log, backupCount=9)
    failures = failing(handler)

    def rotator(source: str, dest: str) -> None:
        raise RuntimeError("no rotation today")

    handler.rotator = rotator
    emit(handler, *range(4))
    handler.close()
    assert texts(log) == {
        "app.log.1": "number 2\n",
        "app.log.2": "number 1\n",
        "app.log.3": "number 0\n",
        "app.log": "number 3\n",
    }
    assert [str(failure) for failure in failures] == ["no rotation today"] * 3


def test_a_rotator_that_leaves_half_an_archive(log: Path) -> None:
    handler = make(log)
    failing(handler)

    def rotator(source: str, dest: str) -> None:
        Path(dest).write_text("half")
        raise RuntimeError("disk on fire")

    handler.rotator = rotator
    emit(handler, 0, 1)
    handler.close()
    assert texts(log) == {"app.log.1": "half", "app.log.1.1": "number 0\n", "app.log": "number 1\n"}


def test_a_rotator_that_does_nothing_is_reported_and_the_file_gets_its_name(log: Path) -> None:
    handler = make(log)
    failures = failing(handler)
    handler.rotator = lambda source, dest: None
    emit(handler, 0, 1)
    handler.close()
    assert texts(log) == {"app.log.1": "number 0\n", "app.log": "number 1\n"}
    assert "still there" in str(failures[0])


def test_a_namer_that_raises_costs_no_record_and_is_reported(log: Path) -> None:
    handler = make(log)
    failures = failing(handler)

    def namer(name: str) -> str:
        raise KeyError(name)

    handler.namer = namer
    emit(handler, 0, 1)
    handler.close()
    assert texts(log) == {"app.log.1": "number 0\n", "app.log": "number 1\n"}
    assert isinstance(failures[0], KeyError)


def test_a_rotator_that_forks_and_one_that_starts_a_process(log: Path) -> None:
    script = """
import os, subprocess, sys
import everyline
from oracle import FORMAT, check, write
from pathlib import Path

log = Path(sys.argv[1])
handler = everyline.RotatingFileHandler(log, maxBytes=2000, backupCount=90)
handler.setFormatter(FORMAT)
turn = 0

def rotator(source, dest):
    global turn
    turn += 1
    if turn % 2:
        pid = os.fork()
        if pid == 0:
            write(handler, f"child{turn}", range(3))
            handler.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    else:
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    os.rename(source, dest)

handler.rotator = rotator
write(handler, "main", range(80))
handler.close()
assert turn > 3
expected = {f"child{n}": range(3) for n in range(1, turn + 1, 2)}
lines = "".join(p.read_text() for p in log.parent.iterdir() if p.is_file()).splitlines()
for writer, numbers in {"main": range(80), **expected}.items():
    found = sorted(int(line.split()[1]) for line in lines if line.split()[0] == writer)
    assert found == list(numbers), (writer, found)
"""
    from oracle import run

    run(script, log)


def test_a_rotator_that_takes_long_keeps_no_other_handler_waiting(log: Path) -> None:
    handler, other = make(log), make(log)
    began, go_on = threading.Event(), threading.Event()

    def rotator(source: str, dest: str) -> None:
        began.set()
        assert go_on.wait(60)
        os.rename(source, dest)

    handler.rotator = rotator
    emit(handler, 0)
    slow = threading.Thread(target=emit, args=(handler, 1))
    slow.start()
    assert began.wait(60)
    # It hangs. Others write, also urgent records, also past more rotations.
    started = time.monotonic()
    for number in range(2, 12):
        other.emit(record(f"number {number}", logging.ERROR))
    assert log.read_text() == "number 11\n"
    assert time.monotonic() - started < 30
    go_on.set()
    slow.join()
    handler.close()
    other.close()
    assert not [name for name in texts(log) if "staged" in name]


def test_a_big_archive_is_packed_while_others_write(log: Path) -> None:
    size = 30_000_000
    handler = everyline.RotatingFileHandler(log, maxBytes=size, backupCount=3)
    other = everyline.RotatingFileHandler(log, maxBytes=size, backupCount=3)
    during = 0

    def rotator(source: str, dest: str) -> None:
        nonlocal during
        packing = subprocess.Popen(["gzip", "-c", source], stdout=open(dest, "wb"))
        while packing.poll() is None:
            other.emit(record("meanwhile"))
            during += 1
        os.remove(source)

    handler.rotator, handler.namer = rotator, lambda name: name + ".gz"
    block = "".join(f"{n:09}\n" for n in range(100_000))
    for _ in range(31):
        handler.emit(record(block))
    handler.close()
    other.close()
    with gzip.open(log.with_name("app.log.1.gz")) as packed:
        count = sum(1 for _ in packed)
    assert count == 29 * 100_001 and during > 0
    assert log.read_text().count("meanwhile\n") == during


def test_what_a_killed_process_left_staged_is_treated_by_the_next(log: Path) -> None:
    script = """
import os, signal, sys, everyline
from oracle import FORMAT, record
handler = everyline.RotatingFileHandler(sys.argv[1], maxBytes=10, backupCount=5)
handler.setFormatter(FORMAT)
handler.rotator = lambda source, dest: os.kill(os.getpid(), signal.SIGKILL)
for number in range(3):
    handler.emit(record(f"number {number}"))
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", script, str(log)], env={**os.environ, "PYTHONPATH": path}, timeout=60
    )
    assert killed.returncode == -9
    assert any("staged" in name for name in texts(log))
    handler = make(log)
    seen: list[str] = []
    handler.rotator = lambda source, dest: (seen.append(Path(source).read_text()), os.rename(source, dest))
    emit(handler, 7)
    handler.close()
    assert seen == ["number 0\n", "number 1\n"]
    assert texts(log) == {"app.log.2": "number 0\n", "app.log.1": "number 1\n", "app.log": "number 7\n"}


def test_what_nobody_comes_back_for_gets_the_default_name(log: Path) -> None:
    long_ago, lately = time.time_ns() - 61 * 10**9, time.time_ns()
    for at, text in ((long_ago, "long ago"), (lately, "lately")):
        log.with_name(f".app.log.staged-{at:016x}-0").write_text(text)
    handler = make(log)
    emit(handler, 1)
    handler.close()
    found = texts(log)
    assert found["app.log.1"] == "long ago"
    assert "lately" in found.values() and "app.log.2" not in found
