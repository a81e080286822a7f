"""`everyline.Handler`: what each option does, and what is refused."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import logging
import logging.config
import os
import pickle
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import record, run, text, write

SEQUENCE = r"app\.log\.\d{8}T\d{6}Z-\d{6}"


def until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.005)


def archives(log: Path) -> list[Path]:
    return sorted(path for path in log.parent.iterdir() if path.name.startswith(log.name + "."))


def total_bytes(log: Path) -> int:
    total = 0
    for path in archives(log):
        # It may go at any moment.
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def lines(path: Path) -> list[str]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode().splitlines()


def all_lines(log: Path) -> list[str]:
    """Names of the default scheme sort in the order of writing."""
    return [line for path in [*archives(log), log] for line in lines(path)]


def test_by_default_it_appends_lines_and_never_rotates(log: Path) -> None:
    handler = everyline.Handler(log)
    write(handler, "w", range(100))
    handler.close()
    assert log.read_text().splitlines() == [text("w", n) for n in range(100)]
    assert [path.name for path in log.parent.iterdir()] == ["app.log"]


def test_size_and_time_rotate_together_and_the_names_sort(log: Path) -> None:
    handler = everyline.Handler(log, max_bytes=1000, when="S", interval=2, utc=True)
    write(handler, "w", range(50))
    before = len(archives(log))
    assert before > 3
    assert all(path.stat().st_size <= 1000 for path in archives(log))
    time.sleep(2.1)
    write(handler, "w", [50])
    handler.close()
    assert len(archives(log)) == before + 1
    assert lines(log) == [text("w", 50)]
    assert all_lines(log) == [text("w", n) for n in range(51)]
    numbers = [int(path.name.rsplit("-", 1)[1]) for path in archives(log)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("naming", ["numbered", "dated", "sequence"])
def test_keep_counts_files(log: Path, naming: str) -> None:
    handler = everyline.Handler(log, max_bytes=500, naming=naming, keep=3)
    write(handler, "w", range(60))
    handler.close()
    assert len(archives(log)) == 3
    assert (log.with_name("app.log.3") in archives(log)) == (naming == "numbered")


def test_archives_are_compressed_and_no_line_is_lost_or_doubled(log: Path) -> None:
    handler = everyline.Handler(log, max_bytes=3000, compress="gzip:9", compress_after=0)
    write(handler, "w", range(400))
    handler.flush()
    until("all to be compressed", lambda: all(path.suffix == ".gz" for path in archives(log)))
    assert len(archives(log)) > 10
    handler.close()
    assert all_lines(log) == [text("w", n) for n in range(400)]


def test_a_handler_that_is_closed_does_not_wait_for_compression_and_the_next_one_goes_on(log: Path) -> None:
    handler = everyline.Handler(log, compress="gzip", compress_after=datetime.timedelta(hours=1))
    write(handler, "w", range(3))
    handler.rotate()
    started = time.monotonic()
    handler.close()
    assert time.monotonic() - started < 30
    assert [path.suffix == ".gz" for path in archives(log)] == [False]
    handler = everyline.Handler(log, compress="gzip", compress_after=0)
    until("it to be compressed", lambda: [path.suffix for path in archives(log)] == [".gz"])
    handler.close()
    assert all_lines(log) == [text("w", n) for n in range(3)]


def test_a_total_and_an_age(log: Path) -> None:
    handler = everyline.Handler(log, max_bytes=1000, keep_total_bytes=3000, keep_age=3600)
    write(handler, "w", range(100))
    handler.flush()
    until("the oldest to go", lambda: total_bytes(log) <= 3000)
    assert len(archives(log)) >= 3
    for path in archives(log)[:-1]:
        os.utime(path, (1, 1))
    handler.rotate()
    until("the old ones to go", lambda: len(archives(log)) == 2)
    handler.close()


def test_the_link_leads_to_the_newest_archive(log: Path) -> None:
    handler = everyline.Handler(log, link="newest")
    for message in ("one", "two"):
        handler.handle(record(message))
        handler.rotate()
        link = log.with_name("newest")
        assert link.is_symlink() and link.read_text() == message + "\n"
    handler.close()


def test_mode_and_owner(log: Path) -> None:
    before = os.umask(0o027)
    try:
        handler = everyline.Handler(log, mode="664", owner=(os.getuid(), os.getgid()))
    finally:
        os.umask(before)
    handler.handle(record("x"))
    handler.rotate()
    for path in [log, *archives(log)]:
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o640, os.getuid())
    handler.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("owner", ["nobody:daemon", ("nobody", "daemon"), "65534:1"])
def test_the_owner_may_be_a_name(log: Path, owner: Any) -> None:
    everyline.Handler(log, owner=owner).close()
    assert (log.stat().st_uid, log.stat().st_gid) == (65534, 1)


@pytest.mark.parametrize(
    ("newline", "terminator", "expected"),
    [
        ("\n", "\n", b"a\nb\n"),
        ("", "\r\n", b"a\nb\r\n"),
        ("\r\n", "\n", b"a\r\nb\r\n"),
        ("\r", "\n", b"a\rb\r"),
        (None, "\n", b"a\nb\n"),
        ("\n", "", b"a\nb"),
        ("\n", "\0", b"a\nb\0"),
    ],
)
def test_newline_and_terminator(log: Path, newline: str | None, terminator: str, expected: bytes) -> None:
    handler = everyline.Handler(log, newline=newline, terminator=terminator)
    handler.handle(record("a\nb"))
    handler.handle(record("a\nb"))
    handler.close()
    assert log.read_bytes() == expected * 2


def test_what_the_encoding_lacks_is_escaped_unless_asked_otherwise(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = everyline.Handler(log, encoding="latin-1")
    handler.handle(record("\xe4 \u20ac \udc80"))
    handler.close()
    assert log.read_bytes() == b"\xe4 \\u20ac \\udc80\n"
    handler = everyline.Handler(log, encoding="ascii", errors="strict")
    handler.handle(record("\xe4"))
    handler.close()
    assert "UnicodeEncodeError" in capsys.readouterr().err


def test_commit_fsync_and_full_reach_the_engine(log: Path) -> None:
    handler = everyline.Handler(
        log, commit="deferred", fsync="interval:0.5", full="block", wait=2, ring_bytes=65536, max_bytes=10_000
    )
    write(handler, "w", range(50))
    handler.flush()
    handler.sync()
    settings = handler.status()["settings"]
    assert settings["fsync"] == "interval:500000000" and settings["naming"] == "sequence"
    assert handler.status()["processes"][0]["ring_bytes"] == 65536
    assert handler.options["full"] == "block"
    assert handler.counters()["records"] == 50
    handler.close()
    assert handler.counters()["records"] == 0


def test_truncate_empties_the_file_once(log: Path) -> None:
    log.write_text("old\n")
    handler = everyline.Handler(log, truncate=True)
    handler.handle(record("one"))
    handler.close()
    handler.handle(record("two"))
    handler.close()
    assert log.read_text() == "one\ntwo\n"


def test_delay_touches_nothing_until_the_first_record(log: Path) -> None:
    handler = everyline.Handler(log, delay=True)
    assert not log.exists()
    handler.handle(record("x"))
    handler.close()
    assert log.read_text() == "x\n"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"max_bytes": "10"}, "max_bytes"),
        ({"max_bytes": True}, "max_bytes"),
        ({"max_bytes": 1 << 63}, "max_bytes"),
        ({"when": "fortnight"}, "when"),
        ({"when": "H", "interval": 0}, "interval"),
        ({"when": "H", "interval": None}, "interval"),
        ({"when": "H", "at_time": "12:00"}, "at_time"),
        ({"when": "MIDNIGHT", "at_time": "noon"}, "at_time"),
        ({"when": "MIDNIGHT", "at_time": datetime.time(1, tzinfo=datetime.timezone.utc)}, "at_time"),
        ({"at_time": "12:00"}, "when"),
        ({"utc": True}, "when"),
        ({"naming": "random"}, "naming"),
        ({"naming": "numbered", "max_bytes": 10}, "keep"),
        ({"keep": 0}, "keep"),
        ({"keep": 1.5}, "keep"),
        ({"keep_age": 0}, "keep_age"),
        ({"keep_age": "1d"}, "keep_age"),
        ({"keep_age": float("nan")}, "keep_age"),
        ({"keep_total_bytes": 0}, "keep_total_bytes"),
        ({"compress": "xz"}, "compress"),
        ({"compress": "gzip:10"}, "compress"),
        ({"compress": True}, "compress"),
        ({"compress_after": -1}, "compress_after"),
        ({"link": "a/b"}, "link"),
        ({"link": "app.log"}, "link"),
        ({"owner": "no-such-user-here"}, "owner"),
        ({"owner": (1, 2, 3)}, "owner"),
        ({"owner": -1}, "owner"),
        ({"mode": "rw"}, "mode"),
        ({"mode": 0o10000}, "mode"),
        ({"encoding": "no-such"}, "encoding"),
        ({"errors": "no-such"}, "errors"),
        ({"newline": "x"}, "newline"),
        ({"terminator": None}, "terminator"),
        ({"format": "xml"}, "format"),
        ({"commit": "later"}, "commit"),
        ({"fsync": "sometimes"}, "fsync"),
        ({"full": "panic"}, "full"),
        ({"wait": -1}, "wait"),
        ({"wait": None}, "wait"),
        ({"urgent_level": 256}, "urgent_level"),
        ({"ring_bytes": 1000}, "ring_bytes"),
        ({"overflow_bytes": 1}, "overflow_bytes"),
    ],
)
def test_a_bad_option_is_a_value_error_that_names_it(log: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        everyline.Handler(log, delay="link" not in options, **options)
    assert list(log.parent.iterdir()) == []
    with pytest.raises(TypeError):
        everyline.Handler(log, maxBytes=10)  # type: ignore[call-arg]


def test_zstd_works_or_is_refused_with_the_reason(log: Path) -> None:
    try:
        everyline.Handler(log, compress="zstd").close()
    except ValueError as error:
        assert "not built in" in str(error)


def test_in_a_dict_config_that_came_as_json(log: Path) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(levelname)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "everyline.Handler",
                "filename": str(log),
                "formatter": "line",
                "level": "INFO",
                "max_bytes": 100_000,
                "when": "MIDNIGHT",
                "at_time": "03:30",
                "keep": 5,
                "keep_age": 864000,
                "compress": "gzip",
                "mode": "640",
            }
        },
        "root": {"level": "DEBUG", "handlers": ["file"]},
    }
    logging.config.dictConfig(json.loads(json.dumps(config)))
    logging.debug("no")
    logging.info("yes")
    (handler,) = (h for h in logging.getLogger().handlers if isinstance(h, everyline.Handler))
    assert handler.options["at_time"] == 3 * 3600 + 30 * 60
    handler.close()
    assert log.read_text() == "INFO yes\n"


def test_it_is_pickled_by_its_options(log: Path) -> None:
    handler = everyline.Handler(log, max_bytes=300, naming="numbered", keep=9, format="json", truncate=True)
    handler.set_name("file")
    handler.handle(record("one"))
    copy = pickle.loads(pickle.dumps(handler))
    assert copy.options == handler.options and copy.name == "file"
    copy.handle(record("two"))
    handler.close()
    copy.close()
    assert [json.loads(line)["message"] for line in lines(log)] == ["one", "two"]


def test_many_processes_lose_nothing_while_archives_are_compressed_and_processes_fork(log: Path) -> None:
    script = (
        "import logging, multiprocessing, os, sys, everyline\n"
        "from oracle import write\n"
        "handler = everyline.Handler(sys.argv[1], max_bytes=20000, compress='gzip:1', compress_after=0)\n"
        "children = []\n"
        "for name in 'abcd':\n"
        "    write(handler, 'parent', range(len(children) * 100, len(children) * 100 + 100))\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        write(handler, name, range(2000))\n"
        "        os._exit(0)\n"
        "    children.append(pid)\n"
        "assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)\n"
        "write(handler, 'parent', [400])\n"
        "handler.close()\n"
    )
    run(script, log)
    # What is not compressed yet, because its processes are gone, the next one compresses.
    handler = everyline.Handler(log, compress="gzip:1", compress_after=0)
    until("all to be compressed", lambda: all(path.suffix == ".gz" for path in archives(log)))
    handler.close()
    seen: dict[str, list[int]] = {}
    for line in all_lines(log):
        writer, number, _ = line.split(" ", 2)
        assert line == text(writer, int(number))
        seen.setdefault(writer, []).append(int(number))
    assert seen == {"parent": list(range(401)), **{name: list(range(2000)) for name in "abcd"}}
    assert len(archives(log)) > 20
