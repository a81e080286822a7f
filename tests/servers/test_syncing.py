"""Which file is synced, seen by strace: the one that the record is in, whatever it is called by then."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import need

SCRIPT = """
import logging, os, sys
import everyline
log, case = sys.argv[1:]
handler = everyline.RotatingFileHandler(log, fsync="always")
logger = logging.getLogger("s")
logger.addHandler(handler)
logger.warning("before")
if case == "moved":
    # Looked at now, so not again before the next record.
    everyline.reopen(log)
    os.rename(log, log + ".moved")
    open(log, "w").close()
elif case == "rotated":
    other = everyline.RotatingFileHandler(log, fsync="never", maxBytes=10, backupCount=3)
    handler.doRollover()
sys.stderr.write("now\\n")
logger.warning("accepted")
"""


def calls(tmp_path: Path, case: str) -> list[str]:
    """Sync calls of the last record, with what their descriptors lead to."""
    need(shutil.which("strace"), "strace is not installed: apt-get install strace")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync,syncfs,write"]
    command += [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "app.log"), case]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    text = trace.read_text()
    return [line for line in text[text.rindex('"now') :].splitlines() if "sync" in line]


@pytest.mark.parametrize("case", ["plain", "moved", "rotated"])
def test_the_record_is_in_what_is_synced(tmp_path: Path, case: str) -> None:
    made = calls(tmp_path, case)
    assert made, "always means always"
    if case == "plain":
        assert all("fdatasync" in call and "app.log>" in call for call in made), made
    if case == "moved":
        # It is in the file that was moved. No name leads to it, so all of the file system is synced.
        assert any("syncfs" in call for call in made), made
    if case == "rotated":
        # Rotated under settings that do not sync: the file that was cut may hold records of this process.
        assert any("syncfs" in call for call in made), made
