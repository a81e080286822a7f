"""Children by fork, spawn and forkserver, in pools and alone: docs/servers/multiprocessing.md as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ledger
import pages
import pytest
from harness import FORK_WARNING, MAX_BYTES, ROTATION, WAIT_S, environment, python

PAGE = "servers/multiprocessing.md"
MAIN = 'if __name__ == "__main__":\n'


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_page(tmp_path: Path, log: Path, method: str) -> None:
    pages.write(tmp_path, PAGE, "logs.py", {"/var/log/app/app.log": str(log), **ROTATION})
    chosen = {MAIN: f"{MAIN}    multiprocessing.set_start_method({method!r})\n"}
    pages.write(tmp_path, PAGE, "main.py", chosen)
    done = subprocess.run(
        python("main.py"),
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0 and FORK_WARNING not in done.stderr, done.stderr
    assert "Error" not in done.stderr, done.stderr
    found = ledger.check(log, map(str, range(208)), MAX_BYTES)
    # Two pools of four, and eight children alone.
    assert len(found.processes()) >= 10 and found.archives >= 5
