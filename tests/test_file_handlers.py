"""`FileHandler` and `WatchedFileHandler`, and streams that other code puts under a handler."""

from __future__ import annotations

import inspect
import io
import logging
import logging.handlers
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, record, run

ALL = [
    everyline.FileHandler,
    everyline.WatchedFileHandler,
    everyline.RotatingFileHandler,
    everyline.TimedRotatingFileHandler,
]


def emit(handler: logging.Handler, *messages: str) -> None:
    handler.setFormatter(FORMAT)
    for message in messages:
        handler.emit(record(message))


@pytest.mark.parametrize("name", ["FileHandler", "WatchedFileHandler"])
def test_arguments_and_kinds_are_pythons(log: Path, name: str) -> None:
    theirs = getattr(logging, name, None) or getattr(logging.handlers, name)
    ours = getattr(everyline, name)
    assert issubclass(ours, theirs) and not issubclass(ours, logging.handlers.BaseRotatingHandler)
    shared = [
        (p.name, p.default)
        for p in inspect.signature(ours).parameters.values()
        if p.kind is not p.KEYWORD_ONLY
    ]
    assert shared == [(p.name, p.default) for p in inspect.signature(theirs).parameters.values()]
    handler = ours(log, delay=True)
    assert repr(handler) == f"<{name} {log} (NOTSET)>"
    twin = pickle.loads(pickle.dumps(handler))
    emit(twin, "from the twin")
    twin.close()
    assert log.read_text() == "from the twin\n"


def test_modes(log: Path) -> None:
    log.write_text("old\n")
    with pytest.raises(FileExistsError) as caught:
        everyline.FileHandler(log, "x")
    assert caught.value.filename == str(log)
    for mode, expected in (("a", "old\nnew\n"), ("w", "new\n")):
        handler = everyline.FileHandler(log, mode)
        emit(handler, "new")
        handler.close()
        assert log.read_text() == expected
    log.unlink()
    handler = everyline.FileHandler(log, "x")
    emit(handler, "first")
    handler.close()
    emit(handler, "again")
    handler.close()
    assert log.read_text() == "first\nagain\n"


def test_mode_w_spares_a_log_in_use(log: Path) -> None:
    first = everyline.FileHandler(log)
    emit(first, "kept")
    second = everyline.FileHandler(log, "w")
    emit(second, "more")
    first.close()
    second.close()
    assert log.read_text() == "kept\nmore\n"


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("encoding", "errors", "expected"),
    [
        ("utf-8", "surrogateescape", b"a\xff\n"),
        ("utf-8", "replace", b"a?\n"),
        ("ascii", "backslashreplace", b"a\\udcff\n"),
        ("utf-8", None, b""),
    ],
)
def test_surrogates_obey_errors(
    log: Path, cls: Any, encoding: str, errors: str | None, expected: bytes
) -> None:
    handler = cls(log, encoding=encoding, errors=errors)
    failures: list[Any] = []
    handler.handleError = failures.append
    emit(handler, "a\udcff")
    emit(handler, "next")
    handler.close()
    assert log.read_bytes() == expected + b"next\n"
    assert len(failures) == (expected == b"")


def test_encoding_and_errors_set_on_a_handler_count_when_it_opens_next(log: Path) -> None:
    handler = everyline.FileHandler(log, encoding="ascii", errors="replace")
    emit(handler, "\xe4")
    handler.encoding, handler.errors = "latin-1", "strict"
    handler.close()
    emit(handler, "\xe4")
    handler.close()
    assert log.read_bytes() == b"?\n\xe4\n"


def test_a_file_moved_or_removed_is_followed_at_once(log: Path) -> None:
    handler = everyline.WatchedFileHandler(log, delay=True)
    assert (handler.dev, handler.ino) == (-1, -1)
    emit(handler, "one")
    assert (handler.dev, handler.ino) == (log.stat().st_dev, log.stat().st_ino)
    for number in range(20):
        log.rename(log.with_name(f"moved{number:02}"))
        emit(handler, f"after {number}")
        assert log.read_text() == f"after {number}\n"
    log.unlink()
    emit(handler, "new")
    assert log.read_text().endswith("new\n")
    handler.close()
    assert log.with_name("moved00").read_text() == "one\n"


def test_reopenifneeded_replaced(log: Path) -> None:
    class Mine(everyline.WatchedFileHandler):
        calls = 0

        def reopenIfNeeded(self) -> None:
            Mine.calls += 1
            super().reopenIfNeeded()

    handler = Mine(log)
    emit(handler, "a", "b")
    handler.close()
    assert Mine.calls == 2 and log.read_text() == "a\nb\n"


def test_open_replaced_in_a_plain_file_handler(log: Path) -> None:
    class Mine(everyline.FileHandler):
        def _open(self) -> Any:
            stream = open(self.baseFilename, self.mode, encoding=self.encoding)  # noqa: SIM115
            os.chmod(self.baseFilename, 0o604)
            return stream

    handler = Mine(log, encoding="utf-8")
    emit(handler, "a")
    assert log.stat().st_mode & 0o777 == 0o604 and handler.counters()["records"] == 1
    log.unlink()
    emit(handler, "b")
    handler.close()
    assert log.read_text().endswith("b\n") and log.stat().st_mode & 0o777 == 0o604


def test_an_open_that_raises(log: Path) -> None:
    class Mine(everyline.FileHandler):
        def _open(self) -> Any:
            raise PermissionError(13, "not for you", self.baseFilename)

    with pytest.raises(PermissionError, match="not for you"):
        Mine(log)
    handler = Mine(log, delay=True)
    failures: list[Any] = []
    handler.handleError = lambda _: failures.append(sys.exc_info()[1])  # type: ignore[method-assign]
    emit(handler, "a")
    handler.close()
    assert log.read_text() == "a\n" and isinstance(failures[0], PermissionError)


# Streams


@pytest.mark.parametrize("cls", ALL)
def test_another_stream_takes_the_records(log: Path, cls: Any) -> None:
    handler = cls(log)
    emit(handler, "to the log")
    other = io.StringIO()
    ours = handler.setStream(other)
    assert handler.stream is other
    emit(handler, "to the other")
    handler.flush()
    assert other.getvalue() == "to the other\n"
    assert handler.setStream(ours) is other
    emit(handler, "to the log again")
    handler.close()
    assert log.read_text() == "to the log\nto the log again\n" and not other.closed


def test_a_handler_closes_the_stream_it_has(log: Path) -> None:
    handler = everyline.FileHandler(log, delay=True)
    other = io.StringIO()
    handler.stream = other
    emit(handler, "a")
    handler.close()
    assert other.closed and handler.stream is None and not log.exists()


def test_a_file_open_on_the_log_itself_is_the_log(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=10, backupCount=3)
    emit(handler, "number 0")
    mine = open(log, "a")  # noqa: SIM115
    mine.write("by hand\n")
    handler.stream = mine
    assert mine.closed
    emit(handler, "number 1")
    handler.close()
    assert (log.read_text(), log.with_name("app.log.1").read_text()) == ("number 1\n", "number 0\nby hand\n")


def test_basefilename_set_on_a_handler_counts_when_it_opens_next(log: Path) -> None:
    handler = everyline.FileHandler(log)
    emit(handler, "a")
    handler.close()
    handler.baseFilename = str(log.with_name("other.log"))
    emit(handler, "b")
    handler.close()
    assert (log.read_text(), log.with_name("other.log").read_text()) == ("a\n", "b\n")


# The end


@pytest.mark.parametrize("name", [cls.__name__ for cls in ALL])
def test_after_close_and_at_the_end_of_the_interpreter(log: Path, name: str) -> None:
    script = f"""
import atexit, logging, sys
import everyline

handler = everyline.{name}(sys.argv[1])
handler.setFormatter(logging.Formatter("%(message)s"))
logging.getLogger().addHandler(handler)

class Late:
    def __init__(self, text): self.text = text
    # In a global: runs when the module is taken apart.
    def __del__(self, log=logging.warning): log(self.text)

# After logging.shutdown, which was registered first and so runs last but one.
late = Late("from __del__")
logging.warning("open")
handler.close()
logging.warning("closed")
logging.shutdown()
logging.warning("shut down")
"""
    run(script, log)
    lines = log.read_text().splitlines()
    assert lines == ["open", "closed", "shut down", "from __del__"]


def test_errors_are_pythons(tmp_path: Path) -> None:
    cases: list[tuple[Any, Any]] = [
        ((tmp_path,), IsADirectoryError),
        ((tmp_path / "missing" / "app.log",), FileNotFoundError),
        ((3.5,), TypeError),
        ((None,), TypeError),
        ((tmp_path / "a.log", "q"), ValueError),
        ((tmp_path / "a.log", "a", "klingon"), LookupError),
    ]
    for arguments, kind in cases:
        for cls in (logging.FileHandler, everyline.FileHandler):
            with pytest.raises(kind) as caught:
                cls(*arguments)
            if issubclass(kind, OSError):
                assert caught.value.errno and caught.value.filename
    with pytest.raises(TypeError):
        everyline.RotatingFileHandler(tmp_path / "a.log", maxBytes="10")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        everyline.TimedRotatingFileHandler(tmp_path / "a.log", interval="2")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        everyline.TimedRotatingFileHandler(tmp_path / "a.log", when=5)  # type: ignore[arg-type]


def test_a_descriptor_is_had_also_between_the_two_halves_of_a_rotation(log: Path) -> None:
    handler = everyline.FileHandler(log)
    os.rename(log, log.with_name("halfway"))
    timer = threading.Timer(0.1, log.touch)
    timer.start()
    assert handler.stream.fileno() >= 0
    timer.join()
    handler.close()
