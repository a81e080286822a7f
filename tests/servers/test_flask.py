"""Flask under gunicorn, the log configured in the application as docs/servers/flask.md has it."""

from __future__ import annotations

import signal
from pathlib import Path

import pages
import pytest
from harness import ROTATION, Server, free_port, python

ROUTE = """

@app.route("/")
def answer():
    import owed
    from flask import request

    owed.log(request.args["request"])
    return "logged " + request.args["request"]
"""


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_flask(tmp_path: Path, log: Path, preload: list[str]) -> None:
    pages.write(tmp_path, "servers/flask.md", "app.py", {"/var/log/app/app.log": str(log), **ROTATION}, ROUTE)
    port = free_port()
    bind = ["--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(tmp_path)]
    command = python("-m", "gunicorn", "--workers", "3", *bind, *preload, "app:app")
    with Server(tmp_path, command, port) as server:
        # gunicorn's own control socket brings a thread, which Python warns of when HUP forks.
        server.drive(250, {100: lambda: server.send(signal.SIGHUP)})
        assert len(server.answered) >= 225
        server.stop(warns=True)
    ledger = server.check(log)
    assert ledger.archives >= 8


def test_the_server_of_flask(tmp_path: Path, log: Path) -> None:
    # With its reloader: a parent that watches and a child that serves.
    pages.write(tmp_path, "servers/flask.md", "app.py", {"/var/log/app/app.log": str(log), **ROTATION}, ROUTE)
    port = free_port()
    command = python("-m", "flask", "--app", "app", "run", "--reload", "--port", str(port))
    with Server(tmp_path, command, port) as server:
        server.drive(120)
        assert not server.failures
        server.stop()
    # Requests end in threads of their own, each with a few lines.
    assert server.check(log).archives >= 4
