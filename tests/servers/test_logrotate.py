"""Debian's logrotate on a log that four processes write, with the configurations of docs/logrotate.md."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import ledger
import pages
import pytest
from harness import WAIT_S, environment, need, python, wait_until

PAGE = "logrotate.md"
NAMES = ["a", "b", "c", "d"]
ROTATIONS = 12
# The promise is 100 ms of activity. More than that is only for a busy machine.
NOTICED_S = 1.0
POSTROTATE = "    postrotate\n        everyline reopen /var/log/app/app.log\n    endscript\n"


class Run:
    """Four processes log while logrotate rotates again and again."""

    def __init__(self, directory: Path, log: Path, name: str, changes: dict[str, str] | None = None) -> None:
        tool = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin")
        need(tool, "logrotate is not installed: apt-get install logrotate")
        command = os.environ.get("EVERYLINE_COMMAND", "")
        need(os.access(command, os.X_OK), "EVERYLINE_COMMAND names no command; make test-python builds it")
        self.directory, self.log = directory, log
        pages.write(directory, PAGE, "logs.py", {"/var/log/app/app.log": str(log)})
        text = pages.adapt(pages.block(PAGE, name), {"rotate 14": "rotate 100", **(changes or {})})
        text = text.replace("everyline reopen", f"{command} reopen").replace("/var/log/app/app.log", str(log))
        (directory / name).write_text(text)
        os.chmod(directory / name, 0o644)
        self.logrotate = [str(tool), "--force", "--state", str(directory / "state"), str(directory / name)]
        self.guarded = "reopen" in text or "delaycompress" in text or "copytruncate" in text
        self.creates = "    create\n" in text
        self.spans: list[tuple[float, float]] = []
        self.set_aside = False

    def rotate(self) -> None:
        before = time.time()
        done = subprocess.run(self.logrotate, capture_output=True, text=True, timeout=WAIT_S)
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if not self.guarded:
            # gzip's own word for it: "file size changed while zipping".
            said = [line for line in said if "ompress" not in line and "zipping" not in line]
        if self.creates:
            # It took logrotate longer than everyline waits for the new file. It puts everyline's aside.
            said = [line for line in said if "already exists, renaming to" not in line]
        assert done.returncode == 0 and not said, done.stderr
        for path in self.log.parent.glob(f"{self.log.name}-*.backup"):
            assert self.creates, f"{path.name} was made by nobody that was told to"
            self.set_aside = True
            # Within an hour logrotate would give the next one the same name.
            path.rename(path.with_name(f"aside-{len(self.spans)}"))
        self.spans.append((before, time.time()))

    def go(self) -> None:
        script = str(Path(__file__).parent / "apps" / "rotated.py")
        with contextlib.ExitStack() as stack:
            writers = [self._writer(stack, script, name) for name in NAMES]
            wait_until(lambda: self.log.exists() and self.log.stat().st_size > 50_000, "the writers to log")
            for _ in range(ROTATIONS):
                self.rotate()
                time.sleep(0.15)
            (self.directory / "stop").touch()
            for writer in writers:
                _, said = writer.communicate(timeout=WAIT_S)
                assert writer.returncode == 0 and not said, said

    def _writer(self, stack: contextlib.ExitStack, script: str, name: str) -> subprocess.Popen[str]:
        writer = subprocess.Popen(
            python(script, name), env=environment(self.directory), stderr=subprocess.PIPE, text=True
        )
        stack.callback(writer.wait)
        stack.callback(writer.kill)
        return writer

    def files(self) -> list[Path]:
        """Oldest first."""
        archives = {}
        for path in self.log.parent.iterdir():
            found = re.fullmatch(re.escape(self.log.name) + r"\.(\d+)(\.gz)?", path.name)
            if found:
                assert int(found[1]) not in archives, f"{path.name} is there twice"
                archives[int(found[1])] = path
        assert sorted(archives) == list(range(1, ROTATIONS + 1))
        found = []
        for number in range(ROTATIONS):
            aside = self.log.with_name(f"aside-{number}")
            found += [archives[ROTATIONS - number], *([aside] if aside.exists() else [])]
        return [*found, self.log]

    def times(self) -> dict[str, tuple[float, float]]:
        """For each line that was logged when its call began and when it returned."""
        lines = {}
        for name in NAMES:
            for number, span in enumerate(json.loads((self.directory / f"times-{name}").read_text())):
                lines[f"{name}-{number}"] = span
        return lines

    def count(self, cut: bool = False) -> ledger.Ledger:
        """`cut`: an archive may end within a line, and what is behind it be lost."""
        found = ledger.Ledger()
        for path in self.files():
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert b"\0" not in data, f"{path.name} has a hole"
            if cut and path != self.log:
                data = data[: data.rfind(b"\n") + 1]
            ledger.read_file(found, path.name, data, None)
        for numbers in found.numbers.values():
            # What was written to a file after it was deleted is copied to the new one, behind later lines.
            assert not self.guarded or numbers == sorted(numbers), "lines of a process are out of order"
        return found

    def lost(self, found: ledger.Ledger) -> list[str]:
        times = self.times()
        assert len(times) > 5000
        assert not found.faults, found.faults[:10]
        doubled = [key for key, copies in found.copies.items() if copies != 1]
        unknown = {request for request, _ in found.copies} - times.keys()
        # gzip may have read what was copied to the new file because the old one was deleted.
        assert not self.guarded or not doubled, doubled[:10]
        assert not unknown, sorted(unknown)[:10]
        return [request for request in times if (request, 0) not in found.copies]


@pytest.mark.parametrize("create", ["create", "nocreate"])
@pytest.mark.parametrize("name", ["delayed.conf", "at-once.conf"])
def test_nothing_is_lost(tmp_path: Path, log: Path, name: str, create: str) -> None:
    log.write_text("a line of before\n")
    os.chmod(log, 0o640)
    run = Run(tmp_path, log, name, {"    create\n": f"    {create}\n"})
    run.go()
    lost = run.lost(run.count())
    assert not lost, f"{len(lost)} lines lost: {lost[:10]}"
    if create == "nocreate" or not run.set_aside:
        assert {path.stat().st_mode & 0o777 for path in run.files()} == {0o640}
    assert any(path.suffix == ".gz" for path in run.files())


def test_without_the_postrotate_line_only_what_gzip_deletes_is_lost(tmp_path: Path, log: Path) -> None:
    run = Run(tmp_path, log, "at-once.conf", {POSTROTATE: ""})
    run.go()
    times = run.times()
    for request in run.lost(run.count()):
        begun, done = times[request]
        near = [1 for start, end in run.spans if start <= done and begun <= end + NOTICED_S]
        assert near, f"{request} was lost, and no rotation was near"


def test_copytruncate_loses_only_what_it_must(tmp_path: Path, log: Path) -> None:
    run = Run(tmp_path, log, "copytruncate.conf")
    run.go()
    times = run.times()
    lost = run.lost(run.count(cut=True))
    for request in lost:
        begun, done = times[request]
        # Between copy and truncation, both of which are within the run of logrotate.
        assert any(start <= done and begun <= end for start, end in run.spans), request
    assert len(lost) < len(times) / 2
