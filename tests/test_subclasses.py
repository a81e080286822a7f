"""Subclasses as they are found in the wild: each does what it does with Python's, or is refused by name."""

from __future__ import annotations

import codecs
import gzip
import logging
import logging.handlers
import multiprocessing
import os
import re
import time
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, contents, files, record, text


def emit(handler: logging.Handler, *messages: str) -> None:
    handler.setFormatter(FORMAT)
    for message in messages:
        handler.emit(record(message))


# What `_open` returns


@pytest.mark.parametrize("delay", [False, True])
def test_what_open_returns_decides_how_text_is_encoded(log: Path, delay: bool) -> None:
    class Older(everyline.RotatingFileHandler):
        def _open(self) -> Any:
            # As Python's own did before 3.9.
            return codecs.open(self.baseFilename, self.mode, "latin-1", errors="replace")

    class Newer(everyline.FileHandler):
        def _open(self) -> Any:
            return open(self.baseFilename, self.mode, encoding="utf-16-le", errors="backslashreplace")

    older = Older(log, maxBytes=12, backupCount=3, encoding="utf-8", delay=delay)
    emit(older, "\xe4\u20ac", "a second line")
    older.close()
    assert log.with_name("app.log.1").read_bytes() == b"\xe4?\n"
    assert log.read_bytes() == b"a second line\n"
    newer = Newer(log.with_name("other.log"), delay=delay)
    emit(newer, "\xe4\ud800")
    newer.close()
    assert log.with_name("other.log").read_bytes() == "\xe4\\ud800\n".encode("utf-16-le")


class Packing(everyline.RotatingFileHandler):
    def _open(self) -> Any:
        return gzip.open(self.baseFilename, "at", encoding="utf-8")


def test_an_open_whose_file_does_more_to_the_text_is_refused_by_name(log: Path) -> None:
    with pytest.raises(ValueError, match=r"_open: .* is no plain text file.*app\.log.*`rotator`"):
        Packing(log, maxBytes=1000, backupCount=3)


def test_with_delay_it_is_reported_and_no_record_lost(log: Path) -> None:
    failures: list[BaseException | None] = []

    class Reporting(Packing):
        def handleError(self, record: logging.LogRecord) -> None:
            import sys

            failures.append(sys.exc_info()[1])

    handler = Reporting(log, maxBytes=1000, backupCount=3, delay=True)
    emit(handler, "one", "two")
    handler.close()
    assert isinstance(failures[0], ValueError) and "_open" in str(failures[0])
    assert log.read_bytes().endswith(b"one\ntwo\n")


# Constructors


def test_attributes_set_before_the_constructor(log: Path) -> None:
    class Early(everyline.TimedRotatingFileHandler):
        def __init__(self, path: Path) -> None:
            self.stream = None
            self.encoding = "ascii"
            self.suffix = "%Y"
            self.namer = None
            super().__init__(path, when="D", encoding="utf-8")

    handler = Early(log)
    emit(handler, "\xe4")
    assert handler.stream is not None and handler.suffix == "%Y-%m-%d"
    handler.close()
    assert log.read_text(encoding="utf-8") == "\xe4\n"


class ByTheBook(everyline.RotatingFileHandler):
    """Leaves out the constructor that it should call."""

    def __init__(self, path: Path, delay: bool) -> None:
        logging.handlers.BaseRotatingHandler.__init__(
            self, os.fspath(path), "a", encoding="utf-8", delay=delay
        )
        self.maxBytes = 10
        self.backupCount = 2


class ByTheBookTimed(everyline.TimedRotatingFileHandler):
    def __init__(self, path: Path, delay: bool) -> None:
        logging.handlers.BaseRotatingHandler.__init__(self, os.fspath(path), "a", None, delay)
        self.when, self.backupCount, self.utc, self.atTime = "D", 2, True, None
        self.interval = 24 * 60 * 60
        self.suffix = "%Y-%m-%d"
        self.extMatch = re.compile(r"^\d{4}-\d{2}-\d{2}$", re.ASCII)
        self.rolloverAt = self.computeRollover(1.6e9)


@pytest.mark.parametrize("delay", [False, True])
def test_a_class_that_calls_the_constructor_of_a_base(log: Path, delay: bool) -> None:
    handler = ByTheBook(log, delay)
    emit(handler, "number 1", "number 2", "number 3", "number 4")
    handler.close()
    assert contents(log) == {"app.log.2": "number 2\n", "app.log.1": "number 3\n", "app.log": "number 4\n"}
    other = log.with_name("timed.log")
    other.write_text("old\n")
    timed = ByTheBookTimed(other, delay)
    emit(timed, "new")
    timed.close()
    assert len(files(other)) == 2 and other.read_text() == "new\n"


@pytest.mark.parametrize("mode", [3, None, b"a", 1.5])
def test_a_mode_that_is_no_text(log: Path, mode: Any) -> None:
    with pytest.raises(TypeError):
        everyline.FileHandler(log, mode=mode)
    with pytest.raises(TypeError):
        everyline.FileHandler(log, mode=mode, delay=True)


# Names


def test_a_suffix_alone_is_enough_to_count_archives(log: Path) -> None:
    for day in (1, 2, 3):
        log.with_name(f"app.log.0{day}-12-2019.txt").write_text(str(day))
    # A later day of the month, but an earlier month.
    log.with_name("app.log.30-01-2019.txt").write_text("January")
    log.with_name("app.log.31-31-2019.txt").write_text("no day")
    log.with_name("app.log.2019-12-01").write_text("not by this suffix")
    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = everyline.TimedRotatingFileHandler(log, when="D", utc=True, backupCount=2)
    handler.suffix = "%d-%m-%Y.txt"
    emit(handler, "new")
    handler.close()
    assert sorted(path.name for path in log.parent.iterdir()) == [
        "app.log",
        "app.log.03-12-2019.txt",
        "app.log.13-09-2020.txt",
        "app.log.2019-12-01",
        "app.log.31-31-2019.txt",
    ]


# Hooks


class Following(everyline.RotatingFileHandler):
    """A rollover whenever the file at the path is another one than the one that is open."""

    asked = 0

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        self.asked += 1
        assert self.stream is not None
        is_open = os.fstat(self.stream.fileno())
        return not os.path.exists(self.baseFilename) or not os.path.samestat(
            is_open, os.stat(self.baseFilename)
        )


def test_an_override_that_compares_the_open_file_with_the_path(log: Path) -> None:
    failures: list[logging.LogRecord] = []
    handler = Following(log, maxBytes=1000, backupCount=2)
    handler.handleError = failures.append  # type: ignore[method-assign]
    emit(handler, "one")
    os.rename(log, log.with_name("moved"))
    emit(handler, "two", "three")
    handler.close()
    assert not failures and handler.asked >= 3
    assert log.with_name("moved").read_text() + log.read_text() == "one\ntwo\nthree\n"


def test_what_is_put_into_a_class_is_noticed_by_the_handlers_that_are_there(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(everyline.RotatingFileHandler):
        pass

    handler = Mine(log, maxBytes=10, backupCount=3)
    emit(handler, "number 1")
    monkeypatch.setattr(everyline.RotatingFileHandler, "namer", staticmethod(lambda name: name + ".old"))
    emit(handler, "number 2")
    monkeypatch.undo()
    monkeypatch.setattr(Mine, "shouldRollover", lambda self, record: False, raising=False)
    emit(handler, "number 3", "number 4")
    monkeypatch.undo()
    emit(handler, "number 5")
    handler.close()
    assert {path.name: path.read_text() for path in log.parent.iterdir()} == {
        "app.log.1.old": "number 1\n",
        "app.log.1": "number 2\nnumber 3\nnumber 4\n",
        "app.log": "number 5\n",
    }


class Deciding(everyline.RotatingFileHandler):
    """The `emit` of many recipes: asks and rotates by itself."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.shouldRollover(record):
                # Time for the other processes to come to the same conclusion.
                time.sleep(0.005)
                self.doRollover()
            logging.FileHandler.emit(self, record)
        except Exception:
            self.handleError(record)


class DecidingForItself(Deciding):
    def shouldRollover(self, record: logging.LogRecord) -> bool:
        return os.path.exists(self.baseFilename) and os.path.getsize(self.baseFilename) > 2000

    def doRollover(self) -> None:
        if self.stream:
            self.stream.close()
            self.stream = None
        os.rename(self.baseFilename, f"{self.baseFilename}.{time.time_ns()}")
        self.stream = self._open()


def _decide(kind: type[Deciding], log: Path, writer: str, count: int) -> None:
    handler = kind(log, maxBytes=2000, backupCount=900)
    handler.setFormatter(FORMAT)
    for number in range(count):
        handler.emit(record(text(writer, number)))
    handler.close()


@pytest.mark.parametrize("kind", [Deciding, DecidingForItself])
def test_an_emit_that_asks_and_rotates_by_itself_rotates_once_for_all(
    log: Path, kind: type[Deciding]
) -> None:
    context = multiprocessing.get_context("forkserver")
    writers = [f"w{n}" for n in range(4)]
    children = [context.Process(target=_decide, args=(kind, log, writer, 100)) for writer in writers]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    sizes = [path.stat().st_size for path in files(log) if path != log]
    lines = [line for path in files(log) for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(text(writer, number) for writer in writers for number in range(100))
    # Rotated twice for one reason, a file would hold next to nothing.
    assert len(sizes) > 5 and min(sizes) > 1000, sizes
