"""CPython's own tests of its file handlers, aimed at ours through `install()`.

They come from the interpreter that runs this, and look the classes up in `logging` and `logging.handlers`
when they run. Each rotation test runs with the encoding it names and without one. What goes through the
engine is counted, so that no test passes on some other path.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Iterator
from typing import Any

import everyline
import everyline._stream
import pytest

# Not part of every installation.
suite = pytest.importorskip("test.test_logging")

# Semantics that changed between versions, where 3.13's form is right.
CHANGED: dict[str, str] = {}
if sys.version_info < (3, 12, 6):
    # `test_should_not_rollover` and `test_should_rollover` of 3.13 stand below, in our words.
    CHANGED["test_should_rollover"] = (
        "expects that an empty file is rotated; since 3.12.6 it is not (gh-116263)"
    )

# Tests that write through one of our handlers, with the records that must have gone through the engine.
THROUGH_THE_ENGINE = {
    "BySize": {
        "test_file_created": 1,
        "test_max_bytes": 2,
        "test_max_bytes_delay": 2,
        "test_rollover_filenames": 3,
        "test_namer_rotator_inheritance": 2,
        "test_rotator": 4,
    },
    "ByTime": {"test_rollover": 2, "test_rollover_at_midnight": 5, "test_rollover_at_weekday": 5},
    "Plain": {"test_delay": 1, "test_emit_after_closing_in_write_mode": 1},
    "Handlers": {"test_builtin_handlers": 2, "test_race": 1000},
}


class Alone:
    """Takes away the handlers that pytest has put on the root logger; the suite wants none but its own."""

    def setUp(self) -> None:
        root = logging.getLogger()
        theirs, root.handlers[:] = root.handlers[:], []
        self.addCleanup(root.handlers.extend, theirs)  # type: ignore[attr-defined]
        super().setUp()  # type: ignore[misc]


class TestBySize(Alone, suite.RotatingFileHandlerTest):  # type: ignore[misc,name-defined]
    pass


class TestBySizeWithoutEncoding(TestBySize):
    pass


class TestByTime(Alone, suite.TimedRotatingFileHandlerTest):  # type: ignore[misc,name-defined]
    pass


class TestByTimeWithoutEncoding(TestByTime):
    pass


class TestPlain(Alone, suite.FileHandlerTest):  # type: ignore[misc,name-defined]
    pass


class TestHandlers(Alone, suite.HandlerTest):  # type: ignore[misc,name-defined]
    pass


class TestConfigFile(Alone, suite.ConfigFileTest):  # type: ignore[misc,name-defined]
    pass


class TestConfigDict(Alone, suite.ConfigDictTest):  # type: ignore[misc,name-defined]
    pass


def without_encoding(base: Any) -> Any:
    class WithoutEncoding(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            named.pop("encoding", None)
            super().__init__(*arguments, **named)

    return WithoutEncoding


@pytest.fixture(autouse=True)
def ours_in_place_of_pythons(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    reason = CHANGED.get(request.node.name)
    if reason is not None:
        pytest.skip(reason)
    used: list[Any] = []

    def counted(*arguments: Any) -> Any:
        used.append(everyline._native.Appender(*arguments))
        return used[-1]

    monkeypatch.setattr(everyline._stream, "Appender", counted)
    everyline.install()
    kind = "" if request.cls is None else request.cls.__name__
    try:
        with monkeypatch.context() as inner:
            if kind.endswith("WithoutEncoding"):
                for name in ("RotatingFileHandler", "TimedRotatingFileHandler"):
                    inner.setattr(logging.handlers, name, without_encoding(getattr(everyline, name)))
            yield
    finally:
        everyline.uninstall()
    assert logging.handlers.RotatingFileHandler is not everyline.RotatingFileHandler
    expected = THROUGH_THE_ENGINE.get(kind[4:].replace("WithoutEncoding", ""), {}).get(request.node.name, 0)
    counters = [appender.counters() for appender in used]
    assert sum(c["records"] - c["degraded"] for c in counters) >= expected
    assert not any(c["failed"] + c["dropped"] for c in counters)


@pytest.mark.parametrize("name", ["CHANGED", *THROUGH_THE_ENGINE])
def test_the_lists_name_tests_that_exist(name: str) -> None:
    if name == "CHANGED":
        missing = [test for test in CHANGED if not hasattr(TestBySize, test)]
    else:
        # Some are new in one of the versions.
        known = {test for cls in (TestBySize, TestByTime, TestPlain, TestHandlers) for test in dir(cls)}
        listed = THROUGH_THE_ENGINE[name]
        missing = [test for test in listed if test not in known] if sys.version_info >= (3, 13) else []
        assert known & set(listed)
    assert not missing


def test_only_a_file_with_something_in_it_is_rotated(tmp_path: Any) -> None:
    path = tmp_path / "app.log"
    big = logging.makeLogRecord({"msg": "b" * 100})
    for content, limit, expected in [("", 1, False), ("\n", 0, False), ("\n", 2, True), ("\n", 200, False)]:
        path.write_text(content)
        handler = everyline.RotatingFileHandler(path, encoding="utf-8", maxBytes=limit)
        assert handler.shouldRollover(big) is expected
        handler.close()
