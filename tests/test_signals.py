"""Signals while a call waits in the engine: the handlers run, and what they raise comes out of the call."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import everyline
import pytest
from oracle import FORMAT, write

SMALL = {"ring_bytes": 4096, "overflow_bytes": 4096}


@pytest.fixture
def stopped_holder(tmp_path: Path) -> Iterator[Path]:
    """A log whose writer is stopped: whoever comes next finds no room after a few records."""
    log = tmp_path / "app.log"
    pid = os.fork()
    if pid == 0:
        handler = everyline.RotatingFileHandler(log, **SMALL)
        while True:
            handler.stream.write("x" * 3000 + "\n")
    try:
        while not _stops_as_holder(log, pid):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.001)
        yield log
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _stops_as_holder(log: Path, pid: int) -> bool:
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    try:
        lease = everyline.status(log)["lease"]
    except (everyline.Error, FileNotFoundError):
        # Not attached yet, or stopped in the middle of it.
        return False
    return lease["state"] == "held" and lease["pid"] == pid


def _after(seconds: float, number: signal.Signals) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
    timer.start()
    return timer


def test_ctrl_c_ends_a_wait_for_room_that_has_no_bound(stopped_holder: Path) -> None:
    handler = everyline.RotatingFileHandler(stopped_holder, full="block", wait=0.1, **SMALL)
    handler.setFormatter(FORMAT)
    timer = _after(0.5, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        for number in range(10_000):
            write(handler, "me", [number])
    timer.join()
    assert handler.counters()["dropped"] == 1


def test_a_handler_that_returns_runs_and_the_wait_goes_on(stopped_holder: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        handler = everyline.RotatingFileHandler(stopped_holder, wait=1.0, **SMALL)
        handler.setFormatter(FORMAT)
        write(handler, "me", [0])
        timer = _after(0.2, signal.SIGUSR1)
        with pytest.raises(TimeoutError):
            handler.flush()
        timer.join()
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_ends_a_flush(stopped_holder: Path) -> None:
    handler = everyline.RotatingFileHandler(stopped_holder, wait=5.0, **SMALL)
    handler.setFormatter(FORMAT)
    write(handler, "me", [0])
    timer = _after(0.3, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        handler.flush()
    timer.join()
