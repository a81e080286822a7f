"""What this version does not honour is refused when a handler is made or an attribute set, not ignored."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Union

import everyline
import pytest
from oracle import FORMAT, record

Handler = Union[everyline.RotatingFileHandler, everyline.TimedRotatingFileHandler]
CLASSES = [everyline.RotatingFileHandler, everyline.TimedRotatingFileHandler]
STEPS = [
    "doRollover",
    "shouldRollover",
    "rotate",
    "rotation_filename",
    "rotator",
    "namer",
    "computeRollover",
    "getFilesToDelete",
    "_open",
]


def step(self: Any, *arguments: Any) -> None:
    raise AssertionError("never called")


@pytest.mark.parametrize("delay", [False, True])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("base", CLASSES)
def test_a_step_replaced_in_a_subclass(log: Path, base: Any, name: str, delay: bool) -> None:
    mine = type("Mine", (base,), {name: step})
    with pytest.raises(everyline.NotSupported, match=rf"Mine\.{name} .*Way out: "):
        mine(log, delay=delay)
    assert not log.exists()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_replaced_in_a_mixin(log: Path, name: str) -> None:
    mixin = type("Mixin", (), {name: step})
    mine = type("Mine", (mixin, everyline.RotatingFileHandler), {})
    with pytest.raises(everyline.NotSupported, match=rf"Mine: Mixin\.{name} "):
        mine(log)


def test_a_step_put_into_our_class_from_outside(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everyline.RotatingFileHandler, "doRollover", step)
    with pytest.raises(everyline.NotSupported, match="doRollover"):
        everyline.RotatingFileHandler(log)


def test_a_namer_put_into_pythons_class(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.handlers.BaseRotatingHandler, "namer", step)
    with pytest.raises(everyline.NotSupported, match="namer"):
        everyline.RotatingFileHandler(log)


@pytest.mark.parametrize(
    ("base", "name"), [(base, name) for base in CLASSES for name in STEPS if hasattr(base, name)]
)
def test_a_step_set_on_a_handler(log: Path, base: Any, name: str) -> None:
    handler = base(log)
    with pytest.raises(everyline.NotSupported, match=rf"{name} cannot be set .*Way out: "):
        setattr(handler, name, step)
    handler.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("suffix", "%Y"),
        ("extMatch", re.compile("x")),
        ("rolloverAt", 5),
        ("when", "S"),
        ("interval", 7),
        ("utc", True),
        ("atTime", 5),
        ("dayOfWeek", 3),
        ("baseFilename", "/tmp/other.log"),
        ("mode", "w"),
        ("encoding", "latin-1"),
        ("errors", "ignore"),
        ("delay", True),
    ],
)
def test_a_setting_changed_on_a_handler(log: Path, name: str, value: Any) -> None:
    handler = everyline.TimedRotatingFileHandler(log, when="W0", encoding="utf-8")
    before = getattr(handler, name)
    with pytest.raises(everyline.NotSupported, match=f"{name} .*Way out: "):
        setattr(handler, name, value)
    assert getattr(handler, name) == before
    handler.close()


def test_another_file_put_under_a_handler(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log)
    with (
        open(log.with_name("other"), "w") as other,
        pytest.raises(everyline.NotSupported, match="no other file"),
    ):
        handler.stream = other  # type: ignore[assignment]
    stranger = everyline.RotatingFileHandler(log.with_name("stranger.log"))
    with pytest.raises(everyline.NotSupported, match="no other file"):
        handler.setStream(stranger.stream)  # type: ignore[arg-type]
    handler.close()
    stranger.close()


def test_setting_what_is_set_is_allowed(log: Path) -> None:
    handler = everyline.TimedRotatingFileHandler(log, when="MIDNIGHT")
    handler.suffix = "%Y-%m-%d"
    handler.extMatch = re.compile(handler.extMatch.pattern, re.ASCII)
    handler.namer = None
    handler.rotator = None
    handler.stream = handler.stream  # type: ignore[assignment]
    handler.close()


def test_it_is_both_kinds_of_error() -> None:
    assert issubclass(everyline.NotSupported, everyline.Error)
    assert issubclass(everyline.NotSupported, TypeError)


def test_what_is_honoured_in_a_subclass(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        terminator = "|"
        namer = None
        failures: list[logging.LogRecord] = []

        def format(self, record: logging.LogRecord) -> str:
            return "<" + super().format(record) + ">"

        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() != "not this":
                super().emit(record)

        def filter(self, record: logging.LogRecord) -> Any:
            return record.levelno > logging.DEBUG and super().filter(record)

        def handleError(self, record: logging.LogRecord) -> None:
            self.failures.append(record)

    handler = Mine(log, encoding="ascii")
    for message in ("one", "not this", "two", "\xe4"):
        handler.handle(record(message))
    handler.handle(record("nor this", logging.DEBUG))
    handler.close()
    assert log.read_text() == "<one>|<two>|"
    assert [failure.getMessage() for failure in Mine.failures] == ["\xe4"]


def test_what_is_honoured_on_a_handler(log: Path) -> None:
    handler = everyline.RotatingFileHandler(log, encoding="ascii")
    failures: list[Any] = []
    handler.terminator = "\r\n"
    handler.format = lambda record: "[" + record.getMessage() + "]"  # type: ignore[method-assign]
    handler.handleError = failures.append  # type: ignore[method-assign]
    handler.emit(record("one"))
    handler.emit(record("\xe4"))
    handler.close()
    assert log.read_bytes() == b"[one]\r\n"
    assert len(failures) == 1


def test_an_emit_that_writes_to_the_stream_itself(log: Path) -> None:
    class Mine(everyline.RotatingFileHandler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.FileHandler.emit(self, record)

    handler = Mine(log, delay=True, maxBytes=20, backupCount=5)
    handler.setFormatter(FORMAT)
    for number in range(6):
        handler.emit(record(f"number {number}"))
    handler.close()
    assert log.read_text() == "number 4\nnumber 5\n"
    assert log.with_name("app.log.2").read_text() == "number 0\nnumber 1\n"
