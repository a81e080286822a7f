"""Native formatting and the standard library's own: the same bytes, and the same record afterwards.

Each example is formatted by `logging.Formatter.format` and by the handler's native `emit`, which has to be
the one that ran.
"""

from __future__ import annotations

import datetime
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import everyline
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracle import run

SOME = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
MOST = logging.makeLogRecord({})
NAMES = sorted(vars(MOST)) + ["message", "asctime", "extra_text", "missing"]
DEFAULTS = sys.version_info >= (3, 10)

text = st.text(max_size=20)
names = st.sampled_from(NAMES)
literal = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="%{}$\0"), max_size=6)


@st.composite
def formats(draw: Any) -> tuple[str, str]:
    style = draw(st.sampled_from("%{$"))
    parts = [draw(literal)]
    for _ in range(draw(st.integers(1, 5))):
        name = draw(names)
        if style == "%":
            options = draw(
                st.sampled_from(["", "", "-8", "8", "03", "5", ".3", "-10.4", "+", " ", "#", "08.2"])
            )
            parts.append(f"%({name}){options}{draw(st.sampled_from('sssdfrxei'))}")
        elif style == "{":
            options = draw(
                st.sampled_from(
                    ["", "", ":<8", ":>8", ":8", ":^9", ":03d", ":.2f", ":*<6", ":s", ":<8s", "!r", ":,"]
                )
            )
            parts.append(f"{{{name}{options}}}")
        else:
            parts.append(draw(st.sampled_from([f"${name}", f"${{{name}}}"])))
        parts.append(draw(st.sampled_from([draw(literal), {"%": "%%", "{": "{{x}}", "$": "$$"}[style], " "])))
    return "".join(parts), style


class Thing:
    def __str__(self) -> str:
        return "thing \u20ac"

    __repr__ = __str__


class Text(str):
    pass


plain = st.one_of(
    text,
    st.integers(),
    st.floats(),
    st.none(),
    st.booleans(),
    st.builds(Thing),
    st.builds(Text, text),
    st.lists(st.integers(), max_size=3),
)


@st.composite
def messages(draw: Any) -> tuple[Any, Any]:
    kind = draw(st.sampled_from(["plain", "args", "args", "args", "dict", "object", "wrong"]))
    if kind == "plain":
        return draw(text), draw(st.sampled_from([(), None]))
    if kind == "object":
        return draw(plain), ()
    if kind == "dict":
        return "a %(a)s b %(b)r %%", {"a": draw(plain), "b": draw(plain)}
    values = draw(st.lists(plain, min_size=1, max_size=4))
    parts = []
    for value in values:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            conversion = draw(st.sampled_from(["%s", "%d", "%i", "%f", "%.2f", "%5d", "%r"]))
        else:
            conversion = draw(st.sampled_from(["%s", "%s", "%r", "%10s"]))
        parts.append(draw(literal) + conversion + draw(st.sampled_from(["", "%%"])))
    if kind == "wrong":
        values.append("one too many")
    return "".join(parts), tuple(values)


moments = st.one_of(
    st.floats(min_value=-1e9, max_value=4e9),
    st.sampled_from([0.0, 1.9999999, -0.5, 1e9, 1711846799.9996, 1711846800.0, 1729990800.5, 253402300799.0]),
    st.integers(0, 10**9),
)


@st.composite
def records(draw: Any) -> logging.LogRecord:
    message, arguments = draw(messages())
    level = draw(st.sampled_from([0, 10, 20, 30, 40, 50, 15, 99, -3]))
    name, path = (
        draw(text),
        draw(st.sampled_from(["/a/b.py", "b", "", "/a/.hidden", "x.tar.gz", "/a/\u00e4.py"])),
    )
    made = logging.LogRecord(name, level, path, draw(st.integers(0, 10**6)), message, None, None, draw(text))
    made.args = arguments
    made.created = draw(moments)
    made.msecs = draw(st.one_of(st.floats(0, 999.9999), st.integers(0, 999).map(float), st.just(7)))
    if draw(st.booleans()):
        made.extra_text = draw(plain)
    if draw(st.integers(0, 4)) == 0:
        try:
            raise ValueError(draw(text))
        except ValueError:
            made.exc_info = sys.exc_info()
    if draw(st.integers(0, 4)) == 0:
        made.stack_info = draw(st.sampled_from(["Stack\n  of \u20ac", "x\n"]))
    return made


datefmts = st.sampled_from(
    [None, "", "%Y-%m-%d", "%H:%M:%S", "%d/%b/%Y %z %Z", "%A %j %U %p", "%c", "%%", "\u20ac%S", "x", "%s %e"]
)


def outcome(act: Any) -> Any:
    try:
        return act()
    except Exception as error:
        return type(error), str(error)


def twin(record: logging.LogRecord) -> logging.LogRecord:
    copy = logging.makeLogRecord({})
    copy.__dict__.clear()
    copy.__dict__.update(record.__dict__)
    return copy


class Pair:
    """A handler and the bytes it wrote for one record."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.handler = everyline.RotatingFileHandler(
            log, encoding="utf-8", errors="surrogatepass", delay=False
        )
        self.failures: list[Any] = []
        self.handler.__dict__["handleError"] = lambda record: self.failures.append(sys.exc_info()[1])
        self.at = 0

    def emit(self, record: logging.LogRecord) -> Any:
        before = everyline.paths()["native_emit"]
        self.failures.clear()
        self.handler.emit(record)
        self.native = everyline.paths()["native_emit"] - before
        if self.failures:
            return type(self.failures[0]), str(self.failures[0])
        with open(self.log, "rb") as file:
            file.seek(self.at)
            data = file.read()
        self.at += len(data)
        return data

    def check(self, formatter: logging.Formatter, record: logging.LogRecord) -> None:
        """The same, and by native code."""
        if self.compare(formatter, record):
            assert self.native == 1

    def compare(self, formatter: logging.Formatter, record: logging.LogRecord) -> bool:
        theirs = twin(record)
        expected = outcome(lambda: (formatter.format(theirs) + "\n").encode("utf-8", "surrogatepass"))
        self.handler.setFormatter(formatter)
        assert self.emit(record) == expected
        is_line = isinstance(expected, bytes)
        if is_line:
            assert comparable(record) == comparable(theirs)
        return is_line


def comparable(record: logging.LogRecord) -> dict[str, str]:
    """By text: a number that is none is not equal to itself."""
    return {name: repr(value) for name, value in vars(record).items()}


@pytest.fixture
def pair(log: Path) -> Iterator[Pair]:
    made = Pair(log)
    yield made
    made.handler.close()


def formatter_of(chosen: tuple[str, str], datefmt: str | None, **more: Any) -> logging.Formatter:
    return logging.Formatter(chosen[0], datefmt, chosen[1], validate=False, **more)


@SOME
@given(chosen=formats(), record=records(), datefmt=datefmts, utc=st.booleans(), fraction=st.integers(0, 3))
def test_any_format_and_any_record(
    pair: Pair,
    chosen: tuple[str, str],
    record: logging.LogRecord,
    datefmt: str | None,
    utc: bool,
    fraction: int,
) -> None:
    formatter = outcome(lambda: formatter_of(chosen, datefmt))
    assume(isinstance(formatter, logging.Formatter))
    if utc:
        formatter.converter = time.gmtime
    if fraction:
        formatter.default_msec_format = ["%s,%03d", None, "%s.%03d", "%s|%f"][fraction]
    pair.check(formatter, record)
    # And once more, with whatever was kept.
    pair.check(formatter, twin(record))


@pytest.mark.skipif(not DEFAULTS, reason="defaults are new in Python 3.10")
@SOME
@given(chosen=formats(), record=records(), missing=plain)
def test_defaults(pair: Pair, chosen: tuple[str, str], record: logging.LogRecord, missing: Any) -> None:
    defaults = {"missing": missing, "extra_text": "default", "name": "never seen"}
    pair.check(formatter_of(chosen, None, defaults=defaults), record)


ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "EST+05EDT,M3.2.0,M11.1.0", "XYZ-5:45", "Asia/Kathmandu"]


@pytest.fixture
def zones() -> Iterator[None]:
    before = os.environ.get("TZ")
    yield
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


@SOME
@given(
    zone=st.lists(st.sampled_from(ZONES), min_size=2, max_size=4),
    moment=moments,
    datefmt=st.sampled_from([None, "%Y-%m-%dT%H:%M:%S%z %Z", "%c"]),
)
def test_a_change_of_zone_within_a_second(
    pair: Pair, zones: None, zone: list[str], moment: float, datefmt: str | None
) -> None:
    formatter = logging.Formatter("%(asctime)s", datefmt)
    for name in zone:
        os.environ["TZ"] = name
        time.tzset()
        record = logging.makeLogRecord({"msg": "x"})
        record.created = moment
        pair.check(formatter, record)


@pytest.mark.parametrize("hour", range(-3, 4))
@pytest.mark.parametrize("change", ["2024-03-31T01:00+00:00", "2024-10-27T01:00+00:00"])
def test_around_daylight_saving(pair: Pair, zones: None, change: str, hour: int) -> None:
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    start = datetime.datetime.fromisoformat(change).timestamp() + hour * 1800
    formatter = logging.Formatter("%(asctime)s %(message)s", "%F %T %Z")
    for step in (0.0, 0.999, 1.0, -1.0):
        record = logging.makeLogRecord({"msg": "x"})
        record.created = start + step
        pair.check(formatter, record)


# What is changed while it runs


class Loud(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).upper()


class Dated(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"at {record.created:.3f} {datefmt}"


class Short(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        return f"short: {ei[1]!r}"

    def formatStack(self, stack_info: str) -> str:
        return "no stack"


class Wrapped(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return "<" + super().formatMessage(record) + ">"


class Timeless(logging.Formatter):
    def usesTime(self) -> bool:
        return True


class Odd(logging.Formatter):
    @property
    def datefmt(self) -> str:  # type: ignore[override]
        return "%H"

    @datefmt.setter
    def datefmt(self, value: Any) -> None:
        pass


class Truthless(logging.Formatter):
    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("kind", [Loud, Dated, Short, Wrapped, Timeless, Odd, logging.Formatter])
@SOME
@given(record=records())
def test_subclasses(pair: Pair, kind: type[logging.Formatter], record: logging.LogRecord) -> None:
    formatter = kind("%(asctime)s %(name)s %(message)s")
    theirs = twin(record)
    expected = outcome(lambda: (formatter.format(theirs) + "\n").encode("utf-8", "surrogatepass"))
    pair.handler.setFormatter(formatter)
    assert pair.emit(record) == expected


def test_a_formatter_that_counts_as_none(pair: Pair) -> None:
    pair.handler.setFormatter(Truthless("never %(message)s"))
    assert pair.emit(logging.makeLogRecord({"msg": "x"})) == b"x\n"


def converter(moment: float) -> time.struct_time:
    return time.gmtime(moment + 3600)


def changes(formatter: logging.Formatter, patch: pytest.MonkeyPatch) -> list[Any]:
    style: Any = formatter._style
    return [
        lambda: patch.setattr(formatter, "datefmt", "%H"),
        lambda: patch.setattr(style, "_fmt", "%(levelname)s %(asctime)s"),
        lambda: patch.setattr(formatter, "converter", time.gmtime, raising=False),
        lambda: patch.setattr(formatter, "converter", converter, raising=False),
        lambda: patch.setattr(formatter, "default_time_format", "%M"),
        lambda: patch.setattr(formatter, "default_msec_format", "%s %d"),
        lambda: patch.setattr(formatter, "formatTime", lambda record, datefmt: "now"),
        lambda: patch.setattr(formatter, "formatMessage", lambda record: "message"),
        lambda: patch.setattr(formatter, "format", lambda record: "line"),
        lambda: patch.setattr(formatter, "_style", logging.StrFormatStyle("{message}!")),
        lambda: patch.setattr(style, "_format", lambda record: "style"),
        lambda: patch.setattr(logging.Formatter, "converter", time.gmtime),
        lambda: patch.setattr(logging.Formatter, "default_time_format", "%S"),
        lambda: patch.setattr(logging.Formatter, "formatTime", lambda self, record, datefmt: "class"),
        lambda: patch.setattr(logging.Formatter, "format", lambda self, record: "class"),
        lambda: patch.setattr(logging.PercentStyle, "_format", lambda self, record: "style class"),
        lambda: patch.setattr(logging.LogRecord, "getMessage", lambda self: "record class"),
        lambda: patch.delattr(logging.LogRecord, "__repr__"),
    ]


@pytest.mark.parametrize("number", range(18))
def test_a_change_is_seen_by_the_next_record(pair: Pair, zones: None, number: int) -> None:
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()
    formatter = logging.Formatter("%(asctime)s %(message)s")
    pair.handler.setFormatter(formatter)

    def compare() -> bytes:
        record = logging.makeLogRecord({"msg": "x", "created": 1e9 + 0.25, "msecs": 250.0})
        theirs = twin(record)
        expected = (formatter.format(theirs) + "\n").encode()
        data = pair.emit(record)
        assert data == expected and comparable(record) == comparable(theirs)
        return expected

    before = compare()
    with pytest.MonkeyPatch.context() as patch:
        change = changes(formatter, patch)[number]
        change()
        assert compare() != before or number == 17
    assert compare() == before


def test_the_handlers_own_format(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.makeLogRecord({"msg": "x"})
    assert pair.emit(record) == b"x\n"
    with monkeypatch.context() as patch:
        patch.setitem(vars(pair.handler), "format", lambda record: "mine")
        assert pair.emit(record) == b"mine\n"
    with monkeypatch.context() as patch:
        patch.setattr(logging.Handler, "format", lambda self, record: "class")
        assert pair.emit(record) == b"class\n"
    with monkeypatch.context() as patch:
        patch.setitem(vars(pair.handler), "terminator", "|")
        assert pair.emit(record) == b"x|"
    with monkeypatch.context() as patch:
        patch.setattr(logging, "_defaultFormatter", logging.Formatter("default %(message)s"))
        assert pair.emit(record) == b"default x\n"
    assert pair.emit(record) == b"x\n"
    assert pair.native == 1


def test_a_handler_may_want_python(pair: Pair) -> None:
    record = logging.makeLogRecord({"msg": "x"})
    for wish in (True, False):
        pair.handler._emits_in_python = wish  # type: ignore[attr-defined]
        assert pair.emit(record) == b"x\n" and pair.native == (not wish)


def test_a_message_of_a_record_itself(pair: Pair) -> None:
    record = logging.makeLogRecord({"msg": "x"})
    record.getMessage = lambda: "replaced"  # type: ignore[method-assign]
    assert pair.emit(record) == b"replaced\n"


def test_code_in_a_message_runs_once(pair: Pair) -> None:
    runs = []

    class Counted:
        def __str__(self) -> str:
            runs.append(1)
            return "counted"

    pair.handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for message, arguments in (("%s", (Counted(),)), (Counted(), ()), ("%(a)s", {"a": Counted()})):
        runs.clear()
        data = pair.emit(logging.makeLogRecord({"msg": message, "args": arguments}))
        assert data.endswith(b"counted\n") and len(runs) == 1


def test_code_that_fails_runs_once(pair: Pair) -> None:
    runs = []

    class Failing:
        def __str__(self) -> str:
            runs.append(1)
            raise ValueError("failed")

    assert pair.emit(logging.makeLogRecord({"msg": "%s", "args": (Failing(),)})) == (ValueError, "failed")
    assert len(runs) == 1


def test_an_interrupt_goes_through(pair: Pair) -> None:
    class Interrupting:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pair.handler.emit(logging.makeLogRecord({"msg": "%s", "args": (Interrupting(),)}))
    assert pair.emit(logging.makeLogRecord({"msg": "x"})) == b"x\n"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-8-sig", "cp1252"])
def test_other_encodings(log: Path, encoding: str) -> None:
    handler = everyline.RotatingFileHandler(log, encoding=encoding, errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(levelname)s \u20ac %(message)s"))
    before = everyline.paths()["native_emit"]
    handler.emit(logging.makeLogRecord({"msg": "\xe4\u20ac", "levelname": "INFO"}))
    handler.close()
    assert everyline.paths()["native_emit"] == before + 1
    expected = "INFO \u20ac \xe4\u20ac\n".encode(
        encoding if encoding != "utf-8-sig" else "utf-8", "backslashreplace"
    )
    assert log.read_bytes() == expected


def test_the_report_of_an_error_shows_where_the_call_stands(log: Path) -> None:
    script = (
        "import logging, sys, everyline\n"
        "sys.stderr = sys.stdout\n"
        "logging.basicConfig(handlers=[everyline.RotatingFileHandler(sys.argv[1])], level=20)\n"
        "def calling_function():\n"
        "    logging.info('%d', 'text')\n"
        "calling_function()\n"
    )
    report = run(script, log).stdout
    assert "--- Logging error ---" in report and "TypeError" in report
    assert "in calling_function" in report and "Message: '%d'" in report


# JSON

json_values = st.recursive(
    st.one_of(plain, st.floats(), st.binary(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.one_of(text, st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)
json_names = st.one_of(text, st.sampled_from(["time", "time_", "stack", "exception", "message", "a"]))


@SOME
@given(
    record=records(),
    extra=st.dictionaries(json_names, json_values, max_size=3),
    static=st.dictionaries(json_names, json_values, max_size=2),
    utc=st.booleans(),
    ensure_ascii=st.booleans(),
)
def test_json(
    pair: Pair, record: logging.LogRecord, extra: Any, static: Any, utc: bool, ensure_ascii: bool
) -> None:
    record.__dict__.update({key: value for key, value in extra.items() if key not in vars(record)})
    formatter = everyline.JsonFormatter(utc=utc, static=static, ensure_ascii=ensure_ascii)
    pair.compare(formatter, record)
    theirs = twin(record)
    line = outcome(lambda: formatter.format(theirs))
    if isinstance(line, str):
        # One line, and valid for the strict.
        assert "\n" not in line
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


@SOME
@given(created=moments)
def test_json_times(pair: Pair, created: float) -> None:
    record = logging.makeLogRecord({"msg": "x"})
    record.created = created
    pair.compare(everyline.JsonFormatter(), record)
    ordinary = isinstance(created, float) and 0 <= created < 253402300800
    assert pair.native == ordinary


def test_json_is_what_json_dumps_writes(pair: Pair) -> None:
    record = logging.LogRecord("app", 20, "/x/y.py", 7, 'a \u20ac "%s" \x01\n', ("b",), None)
    record.created, record.msecs = 1e9 + 0.0054999, 5.0
    deep: Any = "bottom"
    for _ in range(6):
        deep = [deep]
    record.user, record.n, record.ratio, record.tags = "u", 1, 0.1, ["a", None, True, {"k": (1, 2)}, {}, []]
    record.deep = deep
    pair.handler.setFormatter(everyline.JsonFormatter(static={"service": "s"}))
    line = pair.emit(record)
    assert pair.native == 1
    expected = {
        "time": "2001-09-09T01:46:40.005Z",
        "level": "INFO",
        "logger": "app",
        "message": 'a \u20ac "b" \x01\n',
        "pid": os.getpid(),
        "thread": "MainThread",
        "service": "s",
        "user": "u",
        "n": 1,
        "ratio": 0.1,
        "tags": ["a", None, True, {"k": [1, 2]}, {}, []],
        "deep": deep,
    }
    assert line == (json.dumps(expected, ensure_ascii=False) + "\n").encode()


def test_json_options_may_change_at_any_time(pair: Pair) -> None:
    formatter = everyline.JsonFormatter(static={"a": 1})

    def line(native: int) -> None:
        pair.compare(formatter, logging.makeLogRecord({"msg": "x \u20ac", "user": "u"}))
        assert pair.native == native

    line(1)
    formatter.static["b"] = [2]
    line(1)
    formatter.static["user"] = "of the service"
    line(0)
    formatter.static = {"c": 3}
    line(1)
    formatter.utc = False
    line(0)
    formatter.utc, formatter.ensure_ascii = True, True
    line(0)
    formatter.ensure_ascii = False
    line(1)
    formatter.formatTime = lambda record, datefmt=None: "now"  # type: ignore[method-assign]
    line(0)


# everyline.Handler


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_modern_handler(log: Path, newline: str, encoding: str, kind: str) -> None:
    record = logging.makeLogRecord({"msg": "a\nb \u20ac %s", "args": (1,)})
    written = []
    for emits_in_python in (False, True):
        path = log.with_name(f"{emits_in_python}.log")
        handler = everyline.Handler(path, format=kind, newline=newline, encoding=encoding)
        handler._emits_in_python = emits_in_python  # type: ignore[attr-defined]
        before = everyline.paths()
        handler.emit(twin(record))
        # With characters that the encoding has not, JSON is written by Python.
        native = not emits_in_python and (kind == "text" or encoding.startswith("utf"))
        assert everyline.paths()["native_emit"] - before["native_emit"] == native
        assert everyline.paths()["python_emit"] - before["python_emit"] == (not native)
        handler.close()
        written.append(path.read_bytes())
    assert written[0] == written[1] != b""


def test_the_modern_handlers_hooks(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(everyline.Handler):
        def format(self, record: logging.LogRecord) -> str:
            return "own " + super().format(record)

    handlers = [everyline.Handler(log), Own(log)]
    for handler in handlers:
        handler.emit(logging.makeLogRecord({"msg": "x"}))
    monkeypatch.setitem(vars(handlers[0]), "format", lambda record: "mine")
    handlers[0].emit(logging.makeLogRecord({"msg": "x"}))
    monkeypatch.undo()
    handlers[0].terminator = "|\n"
    handlers[0].emit(logging.makeLogRecord({"msg": "x"}))
    for handler in handlers:
        handler.close()
    assert log.read_text() == "x\nown x\nmine\nx|\n"


def test_a_handler_in_a_cycle_goes_away(log: Path) -> None:
    import gc
    import weakref

    class Knowing(logging.Formatter):
        handler: Any = None

    for replaced in (False, True):
        handler = everyline.RotatingFileHandler(log)
        formatter = Knowing("%(message)s")
        formatter.handler = handler
        handler.setFormatter(formatter)
        if replaced:
            vars(handler)["format"] = lambda record, handler=handler: "replaced"
        handler.emit(logging.makeLogRecord({"msg": "x"}))
        handler.close()
        handler._stream = handler._open()
        handler.emit(logging.makeLogRecord({"msg": "x"}))
        gone = weakref.ref(handler)
        del handler, formatter
        gc.collect()
        assert gone() is None
    assert log.read_text() == "x\nx\nreplaced\nreplaced\n"
