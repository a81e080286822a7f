"""Subclasses of Python's handlers that were defined before `install()`, and name their base."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import record


class BySize(logging.handlers.RotatingFileHandler):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        logging.handlers.RotatingFileHandler.__init__(self, *arguments, **named)

    def shouldRollover(self, record: logging.LogRecord) -> Any:
        return logging.handlers.RotatingFileHandler.shouldRollover(self, record)

    def doRollover(self) -> None:
        logging.handlers.RotatingFileHandler.doRollover(self)

    def emit(self, record: logging.LogRecord) -> None:
        logging.handlers.RotatingFileHandler.emit(self, record)


class ByTime(logging.handlers.TimedRotatingFileHandler):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        logging.handlers.TimedRotatingFileHandler.__init__(self, *arguments, **named)

    def computeRollover(self, currentTime: int) -> Any:
        return logging.handlers.TimedRotatingFileHandler.computeRollover(self, currentTime)

    def getFilesToDelete(self) -> Any:
        return logging.handlers.TimedRotatingFileHandler.getFilesToDelete(self)

    def doRollover(self) -> None:
        logging.handlers.TimedRotatingFileHandler.doRollover(self)


class Watched(logging.handlers.WatchedFileHandler):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        logging.handlers.WatchedFileHandler.__init__(self, *arguments, **named)

    def emit(self, record: logging.LogRecord) -> None:
        logging.handlers.WatchedFileHandler.reopenIfNeeded(self)
        logging.handlers.WatchedFileHandler.emit(self, record)


class Plain(logging.FileHandler):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        logging.FileHandler.__init__(self, *arguments, **named)

    def _open(self) -> Any:
        return logging.FileHandler._open(self)

    def close(self) -> None:
        logging.FileHandler.close(self)


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    everyline.install()
    yield
    everyline.uninstall()


@pytest.mark.parametrize(
    ("cls", "named", "files"),
    [
        (BySize, {"maxBytes": 20, "backupCount": 3}, 3),
        (ByTime, {"when": "S", "backupCount": 3, "utc": True}, 2),
        (Watched, {}, 1),
        (Plain, {}, 1),
    ],
)
def test_it_works_as_before(log: Path, cls: Any, named: dict[str, Any], files: int) -> None:
    handler = cls(log, **named)
    for number in range(3):
        handler.emit(record(f"number {number} ......"))
    if cls is ByTime:
        handler.doRollover()
    handler.close()
    made = sorted(path for path in log.parent.iterdir() if path.is_file())
    assert len(made) == files
    assert sorted("".join(path.read_text() for path in made).split())[-3:] == ["number"] * 3
