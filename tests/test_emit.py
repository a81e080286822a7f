"""One record: its bytes, its failures, and the odd moments at which it may come."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, check, record, run, text, write


@pytest.mark.parametrize(
    ("encoding", "errors", "expected"),
    [
        ("utf-8", None, "a\xe4\u20ac\n".encode()),
        ("latin-1", "replace", b"a\xe4?\n"),
        ("ascii", "backslashreplace", b"a\\xe4\\u20ac\n"),
        ("ascii", "ignore", b"a\n"),
        ("ascii", "xmlcharrefreplace", b"a&#228;&#8364;\n"),
        ("utf-16-le", None, "a\xe4\u20ac\n".encode("utf-16-le")),
        # No byte order mark: a record is put behind others.
        ("utf-8-sig", None, "a\xe4\u20ac\n".encode()),
        ("utf-16", None, "a\xe4\u20ac\n".encode("utf-16")[2:]),
        ("utf-32", None, "a\xe4\u20ac\n".encode("utf-32")[4:]),
    ],
)
def test_encodings(log: Path, encoding: str, errors: str | None, expected: bytes) -> None:
    handler = everyline.RotatingFileHandler(log, encoding=encoding, errors=errors)
    handler.emit(record("a\xe4\u20ac"))
    handler.emit(record("a\xe4\u20ac"))
    handler.close()
    assert log.read_bytes() == expected * 2


@pytest.mark.parametrize("encoding", [None, "locale"])
@pytest.mark.parametrize("mode", ["0", "1"])
def test_the_default_encoding_is_the_locales(log: Path, encoding: str | None, mode: str) -> None:
    script = (
        "import logging, sys, everyline, logging.handlers\n"
        "encoding = sys.argv[2] or None\n"
        "for module, path in (everyline, sys.argv[1]), (logging.handlers, sys.argv[1] + '.theirs'):\n"
        "    handler = module.RotatingFileHandler(path, encoding=encoding, errors='backslashreplace')\n"
        "    handler.emit(logging.makeLogRecord({'msg': 'a\\xe4\\u20ac'}))\n"
        "    handler.close()\n"
    )
    if encoding == "locale" and sys.version_info < (3, 10):
        pytest.skip("Python 3.9 does not know the name")
    run(script, log, encoding or "", options=["-X", f"utf8={mode}"], environment={"LC_ALL": "C"})
    assert log.read_bytes() == log.with_name("app.log.theirs").read_bytes() != b""


def test_a_record_that_cannot_be_encoded_is_reported_and_the_next_one_written(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = everyline.RotatingFileHandler(log, encoding="ascii")
    handler.emit(record("\xe4"))
    handler.emit(record("a"))
    handler.close()
    assert log.read_text() == "a\n"
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_record_that_cannot_be_formatted_is_reported(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    failures: list[Any] = []
    handler.handleError = failures.append  # type: ignore[method-assign]
    bad = logging.LogRecord("name", logging.INFO, "path", 1, "%d", ("text",), None)
    handler.emit(bad)
    handler.close()
    assert failures == [bad] and log.read_bytes() == b""


def test_odd_records(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, encoding="utf-8")
    levels = [0, 1, 39, 40, 50, 255, 256, 10**9, -7, None]
    for level in levels:
        handler.emit(logging.makeLogRecord({"msg": "level %s", "args": (level,), "levelno": level}))
    for message in ("", "two\nlines", "nul\0", "\r", "x" * 1_000_000):
        handler.emit(record(message))
    handler.close()
    expected = "".join(f"level {level}\n" for level in levels)
    expected += "\ntwo\nlines\nnul\0\n\r\n" + "x" * 1_000_000 + "\n"
    assert log.read_bytes().decode() == expected


def test_the_empty_terminator(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    handler.terminator = ""
    for message in ("a", "", "b"):
        handler.emit(record(message))
    handler.close()
    assert log.read_text() == "ab"


def test_close_and_then_a_record(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    handler.emit(record("one"))
    handler.close()
    assert handler.stream is None
    handler.emit(record("two"))
    assert handler.stream is not None
    handler.close()
    handler.close()
    assert log.read_text() == "one\ntwo\n"
    assert os.listdir(log.parent) == ["app.log"]


def test_a_handler_that_empties_its_file_writes_no_more_after_close(log: Path) -> None:
    # As Python's, since 3.10: it would have to empty the file again.
    handler = everyline.RotatingFileHandler(log, mode="w")
    handler.emit(record("one"))
    handler.stream = None
    handler.emit(record("two"))
    handler.close()
    handler.emit(record("three"))
    assert log.read_text() == "one\ntwo\n" and handler.stream is None


def test_delay(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, delay=True)
    assert handler.stream is None and os.listdir(log.parent) == []
    handler.flush()
    handler.sync()
    assert os.listdir(log.parent) == []
    handler.emit(record("now"))
    handler.close()
    assert log.read_text() == "now\n"


def test_without_delay_the_file_is_there_at_once(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    assert log.exists()
    handler.close()


@pytest.mark.parametrize("commit", ["write-through", "deferred"])
@pytest.mark.parametrize("fsync", ["never", "rotation", "level:40", "interval:0.05", "always"])
def test_commit_and_fsync(log: Path, commit: str, fsync: str) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=5000, backupCount=50, commit=commit, fsync=fsync)
    handler.setFormatter(FORMAT)
    write(handler, "me", range(100))
    handler.emit(record(text("me", 100), logging.ERROR))
    # An urgent record is in the file when the call returns, and with it everything before it.
    check(log, {"me": range(101)})
    write(handler, "me", range(101, 150))
    handler.flush()
    check(log, {"me": range(150)})
    handler.sync()
    handler.close()
    check(log, {"me": range(150)})


def test_threads(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=20_000, backupCount=100)
    handler.setFormatter(FORMAT)
    writers = [threading.Thread(target=write, args=(handler, f"t{n}", range(500))) for n in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    handler.close()
    check(log, {f"t{n}": range(500) for n in range(6)})


def test_two_handlers_on_one_file(log: Path) -> None:
    first = everyline.RotatingFileHandler(log, maxBytes=5000, backupCount=100)
    second = everyline.RotatingFileHandler(log, maxBytes=5000, backupCount=100)
    for handler in (first, second):
        handler.setFormatter(FORMAT)
    for number in range(100):
        write(first, "first", [number])
        write(second, "second", [number])
    first.close()
    write(second, "second", range(100, 200))
    second.close()
    check(log, {"first": range(100), "second": range(200)})
    assert everyline.clean(log) == {"removed": [], "in_use": False}


def test_logging_while_a_record_is_formatted(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    logger = logging.getLogger("formatted")
    logger.propagate = False
    logger.addHandler(handler)

    class Talkative:
        def __str__(self) -> str:
            logger.warning("inner")
            return "outer"

    logger.warning("%s", Talkative())
    logger.removeHandler(handler)
    handler.close()
    assert log.read_text() == "inner\nouter\n"


def test_logging_in_a_signal_handler(log: Path) -> None:
    script = """
import logging, signal, sys
import everyline
from oracle import FORMAT, check, write

handler = everyline.RotatingFileHandler(sys.argv[1], maxBytes=20_000, backupCount=200)
handler.setFormatter(FORMAT)
taken = 0
busy = False

def on_alarm(signum, frame):
    global taken, busy
    # A slow machine brings the next signal before this one is done.
    if not busy:
        busy = True
        write(handler, "signal", [taken])
        taken += 1
        busy = False

signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
write(handler, "main", range(4000))
signal.setitimer(signal.ITIMER_REAL, 0)
handler.close()
from pathlib import Path
check(Path(sys.argv[1]), {"main": range(4000), "signal": range(taken)})
print(taken)
"""
    done = run(script, log)
    assert int(done.stdout) > 10


def test_logging_at_the_end_of_the_interpreter(log: Path) -> None:
    script = """
import atexit, logging, sys, threading
import everyline

logging.basicConfig(handlers=[everyline.RotatingFileHandler(sys.argv[1])], format="%(message)s",
level=logging.INFO)

class Late:
    def __del__(self):
        logging.info("from __del__")

late = Late()
atexit.register(logging.info, "from atexit")
# Runs before logging.shutdown, which was registered first; this one after it.
logging._handlerList and atexit.unregister(logging.shutdown)
atexit.register(logging.shutdown)
logging.info("from main")
"""
    run(script, log)
    lines = log.read_text().splitlines()
    assert lines[:2] == ["from main", "from atexit"]
    assert set(lines[2:]) <= {"from __del__"}


def test_devices_are_written_to_and_never_rotated() -> None:
    script = (
        "import logging, everyline\n"
        "handler = everyline.RotatingFileHandler('/dev/stdout', maxBytes=10, backupCount=2)\n"
        "for n in range(5): handler.emit(logging.makeLogRecord({'msg': f'number {n}'}))\n"
        "handler.close()\n"
    )
    assert run(script).stdout == "".join(f"number {n}\n" for n in range(5))


def test_a_record_dropped_is_told_once_a_second(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = everyline.RotatingFileHandler(log)
    failures: list[Any] = []
    handler.handleError = failures.append  # type: ignore[method-assign]

    class Full:
        class appender:
            @staticmethod
            def append(data: bytes, level: int) -> None:
                error = everyline.Error("no room")
                error.kind = "dropped"
                raise error

        @staticmethod
        def close() -> None:
            pass

    handler.close()
    handler.__dict__["_stream"] = Full
    for _ in range(100):
        handler.emit(record("gone"))
    assert len(failures) == 1
    handler.__dict__["_reported_at"] -= 2.0
    handler.emit(record("gone"))
    assert len(failures) == 2
    handler.close()


# What other code does to a handler's stream


def test_gunicorn_reopens_and_marks_the_stream(log: Path) -> None:
    import fcntl

    handler = everyline.RotatingFileHandler(log)
    handler.setFormatter(FORMAT)
    handler.emit(record("one"))
    # gunicorn.util.close_on_exec
    assert handler.stream is not None
    descriptor = handler.stream.fileno()
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFD)
    fcntl.fcntl(descriptor, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
    assert os.path.samestat(os.fstat(descriptor), os.stat(log))
    # gunicorn.glogging.Logger.reopen_files, after logrotate
    log.rename(log.with_name("app.log.old"))
    handler.acquire()
    try:
        if handler.stream:
            handler.close()
            handler.stream = handler._open()
    finally:
        handler.release()
    handler.emit(record("two"))
    handler.close()
    assert log.read_text() == "two\n"
    assert log.with_name("app.log.old").read_text() == "one\n"


def test_a_rename_by_others_is_followed(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    handler.setFormatter(FORMAT)
    handler.emit(record("one"))
    log.rename(log.with_name("app.log.old"))
    everyline.reopen(log)
    handler.emit(record("two"))
    handler.close()
    assert (log.with_name("app.log.old").read_text(), log.read_text()) == ("one\n", "two\n")


def test_the_stream_is_a_text_stream(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, encoding="latin-1")
    stream = handler.stream
    assert stream is not None
    assert stream.write("\xe4 ") == 2
    stream.writelines(["b\n", "c\n"])
    print("printed", file=stream)
    stream.flush()
    assert (stream.name, stream.encoding, stream.isatty(), stream.closed) == (
        str(log),
        "latin-1",
        False,
        False,
    )
    assert (stream.readable(), stream.writable(), stream.seekable()) == (False, True, False)
    assert handler.setStream(None) is stream
    assert stream.closed and handler.stream is None
    handler.close()
    assert log.read_bytes() == b"\xe4 b\nc\nprinted\n"


def test_the_stream_may_be_a_childs_standard_output_and_anything_that_writes_text(log: Path) -> None:
    import contextlib
    import faulthandler
    import subprocess

    handler = everyline.RotatingFileHandler(log, maxBytes=10_000, backupCount=3)
    handler.setFormatter(FORMAT)
    stream: Any = handler.stream
    assert isinstance(stream, io.TextIOBase) and stream.buffer.write(b"bytes\n") == 6
    subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=stream, check=True)
    with contextlib.redirect_stdout(stream):
        print("pr", "int", sep="", end="")
        print("ed")
    other = logging.StreamHandler(stream)
    other.setFormatter(FORMAT)
    other.emit(record("of another handler"))
    faulthandler.dump_traceback(stream)
    os.write(stream.fileno(), b"to the descriptor\n")
    handler.emit(record("of this one"))
    # After a rotation it is the new file's.
    before = stream.fileno()
    handler.doRollover()
    assert stream.fileno() == before and os.path.samestat(os.fstat(before), os.stat(log))
    subprocess.run([sys.executable, "-c", "print('from a second')"], stdout=stream, check=True)
    with pytest.raises(io.UnsupportedOperation):
        stream.read()
    handler.close()
    lines = log.with_name("app.log.1").read_text().splitlines()
    assert lines[:4] == ["bytes", "from a child", "printed", "of another handler"]
    assert lines[-2:] == ["to the descriptor", "of this one"] and "most recent call first" in lines[4]
    assert log.read_text() == "from a second\n"


def test_a_line_written_in_parts_is_one_record(log: Path) -> None:
    first, second = everyline.FileHandler(log), everyline.FileHandler(log)
    assert first.stream is not None and second.stream is not None
    first.stream.write("a line ")
    second.stream.write("another\n")
    first.stream.write("in parts\nand half")
    second.stream.write("a third\n")
    first.close()
    second.close()
    assert log.read_text() == "another\na line in parts\na third\nand half"


def test_the_streams_descriptor_is_not_closed_when_it_is_somebody_elses(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    assert handler.stream is not None
    descriptor = handler.stream.fileno()
    os.close(descriptor)
    other = os.open(os.devnull, os.O_RDONLY)
    if other != descriptor:
        os.dup2(other, descriptor)
    handler.close()
    os.fstat(descriptor)
    os.close(descriptor)


def test_the_error_report_is_pythons(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = everyline.RotatingFileHandler(log, encoding="ascii")
    handler.emit(record("\xe4"))
    handler.close()
    assert out.getvalue() == ""
