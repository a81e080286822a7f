"""Records as JSON, one object a line, for machines to read.

Promises. What comes out is one line of valid JSON, whatever is in the record: values that JSON has no form
for (objects, NaN, bytes, cycles) become text, line breaks and control characters are escaped by JSON. The
names of the first six fields do not change. Not promised: that a value can be turned back into the object.
"""

from __future__ import annotations

import datetime
import json
import logging
import math
from typing import Any

# What every record has. Anything else was given as `extra`.
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

# Fields of ours. An extra of that name gets an underscore behind it.
_OURS = ("time", "level", "logger", "message", "pid", "thread", "exception", "stack")

# Deeper values become text: they may contain themselves.
_DEPTH = 8


class JsonFormatter(logging.Formatter):
    """`{"time": "2026-01-31T10:15:00.123Z", "level": "INFO", "logger": "app", "message": "...", ...}`

    Fields: `time` (RFC 3339, milliseconds, UTC, or local time with its offset if `utc` is false), `level`,
    `logger`, `message`, `pid`, `thread`, then what was passed as `extra`, then `exception` and `stack` if
    there are any. `static` is added to every record: a service's name, a version. With `ensure_ascii` every
    character beyond ASCII is escaped.
    """

    def __init__(
        self, *, utc: bool = True, static: dict[str, Any] | None = None, ensure_ascii: bool = False
    ) -> None:
        super().__init__()
        self.utc = utc
        self.static = dict(static or {})
        self.ensure_ascii = ensure_ascii

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, without a line break at its end."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            "thread": record.threadName,
        }
        extra = {name: value for name, value in record.__dict__.items() if name not in _USUAL}
        for name, value in (*self.static.items(), *extra.items()):
            fields[f"{name}_" if name in _OURS else str(name)] = value
        if record.exc_info and not record.exc_text:
            # Kept in the record, as Python's formatter does: the next handler has it.
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return json.dumps(_plain(fields), ensure_ascii=self.ensure_ascii, allow_nan=False)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """When the record was made. `datefmt` is not looked at: the form is RFC 3339's."""
        try:
            utc = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
            when = utc if self.utc else utc.astimezone()
        except (ValueError, OverflowError, OSError, TypeError):
            # Made by `makeLogRecord` from something else than a time.
            return str(record.created)
        text = when.isoformat(timespec="milliseconds")
        return text[: -len("+00:00")] + "Z" if self.utc else text


def _plain(value: Any, depth: int = 0) -> Any:
    """The value in what JSON has: dict, list, str, int, float, bool and None."""
    if value is None or value is True or value is False:
        return value
    # Subclasses may print themselves as they like; JSON would believe them.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else float.__repr__(value)
    if depth < _DEPTH:
        if isinstance(value, dict):
            return {_key(key): _plain(item, depth + 1) for key, item in list(value.items())}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(item, depth + 1) for item in list(value)]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    return _text(value)


def _key(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else _text(key)


def _text(value: Any) -> str:
    try:
        return str.__str__(str(value))
    except Exception:
        return f"<{type(value).__qualname__} that cannot be printed>"
