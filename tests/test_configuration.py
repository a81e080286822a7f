"""Making handlers: by hand, by dictConfig and fileConfig, by pickle, and with options that cannot be."""

from __future__ import annotations

import copy
import datetime
import errno
import inspect
import io
import logging
import logging.config
import logging.handlers
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import FORMAT, contents, record

BOTH = [everyline.RotatingFileHandler, everyline.TimedRotatingFileHandler]


@pytest.mark.parametrize("cls", BOTH)
def test_arguments_are_pythons_and_then_the_engines_by_name(cls: Any) -> None:
    theirs = inspect.signature(getattr(logging.handlers, cls.__name__)).parameters
    ours = inspect.signature(cls).parameters
    shared = [(p.name, p.default) for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    assert shared == [(p.name, p.default) for p in theirs.values()]
    more = [p.name for p in ours.values() if p.kind is p.KEYWORD_ONLY]
    assert more == ["commit", "fsync", "full", "wait", "ring_bytes", "overflow_bytes", "journal_dir"]


def test_they_are_pythons_handlers(log: Path) -> None:
    by_size = everyline.RotatingFileHandler(log, delay=True)
    by_time = everyline.TimedRotatingFileHandler(log, delay=True)
    assert isinstance(by_size, logging.handlers.RotatingFileHandler)
    assert isinstance(by_time, logging.handlers.TimedRotatingFileHandler)
    assert isinstance(by_size, logging.FileHandler)
    assert repr(by_size) == f"<RotatingFileHandler {log} (NOTSET)>"


def test_attributes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(log.parent)
    handler = everyline.RotatingFileHandler("app.log", "a", 1000, 3, "utf-8", True, "replace")
    expected = {
        "baseFilename": str(log),
        "mode": "a",
        "maxBytes": 1000,
        "backupCount": 3,
        "encoding": "utf-8",
        "errors": "replace",
        "delay": True,
        "stream": None,
        "namer": None,
        "rotator": None,
        "terminator": "\n",
    }
    assert {name: getattr(handler, name) for name in expected} == expected


@pytest.mark.parametrize("name", ["app.log", b"app.log", Path("app.log")])
def test_a_change_of_the_working_directory_does_not_matter(
    log: Path, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log.parent)
    handler = everyline.RotatingFileHandler(name, delay=True, journal_dir="journal")
    Path("journal").mkdir()
    monkeypatch.chdir("/")
    handler.emit(record("here"))
    handler.close()
    assert log.read_text() == "here\n"


def test_dict_config(log: Path) -> None:
    config = {
        "version": 1,
        "formatters": {"line": {"format": "%(levelname)s %(message)s"}},
        "handlers": {
            "size": {
                "class": "everyline.RotatingFileHandler",
                "filename": str(log),
                "maxBytes": 30,
                "backupCount": 2,
                "commit": "deferred",
                "formatter": "line",
                "level": "INFO",
                ".": {"terminator": "\r\n"},
            },
            "time": {
                "()": "everyline.TimedRotatingFileHandler",
                "filename": str(log.with_name("time.log")),
                "when": "midnight",
                "atTime": datetime.time(3),
                "formatter": "line",
            },
        },
        "loggers": {"configured": {"level": "DEBUG", "handlers": ["size", "time"], "propagate": False}},
    }
    logging.config.dictConfig(config)
    logger = logging.getLogger("configured")
    logger.debug("not by size")
    for number in range(3):
        logger.info("number %d", number)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    assert log.read_bytes() == b"INFO number 2\r\n"
    assert log.with_name("app.log.2").read_bytes() == b"INFO number 0\r\n"
    assert log.with_name("time.log").read_text().splitlines()[0] == "DEBUG not by size"


def test_dict_config_says_why_it_refuses(log: Path) -> None:
    handler = {"class": "everyline.RotatingFileHandler", "filename": str(log), "fsync": "sometimes"}
    config = {"version": 1, "handlers": {"file": handler}, "root": {"handlers": ["file"]}}
    with pytest.raises(ValueError, match="Unable to configure handler 'file'") as caught:
        logging.config.dictConfig(config)
    assert "fsync: 'sometimes'" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "arguments",
    [
        "class=everyline.RotatingFileHandler\nargs=({path!r}, 'a', 40, 3)\nkwargs={{'encoding': 'utf-8'}}",
        "class=everyline.handlers.RotatingFileHandler\nargs=({path!r},)\n"
        "kwargs={{'maxBytes': 40, 'backupCount': 3, 'wait': 0.5}}",
    ],
)
def test_file_config(log: Path, arguments: str) -> None:
    text = (
        "[loggers]\nkeys=root\n[handlers]\nkeys=file\n[formatters]\nkeys=line\n"
        "[logger_root]\nlevel=INFO\nhandlers=file\n"
        "[formatter_line]\nformat=%(message)s\n"
        "[handler_file]\nlevel=INFO\nformatter=line\n" + arguments.format(path=str(log))
    )
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        logging.config.fileConfig(io.StringIO(text), disable_existing_loggers=False)
        (handler,) = root.handlers
        assert isinstance(handler, everyline.RotatingFileHandler)
        for number in range(4):
            logging.info("this is number %d", number)
        handler.close()
    finally:
        root.handlers[:] = before
    assert contents(log) == {
        "app.log.1": "this is number 0\nthis is number 1\n",
        "app.log": "this is number 2\nthis is number 3\n",
    }


# Pickle


class OnlyEven:
    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage()[-1] in "02468"


class Shouting(everyline.TimedRotatingFileHandler):
    """A subclass with arguments of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "app.log", when="W2", utc=True, backupCount=4)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).upper()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(log: Path, protocol: int) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=100, backupCount=2, encoding="latin-1", wait=0.25)
    handler.setFormatter(FORMAT)
    handler.setLevel(logging.WARNING)
    handler.addFilter(OnlyEven())
    handler.terminator = ";"
    handler.emit(record("\xe4"))
    data = pickle.dumps(handler, protocol)
    twin = pickle.loads(data)
    assert type(twin) is everyline.RotatingFileHandler and twin.stream is None
    for name in ("baseFilename", "maxBytes", "backupCount", "encoding", "level", "terminator", "mode"):
        assert getattr(twin, name) == getattr(handler, name)
    assert twin.lock is not handler.lock
    twin.handle(record("\xe42", logging.ERROR))
    twin.handle(record("\xe43", logging.ERROR))
    twin.handle(record("\xe44", logging.INFO))
    handler.emit(record("\xe4"))
    handler.close()
    twin.close()
    assert log.read_bytes().decode("latin-1") == "\xe4;\xe42;\xe44;\xe4;"


def test_pickle_of_a_subclass_with_arguments_of_its_own(log: Path) -> None:
    handler = Shouting(log.parent)
    twin = copy.deepcopy(handler)
    twin.emit(record("loud"))
    assert (twin.when, twin.backupCount, twin.utc) == ("W2", 4, True)
    assert twin.rolloverAt == handler.rolloverAt
    handler.close()
    twin.close()
    assert log.read_text() == "LOUD\n"


def test_pickle_keeps_the_name_and_what_was_set(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, delay=True, maxBytes=10, backupCount=2)
    handler.name = "mine"
    handler.namer = os.path.normcase
    twin = pickle.loads(pickle.dumps(handler))
    assert twin.name == "mine" and twin.namer is os.path.normcase
    twin.maxBytes = 1000
    assert handler.maxBytes == 10
    handler.name = twin.name = None


def test_a_handler_with_mode_w_never_empties_the_log_where_it_is_sent(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, mode="w")
    handler.emit(record("first"))
    data = pickle.dumps(handler)
    handler.close()
    twin = pickle.loads(data)
    twin.emit(record("second"))
    twin.close()
    assert log.read_text() == "first\nsecond\n"


# Bad input


@pytest.mark.parametrize("delay", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("commit", "later"),
        ("fsync", "sometimes"),
        ("fsync", "level:256"),
        ("fsync", "level:high"),
        ("fsync", "interval:0"),
        ("fsync", "interval:soon"),
        ("full", "explode"),
        ("wait", -1.0),
        ("wait", float("nan")),
        ("wait", 1e9),
        ("ring_bytes", 0),
        ("ring_bytes", -4096),
        ("ring_bytes", 5000),
        ("ring_bytes", 1 << 40),
        ("overflow_bytes", 1),
        ("mode", "rb"),
        ("mode", ""),
    ],
)
def test_options_that_cannot_be(log: Path, name: str, value: Any, delay: bool) -> None:
    arguments: dict[str, Any] = {"backupCount": 1, "maxBytes": 1000, "delay": delay, name: value}
    if name == "mode":
        arguments["maxBytes"] = 0
    with pytest.raises(ValueError, match=rf"^{name}:"):
        everyline.RotatingFileHandler(log, **arguments)
    assert os.listdir(log.parent) == []


@pytest.mark.parametrize("delay", [False, True])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"when": "X"}, "Invalid rollover interval specified: X"),
        ({"when": ""}, "Invalid rollover interval specified: "),
        ({"when": "w"}, r"You must specify a day for weekly rollover from 0 to 6 \(0 is Monday\): W"),
        ({"when": "W00"}, r"You must specify a day for weekly rollover from 0 to 6 \(0 is Monday\): W00"),
        ({"when": "W7"}, "Invalid day specified for weekly rollover: W7"),
        ({"interval": 0}, "interval: 0 is not from 1 to"),
        ({"interval": -2}, "interval: -2 is not from 1 to"),
        ({"interval": 1 << 31}, "interval: 2147483648 is not from 1 to"),
    ],
)
def test_times_that_cannot_be(log: Path, arguments: dict[str, Any], message: str, delay: bool) -> None:
    with pytest.raises(ValueError, match="^" + message):
        everyline.TimedRotatingFileHandler(log, delay=delay, **arguments)
    assert os.listdir(log.parent) == []


@pytest.mark.parametrize("arguments", [{"interval": "2"}, {"interval": None}, {"backupCount": "2"}])
def test_types_that_cannot_be(log: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        everyline.TimedRotatingFileHandler(log, **arguments)


@pytest.mark.parametrize("arguments", [{"encoding": "klingon"}, {"errors": "panic"}, {"encoding": "rot13"}])
@pytest.mark.parametrize("delay", [False, True])
def test_encodings_that_cannot_be(log: Path, arguments: dict[str, Any], delay: bool) -> None:
    with pytest.raises(LookupError):
        everyline.RotatingFileHandler(log, delay=delay, **arguments)
    assert os.listdir(log.parent) == []


@pytest.mark.parametrize(
    ("limit", "backups"), [(-5, 2), (float("nan"), 2), (1 << 63, 2), (10, -1), (10, 0), (0, 5)]
)
def test_limits_that_mean_never(log: Path, limit: float, backups: int) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=limit, backupCount=backups)  # type: ignore[arg-type]
    for number in range(5):
        handler.emit(record(f"number {number}"))
    handler.close()
    assert contents(log) == {"app.log": "".join(f"number {n}\n" for n in range(5))}


def test_an_attribute_that_cannot_be_leaves_a_handler_as_it_was(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, maxBytes=100, backupCount=1)
    with pytest.raises(TypeError):
        handler.maxBytes = "much"  # type: ignore[assignment]
    assert handler.maxBytes == 100
    handler.emit(record("still here"))
    handler.close()
    assert log.read_text() == "still here\n"


def test_a_directory_as_log(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        everyline.RotatingFileHandler(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        everyline.RotatingFileHandler(tmp_path / "missing" / "app.log")
    assert str(tmp_path / "missing") in str(caught.value)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no warning about encodings")
def test_the_warning_about_a_missing_encoding_points_at_the_caller(log: Path) -> None:
    from oracle import run

    script = (
        "import sys, warnings, everyline\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    everyline.RotatingFileHandler(sys.argv[1], delay=True)\n"
        "    everyline.TimedRotatingFileHandler(sys.argv[1], delay=True)\n"
        "    everyline.TimedRotatingFileHandler(sys.argv[1], delay=True, encoding='utf-8')\n"
        "print([(w.category.__name__, w.lineno, w.filename) for w in seen])\n"
    )
    done = run(script, log, options=["-X", "warn_default_encoding"])
    assert done.stdout == "[('EncodingWarning', 4, '<string>'), ('EncodingWarning', 5, '<string>')]\n"


def test_the_reports_about_a_log(log: Path) -> None:
    with pytest.raises(everyline.Error) as caught:
        everyline.status(log)
    assert caught.value.kind == "not-attached"
    # `logging.shutdown`, and whoever guards against a full disk, looks for these.
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.filename) == (
        errno.ENOTCONN,
        str(log.with_name(".app.log.everyline")),
    )

    handler = everyline.RotatingFileHandler(log, maxBytes=10, backupCount=3)
    for _ in range(3):
        handler.emit(record("12345678"))
    handler.flush()
    status = everyline.status(log)
    assert status == {**handler.status(), "lease": status["lease"]}
    assert (status["log"], status["rotations"], status["file_bytes"]) == (str(log), 2, 9)
    assert status["settings"]["max_bytes"] == "9"
    assert [process["pid"] for process in status["processes"]] == [os.getpid()]
    counters = handler.counters()
    assert (counters["records"], counters["bytes"], counters["is_degraded"]) == (3, 27, False)
    everyline.reopen(log)
    assert everyline.recover(log) == {"records": 0, "bytes": 0, "slots": 0, "corrupt_slots": 0}
    assert everyline.clean(log) == {"removed": [], "in_use": True}
    handler.close()
    assert handler.counters()["records"] == 0
    assert sorted(os.listdir(log.parent)) == ["app.log", "app.log.1", "app.log.2"]
