"""Signals while a call waits in the engine: the handlers run, and what they raise comes out of the call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


# In a process of its own: what this is about hangs with the GIL held.
FORKS = """
import os, sys, threading, time
import everyline
log, ready = sys.argv[1:]
handler = everyline.RotatingFileHandler(log, commit="deferred", fsync="interval:0.05", wait=3600)
for turn in range(3):
    handler.stream.write("record\\n")
    # Long enough for the background thread to want its sync, and to have waited for it.
    time.sleep(0.3)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
open(ready, "w").close()
os._exit(0)
"""


def test_a_fork_does_not_wait_for_the_background_thread_and_that_for_the_gil(
    stopped_holder: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    subprocess.run([sys.executable, "-c", FORKS, stopped_holder, ready], timeout=60, check=True)
    assert ready.exists()
