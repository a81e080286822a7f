"""Real servers: started on a free port, driven over HTTP, signalled, stopped, and their log counted.

Each wait has a bound, so a hang is a failed test, and what the server said is printed with it. All
processes of a server are in a session of their own and are gone when the test is over.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import ledger
import pytest

APPS = Path(__file__).parent / "apps"
WAIT_S = 60.0
CI = os.environ.get("CI", "").lower() in ("1", "true")
# Small, so that a run has many rotations.
MAX_BYTES = 20_000
ROTATION = {'"maxBytes": 10_000_000': f'"maxBytes": {MAX_BYTES}', '"backupCount": 10': '"backupCount": 2000'}
FORK_WARNING = "multi-threaded, use of fork"


def need(found: object, what: str) -> None:
    """Skips a test without its tool; where the project is checked nothing may be missing."""
    if not found:
        assert not CI, f"{what}, and CI is set: there it must not be missing"
        pytest.skip(what)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """The first true answer of `condition`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A port below those that the kernel gives to clients, so that none of them takes it meanwhile."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def environment(directory: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        # gunicorn puts a control socket into one of these.
        "HOME": str(directory),
        "XDG_RUNTIME_DIR": str(directory),
        "PYTHONPATH": os.pathsep.join([str(directory), str(APPS)]),
        # Python 3.12 and later warn of a fork beside threads. `stop` looks for it.
        "PYTHONWARNINGS": "always:This process:DeprecationWarning",
        "PYTHONUNBUFFERED": "1",
        "OWED_DIRECTORY": str(directory),
        **more,
    }


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


class Server:
    """One server process with its children. A context manager."""

    def __init__(self, directory: Path, command: list[str], port: int | None = None, **more: str) -> None:
        self.directory = directory
        self.port = port
        self.answered: set[str] = set()
        self.failures: list[str] = []
        self._command = command
        self._environment = environment(directory, **more)
        self._next = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Server:
        with open(self.directory / "stderr", "wb") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
                start_new_session=True,
            )
        try:
            if self.port is not None:
                wait_until(self._is_ready, f"{self._command[:4]} does not answer on its port")
        except BaseException:
            self._show()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._show()
        self._kill()

    def _show(self) -> None:
        self._kill()
        print(f"--- what the server said ---\n{self.said()[-6000:]}\n--- end ---")
        print(f"unanswered: {self.failures[:5]}")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return (self.directory / "stderr").read_text(errors="replace")

    def ask(self, path: str, timeout_s: float = 20.0) -> str:
        """One request. OSError or HTTPException if there is no whole answer."""
        assert self.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read().decode()
            if answer.status != 200:
                raise http.client.HTTPException(f"{answer.status}: {body[:200]}")
            return body
        finally:
            connection.close()

    def _request(self) -> None:
        with self._lock:
            self._next += 1
            number = str(self._next)
        try:
            assert self.ask(f"/?request={number}") == f"logged {number}"
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{number}: {error!r}")
            time.sleep(0.05)
        else:
            self.answered.add(number)

    def drive(self, requests: int, at: dict[int, Callable[[], Any]] | None = None, threads: int = 4) -> None:
        """At least so many requests by some threads, and on until all actions of `at` are done.

        An action is started when so many requests are over.
        """
        before = self._done()
        enough = threading.Event()

        def client() -> None:
            while not (enough.is_set() and self._done() - before >= requests):
                self._request()

        clients = [threading.Thread(target=client, daemon=True) for _ in range(threads)]
        for thread in clients:
            thread.start()
        try:
            for count, action in sorted((at or {}).items()):
                wait_until(lambda n=count: self._done() - before >= n, f"{count} requests")  # type: ignore[misc]
                action()
        finally:
            enough.set()
        for thread in clients:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "the requests hang"

    def _done(self) -> int:
        return len(self.answered) + len(self.failures)

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM, warns: bool = False, fails: bool = True) -> None:
        """Ends the server in its own way, and looks at what it said.

        `warns`: it forks beside threads of its own. `fails`: a failed log call is a failed test.
        """
        self.send(number)
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server does not end at signal {number}") from None
        said = self.said()
        assert not fails or "--- Logging error ---" not in said, "a log call failed"
        assert warns or FORK_WARNING not in said, "Python warned of threads at a fork"

    def accepted(self) -> set[str]:
        """Requests that were answered, and those that said otherwise that their lines were accepted."""
        note = self.directory / "accepted"
        return self.answered | set(note.read_text().split() if note.exists() else [])

    def check(self, log: Path, max_bytes: int | None = MAX_BYTES) -> ledger.Ledger:
        return ledger.check(log, self.accepted(), max_bytes)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


@contextlib.contextmanager
def other_tree(directory: Path, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of no relation that does something meanwhile; it must end well."""
    process = subprocess.Popen(
        python("-c", script, *arguments),
        env=environment(directory),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
        _, said = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, said
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
