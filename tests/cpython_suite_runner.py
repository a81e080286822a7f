"""Runs CPython's own tests of logging against ours, in whatever interpreter runs this file.

For interpreters that have no pytest: `test_cpython_suite_elsewhere.py` starts it. Prints one line of JSON.
Without an argument the tests of file handlers run, with the encodings they name and without. With `whole`
all of them run, once, and log calls are native.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import tempfile
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


# Of the whole suite, what `install()` itself makes different, with or without native calls: a class of
# another module under the name, and a mode for bytes, which is refused (docs/python.md).
CHANGED_BY_INSTALL = ["test__all__", "test_filemode"]


def tests(suite: Any, whole: bool) -> unittest.TestSuite:
    loader = unittest.TestLoader()
    found = unittest.TestSuite()
    every = [cls.__name__ for cls in vars(suite).values() if isinstance(cls, type)]
    left_out = CHANGED + CHANGED_BY_INSTALL if whole else CHANGED
    for name in every if whole else CLASSES:
        cls = getattr(suite, name)
        if issubclass(cls, unittest.TestCase) and cls.__module__ == suite.__name__:
            found.addTests(cls(test) for test in loader.getTestCaseNames(cls) if test not in left_out)
    return found


def native_failures() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        logger = logging.Logger("native", logging.INFO)
        handler = everyline.FileHandler(os.path.join(folder, "app.log"))
        logger.addHandler(handler)
        before = everyline.paths()["no_record"]
        logger.info("%s", "x")
        handler.close()
        return (
            []
            if everyline.paths()["no_record"] == before + 1
            else [f"not native: {everyline.explain(logger)}"]
        )


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
    whole = sys.argv[1:] == ["whole"]
    for encoding in (True,) if whole else (True, False):
        everyline.install(loggers=whole)
        if whole:
            assert everyline.explain(logging.Logger("x")) == "it reaches no handler"
        if not encoding:
            for name in ("RotatingFileHandler", "TimedRotatingFileHandler"):
                setattr(logging.handlers, name, without_encoding(getattr(everyline, name)))
        result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(tests(suite, whole))
        if whole:
            # By now, too, log calls go past the standard library's code.
            failures += native_failures()
        everyline.uninstall()
        ran += result.testsRun
        failures += [f"{test}: {text}" for test, text in result.failures + result.errors]
    records = sum(appender.counters()["records"] for appender in used)
    print(json.dumps({"ran": ran, "failures": failures, "records": records}))


if __name__ == "__main__":
    main()
