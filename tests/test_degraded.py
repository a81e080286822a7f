"""Where a journal cannot be had, a handler writes whole records, does not rotate, and says so."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import everyline
import pytest
from oracle import FORMAT, contents, record, run

# Journals are not kept on file systems that are not known to be fit.
NOWHERE = "/sys"


def test_it_warns_and_writes(log: Path) -> None:
    with pytest.warns(RuntimeWarning, match=rf"app\.log: there is no journal.*{NOWHERE}") as seen:
        handler = everyline.RotatingFileHandler(log, maxBytes=10, backupCount=2, journal_dir=NOWHERE)
    assert seen[0].filename == __file__
    handler.setFormatter(FORMAT)
    for number in range(5):
        handler.emit(record(f"number {number}"))
    handler.flush()
    handler.sync()
    counters = handler.counters()
    assert (counters["records"], counters["degraded"], counters["is_degraded"]) == (5, 5, True)
    assert contents(log) == {"app.log": "".join(f"number {n}\n" for n in range(5))}
    with pytest.raises(everyline.Error) as caught:
        handler.doRollover()
    assert caught.value.kind == "not-rotatable"
    handler.close()


def test_with_delay_it_warns_at_the_first_record(log: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handler = everyline.TimedRotatingFileHandler(log, delay=True, journal_dir=NOWHERE)
    with pytest.warns(RuntimeWarning, match="there is no journal"):
        handler.emit(record("first"))
    assert handler.rolloverAt > 0
    handler.close()


def test_a_warning_that_is_an_error_costs_no_record(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = everyline.RotatingFileHandler(log, delay=True, journal_dir=NOWHERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handler.emit(record("first"))
    handler.emit(record("second"))
    handler.close()
    assert log.read_text() == "first\nsecond\n"
    assert "there is no journal" in capsys.readouterr().err


def test_it_gets_a_journal_when_there_can_be_one() -> None:
    # A journal directory that belongs to somebody who let nobody in.
    script = """
import os, sys, time, warnings
import everyline
from oracle import FORMAT, record

log = sys.argv[1]
folder = os.path.dirname(log)
if os.geteuid() == 0:
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
open(log, "w").close()
os.chmod(folder, 0o555)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    handler = everyline.RotatingFileHandler(log, maxBytes=10, backupCount=3)
assert "Permission denied" in str(seen[0].message)
handler.setFormatter(FORMAT)
handler.emit(record("number 0"))
assert handler.counters()["is_degraded"]
os.chmod(folder, 0o755)
time.sleep(1.1)
handler.emit(record("number 1"))
assert not handler.counters()["is_degraded"]
handler.close()
"""
    with tempfile.TemporaryDirectory() as folder:
        # pytest's folders are closed to other users.
        log = Path(folder) / "app.log"
        run(script, log)
        assert contents(log) == {"app.log.1": "number 0\n", "app.log": "number 1\n"}


def test_a_journal_directory_that_is_missing_is_an_error(log: Path) -> None:
    with pytest.raises(FileNotFoundError, match="journal_dir"):
        everyline.RotatingFileHandler(log, journal_dir=log.parent / "missing")
