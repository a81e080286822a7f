"""JSON lines: every line is one object, whatever is logged."""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import threading
from pathlib import Path
from typing import Any

import everyline
import pytest


def logged(log: Path, *arguments: Any, encoding: str = "utf-8", **options: Any) -> dict[str, Any]:
    handler = everyline.Handler(log, format="json", encoding=encoding)
    logger = logging.Logger("app.part")
    logger.addHandler(handler)
    logger.warning(*arguments, **options)
    handler.close()
    (line,) = log.read_text(encoding=encoding).split("\n")[:-1]
    found: dict[str, Any] = json.loads(line)
    return found


def test_the_fields(log: Path) -> None:
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(milliseconds=1)
    found = logged(log, "%s and %d", "one", 2, extra={"user": "ann", "took_ms": 1.5})
    assert list(found) == ["time", "level", "logger", "message", "pid", "thread", "user", "took_ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
    when = datetime.datetime.fromisoformat(found["time"].replace("Z", "+00:00"))
    assert before <= when <= datetime.datetime.now(datetime.timezone.utc)
    assert (found["level"], found["logger"], found["message"]) == ("WARNING", "app.part", "one and 2")
    assert (found["pid"], found["thread"]) == (os.getpid(), threading.current_thread().name)
    assert (found["user"], found["took_ms"]) == ("ann", 1.5)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "utf-16-le"])
def test_text_of_every_kind_comes_back(log: Path, encoding: str) -> None:
    message = 'line\nbreak \r \t \0 \x1b[31m \x7f \x85 \u2028 " \\ \xe4\u20ac\U0001f600 \udc80'
    assert logged(log, message, encoding=encoding)["message"] == message


def test_values_that_json_does_not_know_become_text(log: Path) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Text(str):
        def __str__(self) -> str:
            return "something else"

    cycle: list[Any] = []
    cycle.append(cycle)
    values = {
        "nan": float("nan"),
        "infinity": [float("-inf"), 10**400],
        "nested": {"a": (1, {2: None}), None: True},
        "bytes": b"\xff\x00a",
        "path": Path("/x"),
        "bad": Bad(),
        "text": Text("itself"),
        "cycle": cycle,
        "level": "not ours",
        "when": datetime.date(2026, 1, 31),
    }
    found = logged(log, "x", extra=values)
    assert found["nan"] == "nan" and found["infinity"] == ["-inf", 10**400]
    assert found["nested"] == {"a": [1, {"2": None}], "None": True}
    assert found["bytes"] == "\\xff\x00a" and found["path"] == "/x"
    assert found["bad"].startswith("<") and found["text"] == "itself"
    assert found["level"] == "WARNING" and found["level_"] == "not ours"
    assert found["when"] == "2026-01-31"
    assert "cycle" in found


def test_exceptions_and_stacks(log: Path) -> None:
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        found = logged(log, "oh", exc_info=True, stack_info=True)
    assert found["exception"].startswith("Traceback") and "broken\nin two" in found["exception"]
    assert "test_exceptions_and_stacks" in found["stack"]


def test_local_time_has_its_offset_and_static_fields_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "XYZ-05:30")
    time.tzset()
    try:
        formatter = everyline.JsonFormatter(utc=False, static={"service": "shop", "pid": 1})
        record = logging.makeLogRecord({"msg": "x", "created": 1_700_000_000.9876, "process": 7})
        found = json.loads(formatter.format(record))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found["time"] == "2023-11-15T03:43:20.987+05:30"
    assert (found["service"], found["pid"], found["pid_"]) == ("shop", 7, 1)


def test_a_time_that_is_none_is_no_reason_to_lose_the_record() -> None:
    for created in (float("nan"), float("inf"), -1e20, None):
        record = logging.makeLogRecord({"msg": "x", "created": created})
        assert json.loads(everyline.JsonFormatter().format(record))["message"] == "x"
