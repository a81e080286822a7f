"""gunicorn with the configuration of docs/servers/gunicorn.md: each signal, and each way a worker ends."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import everyline
import pages
import pytest
from harness import ROTATION, Server, children, free_port, is_alive, need, python, wait_until
from oracle import files

PAGE = "servers/gunicorn.md"
WORKERS = 3
# Where Python's own files are root's alone, all must be loaded before the workers change their user.
EARLY = "import hashlib, random, tempfile, traceback\n"


def gunicorn(
    directory: Path,
    log: Path,
    settings: dict[str, Any] | None = None,
    handler: dict[str, str] | None = None,
    more: str = "",
) -> Server:
    """With the page's configuration.

    `settings` are further ones of gunicorn's, `handler` is changed in the handler's, `more` is further code.
    """
    rotation = {**ROTATION, **(handler or {})}
    changes = {"/var/log/app/app.log": str(log), "workers = 4": f"workers = {WORKERS}", **rotation}
    port = free_port()
    added = {
        "bind": f"127.0.0.1:{port}",
        "worker_tmp_dir": str(directory),
        # Its thread is gunicorn's own reason for Python's warning of a fork beside threads.
        "control_socket_disable": True,
        **(settings or {}),
    }
    text = "".join(f"{name} = {value!r}\n" for name, value in added.items())
    pages.write(directory, PAGE, "gunicorn.conf.py", changes, text + more)
    return Server(directory, python("-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:application"), port)


def workers_of(master: int) -> set[int]:
    wait_until(lambda: len(children(master)) >= WORKERS, "the workers")
    return set(children(master))


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_reload_and_reopen(tmp_path: Path, log: Path, kind: str, preload: bool) -> None:
    settings = {"worker_class": kind, "threads": 3 if kind == "gthread" else 1, "preload_app": preload}
    with gunicorn(tmp_path, log, settings) as server:
        workers = workers_of(server.pid)

        def reload() -> None:
            server.send(signal.SIGHUP)
            wait_until(lambda: not workers & set(children(server.pid)), "old workers to end after HUP")

        at = {
            60: lambda: server.send(signal.SIGUSR1),
            90: reload,
            150: lambda: server.send(signal.SIGUSR1),
            180: lambda: server.send(signal.SIGTTIN),
            210: lambda: server.send(signal.SIGTTOU),
        }
        server.drive(260, at)
        # A request may meet a worker that is about to end.
        assert len(server.answered) >= 0.9 * 260
        server.stop()
    ledger = server.check(log)
    assert ledger.archives >= 8
    assert ledger.processes() & workers and ledger.processes() - workers
    assert ledger.said("Starting gunicorn") and ledger.said("Handling signal: hup")
    assert ledger.said("Shutting down")


def test_two_trees_after_usr2(tmp_path: Path, log: Path) -> None:
    pidfile = tmp_path / "pid"
    with gunicorn(tmp_path, log, {"pidfile": str(pidfile)}) as server:
        new: list[int] = []

        def upgrade() -> None:
            server.send(signal.SIGUSR2)
            path = tmp_path / "pid.2"
            new.append(int(wait_until(lambda: path.exists() and path.read_text(), "the new master")))
            workers_of(new[0])

        old_workers = workers_of(server.pid)
        server.drive(300, {50: upgrade, 250: server.stop})
        new_workers = set(children(new[0]))
        # The new master is nobody's child now.
        server.drive(100, {50: lambda: os.kill(new[0], signal.SIGHUP)})
        os.kill(new[0], signal.SIGTERM)
        wait_until(lambda: not is_alive(new[0]), "the new master to end")
        assert len(server.answered) >= 380
    ledger = server.check(log)
    assert ledger.archives >= 10
    assert ledger.processes() & new_workers and ledger.processes() & old_workers
    assert "everyline" not in " ".join(os.listdir(tmp_path)), "both trees left, the journal did not"


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_max_requests(tmp_path: Path, log: Path, kind: str) -> None:
    settings = {"worker_class": kind, "threads": 2, "max_requests": 15, "max_requests_jitter": 5}
    with gunicorn(tmp_path, log, settings) as server:
        server.drive(200)
        server.stop()
        assert len(server.answered) >= 180
    ledger = server.check(log)
    assert len(ledger.processes()) >= 8 and ledger.archives >= 8


@pytest.mark.parametrize("path", ["/hang", "/hang-deaf"])
def test_a_worker_killed_by_its_timeout(tmp_path: Path, log: Path, path: str) -> None:
    with gunicorn(tmp_path, log, {"timeout": 2, "graceful_timeout": 2}) as server:
        server.drive(60)
        for number in range(2):
            with pytest.raises((OSError, http.client.HTTPException)):
                server.ask(f"{path}?request=hang-{number}")
            server.drive(30)
        server.stop()
    ledger = server.check(log)
    assert {"hang-0", "hang-1"} <= {request for request, _ in ledger.copies}
    assert ledger.said("WORKER TIMEOUT")
    assert ledger.said("SIGKILL") or path == "/hang"


def test_workers_killed(tmp_path: Path, log: Path) -> None:
    with gunicorn(tmp_path, log) as server:
        at = {n: lambda: os.kill(children(server.pid)[0], signal.SIGKILL) for n in range(30, 200, 30)}
        server.drive(240, at)
        server.stop()
        assert len(server.answered) >= 200
    server.check(log)


def reload_twice(server: Server) -> None:
    server.drive(300, {100: lambda: server.send(signal.SIGHUP), 200: lambda: server.send(signal.SIGHUP)})
    server.stop()
    assert len(server.answered) >= 0.9 * 300


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_deferred(tmp_path: Path, log: Path, kind: str) -> None:
    # Its background thread must be gone at each fork, or Python 3.12 and later warn.
    deferred = {'"backupCount": 10': '"backupCount": 2000, "commit": "deferred"'}
    with gunicorn(tmp_path, log, {"worker_class": kind, "max_requests": 30}, deferred) as server:
        reload_twice(server)
    with contextlib.suppress(everyline.Error):
        # The next process to attach would do it. The error says that nobody left anything.
        everyline.recover(log)
    assert server.check(log).archives >= 8


def test_rotation_by_time(tmp_path: Path, log: Path) -> None:
    timed = {
        "everyline.RotatingFileHandler": "everyline.TimedRotatingFileHandler",
        '"maxBytes": 10_000_000': '"when": "S"',
    }
    with gunicorn(tmp_path, log, {}, timed) as server:
        # Requests go on until the actions are over.
        server.drive(300, {n: lambda: time.sleep(1) for n in (50, 100, 150)})
        reload_twice(server)
    ledger = server.check(log, None)
    assert ledger.archives >= 3
    for path in files(log)[:-1]:
        # An archive has the name of the second that it begins with. A later line is in the wrong file.
        last = path.name.split(".")[2].replace("_", " ")
        for line in path.read_text().splitlines():
            day, _, clock = line.split(",")[0].partition(" ")
            assert f"{day} {clock.replace(':', '-')}" <= last, f"{path.name}: {line}"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users may reach, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory(prefix="everyline-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_workers_of_another_user(open_directory: Path) -> None:
    need(os.geteuid() == 0, "only root can give its workers another user")
    logs = open_directory / "logs"
    logs.mkdir()
    os.chown(logs, 65534, 65534)
    log = logs / "app.log"
    settings = {"user": 65534, "group": 65534, "preload_app": True}
    with gunicorn(open_directory, log, settings, more=EARLY) as server:
        server.drive(200, {100: lambda: server.send(signal.SIGUSR1)})
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in children(server.pid)}
        assert owners == {65534}, "the workers did not change their user"
        assert not everyline.status(log)["last_error"]
        server.stop()
        assert len(server.answered) >= 190
    ledger = server.check(log)
    assert ledger.archives >= 8
    assert "degraded" not in server.said() and "no journal" not in server.said()


def test_workers_of_another_user_in_a_directory_of_root(open_directory: Path) -> None:
    # They can write to the log and not rename it, so it grows, and nothing is lost.
    need(os.geteuid() == 0, "only root can give its workers another user")
    logs = open_directory / "logs"
    logs.mkdir()
    log = logs / "app.log"
    settings = {"user": 65534, "group": 65534, "preload_app": True}
    with gunicorn(open_directory, log, settings, more=EARLY) as server:
        server.drive(200)
        status = everyline.status(log)
        assert status["rotations_failed"] >= 1 and status["last_error"] == (errno.EACCES, "rotate")
        server.stop()
        assert not server.failures
    assert server.check(log, None).processes()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 and later warn of a fork beside threads")
def test_a_warning_at_a_fork_would_be_seen(tmp_path: Path, log: Path) -> None:
    with gunicorn(tmp_path, log, {"control_socket_disable": False}) as server:
        server.drive(60, {30: lambda: server.send(signal.SIGHUP)})
        with pytest.raises(AssertionError, match="threads at a fork"):
            server.stop()


def test_the_count_fails_with_pythons_handler(tmp_path: Path, log: Path) -> None:
    # Otherwise all of the above would show nothing.
    old = {"everyline.RotatingFileHandler": "logging.handlers.RotatingFileHandler"}
    with gunicorn(tmp_path, log, {}, old) as server:
        server.drive(200)
        server.stop(fails=False)
    with pytest.raises(AssertionError, match="faults in"):
        server.check(log)
