"""The command, as the package brings it: for logrotate and people at a shell, without a Rust tool chain."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, contents, record

SCRIPT = Path(sys.executable).with_name("everyline")


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "everyline", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **options)


def test_pipe_writes_and_rotates(log: Path) -> None:
    lines = "".join(f"line {n}\n" for n in range(100))
    done = command("pipe", "--max-bytes", 400, "--keep", 9, log, input=lines + "the last, unfinished")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = contents(log)
    assert "".join(found.values()) == lines + "the last, unfinished\n" and len(found) > 2


def test_status_reopen_recover_and_clean(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=1000, backupCount=3)
    handler.setFormatter(FORMAT)
    handler.emit(record("one"))
    table, data = command("status", log), command("status", "--json", log)
    assert table.returncode == 0 and "SLOT" in table.stdout
    assert json.loads(data.stdout)["processes"][0]["records"] == 1
    log.rename(log.with_name("app.log.1"))
    assert command("reopen", log).returncode == 0
    handler.emit(record("two"))
    assert contents(log) == {"app.log.1": "one\n", "app.log": "two\n"}
    assert command("clean", log).returncode == 1
    handler.close()
    assert command("recover", log).returncode == 0
    done = command("clean", log)
    assert done.returncode == 0 and command("status", log).returncode == 3


def test_errors_and_help_are_the_programs(tmp_path: Path) -> None:
    refused = command("pipe", "--max-bytes", "many", tmp_path / "app.log", input="")
    assert refused.returncode == 2 and "--max-bytes" in refused.stderr and not refused.stdout
    missing = command("pipe", tmp_path / "missing" / "app.log", input="line\n")
    assert missing.returncode == 2 and "missing" in missing.stderr
    text = command("--help")
    assert text.returncode == 0 and "Exit codes:" in text.stdout
    assert command("--version").stdout == f"everyline {everyline.__version__}\n"
    # A reader that goes away is no error.
    script = f"{sys.executable} -m everyline --help | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_signals_are_the_commands_not_pythons(log: Path) -> None:
    words = [sys.executable, "-m", "everyline", "pipe", str(log)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stderr is not None
        child.stdin.write(b"whole\nbegun")
        child.stdin.flush()
        while not log.exists() or log.read_bytes() != b"whole\n":
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        child.stdin.write(b" and ended\n")
        child.stdin.flush()
        assert child.wait(60) == 0 and child.stderr.read() == b""
    assert log.read_text() == "whole\nbegun and ended\n"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is not installed in this environment")
def test_the_package_installs_it_under_its_name(log: Path) -> None:
    done = subprocess.run([SCRIPT, "pipe", log], input=b"line\n", capture_output=True, timeout=60)
    assert (done.returncode, done.stderr, log.read_bytes()) == (0, b"", b"line\n")
