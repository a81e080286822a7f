"""The count: reads what is on disk after a run and says what became of every request.

lost        answered, but in no file
doubled     further copies of a line that stands somewhere already
torn        pieces that are not a whole line
wrong file  the line stands in an archive, but was written after that file had been rotated away (by the
            watcher's evidence), or, for rotation by time, was made after the period in the archive's name
"""

import calendar
import os
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Optional

from demo.line import Line, read
from demo.watch import LogFile, Watcher

# Both clocks are the same one; this covers its rounding.
STAMP_SLACK_SECONDS = 0.001
# A handler may judge by a coarse clock. This covers one tick of it, many times over.
PERIOD_SLACK_SECONDS = 0.050
PERIOD_NAME = re.compile(r"\.(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:\.\d+)?$")


@dataclass
class Result:
    requests: int
    answered: int
    monitor_saw: int = 0
    in_files: int = 0
    only_in_files: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    wrong_file: int = 0
    out_of_order: int = 0
    monitor_doubled: int = 0
    monitor_torn: int = 0
    rotations: int = 0
    files: int = 0
    files_destroyed: int = 0
    files_too_large: int = 0
    writes_after_rotation: int = 0
    handler_errors: int = 0
    watcher_incomplete: bool = False
    seconds: float = 0.0
    per_worker: dict[int, int] = field(default_factory=dict)
    lost_examples: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Everything that keeps this run from being perfect, in words."""
        words = [
            (self.requests - self.answered, "requests without an answer"),
            (self.answered - self.monitor_saw, "lines the monitor did not see"),
            (self.monitor_doubled, "lines the monitor saw twice"),
            (self.monitor_torn, "torn lines in the monitor"),
            (self.lost, "lost"),
            (self.doubled, "doubled"),
            (self.torn, "torn"),
            (self.wrong_file, "in the wrong file"),
            (self.out_of_order, "out of order within their process"),
            (self.writes_after_rotation, "writes to a file that had been rotated away"),
            (self.files_destroyed, "files deleted or renamed over"),
            (self.files_too_large, "files of maxBytes or more"),
            (self.handler_errors, "errors reported by the handler"),
            (int(self.rotations == 0), "run without a rotation, so it shows nothing"),
            (int(self.watcher_incomplete), "gap in the watcher's record, so its evidence is void"),
        ]
        return [f"{number:,} {what}" for number, what in words if number != 0]

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "faults": self.faults()}


def split(path: str) -> list[tuple[int, bytes]]:
    """All lines with their offsets. What stands behind the last newline is a (torn) line of its own."""
    with open(path, "rb") as file:
        data = file.read()
    lines, offset = [], 0
    for raw in data.split(b"\n"):
        lines.append((offset, raw))
        offset += len(raw) + 1
    return lines[:-1] if lines[-1][1] == b"" else lines


def period_end(name: str) -> Optional[float]:
    """The end of the second that an archive is named after, or None if its name holds no time."""
    found = PERIOD_NAME.search(name)
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%d_%H-%M-%S")) + 1.0 if found else None


def misfiled(line: Line, offset: int, file: LogFile, measured: bool, end: Optional[float]) -> bool:
    if file.rotated_at is not None and line.stamp > file.rotated_at + STAMP_SLACK_SECONDS:
        return True
    if measured and file.size_rotated is not None and offset >= file.size_rotated:
        return True
    return end is not None and line.stamp >= end + PERIOD_SLACK_SECONDS


def count(
    run: str,
    requests: int,
    answered: set[int],
    watcher: Watcher,
    monitor: str,
    timed: bool,
    max_bytes: Optional[int],
    stderr: str,
) -> Result:
    """Reads all files of the watched directory that carry the log's name, and the monitor's output."""
    result = Result(requests, len(answered))
    copies: Counter[int] = Counter()
    last_sequence: dict[int, int] = {}
    workers: Counter[int] = Counter()
    # In order of creation, which is the order in which a reader would read them.
    for name, file in sorted(watcher.names.items(), key=lambda item: item[1].serial):
        path = os.path.join(watcher.directory, name)
        result.files += 1
        found = os.stat(path)
        measured = found.st_ino == file.inode_rotated
        result.files_too_large += max_bytes is not None and found.st_size >= max_bytes
        end = period_end(name) if timed else None
        for offset, raw in split(path):
            line = read(raw)
            if line is None or line.run != run:
                result.torn += 1
                continue
            result.in_files += 1
            copies[line.request] += 1
            workers[line.pid] += 1
            result.wrong_file += misfiled(line, offset, file, measured, end)
            result.out_of_order += line.sequence < last_sequence.get(line.pid, 0)
            last_sequence[line.pid] = line.sequence
    lost = sorted(answered - copies.keys())
    result.lost, result.lost_examples = len(lost), lost[:20]
    result.doubled = sum(number - 1 for number in copies.values())
    result.per_worker = dict(workers)

    seen: Counter[int] = Counter()
    for _, raw in split(monitor):
        line = read(raw)
        if line is None or line.run != run:
            result.monitor_torn += 1
        else:
            seen[line.request] += 1
    result.monitor_saw = len(seen.keys() & answered)
    result.only_in_files = len((copies.keys() - seen.keys()) & answered)
    result.monitor_doubled = sum(number - 1 for number in seen.values())

    files = [*watcher.names.values(), *watcher.gone]
    result.rotations = watcher.rotations
    result.files_destroyed = len(watcher.gone)
    result.writes_after_rotation = sum(file.late_writes for file in files)
    on_disk = {name for name in os.listdir(watcher.directory) if name.startswith(watcher.live)}
    result.watcher_incomplete = watcher.overflowed or on_disk != watcher.names.keys()
    with open(stderr, errors="replace") as text:
        result.handler_errors = text.read().count("--- Logging error ---")
    return result
