"""Logging at the worst moment, in three processes at once on one log that rotates."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ledger
import pages
from harness import MAX_BYTES, ROTATION, WAIT_S, environment, python, wait_until

ROUNDS = 150
NAMES = ["a", "b", "c"]


def run(tmp_path: Path, log: Path, what: str) -> list[str]:
    """What the processes noted in the end."""
    changes = {"/var/log/app/app.log": str(log), **ROTATION}
    pages.write(tmp_path, "servers/multiprocessing.md", "logs.py", changes)
    script = str(Path(__file__).parent / "apps" / "pitfalls.py")
    processes = [
        subprocess.Popen(
            python(script, what, name), env=environment(tmp_path), stderr=subprocess.PIPE, text=True
        )
        for name in NAMES
    ]
    for process in processes:
        try:
            _, said = process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            for other in processes:
                other.kill()
            raise AssertionError(f"{what}: hangs") from None
        assert process.returncode == 0 and not said, said
    note = tmp_path / "accepted"
    return note.read_text().split() if note.exists() else []


def counts(notes: list[str]) -> dict[str, int]:
    """From `name:count`, the last one of each name."""
    return {name: int(count) for name, _, count in (note.partition(":") for note in notes)}


def requests(rounds: int) -> set[str]:
    return {f"{name}-{number}" for name in NAMES for number in range(rounds)}


def test_descriptors_closed_by_a_daemonizer(tmp_path: Path, log: Path) -> None:
    run(tmp_path, log, "daemonizer")
    note = tmp_path / "accepted"
    wait_until(lambda: note.exists() and len(note.read_text().split()) == 3, "the daemons to be done")
    wait_until(lambda: not list(tmp_path.glob(".*everyline")), "the daemons to leave the log")
    daemons = {f"{name}-daemon-{number}" for name in NAMES for number in range(ROUNDS)}
    found = ledger.check(log, requests(ROUNDS // 2) | daemons, MAX_BYTES)
    assert found.archives >= 10
    # Nothing went to a descriptor that was ours once.
    held = list(tmp_path.glob("*-held-*"))
    assert len(held) == 180 and all(path.stat().st_size == 0 for path in held)


def test_a_signal_handler_that_logs(tmp_path: Path, log: Path) -> None:
    signals = counts(run(tmp_path, log, "signals"))
    found = ledger.check(log, requests(ROUNDS * 4), MAX_BYTES)
    for name in NAMES:
        count = signals[f"{name}-signals"]
        assert count >= 50
        lost = [n for n in range(count) if found.copies[f"{name}-signal-{n}", 0] != 1]
        assert not lost, f"{name}: of {count} lines of the signal handler {len(lost)} are lost"


def test_del_that_logs(tmp_path: Path, log: Path) -> None:
    deleted = counts(run(tmp_path, log, "deletions"))
    found = ledger.check(log, requests(ROUNDS * 2), MAX_BYTES)
    for name in NAMES:
        # One for each round, and one when the interpreter ends.
        assert deleted[f"{name}-del-deleted"] == ROUNDS * 2
        assert all(found.copies[f"{name}-del-{n}", 0] == 1 for n in range(ROUNDS * 2 + 1))


def test_repr_that_logs_while_it_is_formatted(tmp_path: Path, log: Path) -> None:
    noise = counts(run(tmp_path, log, "representations"))
    found = ledger.check(log, requests(ROUNDS * 2), MAX_BYTES)
    assert sorted(noise.values()) == [ROUNDS * 2 * 4] * 3
    inner = sum(copies for (request, _), copies in found.copies.items() if request.startswith("noise-"))
    assert inner == 3 * ROUNDS * 2 * 4
