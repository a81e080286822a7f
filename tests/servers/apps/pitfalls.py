"""Processes in which logging comes at the worst moment. Usage: pitfalls.py WHAT NAME"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from typing import Any

import daemon
import logs
import owed

ROUNDS = 150
DIRECTORY = os.environ["OWED_DIRECTORY"]
INTERRUPTION = 1


def daemonizer(name: str) -> None:
    """Logs, becomes a daemon with no descriptor of its past, opens files of its own, and logs on."""
    for number in range(ROUNDS // 2):
        owed.log(f"{name}-{number}")
    with daemon.DaemonContext(working_directory="/", umask=0o022):
        # These get the lowest numbers, and all that were ours unless those are out of the way.
        held = [os.open(f"{DIRECTORY}/{name}-held-{n}", os.O_RDWR | os.O_CREAT) for n in range(60)]
        for number in range(ROUNDS):
            owed.log(f"{name}-daemon-{number}")
        for descriptor in held:
            os.fstat(descriptor)
        owed.accept(f"{name}-daemon-done", DIRECTORY)


def signals(name: str) -> None:
    """A signal handler that logs, about every half a millisecond, mostly within another log call."""
    count = 0
    busy = False

    def handler(*_: Any) -> None:
        nonlocal count, busy
        if not busy:
            busy = True
            owed.log(f"{name}-signal-{count}", 1, INTERRUPTION)
            count += 1
            busy = False

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for number in range(ROUNDS * 4):
        owed.log(f"{name}-{number}")
    end = time.monotonic() + 20
    while count < 50 and time.monotonic() < end:
        time.sleep(0.01)
    signal.setitimer(signal.ITIMER_REAL, 0)
    owed.accept(f"{name}-signals:{count}", DIRECTORY)


class Dying:
    """Logs when it is collected: in the middle of anything, or when the interpreter ends."""

    count = 0

    def __init__(self, name: str) -> None:
        self.name = name
        self.me = self

    # As defaults, since at the very end a module's names are gone.
    def __del__(self, log: Any = owed.log, accept: Any = owed.accept, directory: str = DIRECTORY) -> None:
        cls = type(self)
        log(f"{self.name}-{cls.count}", 1, INTERRUPTION)
        accept(f"{self.name}-deleted:{cls.count}", directory)
        cls.count += 1


last: Any = None


def deletions(name: str) -> None:
    global last
    gc.set_threshold(50)
    for number in range(ROUNDS * 2):
        Dying(f"{name}-del")
        owed.log(f"{name}-{number}")
    # Still there when the interpreter ends, after `logging` has closed its handlers.
    last = Dying(f"{name}-del")


class Noisy:
    """Logs while it is formatted."""

    count = 0

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        owed.log(f"noise-{os.getpid()}-{Noisy.count}", 1, INTERRUPTION)
        Noisy.count += 1
        return self.text


def representations(name: str) -> None:
    for number in range(ROUNDS * 2):
        owed.log(f"{name}-{number}", wrap=Noisy)
    owed.accept(f"{name}-noise:{Noisy.count}", DIRECTORY)


if __name__ == "__main__":
    logs.configure()
    globals()[sys.argv[1]](sys.argv[2])
