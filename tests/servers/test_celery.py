"""Celery's prefork pool over a broker of files, with the configuration of docs/servers/celery.md."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pages
from harness import FORK_WARNING, ROTATION, WAIT_S, Server, children, environment, python, wait_until

# A task answers when its lines were accepted. One that kills its process says so in a file.
TASKS = """

@app.task
def answer(request):
    import owed

    owed.log(request)


@app.task
def die(request):
    import os
    import signal

    import owed

    owed.log(request)
    owed.accept(request, os.environ["OWED_DIRECTORY"])
    os.kill(os.getpid(), signal.SIGKILL)
"""
BROKER = """
app.conf.broker_transport_options = {{
    "data_folder_in": "{0}/queue", "data_folder_out": "{0}/queue", "control_folder": "{0}/control"
}}
app.conf.result_backend = "file://{0}/results"
app.conf.worker_lost_wait = 1
"""


class Worker(Server):
    def __init__(self, directory: Path, log: Path, *options: str) -> None:
        for name in ("queue", "control", "results"):
            (directory / name).mkdir()
        changes = {"/var/log/app/app.log": str(log), **ROTATION, "redis://localhost": "filesystem://"}
        pages.write(directory, "servers/celery.md", "tasks.py", changes, BROKER.format(directory) + TASKS)
        command = ["-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "3", *options]
        root = {"C_FORCE_ROOT": "1"}
        super().__init__(directory, python("-m", "celery", *command), **root)
        self._sent = 0

    def __enter__(self) -> Worker:
        super().__enter__()
        return self

    def do(self, count: int, task: str = "tasks.answer") -> list[str]:
        """Those that were done. Nothing of a task that kills its process is ever done."""
        script = Path(__file__).parent / "apps" / "celery_client.py"
        done = subprocess.run(
            python(str(script), str(self._sent), str(count), task),
            env=environment(self.directory),
            cwd=self.directory,
            stdout=subprocess.PIPE,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
        self._sent += count
        numbers: list[str] = json.loads(done.stdout)
        self.answered |= set(numbers)
        return numbers


def test_a_pool(tmp_path: Path, log: Path) -> None:
    with Worker(tmp_path, log) as worker:
        assert len(worker.do(120)) == 120
        worker.stop()
    ledger = worker.check(log)
    assert ledger.archives >= 5 and len(ledger.processes()) == 3
    # Celery has Python's warnings in the log.
    assert not ledger.said(FORK_WARNING)
    # The main process and the pool write to the same log.
    assert ledger.said("ready.") and ledger.said("succeeded in")


def test_children_that_end_after_some_tasks(tmp_path: Path, log: Path) -> None:
    with Worker(tmp_path, log, "--max-tasks-per-child", "10") as worker:
        assert len(worker.do(120)) == 120
        # A thread of Celery's forks the new ones.
        worker.stop(warns=True)
    assert len(worker.check(log).processes()) >= 9


def test_children_that_are_killed(tmp_path: Path, log: Path) -> None:
    with Worker(tmp_path, log) as worker:
        assert len(worker.do(30)) == 30
        first = set(children(worker.pid))
        assert worker.do(3, "tasks.die") == []
        wait_until(lambda: len(set(children(worker.pid)) - first) >= 3, "the killed to be replaced")
        assert len(worker.do(60)) == 60
        worker.stop(warns=True)
    ledger = worker.check(log)
    assert {"30", "31", "32"} <= {request for request, _ in ledger.copies}
