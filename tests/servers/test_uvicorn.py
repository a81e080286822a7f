"""uvicorn's workers, bare and with FastAPI: spawned, ended without any exit hook, killed, replaced."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pages
import pytest
from harness import MAX_BYTES, Server, children, free_port, python, wait_until

WORKERS = 3
CHANGES = {'"maxBytes": 10000000': f'"maxBytes": {MAX_BYTES}', '"backupCount": 10': '"backupCount": 2000'}
APPLICATIONS = [("servers/uvicorn.md", "asgi:app"), ("servers/fastapi.md", "fastapi_app:app")]


def uvicorn(directory: Path, log: Path, page: str, application: str) -> Server:
    pages.write(directory, page, "log.json", {"/var/log/app/app.log": str(log), **CHANGES})
    port = free_port()
    command = python("-m", "uvicorn", application, "--workers", str(WORKERS), "--port", str(port))
    return Server(directory, [*command, "--log-config", "log.json"], port)


def workers_of(supervisor: int) -> list[int]:
    """Without the resource tracker of multiprocessing."""

    def is_worker(pid: int) -> bool:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()

    return [pid for pid in children(supervisor) if is_worker(pid)]


@pytest.mark.parametrize(("page", "application"), APPLICATIONS, ids=["uvicorn", "fastapi"])
def test_workers(tmp_path: Path, log: Path, page: str, application: str) -> None:
    with uvicorn(tmp_path, log, page, application) as server:
        server.drive(300)
        for number in range(40):
            if "fastapi" in page:
                assert server.ask(f"/loop?request=loop-{number}") == f"logged loop-{number}"
                server.answered.add(f"loop-{number}")
        assert not server.failures
        server.stop()
    ledger = server.check(log)
    assert ledger.archives >= 12 and len(ledger.processes()) >= 2
    assert ledger.said("Application startup complete") and ledger.said("GET /?request=")
    # Each worker said its last word, and no exit hook of Python's runs in it.
    assert ledger.said("Finished server process")


def test_workers_replaced_by_hup_and_after_a_kill(tmp_path: Path, log: Path) -> None:
    with uvicorn(tmp_path, log, *APPLICATIONS[0]) as server:
        first = set(workers_of(server.pid))

        def reload() -> None:
            server.send(signal.SIGHUP)
            wait_until(lambda: not first & set(children(server.pid)), "the first workers to end")

        def kill() -> None:
            victim = workers_of(server.pid)[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: victim not in children(server.pid), "the killed worker to be replaced")

        server.drive(300, {100: kill, 150: reload, 200: kill})
        server.stop()
    ledger = server.check(log)
    assert ledger.processes() - first and ledger.archives >= 12
