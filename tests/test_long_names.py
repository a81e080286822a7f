"""A log may have any length of name that the file system takes."""

from __future__ import annotations

import errno
from pathlib import Path

import everyline
import pytest
from oracle import FORMAT, contents, record


@pytest.mark.parametrize("name", ["x" * 252, "\u00e4" * 126], ids=["ascii", "two bytes a letter"])
def test_a_rotator_gets_its_files_from_a_log_with_a_long_name(tmp_path: Path, name: str) -> None:
    log = tmp_path / name
    handler = everyline.RotatingFileHandler(log, maxBytes=12, backupCount=3)
    handler.setFormatter(FORMAT)
    # Staged files have names that the engine and the handlers make up, each for the other.
    handler.rotator = lambda source, to: Path(source).rename(to)
    for number in range(4):
        handler.emit(record(f"number {number}"))
    handler.doRollover()
    handler.emit(record("number 4"))
    handler.close()
    expected = {f"{name}.{4 - n}": f"number {n}\n" for n in range(1, 4)}
    assert contents(log) == {**expected, name: "number 4\n"}
    # Nothing hidden stays.
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*expected, name])


def test_an_archive_name_that_is_too_long_costs_no_record(tmp_path: Path) -> None:
    log = tmp_path / ("y" * 255)
    handler = everyline.RotatingFileHandler(log, maxBytes=12, backupCount=3)
    handler.setFormatter(FORMAT)
    for number in range(4):
        handler.emit(record(f"number {number}"))
    assert handler.status()["rotations_failed"] > 0
    handler.close()
    assert log.read_text() == "".join(f"number {n}\n" for n in range(4))


def test_a_name_that_no_file_can_have_is_the_systems_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / ("z" * 256)
    with pytest.raises(OSError) as caught:
        everyline.RotatingFileHandler(log)
    assert (caught.value.errno, caught.value.filename) == (errno.ENAMETOOLONG, str(log))
    handler = everyline.RotatingFileHandler(log, delay=True)
    handler.emit(record("first"))
    handler.close()
    assert "File name too long" in capsys.readouterr().err
