"""Many processes on one log: however they came to be and however they end, every record is there once."""

from __future__ import annotations

import concurrent.futures
import ctypes
import logging
import mmap
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, check, files, run, write

WRITERS = 4
RECORDS = 400
START_METHODS = ["fork", "spawn", "forkserver"]
KINDS: dict[str, Any] = {
    "size": (everyline.RotatingFileHandler, {"maxBytes": 8000, "backupCount": 900}),
    "time": (everyline.TimedRotatingFileHandler, {"when": "S", "utc": True}),
}
everyone = {f"w{n}": range(RECORDS) for n in range(WRITERS)}


def make(log: Path, kind: str = "size", **more: Any) -> Any:
    cls, arguments = KINDS[kind]
    handler = cls(log, **{**arguments, **more})
    handler.setFormatter(FORMAT)
    return handler


def recover_if_needed(log: Path) -> None:
    """The next process to attach would do it."""
    try:
        everyline.recover(log)
    except everyline.Error as error:
        # Nobody left anything.
        assert error.kind == "not-attached"


def wait_for(children: list[Any]) -> None:
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * len(children)


# What the children of the start methods run. At module level, as they are looked up by name.


def inherit(handler: logging.Handler, writer: str, slow: bool = False) -> None:
    for number in range(RECORDS):
        write(handler, writer, [number])
        if slow:
            time.sleep(0.004)


def build(log: Path, kind: str, writer: str) -> None:
    handler = make(log, kind)
    write(handler, writer, range(RECORDS))
    # No close: many processes end without one.


_pool_handler: Any = None


def start_pool(handler: logging.Handler) -> None:
    global _pool_handler
    _pool_handler = handler


def pool_task(task: int) -> int:
    write(_pool_handler, f"t{task}", range(50))
    return os.getpid()


@pytest.mark.parametrize("commit", ["write-through", "deferred"])
@pytest.mark.parametrize("method", START_METHODS)
def test_a_handler_sent_to_children(log: Path, method: str, commit: str) -> None:
    context = multiprocessing.get_context(method)
    handler = make(log, commit=commit)
    children = [context.Process(target=inherit, args=(handler, f"w{n}")) for n in range(WRITERS)]
    for child in children:
        child.start()
    write(handler, "parent", range(RECORDS))
    wait_for(children)
    handler.close()
    if commit == "deferred":
        # A child that ends without closing leaves its last records to whoever is there.
        recover_if_needed(log)
    check(log, {**everyone, "parent": range(RECORDS)})


@pytest.mark.parametrize("method", START_METHODS)
def test_handlers_made_in_children(log: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    children = [context.Process(target=build, args=(log, "size", f"w{n}")) for n in range(WRITERS)]
    for child in children:
        child.start()
    wait_for(children)
    check(log, everyone)


def test_rotation_by_time(log: Path) -> None:
    context = multiprocessing.get_context("fork")
    handler = make(log, "time")
    children = [context.Process(target=inherit, args=(handler, f"w{n}", True)) for n in range(WRITERS)]
    for child in children:
        child.start()
    wait_for(children)
    handler.close()
    check(log, everyone)
    assert 2 <= len(files(log)) <= 6


@pytest.mark.parametrize("method", START_METHODS)
def test_a_pool(log: Path, method: str) -> None:
    handler = make(log, delay=True)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(3, context, start_pool, (handler,)) as pool:
        pids = set(pool.map(pool_task, range(24)))
    assert os.getpid() not in pids
    handler.close()
    check(log, {f"t{task}": range(50) for task in range(24)})


def child_of(fork: Any, work: Any) -> int:
    """Runs `work` in a child that ends by `_exit`, without any hook."""
    pid: int = fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def reap(pids: list[int]) -> None:
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0


def c_fork() -> int:
    """A fork that Python hears nothing of, as in uWSGI."""
    return int(ctypes.PyDLL(None).fork())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("commit", ["write-through", "deferred"])
@pytest.mark.parametrize("fork", [os.fork, c_fork])
def test_fork_and_exit_without_hooks(log: Path, fork: Any, commit: str) -> None:
    handler = make(log, commit=commit)
    write(handler, "parent", range(10))

    def work(writer: str) -> None:
        write(handler, writer, range(RECORDS))

    reap([child_of(fork, lambda n=n: work(f"w{n}")) for n in range(WRITERS)])  # type: ignore[misc]
    write(handler, "parent", range(10, 20))
    handler.close()
    recover_if_needed(log)
    check(log, {**everyone, "parent": range(20)})


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_generations(log: Path) -> None:
    handler = make(log)

    def generation(depth: int) -> None:
        write(handler, f"g{depth}", range(20))
        if depth < 4:
            reap([child_of(os.fork, lambda: generation(depth + 1))])
            write(handler, f"g{depth}", range(20, 40))

    generation(0)
    handler.close()
    check(log, {**{f"g{depth}": range(40) for depth in range(4)}, "g4": range(20)})


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_while_threads_log(log: Path) -> None:
    script = """
import os, sys, threading
from pathlib import Path
from oracle import check, write
from test_processes import make

handler = make(Path(sys.argv[1]))
threads = [threading.Thread(target=write, args=(handler, f"t{n}", range(1500))) for n in range(3)]
for thread in threads:
    thread.start()
pids = []
for n in range(30):
    pid = os.fork()
    if pid == 0:
        write(handler, f"c{n}", range(20))
        os._exit(0)
    pids.append(pid)
for thread in threads:
    thread.join()
for pid in pids:
    assert os.waitpid(pid, 0)[1] == 0
handler.close()
expected = {f"t{n}": range(1500) for n in range(3)}
check(Path(sys.argv[1]), {**expected, **{f"c{n}": range(20) for n in range(30)}})
"""
    # Threads of Python's own at a fork are the script's choice, and warned about.
    run(script, log, options=["-W", "ignore::DeprecationWarning"])


@pytest.mark.parametrize("commit", ["write-through", "deferred"])
def test_no_threads_of_ours_are_there_at_a_fork(log: Path, commit: str) -> None:
    # Python 3.12 and later warn of any, and a warning is an error in `run`.
    script = """
import os, sys
from pathlib import Path
from oracle import check, write
from test_processes import make

handler = make(Path(sys.argv[1]), commit=sys.argv[2])
for n in range(50):
    write(handler, "parent", [n])
    pid = os.fork()
    if pid == 0:
        write(handler, f"c{n}", range(5))
        handler.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
handler.close()
check(Path(sys.argv[1]), {"parent": range(50), **{f"c{n}": range(5) for n in range(50)}})
"""
    run(script, log, commit)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("closes", ["closes", "vanishes"])
@pytest.mark.parametrize("mode", ["a", "w"])
def test_the_parent_ends_first(log: Path, mode: str, closes: str) -> None:
    # A daemon's way. The child is then the only process on the log, and must not take it for a new one.
    log.write_text("")
    script = """
import os, sys, time
import everyline
from oracle import FORMAT, write

handler = everyline.RotatingFileHandler(sys.argv[1], mode=sys.argv[2])
handler.setFormatter(FORMAT)
write(handler, "parent", range(5))
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.01)
    write(handler, "child", range(5))
    handler.close()
elif sys.argv[3] == "closes":
    handler.close()
os._exit(0)
"""
    run(script, log, mode, closes)
    end = time.monotonic() + 20
    while time.monotonic() < end and b"child 4" not in log.read_bytes():
        time.sleep(0.02)
    check(log, {"parent": range(5), "child": range(5)})


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("commit", ["write-through", "deferred"])
def test_all_descriptors_closed_by_a_daemonizer(log: Path, commit: str) -> None:
    handler = make(log, commit=commit)
    write(handler, "child", range(10))
    others = [log.parent / f"other-{n}" for n in range(40)]

    def work() -> None:
        assert handler.stream is not None
        handler.stream.fileno()
        os.closerange(3, 4096)
        # These get the numbers that were ours.
        held = [os.open(other, os.O_RDWR | os.O_CREAT) for other in others]
        write(handler, "child", range(10, RECORDS))
        handler.close()
        for descriptor in held:
            os.fstat(descriptor)

    handler.flush()
    reap([child_of(os.fork, work)])
    handler.close()
    check(log, {"child": range(RECORDS)})
    assert all(other.read_bytes() == b"" for other in others)


class Acknowledged:
    """For each writer the number of calls that have returned, in memory that outlives a SIGKILL."""

    def __init__(self, writers: int) -> None:
        # Stored in one piece, which `struct.pack_into` does not do: it clears the bytes first.
        self._counts = (ctypes.c_int64 * writers).from_buffer(mmap.mmap(-1, 8 * writers))

    def put(self, writer: int, count: int) -> None:
        self._counts[writer] = count

    def get(self, writer: int) -> int:
        return int(self._counts[writer])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("survivor", [True, False])
@pytest.mark.parametrize("commit", ["write-through", "deferred"])
def test_killed_while_logging(log: Path, commit: str, survivor: bool) -> None:
    rounds, chance = 5, random.Random(7)
    acknowledged = Acknowledged(rounds * WRITERS)
    handler = make(log, commit=commit, maxBytes=50_000)

    def work(writer: int) -> None:
        number = 0
        while True:
            write(handler, f"w{writer}", [number])
            number += 1
            acknowledged.put(writer, number)

    if not survivor:
        handler.close()
    for turn in range(rounds):
        pids = [
            child_of(os.fork, lambda n=n: work(n))  # type: ignore[misc]
            for n in range(turn * WRITERS, (turn + 1) * WRITERS)
        ]
        time.sleep(0.05 + chance.random() * 0.1)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
    if survivor:
        write(handler, "survivor", range(10))
        handler.close()
    recover_if_needed(log)
    assert len(files(log)) < 900, "retention must not take part"
    expected = {f"w{n}": range(acknowledged.get(n)) for n in range(rounds * WRITERS)}
    if survivor:
        expected["survivor"] = range(10)
    check(log, expected, may_end_later=True)
    assert sum(map(len, expected.values())) > 100
    assert everyline.clean(log) == {"removed": [], "in_use": False}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_stopped_process_stops_nobody(log: Path) -> None:
    handler = make(log, maxBytes=50_000)
    acknowledged = Acknowledged(1)

    def work() -> None:
        for number in range(10**9):
            write(handler, "stopped", [number])
            acknowledged.put(0, number + 1)

    pid = child_of(os.fork, work)
    try:
        while acknowledged.get(0) < 10:
            time.sleep(0.001)
        for turn in range(10):
            os.kill(pid, signal.SIGSTOP)
            start = time.monotonic()
            write(handler, "me", range(turn * 20, turn * 20 + 20))
            assert time.monotonic() - start < 2
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    handler.close()
    recover_if_needed(log)
    if len(files(log)) < 900:
        check(log, {"me": range(200), "stopped": range(acknowledged.get(0))}, may_end_later=True)


@pytest.mark.parametrize("mode", ["a", "w"])
def test_the_journal_removed_under_a_handler(log: Path, mode: str) -> None:
    handler = everyline.RotatingFileHandler(log, mode=mode)
    handler.setFormatter(FORMAT)
    write(handler, "me", range(5))
    shutil.rmtree(everyline.status(log)["journal"])
    # It is noticed once in a while.
    for number in range(5, 10):
        write(handler, "me", [number])
        time.sleep(0.4)
    handler.close()
    check(log, {"me": range(10)})
