"""Processes that disagree about one log: the newest settings are in force, and somebody is told."""

from __future__ import annotations

import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, record

fork = multiprocessing.get_context("fork")


def sit(log: Path, arguments: dict[str, Any], ready: Any, go: Any) -> None:
    handler = everyline.RotatingFileHandler(log, **arguments)
    handler.emit(record("here"))
    ready.set()
    go.wait(60)
    handler.close()


def beside(log: Path, arguments: dict[str, Any]) -> Any:
    """A process that has the log open until it is told to go."""
    ready, go = fork.Event(), fork.Event()
    process = fork.Process(target=sit, args=(log, arguments, ready, go))
    process.start()
    assert ready.wait(60)
    return process, go


def test_other_settings_of_a_living_process_are_named(log: Path) -> None:
    process, go = beside(log, {"maxBytes": 1000, "backupCount": 3})
    with pytest.warns(RuntimeWarning, match=r"app\.log: another process") as seen:
        handler = everyline.RotatingFileHandler(log, maxBytes=20, backupCount=7)
    text = str(seen[0].message)
    assert "max_bytes was 999 and is now 19" in text and "keep was 3 and is now 7" in text
    assert seen[0].filename == __file__
    # The newest are in force, for all.
    handler.setFormatter(FORMAT)
    for number in range(4):
        handler.emit(record(f"number {number}"))
    assert log.with_name("app.log.1").exists()
    go.set()
    process.join(60)
    handler.close()


@pytest.mark.parametrize("delay", [False, True])
def test_the_same_settings_are_nothing_to_tell(log: Path, delay: bool) -> None:
    arguments: dict[str, Any] = {"maxBytes": 1000, "backupCount": 3}
    process, go = beside(log, arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handler = everyline.RotatingFileHandler(log, delay=delay, **arguments)
        handler.emit(record("here, too"))
        handler.close()
    go.set()
    process.join(60)
    assert log.read_text().count("here") == 2


def test_a_dead_processs_settings_are_nothing_to_tell(log: Path) -> None:
    process, _ = beside(log, {"maxBytes": 1000, "backupCount": 3})
    process.kill()
    process.join(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handler = everyline.RotatingFileHandler(log, maxBytes=20, backupCount=7)
    handler.close()


def test_ones_own_settings_are_changed_without_a_word(log: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handler = everyline.RotatingFileHandler(log, maxBytes=1000, backupCount=3)
        handler.maxBytes = 500
        handler.namer = str
        handler.close()


def test_with_delay_it_is_told_at_the_first_record_which_is_written(log: Path) -> None:
    process, go = beside(log, {"maxBytes": 1000, "backupCount": 3})
    handler = everyline.RotatingFileHandler(log, delay=True)
    with pytest.warns(RuntimeWarning, match="other settings"):
        handler.emit(record("late"))
    handler.close()
    go.set()
    process.join(60)
    assert "late\n" in log.read_text()


@pytest.mark.parametrize("delay", [False, True])
def test_the_modern_handler_tells_of_it_too(log: Path, delay: bool) -> None:
    process, go = beside(log, {"maxBytes": 1000, "backupCount": 3})
    with pytest.warns(RuntimeWarning, match="max_bytes was 999 and is now 20000") as seen:
        handler = everyline.Handler(log, max_bytes=20_000, delay=delay)
        handler.emit(record("modern"))
    assert seen[0].filename == __file__ or delay
    handler.close()
    go.set()
    process.join(60)
    assert "modern\n" in log.read_text()
