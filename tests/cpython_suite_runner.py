"""Runs CPython's own tests of its file handlers against ours, in whatever interpreter runs this file.

For interpreters that have no pytest: `test_cpython_suite_elsewhere.py` starts it. Prints one line of JSON.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import unittest
from typing import Any

import everyline
import everyline._stream

CLASSES = [
    "RotatingFileHandlerTest",
    "TimedRotatingFileHandlerTest",
    "FileHandlerTest",
    "HandlerTest",
    "ConfigFileTest",
    "ConfigDictTest",
]
# 3.13's form of it, that an empty file is not rotated, is in `test_cpython_suite.py`.
CHANGED = ["test_should_rollover"] if sys.version_info < (3, 12, 6) else []


def without_encoding(base: Any) -> Any:
    class WithoutEncoding(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            named.pop("encoding", None)
            super().__init__(*arguments, **named)

    return WithoutEncoding


def tests(suite: Any) -> unittest.TestSuite:
    loader = unittest.TestLoader()
    found = unittest.TestSuite()
    for name in CLASSES:
        cls = getattr(suite, name)
        for test in loader.getTestCaseNames(cls):
            if test not in CHANGED:
                found.addTest(cls(test))
    return found


def main() -> None:
    try:
        from test import test_logging as suite
    except ImportError:
        print(json.dumps({"missing": True}))
        return
    used: list[Any] = []

    def counted(*arguments: Any) -> Any:
        used.append(everyline._native.Appender(*arguments))
        return used[-1]

    everyline._stream.Appender = counted  # type: ignore[attr-defined]
    ran, failures = 0, []
    for encoding in (True, False):
        everyline.install()
        if not encoding:
            for name in ("RotatingFileHandler", "TimedRotatingFileHandler"):
                setattr(logging.handlers, name, without_encoding(getattr(everyline, name)))
        result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(tests(suite))
        everyline.uninstall()
        ran += result.testsRun
        failures += [f"{test}: {text}" for test, text in result.failures + result.errors]
    records = sum(appender.counters()["records"] for appender in used)
    print(json.dumps({"ran": ran, "failures": failures, "records": records}))


if __name__ == "__main__":
    main()
