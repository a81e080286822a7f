"""The module that takes the place of concurrent-log-handler by one changed line."""

from __future__ import annotations

import gzip
import inspect
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from everyline.concurrent_log_handler import (
    ConcurrentRotatingFileHandler,
    ConcurrentTimedRotatingFileHandler,
)
from oracle import FORMAT, check, contents, record, run, write


def emit(handler: logging.Handler, *numbers: int) -> None:
    handler.setFormatter(FORMAT)
    for number in numbers:
        handler.emit(record(f"number {number}"))


def names(log: Path) -> list[str]:
    return sorted(p.name for p in log.parent.iterdir() if p.is_file())


def unpacked(path: Path) -> str:
    return gzip.open(path, "rt").read()


def test_arguments_are_the_packages_in_its_order() -> None:
    theirs = pytest.importorskip("concurrent_log_handler")
    for ours in (ConcurrentRotatingFileHandler, ConcurrentTimedRotatingFileHandler):
        expected = [
            (p.name, p.default)
            for p in inspect.signature(getattr(theirs, ours.__name__)).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        found = [
            (p.name, p.default)
            for p in inspect.signature(ours).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        assert found == expected


def test_methods_and_attributes_are_the_packages(log: Path) -> None:
    handler = ConcurrentRotatingFileHandler(log, "a", 100, 2)
    for name in (
        *("getLockFilename", "baseLockFilename", "atomic_open", "do_open", "do_write", "do_gzip"),
        *("_do_lock", "_do_unlock", "lockFilename", "stream_lock", "is_locked", "num_rollovers"),
        *("maxLockAttempts", "lockPollInterval", "is_posix", "use_gzip", "chmod", "umask", "newline"),
        *("terminator", "unicode_error_policy", "lock_file_directory", "keep_file_open"),
    ):
        assert hasattr(handler, name), name
    assert handler.lockFilename == str(log.with_name(".__app.lock"))
    assert handler.baseLockFilename("/x/app.log") == ("/x", ".__app.lock")
    assert isinstance(handler, logging.handlers.BaseRotatingHandler)
    handler.close()
    assert not log.exists(), "opened by the first record"


def test_by_size_and_the_records_length_counts(log: Path) -> None:
    handler = ConcurrentRotatingFileHandler(log, "a", 20, 2)
    emit(handler, *range(5))
    assert handler.num_rollovers == 2
    handler.close()
    assert contents(log) == {
        "app.log.2": "number 0\nnumber 1\n",
        "app.log.1": "number 2\nnumber 3\n",
        "app.log": "number 4\n",
    }


def test_without_archives_nothing_is_emptied(log: Path) -> None:
    handler = ConcurrentRotatingFileHandler(log, "a", 20, 0)
    emit(handler, *range(50))
    handler.close()
    assert log.read_text().count("\n") == 50


def test_a_rotator_is_called(log: Path) -> None:
    handler = ConcurrentRotatingFileHandler(log, "a", 10, 2)
    handler.rotator = lambda source, dest: os.rename(source, dest + ".by-me")
    emit(handler, 0, 1)
    handler.close()
    assert names(log) == ["app.log", "app.log.1.by-me"]


def test_gzip_by_size(log: Path) -> None:
    handler = ConcurrentRotatingFileHandler(log, "a", 10, 2, use_gzip=True)
    log.with_name("app.log.1").write_text("from a time without gzip\n")
    seen: list[str] = []
    handler.namer = lambda name: (seen.append(name), name)[1]
    emit(handler, 0, 1, 2)
    handler.close()
    assert names(log) == ["app.log", "app.log.1.gz", "app.log.2.gz"]
    assert [unpacked(log.with_name(f"app.log.{n}.gz")) for n in (1, 2)] == ["number 1\n", "number 0\n"]
    assert not [name for name in seen if name.endswith(".gz")]


def test_gzip_that_was_killed_half_way_leaves_one_whole_archive(log: Path) -> None:
    staged = log.with_name(f".app.log.staged-{time.time_ns():016x}-0")
    staged.write_text("number 0\n")
    with gzip.open(f"{staged}.gz", "wt") as packed:
        packed.write("number 0\n")
    Path(f"{staged}.gz.part").write_bytes(b"half")
    later = log.with_name(f".app.log.staged-{time.time_ns():016x}-0.gz")
    with gzip.open(later, "wt") as packed:
        packed.write("number 1\n")
    handler = ConcurrentRotatingFileHandler(log, "a", 10, 5, use_gzip=True)
    emit(handler, 2)
    handler.close()
    archives = [name for name in names(log) if name.endswith(".gz")]
    assert archives == ["app.log.1.gz", "app.log.2.gz"]
    assert [unpacked(log.with_name(name)) for name in archives] == ["number 1\n", "number 0\n"]


def test_gzip_that_fails_keeps_the_archive_as_it_is(log: Path) -> None:
    class Mine(ConcurrentRotatingFileHandler):
        def do_gzip(self, input_filename: str) -> None:
            raise OSError(28, "no space", input_filename)

        def handleError(self, record: logging.LogRecord) -> None:
            pass

    handler = Mine(log, "a", 10, 5, use_gzip=True)
    emit(handler, 0, 1)
    handler.close()
    assert contents(log) == {"app.log.1": "number 0\n", "app.log": "number 1\n"}


@pytest.mark.parametrize("use_gzip", [False, True])
def test_by_time_and_size_with_counters(log: Path, use_gzip: bool) -> None:
    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = ConcurrentTimedRotatingFileHandler(
        log, "D", backupCount=3, utc=True, maxBytes=10, use_gzip=use_gzip
    )
    emit(handler, *range(6))
    handler.close()
    end = ".gz" if use_gzip else ""
    found = [name for name in names(log) if name != "app.log"]
    assert len(found) == 3 and all(name.endswith(end) for name in found)
    texts = [unpacked(log.with_name(n)) if use_gzip else log.with_name(n).read_text() for n in found]
    assert texts == ["number 2\n", "number 3\n", "number 4\n"]


def test_a_log_of_yesterday_is_rotated_at_the_start(log: Path) -> None:
    # The package looks at its lock file only.
    log.write_text("yesterday\n")
    os.utime(log, (time.time() - 2 * 86400,) * 2)
    handler = ConcurrentTimedRotatingFileHandler(log, when="midnight")
    emit(handler, 0)
    handler.close()
    assert log.read_text() == "number 0\n" and len(names(log)) == 2


def test_the_last_word_about_attributes(log: Path) -> None:
    class Mine(ConcurrentTimedRotatingFileHandler):
        def finalize_handler_configuration(self) -> None:
            self.suffix = "%Y"
            self.namer = lambda name: name + ".txt"

    log.write_text("old\n")
    os.utime(log, (1.6e9, 1.6e9))
    handler = Mine(log, "D", utc=True)
    emit(handler, 0)
    handler.close()
    assert names(log) == ["app.log", "app.log.2020.txt"]


def test_owner_and_mode(log: Path) -> None:
    owner = (os.geteuid(), os.getegid())
    handler = ConcurrentRotatingFileHandler(log, "a", 10, 2, chmod=0o604, owner=owner)
    emit(handler, 0, 1)
    handler.close()
    for name in ("app.log", "app.log.1"):
        assert stat.S_IMODE(log.with_name(name).stat().st_mode) == 0o604
    other = log.with_name("other.log")
    before = os.umask(0)
    try:
        handler = ConcurrentRotatingFileHandler(other, umask=0o077, owner=("no such user", "nor group"))
        emit(handler, 0)
    finally:
        os.umask(before)
    handler.close()
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_line_ends_and_undecodable_text(log: Path) -> None:
    handler = ConcurrentRotatingFileHandler(log, newline="\r\n", encoding="ascii")
    handler.setFormatter(FORMAT)
    handler.emit(record("two\nlines\xe4"))
    handler.close()
    handler = ConcurrentRotatingFileHandler(
        log, newline="", terminator="\r\n", encoding="ascii", unicode_error_policy="replace"
    )
    handler.setFormatter(FORMAT)
    handler.emit(record("\xe4"))
    handler.close()
    assert log.read_bytes() == b"two\r\nlines\r\n?\r\n"
    with pytest.warns(UserWarning, match="unicode_error_policy"):
        ConcurrentRotatingFileHandler(log, unicode_error_policy="panic")


def test_hooks_around_a_record(log: Path) -> None:
    class Mine(ConcurrentRotatingFileHandler):
        calls: list[str] = []

        def _do_lock(self) -> None:
            Mine.calls.append("lock")

        def _do_unlock(self) -> None:
            Mine.calls.append("unlock")

        def do_write(self, msg: str) -> None:
            Mine.calls.append(msg)
            super().do_write(msg + "!")

        def do_open(self, mode: str | None = None) -> Any:
            Mine.calls.append("open")
            return super().do_open(mode)

    handler = Mine(log)
    emit(handler, 0)
    handler.close()
    assert Mine.calls == ["lock", "open", "number 0", "unlock"]
    assert log.read_text() == "number 0!\n"


def test_file_config(log: Path) -> None:
    text = (
        "[loggers]\nkeys=root\n[handlers]\nkeys=file\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=INFO\nhandlers=file\n"
        f"[handler_file]\nclass=handlers.ConcurrentRotatingFileHandler\nargs=({str(log)!r}, 'a', 512, 5)\n"
    )
    script = (
        "import io, logging.config, sys, everyline\n"
        "logging.config.fileConfig(io.StringIO(sys.argv[1]))\n"
        "logging.warning('here')\n"
        "print(type(logging.getLogger().handlers[0]).__module__)\n"
    )
    assert run(script, text).stdout == "everyline.concurrent_log_handler\n"
    assert log.read_text() == "here\n"


def test_the_package_itself_stays_where_it_is_imported() -> None:
    pytest.importorskip("concurrent_log_handler")
    for first, second in (("concurrent_log_handler", "everyline"), ("everyline", "concurrent_log_handler")):
        script = (
            f"import {first}, {second}, logging.handlers\n"
            "print(logging.handlers.ConcurrentRotatingFileHandler.__module__)\n"
        )
        assert run(script).stdout == "concurrent_log_handler\n"


def test_pickle(log: Path) -> None:
    twin = pickle.loads(pickle.dumps(ConcurrentTimedRotatingFileHandler(log, use_gzip=True, chmod=0o600)))
    assert (twin.use_gzip, twin.chmod) == (True, 0o600)
    emit(twin, 0)
    twin.close()
    assert log.read_text() == "number 0\n"


def work(log: Path, name: str) -> None:
    handler = ConcurrentRotatingFileHandler(log, "a", 4000, 900, use_gzip=True)
    handler.setFormatter(FORMAT)
    write(handler, name, range(150))
    handler.close()


def test_many_processes(log: Path) -> None:
    workers = [
        multiprocessing.get_context("fork").Process(target=work, args=(log, f"p{n}")) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    for packed in log.parent.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.open(packed).read())
        at = packed.stat().st_mtime_ns
        os.utime(packed.with_suffix(""), ns=(at, at))
        packed.unlink()
    for number, path in enumerate(sorted(log.parent.glob("app.log.*"), key=lambda p: -int(p.suffix[1:]))):
        os.utime(path, (number, number))
    check(log, {f"p{n}": range(150) for n in range(4)})
