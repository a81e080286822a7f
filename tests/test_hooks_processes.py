"""Hooks in many processes on one log: a subclass written for one is safe for all."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, record, text, write

PROCESSES, RECORDS = 4, 150


class Renaming(everyline.RotatingFileHandler):
    """By the book, for one process."""

    def doRollover(self) -> None:
        if self.stream:
            self.stream.close()
            self.stream = None
        os.rename(self.baseFilename, f"{self.baseFilename}.{time.time_ns()}")
        self.stream = self._open()


class Opening(everyline.RotatingFileHandler):
    def _open(self) -> Any:
        stream = super()._open()
        os.chmod(self.baseFilename, 0o600)
        return stream


class Packing(everyline.RotatingFileHandler):
    def namer(self, name: str) -> str:
        return name + ".x"

    def rotator(self, source: str, dest: str) -> None:
        time.sleep(0.002)
        os.rename(source, dest)


class Failing(everyline.RotatingFileHandler):
    def rotator(self, source: str, dest: str) -> None:
        raise OSError("no")

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class Timed(everyline.TimedRotatingFileHandler):
    """Every process's clock says the same, and only one may act on it."""

    def computeRollover(self, currentTime: float) -> float:
        return currentTime + 1

    def __init__(self, log: Path, **_: Any) -> None:
        super().__init__(log, when="S", utc=True)


def work(cls: Any, log: Path, name: str) -> None:
    handler = cls(log, maxBytes=4000, backupCount=900)
    handler.setFormatter(FORMAT)
    for number in range(RECORDS):
        write(handler, name, [number])
        if cls is Timed and number % 10 == 0:
            time.sleep(0.1)
    handler.close()


def check(log: Path, names: list[str]) -> int:
    """Every record once and whole; in order within each file. The number of files."""
    files = [p for p in log.parent.iterdir() if p.is_file()]
    assert not [p for p in files if ".staged-" in p.name]
    seen: dict[str, list[int]] = {name: [] for name in names}
    for path in files:
        here: dict[str, list[int]] = {}
        for line in path.read_text().splitlines():
            writer, number, _ = line.split(" ", 2)
            assert line == text(writer, int(number)), f"{path.name}: torn: {line!r}"
            here.setdefault(writer, []).append(int(number))
        for writer, numbers in here.items():
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), path.name
            seen[writer] += numbers
    for writer, numbers in seen.items():
        assert sorted(numbers) == list(range(RECORDS)), writer
    return len(files)


def run_all(log: Path, classes: list[Any]) -> list[str]:
    context = multiprocessing.get_context("fork")
    names = [f"p{n}" for n in range(len(classes))]
    workers = [
        context.Process(target=work, args=(cls, log, name))
        for cls, name in zip(classes, names)  # noqa: B905
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
        assert worker.exitcode == 0
    return names


@pytest.mark.parametrize("cls", [Renaming, Opening, Packing, Failing, Timed])
def test_all_processes_have_the_hook(log: Path, cls: Any) -> None:
    names = run_all(log, [cls] * PROCESSES)
    assert check(log, names) > 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("cls", [Renaming, Opening, Packing, Failing])
def test_some_have_it_and_some_have_not(log: Path, cls: Any) -> None:
    names = run_all(log, [cls, everyline.RotatingFileHandler] * (PROCESSES // 2))
    # Whoever came last decides how; nothing is lost either way. A last look for what was left staged.
    handler = cls(log, maxBytes=4000, backupCount=900)
    handler.emit(record(""))
    handler.close()
    for path in log.parent.iterdir():
        if path.is_file():
            path.write_text(path.read_text().replace("\n\n", "\n").lstrip("\n"))
    check(log, names)


def test_one_rotation_for_all_processes_at_one_time(log: Path) -> None:
    names = run_all(log, [Timed] * PROCESSES)
    check(log, names)
    archives = [p for p in log.parent.iterdir() if p.is_file() and p != log]
    # A second rotation in the same second would have needed a counter.
    assert archives and all(re.fullmatch(r"app\.log\.[-_\d]{19}", p.name) for p in archives), archives


def test_two_handlers_of_one_process_with_a_hook_each(log: Path) -> None:
    first, second = (Packing(log, maxBytes=4000, backupCount=900) for _ in range(2))
    for handler in (first, second):
        handler.setFormatter(FORMAT)
    for number in range(RECORDS):
        write(first, "first", [number])
        write(second, "second", [number])
    first.close()
    second.close()
    assert check(log, ["first", "second"]) > 2


def log_in_pool(handler: logging.Handler, name: str) -> str:
    write(handler, name, range(RECORDS))
    handler.flush()
    return type(handler).__name__


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("cls", [everyline.RotatingFileHandler, Renaming, Packing])
def test_a_handler_sent_to_a_pool(log: Path, method: str, cls: Any) -> None:
    handler = cls(log, maxBytes=4000, backupCount=900)
    handler.setFormatter(FORMAT)
    names = [f"task{n}" for n in range(3)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        kinds = list(pool.map(log_in_pool, [handler] * 3, names))
    handler.emit(record(text("end", 0)))
    handler.close()
    assert kinds == [cls.__name__] * 3
    # Left by a worker of the pool, which never closed its handler.
    again = cls(log, maxBytes=4000, backupCount=900)
    again.emit(record(text("end", 1)))
    again.close()
    for path in log.parent.iterdir():
        if path.is_file():
            path.write_text("".join(s + "\n" for s in path.read_text().splitlines() if "end" not in s))
    check(log, names)
