"""uWSGI, which forks in C: no hook of Python's runs. With the configuration of docs/servers/uwsgi.md."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pages
import pytest
from harness import ROTATION, Server, children, free_port, need, wait_until

APPLICATION = """

from wsgi import application  # noqa
"""


def uwsgi(directory: Path, log: Path, *options: str) -> Server:
    beside = Path(sys.executable).with_name("uwsgi")
    found = str(beside) if beside.exists() else shutil.which("uwsgi")
    need(found, "uWSGI is not installed: it could not be built (requirements/uwsgi.txt)")
    changes = {"/var/log/app/app.log": str(log), **ROTATION}
    pages.write(directory, "servers/uwsgi.md", "app.py", changes, APPLICATION)
    pages.write(directory, "servers/uwsgi.md", "uwsgi.ini", {"processes = 4": "processes = 3"})
    port = free_port()
    command = [str(found), "--ini", "uwsgi.ini", "--http-socket", f"127.0.0.1:{port}"]
    return Server(directory, [*command, "--virtualenv", sys.prefix, *options], port)


def workers_of(server: Server) -> set[int]:
    """When each of them has answered a request.

    A worker that gets a signal of its master's right after its fork misses it, and uWSGI waits for it for
    a minute. That is so with every handler.
    """

    def answer() -> bool:
        server.drive(6)
        answering = {int(pid) for pid in re.findall(r"\[pid: (\d+)\|", server.said())}
        return len(children(server.pid)) == 3 and answering >= set(children(server.pid))

    wait_until(answer, "each worker to answer")
    return set(children(server.pid))


def is_quiet(server: Server) -> bool:
    """Whether no worker came or went for longer than uWSGI waits between two of them."""
    before = set(children(server.pid))
    time.sleep(3)
    return len(before) == 3 and before == set(children(server.pid))


WAYS = {
    "prefork": (),
    "lazy": ("--lazy-apps",),
    "threads": ("--enable-threads", "--threads", "3"),
    "hooks": ("--py-call-uwsgi-fork-hooks", "--enable-threads"),
}


@pytest.mark.parametrize("way", WAYS)
def test_reload(tmp_path: Path, log: Path, way: str) -> None:
    with uwsgi(tmp_path, log, *WAYS[way]) as server:
        first = workers_of(server)

        def reload() -> None:
            # The master starts anew in its own process, by exec.
            server.send(signal.SIGHUP)
            wait_until(lambda: not first & set(children(server.pid)), "the old workers to end")

        server.drive(260, {100: reload})
        assert len(server.answered) >= 0.9 * 260
        workers_of(server)
        server.stop(warns=way == "hooks")
    ledger = server.check(log)
    assert ledger.archives >= 8
    assert ledger.processes() & first and ledger.processes() - first


def test_workers_that_end_after_some_requests(tmp_path: Path, log: Path) -> None:
    with uwsgi(tmp_path, log, "--max-requests", "20", "--min-worker-lifetime", "0") as server:
        server.drive(200)
        assert len(server.answered) >= 190
        wait_until(lambda: is_quiet(server), "the last workers to be there")
        server.stop()
    assert len(server.check(log).processes()) >= 4


def test_workers_killed(tmp_path: Path, log: Path) -> None:
    with uwsgi(tmp_path, log, "--harakiri", "2") as server:
        for number in range(2):
            with pytest.raises((OSError, http.client.HTTPException)):
                server.ask(f"/hang?request=hang-{number}")
            server.drive(30)
        at = {n: lambda: os.kill(children(server.pid)[0], signal.SIGKILL) for n in (40, 80, 120)}
        server.drive(160, at)
        workers_of(server)
        server.stop()
    ledger = server.check(log)
    assert {"hang-0", "hang-1"} <= {request for request, _ in ledger.copies}
    assert "HARAKIRI" in server.said()
