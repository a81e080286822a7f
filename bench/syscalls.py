"""Counts the system calls of a log record with strace: Python's handler, concurrent-log-handler's, and ours.

    python bench/syscalls.py [--readme bench/README.md]

Each figure is the difference of two runs of the same program, one with 1,000 records more than the other,
divided by 1,000: start and end of the interpreter fall out. `-f` follows threads, so nothing is hidden in
one. Needs strace, and the packages of requirements/demo.txt for the rival.
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECORDS = 1000
RECORD_BYTES = 120
IDLE_S = 5
# In deferred mode the background thread looks around three times after the last record, for 5.25 s in all.
SETTLED_S = 7.0
# With 120 bytes a record this is a rotation in about 166 records.
SMALL = 20_000
LARGE = 1_000_000_000
HANDLERS: dict[str, tuple[str, dict[str, str]]] = {
    "Python, by size": ("logging.handlers.RotatingFileHandler", {}),
    "Python, by time": ("logging.handlers.TimedRotatingFileHandler", {"when": "D"}),
    "concurrent-log-handler, by size": ("concurrent_log_handler.ConcurrentRotatingFileHandler", {}),
    "concurrent-log-handler, by time": (
        "concurrent_log_handler.ConcurrentTimedRotatingFileHandler",
        {"when": "D"},
    ),
    "everyline, by size": ("everyline.RotatingFileHandler", {}),
    "everyline, by time": ("everyline.TimedRotatingFileHandler", {"when": "D"}),
    "everyline, by size, deferred": ("everyline.RotatingFileHandler", {"commit": "deferred"}),
}
SCRIPT = """
import importlib, json, logging, logging.handlers, sys

path, count, log, options = sys.argv[1:5]
module, _, name = path.rpartition(".")
handler = getattr(importlib.import_module(module), name)(
    log, backupCount=50, **json.loads(options)
)
handler.setFormatter(logging.Formatter("%(message)s"))
logger = logging.getLogger("counted")
logger.setLevel("INFO")
logger.propagate = False
logger.addHandler(handler)
for _ in range(200 + int(count)):
    logger.info("x" * {bytes})
if len(sys.argv) > 5:
    handler.flush()
    print("idle", flush=True)
    sys.stdin.read()
""".replace("{bytes}", str(RECORD_BYTES - 1))

Counts = collections.Counter


def by_size(row: str) -> bool:
    return "when" not in HANDLERS[row][1]


def command(row: str, max_bytes: int, count: int, log: Path) -> list[str]:
    handler, options = HANDLERS[row]
    more = {"maxBytes": max_bytes} if by_size(row) else {}
    return [sys.executable, "-c", SCRIPT, handler, str(count), str(log), json.dumps({**options, **more})]


def trace(arguments: list[str], directory: Path) -> Counts[str]:
    """All system calls of a program and its threads, by name."""
    out = directory / "strace"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", str(out), *arguments], check=True, capture_output=True, timeout=120
    )
    return calls(out)


def calls(out: Path) -> Counts[str]:
    counts: Counts[str] = collections.Counter()
    for line in out.read_text(errors="replace").splitlines():
        found = re.match(r"\d+ +(\w+)\(", line)
        # A call that was interrupted by another thread's has a second line, which is not counted.
        if found:
            counts[found[1]] += 1
    return counts


def of_a_record(row: str, max_bytes: int) -> dict[str, float]:
    """Calls by name, of one record."""
    found = []
    for count in (0, RECORDS):
        with tempfile.TemporaryDirectory() as name:
            log = Path(name) / "app.log"
            found.append(trace(command(row, max_bytes, count, log), Path(name)))
            archives = len(list(Path(name).glob("app.log.*")))
    assert (archives > 5) == (max_bytes == SMALL), f"{row}: {archives} archives"
    few, many = found
    names = {**few, **many}
    return {name: (many[name] - few[name]) / RECORDS for name in names if many[name] != few[name]}


def idle(row: str, seconds: float = IDLE_S, settled_s: float = SETTLED_S) -> Counts[str]:
    """Calls of a process that does nothing, with all its threads, from `settled_s` after its last record."""
    with tempfile.TemporaryDirectory() as name:
        arguments = [*command(row, LARGE, 0, Path(name) / "app.log"), "then-wait"]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"idle\n"
            # What is still to be settled in the background has time to be.
            time.sleep(settled_s)
            out = Path(name) / "strace"
            tracer = subprocess.Popen(
                ["strace", "-f", "-o", str(out), "-p", str(process.pid)], stderr=subprocess.PIPE
            )
            assert tracer.stderr is not None and b"attached" in tracer.stderr.readline()
            time.sleep(seconds)
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=20)
            lines = out.read_text().splitlines()
        finally:
            process.stdin.close()
            process.wait(20)
            process.stdout.close()
    # The calls in which its threads sleep are shown at the beginning, and have no end.
    resting = re.compile(
        r"\d+ +(?:restart_syscall\(.*|\w+\(.*)<(?:unfinished|detached) ?\.*>$"
        r"|.* <detached \.\.\.>$"
    )
    counts: Counts[str] = collections.Counter()
    for line in lines:
        if not resting.match(line):
            counts[(re.match(r"\d+ +(?:<\.\.\. )?(\w+)", line) or ["", line])[1]] += 1
    return counts


def table(rows: list[str]) -> str:
    lines = [
        "| | no rotation | of which | rotation in 166 records | idle, calls in 5 s |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for row in rows:
        plain, resting = of_a_record(row, LARGE), idle(row)
        turning = f"{sum(of_a_record(row, SMALL).values()):.2f}" if by_size(row) else ""
        parts = sorted(plain.items(), key=lambda item: -item[1])
        which = ", ".join(f"{name} {count:.2f}" for name, count in parts if abs(count) >= 0.005)
        lines.append(f"| {row} | {sum(plain.values()):.2f} | {which} | {turning} | {sum(resting.values())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--readme", type=Path, help="put the table between its marks in this file")
    given = parser.parse_args()
    rival = importlib.metadata.version("concurrent-log-handler")
    text = (
        f"{time.strftime('%Y-%m-%d')}, Linux {os.uname().release}, Python {platform.python_version()}, "
        f"concurrent-log-handler {rival}; records of {RECORD_BYTES} bytes, one process.\n\n"
        + table(list(HANDLERS))
    )
    print(text)
    if given.readme:
        begin, end = "<!-- system calls: begin -->\n", "<!-- system calls: end -->"
        before, _, rest = given.readme.read_text().partition(begin)
        given.readme.write_text(before + begin + text + "\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
