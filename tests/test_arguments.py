"""Wrong arguments: what Python's handlers refuse, ours refuse with the same exception.

Ours also refuse, when the handler is made, what Python's accept and then fail with at each record.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any

import everyline
import pytest
from oracle import record

PAIRS = {
    everyline.FileHandler: logging.FileHandler,
    everyline.WatchedFileHandler: logging.handlers.WatchedFileHandler,
    everyline.RotatingFileHandler: logging.handlers.RotatingFileHandler,
    everyline.TimedRotatingFileHandler: logging.handlers.TimedRotatingFileHandler,
}
COMMON = ["filename", "mode", "encoding", "delay", "errors"]
ARGUMENTS = {
    everyline.FileHandler: COMMON,
    everyline.WatchedFileHandler: COMMON,
    everyline.RotatingFileHandler: [*COMMON, "maxBytes", "backupCount"],
    everyline.TimedRotatingFileHandler: [
        *[name for name in COMMON if name != "mode"],
        *("when", "interval", "backupCount", "utc", "atTime"),
    ],
}
VALUES: list[Any] = [
    *(None, True, 3, 0, -1, 1.5, float("nan"), "x", "", "utf-8", "r", b"a", [], {}, object()),
    datetime.time(1),
]
# Where ours are stricter: the table in docs/python.md has the reasons.
STRICTER = {
    *{("mode", ValueError), ("errors", LookupError), ("interval", ValueError), ("interval", TypeError)},
    # Python's fail with it at the first rotation.
    ("backupCount", TypeError),
}


def attempt(cls: Any, path: Path, argument: str, value: Any) -> tuple[type | None, bool]:
    """What making the handler raises, and whether a record goes through it."""
    given = {"filename": path, "backupCount": 3} if "Rotating" in cls.__name__ else {"filename": path}
    if cls.__name__ == "RotatingFileHandler":
        given["maxBytes"] = 5
    try:
        handler = cls(**{**given, argument: value})
    except Exception as error:
        return type(error), False
    failures: list[logging.LogRecord] = []
    handler.handleError = failures.append
    try:
        handler.emit(record("one"))
        handler.emit(record("two"))
    except Exception:
        return None, False
    finally:
        # Python's closes what it has not got.
        with contextlib.suppress(Exception):
            handler.close()
    return None, not failures


@pytest.mark.filterwarnings("ignore::EncodingWarning" if sys.version_info >= (3, 10) else "ignore::Warning")
@pytest.mark.parametrize(
    ("cls", "argument"), [(cls, argument) for cls, arguments in ARGUMENTS.items() for argument in arguments]
)
def test_wrong_arguments_are_refused_as_pythons_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: Any, argument: str
) -> None:
    for number, value in enumerate(VALUES):
        if argument == "interval" and isinstance(value, (int, float)) and not value >= 1:
            # Python's rotate for ever.
            with pytest.raises(ValueError, match="interval"):
                cls(tmp_path / "app.log", interval=value)
            continue
        folder = tmp_path / str(number)
        results = []
        for name, each in (("theirs", PAIRS[cls]), ("ours", cls)):
            place = folder / name
            place.mkdir(parents=True)
            monkeypatch.chdir(place)
            results.append(attempt(each, place / "app.log", argument, value))
        (theirs, they_write), (ours, we_write) = results
        said = f"{argument}={value!r}: Python's {results[0]}, ours {results[1]}"
        if theirs is None and they_write:
            assert we_write or (argument, ours) in STRICTER, said
        elif theirs is None:
            # Accepted, and every record fails: ours may say so at once.
            assert ours is not None or not we_write or argument in ("filename", "backupCount"), said
        else:
            same = ours is not None and (issubclass(ours, theirs) or issubclass(theirs, ours))
            assert same or (argument, ours) in STRICTER, said
