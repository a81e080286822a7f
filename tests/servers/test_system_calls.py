"""What a record costs in system calls, and that an idle process makes none. Counted by bench/syscalls.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness import need

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
import syscalls  # noqa: E402

WRITE_THROUGH = "everyline, by size"
DEFERRED = "everyline, by size, deferred"


def need_strace() -> None:
    need(shutil.which("strace"), "strace is not installed: apt-get install strace")


def test_a_record_costs_at_most_two_system_calls() -> None:
    need_strace()
    counts = syscalls.of_a_record(WRITE_THROUGH, syscalls.LARGE)
    # A few calls in a thousand records are memory that Python takes or gives back.
    counts = {name: count for name, count in counts.items() if count >= 0.01}
    # The path is looked at once in some milliseconds, not once a record.
    assert counts.pop("statx", 0) <= 1
    # Python's `LogRecord` asks for the pid, the engine does not.
    assert counts.pop("getpid", 0) <= 1
    assert counts == {"write": 1.0}


def test_the_count_sees_what_pythons_handler_pays() -> None:
    need_strace()
    counts = syscalls.of_a_record("Python, by size", syscalls.LARGE)
    assert counts["write"] == 1.0 and counts["lseek"] >= 1.0


def test_an_idle_process_makes_no_system_call() -> None:
    need_strace()
    assert syscalls.idle(WRITE_THROUGH) == {}
    assert syscalls.idle(DEFERRED, 2) == {}
    # Nor would the count miss any: in the first seconds after a record its background thread looks around.
    assert syscalls.idle(DEFERRED, 6, settled_s=1)["futex"] >= 1
