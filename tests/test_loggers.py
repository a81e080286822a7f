"""Native methods of `logging.Logger` do what the standard library's do, and tell which way they went."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import re
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import everyline
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import run
from test_formatting import formats, messages

FULL = (
    "%(levelname)s %(levelno)d %(name)s %(pathname)s %(filename)s %(module)s %(lineno)d %(funcName)s "
    "%(process)d %(processName)s %(thread)d %(threadName)s %(message)s"
)


@pytest.fixture
def native() -> Iterator[None]:
    everyline.install(loggers=True)
    try:
        yield
    finally:
        everyline.uninstall()


class Keep(logging.Handler):
    """The standard library's way: what its formatter makes of the record."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.failures = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.append(self.format(record))
        except Exception:
            self.failures += 1

    def handleError(self, record: logging.LogRecord) -> None:
        self.failures += 1


class Ours:
    """A logger of its own with one of our handlers."""

    def __init__(self, log: Path, name: str = "ours") -> None:
        self.log = log
        self.handler = everyline.RotatingFileHandler(log, encoding="utf-8", errors="surrogatepass")
        self.handler.handleError = self.failed  # type: ignore[method-assign]
        self.failures: list[logging.LogRecord] = []
        self.logger = logging.getLogger(f"test.{name}.{id(self)}")
        self.logger.setLevel(logging.INFO)
        # Out of reach of pytest's handlers.
        self.logger.parent = None
        self.logger.addHandler(self.handler)
        self.at = 0

    def failed(self, record: logging.LogRecord) -> None:
        self.failures.append(record)

    def new(self) -> str:
        with open(self.log, "rb") as file:
            file.seek(self.at)
            data = file.read()
        self.at += len(data)
        return data.decode("utf-8", "surrogatepass")

    def without_record(self, call: Callable[[], object]) -> bool:
        before = everyline.paths()["no_record"]
        call()
        return everyline.paths()["no_record"] == before + 1


@pytest.fixture(autouse=True)
def no_logger_is_left_without_a_parent() -> Iterator[None]:
    yield
    for known in logging.Logger.manager.loggerDict.values():
        if isinstance(known, logging.Logger) and known.parent is None:
            known.parent = logging.root


@pytest.fixture
def ours(log: Path, native: None) -> Iterator[Ours]:
    made = Ours(log)
    yield made
    made.handler.close()
    made.logger.handlers[:] = []


def both(
    ours: Ours, formatter: logging.Formatter, call: Callable[[logging.Logger], Any]
) -> tuple[str, str, bool]:
    """What a call writes by our handler, and what by a foreign one, which needs a record."""
    keep = Keep()
    for handler in (ours.handler, keep):
        handler.setFormatter(formatter)
    before = everyline.paths()["no_record"]
    # From one line, as it stands in what is written.
    for handlers in ([ours.handler], [keep]):
        ours.logger.handlers[:] = handlers
        call(ours.logger)
    ours.logger.handlers[:] = [ours.handler]
    mine, theirs = ours.new(), "".join(line + "\n" for line in keep.lines)
    assert (not mine) == (not theirs)
    return mine, theirs, everyline.paths()["no_record"] > before


@pytest.mark.parametrize("level", [10, 20, 30, 40, 50, 25, 0, -5, 1000])
@pytest.mark.parametrize("style", "%{$")
def test_every_field(ours: Ours, level: int, style: str) -> None:
    fields = FULL
    if style != "%":
        for kind in "sd":
            fields = fields.replace(f"){kind}", "}").replace("%(", style.strip("{") + "{")
    ours.logger.setLevel(1)

    def call(logger: logging.Logger) -> None:
        logger.log(level, "text %s %d %.2f \u20ac", "a", 5, 0.125)

    mine, theirs, direct = both(ours, logging.Formatter(fields, style=style), call)
    assert mine == theirs
    assert direct == (level >= 1)


@pytest.mark.parametrize("method", ["debug", "info", "warning", "error", "critical", "fatal"])
def test_each_method(ours: Ours, method: str) -> None:
    def call(logger: logging.Logger) -> None:
        getattr(logger, method)("%s of %s", 1, "two")

    mine, theirs, direct = both(ours, logging.Formatter(FULL), call)
    assert mine == theirs
    assert direct == (method != "debug")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(chosen=formats(), message=messages(), name=st.text(max_size=8))
def test_any_format_and_any_message(ours: Ours, chosen: tuple[str, str], message: Any, name: str) -> None:
    try:
        formatter = logging.Formatter(chosen[0], None, chosen[1], validate=False)
    except ValueError:
        return
    # What a clock says differs from one call to the next.
    formatter.formatTime = lambda record, datefmt=None: "now"  # type: ignore[method-assign]
    if any(moving in chosen[0] for moving in ("created", "msecs", "relativeCreated")):
        return
    ours.logger.name = name
    text, arguments = message
    given_arguments = arguments if isinstance(arguments, tuple) else () if arguments is None else (arguments,)

    def call(logger: logging.Logger) -> None:
        logger.info(text, *given_arguments)

    mine, theirs, _ = both(ours, formatter, call)
    assert mine == theirs


@pytest.mark.parametrize(
    "nanos", [0, 1, 999_999_999, 1_677_903_920_999_998_503, 1_677_903_920_999_999_900, 10**18]
)
def test_times(ours: Ours, monkeypatch: pytest.MonkeyPatch, nanos: int) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: nanos)
    monkeypatch.setattr(time, "time", lambda: nanos / 1e9)
    fields = "%(created)f %(created)r %(msecs)d %(msecs)s %(relativeCreated)s %(asctime)s %(asctime)30s"
    mine, theirs, direct = both(ours, logging.Formatter(fields), lambda logger: logger.info("x"))
    assert mine == theirs and direct


def test_json(ours: Ours, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 10**18 + 5)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    formatter = everyline.JsonFormatter(static={"a": [1]})
    mine, theirs, direct = both(ours, formatter, lambda logger: logger.info('%s "', "\x01\u20ac"))
    assert mine == theirs and direct
    mine, theirs, direct = both(ours, formatter, lambda logger: logger.info("x", extra={"b": 2}))
    assert mine == theirs and not direct and '"b": 2' in mine


def test_named_arguments_take_the_old_way(ours: Ours) -> None:
    formatter = logging.Formatter(FULL)

    def fails() -> None:
        raise ValueError("failed")

    def with_exception(logger: logging.Logger) -> None:
        try:
            fails()
        except ValueError:
            logger.exception("an %s", "exception")
            logger.error("again", exc_info=True)

    calls: list[Callable[[logging.Logger], Any]] = [
        with_exception,
        lambda logger: logger.info("stack", stack_info=True),
        lambda logger: logger.info("level", stacklevel=2),
        lambda logger: logger.info("extra", extra={"more": 1}),
        lambda logger: logger.info(msg="named"),
    ]
    for call in calls:
        mine, theirs, direct = both(ours, formatter, call)
        assert mine == theirs != "" and not direct


def test_wrong_calls_fail_as_they_did(ours: Ours) -> None:
    for level in (logging.DEBUG, logging.CRITICAL):
        ours.logger.setLevel(level)
        ours.logger.setLevel(level)
        for call in (
            lambda: ours.logger.info(),  # type: ignore[call-arg]
            lambda: ours.logger.info("a", msg="b"),  # type: ignore[misc]
            lambda: ours.logger.log("INFO", "x"),  # type: ignore[arg-type]
            lambda: ours.logger.log(10),  # type: ignore[call-arg]
            lambda: logging.Logger.info("x", "y"),  # type: ignore[arg-type]
        ):
            with pytest.raises((TypeError, AttributeError)):
                call()
    ours.logger.setLevel(logging.DEBUG)
    with pytest.raises(TypeError):
        ours.logger.info("x", unknown=1)  # type: ignore[call-arg]


# Everything that can stand in the way


class Filtering(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = "filtered"
        return True


def obstacles(ours: Ours, patch: pytest.MonkeyPatch) -> dict[str, Callable[[], Any]]:
    logger, handler = ours.logger, ours.handler

    class Record(logging.LogRecord):
        pass

    def shadow(target: Any, name: str) -> Callable[[], Any]:
        original = getattr(target, name)
        return lambda: patch.setitem(vars(target), name, lambda *args, **named: original(*args, **named))

    found: dict[str, Callable[[], Any]] = {
        "a filter on the logger": lambda: patch.setattr(logger, "filters", [Filtering()]),
        "a filter on the handler": lambda: patch.setattr(handler, "filters", [Filtering()]),
        "a record factory": lambda: patch.setattr(logging, "_logRecordFactory", Record),
        "another handler": lambda: patch.setattr(logger, "handlers", [handler, Keep()]),
        "a foreign handler above": lambda: patch.setattr(logger, "parent", parent_with(Keep())),
        "a formatter's own format": lambda: patch.setitem(
            vars(handler.formatter), "format", lambda record: record.getMessage()
        ),
        "a converter": lambda: patch.setattr(handler.formatter, "converter", lambda moment: time.gmtime(0)),
        "a formatter's class": lambda: patch.setattr(
            logging.Formatter, "formatTime", lambda self, record, datefmt: "patched"
        ),
    }
    for name in ("isEnabledFor", "_log", "makeRecord", "handle", "callHandlers", "filter"):
        found[f"{name} on the logger"] = shadow(logger, name)
    for name in (
        "_log",
        "makeRecord",
        "findCaller",
        "handle",
        "callHandlers",
        "isEnabledFor",
        "getEffectiveLevel",
    ):
        found[f"{name} on the class"] = patched(patch, logging.Logger, name)
    for name in ("emit", "handle", "format", "filter"):
        found[f"{name} on the handler"] = shadow(handler, name)
    for owner, name in (
        (logging.Handler, "handle"),
        (logging.Handler, "format"),
        (logging.Filterer, "filter"),
        (logging.LogRecord, "getMessage"),
        (logging.LogRecord, "__init__"),
        (everyline.RotatingFileHandler, "emit"),
        (everyline.RotatingFileHandler, "handle"),
    ):
        found[f"{owner.__name__}.{name}"] = patched(patch, owner, name)
    return found


def patched(patch: pytest.MonkeyPatch, owner: type, name: str) -> Callable[[], Any]:
    original = getattr(owner, name)
    return lambda: patch.setattr(owner, name, lambda self, *args, **named: original(self, *args, **named))


def parent_with(handler: logging.Handler) -> logging.Logger:
    parent = logging.Logger("parent")
    parent.addHandler(handler)
    return parent


def obstacle_names() -> list[str]:
    class Nothing:
        logger = logging.getLogger()
        handler = Keep()

    Nothing.handler.formatter = logging.Formatter()
    return list(obstacles(Nothing, pytest.MonkeyPatch()))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", obstacle_names())
def test_what_stands_in_the_way_is_seen_at_once(ours: Ours, name: str) -> None:
    ours.handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for _ in range(2):
        # Often enough to know beforehand what the call comes to.
        for _ in range(3):
            assert ours.without_record(lambda: ours.logger.info("before"))
        assert everyline.explain(ours.logger) is None
        with pytest.MonkeyPatch.context() as patch:
            obstacles(ours, patch)[name]()
            assert not ours.without_record(lambda: ours.logger.info("meanwhile"))
            if name != "isEnabledFor on the logger":
                assert everyline.explain(ours.logger)
            assert ("filtered" in ours.new()) == ("a filter" in name)
    assert ours.without_record(lambda: ours.logger.info("after"))
    assert ours.new().endswith("after\n") and not ours.failures


def test_levels_handlers_and_propagation_may_change_at_any_time(ours: Ours, log: Path) -> None:
    logger = ours.logger
    parent = logging.Logger("parent", logging.INFO)
    above = everyline.RotatingFileHandler(log.with_name("above.log"), encoding="utf-8")
    parent.addHandler(above)
    logger.parent = parent

    def lines(call: Callable[[], None]) -> tuple[str, str, bool]:
        direct = ours.without_record(call)
        upper = log.with_name("above.log")
        text = upper.read_text()
        upper.write_text("") if not text else os.truncate(upper, 0)
        return ours.new(), text, direct

    assert lines(lambda: logger.info("1")) == ("1\n", "1\n", True)
    logger.propagate = False
    assert lines(lambda: logger.info("2")) == ("2\n", "", True)
    logger.propagate = True
    above.setLevel(logging.ERROR)
    assert lines(lambda: logger.info("3")) == ("3\n", "", True)
    logger.setLevel(logging.ERROR)
    assert lines(lambda: logger.info("4")) == ("", "", False)
    assert lines(lambda: logger.error("5")) == ("5\n", "5\n", True)
    logger.setLevel(logging.DEBUG)
    logger.disabled = True
    assert lines(lambda: logger.error("6")) == ("", "", False)
    logger.disabled = False
    logger.removeHandler(ours.handler)
    assert lines(lambda: logger.error("7")) == ("", "7\n", True)
    # A foreign handler that does not want the record does not stand in the way.
    logger.handlers.append(logging.NullHandler())
    quiet = Keep()
    quiet.setLevel(logging.CRITICAL)
    logger.handlers.append(quiet)
    assert lines(lambda: logger.error("8")) == ("", "8\n", True)
    assert lines(lambda: logger.critical("9")) == ("", "9\n", False)
    assert quiet.lines == ["9"]
    above.close()


def test_disable_is_seen(ours: Ours) -> None:
    logger = logging.getLogger("native.disable")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [ours.handler]
    try:
        logger.info("1")
        logging.disable(logging.INFO)
        logger.info("2")
        logging.disable(logging.NOTSET)
        logger.info("3")
    finally:
        logging.disable(logging.NOTSET)
        logger.handlers[:] = []
    assert ours.new() == "1\n3\n"


def test_a_closed_handler_attaches_again(ours: Ours) -> None:
    ours.handler.close()
    assert everyline.explain(ours.logger)
    assert not ours.without_record(lambda: ours.logger.info("1"))
    assert ours.without_record(lambda: ours.logger.info("2"))
    assert ours.new() == "1\n2\n"


def test_subclasses_of_logger(ours: Ours) -> None:
    class Plain(logging.Logger):
        def more(self) -> None:
            self.info("more")

    class Own(logging.Logger):
        def makeRecord(self, *args: Any, **named: Any) -> logging.LogRecord:
            record = super().makeRecord(*args, **named)
            record.msg = "own"
            return record

    class Outer(logging.Logger):
        def info(self, msg: object, *args: object, **named: Any) -> None:
            super().info(f"outer {msg}", *args, **named)

    for kind, expected, direct in ((Plain, "x\n", True), (Own, "own\n", False), (Outer, "outer x\n", True)):
        logger = kind("subclass", logging.INFO)
        logger.addHandler(ours.handler)
        assert ours.without_record(lambda logger=logger: logger.info("x")) == direct  # type: ignore[misc]
        assert ours.new() == expected
    assert everyline.explain(Own("own"), logging.INFO)


def test_adapters(ours: Ours) -> None:
    ours.handler.setFormatter(logging.Formatter("%(message)s %(user)s %(funcName)s"))
    adapter = logging.LoggerAdapter(ours.logger, {"user": "u"})
    adapter.info("x %s", 1)
    adapter.debug("y")
    assert ours.new() == "x 1 u test_adapters\n"
    assert everyline.explain(adapter) == "a LoggerAdapter passes extra"


def test_the_functions_of_the_module(log: Path) -> None:
    script = (
        "import logging, sys, everyline\n"
        "import everyline\n"
        "everyline.install(loggers=True)\n"
        "handler = everyline.RotatingFileHandler(sys.argv[1])\n"
        "logging.basicConfig(handlers=[handler], level=20,\n"
        "                    format='%(name)s %(funcName)s %(lineno)d %(message)s')\n"
        "def function():\n"
        "    logging.info('%s', 'x')\n"
        "function()\n"
        "logging.getLogger('a.b').warning('y')\n"
        "print(everyline.paths()['no_record'])\n"
    )
    assert run(script, log).stdout == "2\n"
    assert log.read_text() == "root function 8 x\na.b <module> 10 y\n"


def test_code_in_a_message_runs_once(ours: Ours) -> None:
    runs = []

    class Counted:
        def __str__(self) -> str:
            runs.append(1)
            ours.logger.info("inner %s", len(runs))
            return "counted"

    ours.logger.info("%s", Counted())
    assert ours.new() == "inner 1\ncounted\n"


def test_an_error_is_reported_with_a_record(ours: Ours) -> None:
    ours.logger.info("%d", "text")
    assert [record.args for record in ours.failures] == [("text",)]
    assert ours.failures[0].funcName == "test_an_error_is_reported_with_a_record"


def test_a_line_not_accepted_is_reported_with_a_record(ours: Ours, log: Path) -> None:
    handler = everyline.RotatingFileHandler(log.with_name("small.log"), overflow_bytes=1 << 20)
    ours.logger.handlers[:] = [handler]
    failures: list[logging.LogRecord] = []
    handler.handleError = failures.append  # type: ignore[method-assign]
    ours.logger.info("%s", "x" * (2 << 20))
    handler.close()
    assert (
        len(failures) == 1
        and failures[0].levelno == logging.INFO
        and len(failures[0].getMessage()) == 2 << 20
    )


def test_threads_and_changes(ours: Ours) -> None:
    ours.handler.setFormatter(logging.Formatter("%(asctime)s %(threadName)s %(message)s"))
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            ours.handler.setFormatter(logging.Formatter(f"{number} %(threadName)s %(message)s"))
            # CPython 3.13 tells a thousand states of a class apart, and then no more.
            if number < 50:
                logging.Formatter.default_msec_format = "%s.%03d" if number % 2 else "%s,%03d"
            ours.logger.setLevel(logging.INFO)

    changer = threading.Thread(target=change)
    changer.start()
    writers = [
        threading.Thread(target=lambda: [ours.logger.info("record %d", n) for n in range(2000)], name=f"t{i}")
        for i in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    changer.join()
    logging.Formatter.default_msec_format = "%s,%03d"
    found: dict[str, list[int]] = {}
    for line in ours.new().splitlines():
        *_, thread, word, number = line.split(" ")
        found.setdefault(thread, []).append(int(number))
    assert found == {f"t{i}": list(range(2000)) for i in range(4)} and not ours.failures


def test_forks(log: Path) -> None:
    script = (
        "import logging, os, sys, everyline\n"
        "import everyline\n"
        "everyline.install(loggers=True)\n"
        "logging.basicConfig(handlers=[everyline.RotatingFileHandler(sys.argv[1])], level=20,\n"
        "                    format='%(process)d %(message)s')\n"
        "logging.info('parent')\n"
        "pids = []\n"
        "for _ in range(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        for n in range(100): logging.info('%d', n)\n"
        "        logging.shutdown()\n"
        "        os._exit(0)\n"
        "    pids.append(pid)\n"
        "for pid in pids: os.waitpid(pid, 0)\n"
        "logging.info('parent')\n"
        "print(os.getpid(), *pids)\n"
    )
    parent, *children = run(script, log).stdout.split()
    found: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        pid, text = line.split()
        found.setdefault(pid, []).append(text)
    assert found == {parent: ["parent"] * 2, **{child: [str(n) for n in range(100)] for child in children}}


# Others that look into logging


def test_caplog(native: None, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("native.caplog")
    with caplog.at_level(logging.INFO, logger="native.caplog"):
        logger.info("seen %s", 1)
        logger.debug("not seen")
    assert [(record.getMessage(), record.funcName) for record in caplog.records] == [
        ("seen 1", "test_caplog")
    ]


def test_captured_warnings(ours: Ours) -> None:
    logger = logging.getLogger("py.warnings")
    logger.addHandler(ours.handler)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a warning", stacklevel=1)
    finally:
        logging.captureWarnings(False)
        logger.removeHandler(ours.handler)
    assert "UserWarning: a warning" in ours.new()


def test_mocks_see_the_calls(native: None) -> None:
    from unittest import TestCase, mock

    logger = logging.getLogger("native.mock")
    with TestCase().assertLogs(logger, "INFO") as found:
        logger.info("x")
    assert found.output == ["INFO:native.mock:x"]
    with mock.patch.object(logger, "info") as info:
        logger.info("x")
    info.assert_called_once_with("x")


def test_install_and_uninstall() -> None:
    before = dict(vars(logging.Logger))
    everyline.install(loggers=True)
    everyline.install(loggers=True)
    assert logging.Logger.info is not before["info"]
    assert logging.Logger.info.__name__ == "info" and logging.Logger.info.__doc__
    everyline.uninstall()
    assert dict(vars(logging.Logger)) == before
    assert everyline.explain(logging.getLogger("x")) is not None


# What of the handler's own stands in the way


def test_hooks_and_steps_take_the_old_way(ours: Ours) -> None:
    handler, logger = ours.handler, ours.logger
    assert everyline.explain(logger) is None
    handler.namer = lambda name: name + ".named"
    assert not ours.without_record(lambda: logger.info("1"))
    assert "opens or rotates its file" in (everyline.explain(logger) or "")
    handler.namer = None
    assert ours.without_record(lambda: logger.info("2"))
    other = io.StringIO()
    kept, handler.stream = handler.stream, other
    assert not ours.without_record(lambda: logger.info("3"))
    handler.stream = kept
    assert ours.without_record(lambda: logger.info("4"))
    assert other.getvalue() == "3\n" and ours.new() == "1\n2\n4\n"


def test_subclasses_with_hooks(log: Path, native: None) -> None:
    rolled = []

    class Own(everyline.RotatingFileHandler):
        def doRollover(self) -> None:
            rolled.append(1)
            super().doRollover()

    class Watched(everyline.WatchedFileHandler):
        pass

    for kind in (Own, Watched):
        path = log.with_name(kind.__name__)
        handler = kind(path, **({"maxBytes": 30, "backupCount": 9} if kind is Own else {}))  # type: ignore[arg-type]
        logger = logging.Logger("own", logging.INFO)
        logger.addHandler(handler)
        before = everyline.paths()["no_record"]
        for number in range(9):
            logger.info("number %d", number)
        assert everyline.paths()["no_record"] == before and everyline.explain(logger)
        handler.close()
        lines = "".join(
            file.read_text() for file in sorted(path.parent.glob(kind.__name__ + "*"), reverse=True)
        )
        assert sorted(lines.splitlines()) == [f"number {number}" for number in range(9)]
    assert rolled


def test_everyline_handler(log: Path, native: None) -> None:
    logger = logging.Logger("modern", logging.INFO)
    handler = everyline.Handler(log, format="json")
    logger.addHandler(handler)
    assert everyline.explain(logger) is None
    before = everyline.paths()["no_record"]
    logger.info("x %s", 1)
    logger.info("y", extra={"a": 1})
    handler.close()
    assert everyline.paths()["no_record"] == before + 1
    first, second = map(json.loads, log.read_text().splitlines())
    assert list(first) == ["time", "level", "logger", "message", "pid", "thread"]
    assert (first["message"], second["message"], second["a"]) == ("x 1", "y", 1)


def test_a_handler_of_pythons_that_names_its_base(log: Path) -> None:
    script = (
        "import logging, logging.handlers as handlers, sys, everyline\n"
        "class Own(handlers.RotatingFileHandler):\n"
        "    def emit(self, record):\n"
        "        handlers.RotatingFileHandler.emit(self, record)\n"
        "class Plain(logging.FileHandler):\n"
        "    def emit(self, record):\n"
        "        logging.FileHandler.emit(self, record)\n"
        "everyline.install(loggers=True)\n"
        "log = logging.Logger('x', 20)\n"
        "for kind in (Own, Plain):\n"
        "    log.handlers[:] = [kind(sys.argv[1])]\n"
        "    log.info('from %s', kind.__name__)\n"
    )
    assert run(script, log).stderr == ""
    assert log.read_text() == "from Own\nfrom Plain\n"


def test_it_can_be_switched_off(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYLINE_NATIVE", "0")
    script = (
        "import logging, sys, everyline\n"
        "before = dict(vars(logging.Logger))\n"
        "everyline.install(loggers=True)\n"
        "assert dict(vars(logging.Logger)) == before\n"
        "logging.basicConfig(filename=sys.argv[1], level=20)\n"
        "logging.info('x')\n"
        "everyline.uninstall()\n"
        "print(everyline.explain(logging.getLogger()), sum(everyline.paths().values()))\n"
        "print(type(everyline.Handler.emit).__name__)\n"
    )
    assert run(script, log).stdout == "EVERYLINE_NATIVE=0 is set 0\nfunction\n"
    assert log.read_text() == "INFO:root:x\n"


def test_methods_that_others_have_replaced_are_left_alone(log: Path) -> None:
    script = (
        "import logging, everyline\n"
        "theirs = logging.Logger.info\n"
        "logging.Logger.info = lambda self, *args, **named: theirs(self, *args, **named)\n"
        "try:\n"
        "    everyline.install(loggers=True)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
        "everyline.install(); everyline.uninstall()\n"
        "logging.Logger.info = theirs\n"
        "everyline.install(loggers=True)\n"
        "mine = logging.Logger.info = lambda self, *args, **named: None\n"
        "everyline.uninstall()\n"
        "print(logging.Logger.info is mine, logging.Logger.error.__class__.__name__)\n"
    )
    assert run(script, log).stdout == (
        "logging.Logger.info has been replaced; install before whatever does that\nTrue function\n"
    )


def test_a_recursion_without_end_is_the_callers(ours: Ours) -> None:
    class Endless:
        def __str__(self) -> str:
            return str(self)

    with pytest.raises(RecursionError):
        ours.logger.info("%s", Endless())
    with pytest.raises(RecursionError):
        ours.handler.emit(logging.makeLogRecord({"msg": "%s", "args": (Endless(),)}))
    ours.logger.info("on")
    assert ours.new() == "on\n"


CHANGES: dict[str, Callable[[pytest.MonkeyPatch, Ours], Any]] = {
    "the clock": lambda patch, ours: (
        patch.setattr(time, "time", lambda: 0.25),
        patch.setattr(time, "time_ns", lambda: 250_000_000),
    ),
    "getpid": lambda patch, ours: patch.setattr(os, "getpid", lambda: 7),
    "logProcesses": lambda patch, ours: patch.setattr(logging, "logProcesses", False),
    "the name of a level": lambda patch, ours: patch.setitem(logging._levelToName, 20, "Twenty"),
    "getLevelName": lambda patch, ours: patch.setattr(logging, "getLevelName", lambda level: "L"),
    "the logger's name": lambda patch, ours: patch.setattr(ours.logger, "name", "renamed"),
    "the format": lambda patch, ours: patch.setattr(ours.handler.formatter._style, "_fmt", "%(process)d new"),
    "another formatter": lambda patch, ours: patch.setattr(
        ours.handler, "formatter", logging.Formatter("another %(message)s")
    ),
    "no formatter": lambda patch, ours: patch.setattr(ours.handler, "formatter", None),
    "the default": lambda patch, ours: (
        patch.setattr(ours.handler, "formatter", None),
        ours.logger.info("z"),
        patch.setattr(logging, "_defaultFormatter", logging.Formatter("%(name)s")),
    ),
    "datefmt": lambda patch, ours: patch.setattr(ours.handler.formatter, "datefmt", "%d of"),
    "the terminator": lambda patch, ours: patch.setattr(ours.handler, "terminator", "|"),
    "a formatter's class": lambda patch, ours: patch.setattr(
        logging.Formatter, "default_time_format", "at %S"
    ),
    "the attributes as a whole": lambda patch, ours: patch.setattr(
        ours.handler.formatter, "__dict__", vars(logging.Formatter("%(levelname)s whole"))
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_known_beforehand_is_given_up_at_each_change(ours: Ours, name: str) -> None:
    ours.handler.setFormatter(logging.Formatter("%(process)d %(levelname)s %(name)s %(message)s %(asctime)s"))
    for _ in range(4):
        assert ours.without_record(lambda: ours.logger.info("x"))
        ours.new()
        keep = Keep()
        with pytest.MonkeyPatch.context() as patch:
            CHANGES[name](patch, ours)
            ours.new()
            ours.logger.info("x")
            mine = ours.new()
            ours.logger.handlers.append(keep)
            keep.setFormatter(ours.handler.formatter)
            ours.logger.info("x")
            ours.logger.handlers.remove(keep)
            theirs = ours.new()
        # The time moves on.
        mine, theirs, kept = (
            re.sub(r"(\d\d:){2}\d\d,\d{3}|at \d\d,\d{3}", "T", text)
            for text in (mine, theirs, "".join(keep.lines))
        )
        assert mine == theirs and mine.strip("\n|") == kept
        assert bool(kept) == (name != "logProcesses"), "where None is no number"


def test_a_handler_that_was_known_goes_away(log: Path, native: None) -> None:
    logger = logging.Logger("gone", logging.INFO)
    handler = everyline.RotatingFileHandler(log)
    logger.addHandler(handler)
    for number in range(5):
        logger.info("%d", number)
    logger.removeHandler(handler)
    gone = weakref.ref(handler)
    handler.close()
    del handler
    gc.collect()
    assert gone() is None
    # Memory of the old one may be another's by now.
    for number in range(50):
        other = logging.Logger(f"other {number}", logging.INFO)
        other.addHandler(everyline.RotatingFileHandler(log))
        other.info("other %d", number)
        other.info("again %d", number)
        other.handlers[0].close()
    expected = [str(n) for n in range(5)]
    for number in range(50):
        expected += [f"other {number}", f"again {number}"]
    assert log.read_text().splitlines() == expected
