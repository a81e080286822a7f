"""`JsonFormatter`: one record, one line, one JSON object.

Promise. The line is what `json.dumps` makes of the object with separators "," and ":" and without
escapes for characters beyond ASCII, as `orjson` writes it, too. It is always valid JSON: numbers without
end become null, lone surrogates are escaped, and what `json` does not know stands as its `str`. Native
code writes the lines it can write; it writes the same bytes.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")

# What a record has without any `extra`, and what formatting adds.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

FIELDS = {"time": "asctime", "level": "levelname", "logger": "name", "message": "message"}


class JsonFormatter(logging.Formatter):
    """Formats records as JSON.

    `fields` says which attribute of the record stands under which key; by default `time`, `level`,
    `logger` and `message`. `constants` are members of every line. With `extra`, what a log call gave as
    `extra` follows under its own keys, where those are free. `exception` and `stack` come last, where
    there are any. The time is UTC, as in `2026-01-31T12:00:00.000Z`, or local with `utc=False`, or as
    `datefmt` says.
    """

    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(
        self,
        fields: Mapping[str, str] | None = None,
        *,
        constants: Mapping[str, Any] | None = None,
        extra: bool = True,
        datefmt: str | None = None,
        utc: bool = True,
    ) -> None:
        super().__init__(datefmt=datefmt)
        chosen = dict(FIELDS if fields is None else fields)
        for reserved in ("exception", "stack"):
            if reserved in chosen:
                raise ValueError(f"fields: the key {reserved!r} is taken; choose another one")
        members = {key: value for key, value in (constants or {}).items() if key not in chosen}
        taken = frozenset({*STANDARD, *chosen, *members, "exception", "stack"}) if extra else None
        self.default_msec_format: str = "%s.%03dZ" if utc else "%s.%03d"
        self._members = members
        # What the native side reads. Not changed once it is made.
        self._plan = (tuple(chosen.items()), dumps(members)[1:-1], taken, utc)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        fields = time.gmtime(record.created) if self._plan[3] else time.localtime(record.created)
        if datefmt:
            return time.strftime(datefmt, fields)
        return self.default_msec_format % (time.strftime(self.default_time_format, fields), record.msecs)

    def usesTime(self) -> bool:
        return any(attribute == "asctime" for _, attribute in self._plan[0])

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return self.formatMessage(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record that has its message, time and traceback."""
        attributes = record.__dict__
        fields, _, taken, _ = self._plan
        line = {key: attributes.get(attribute) for key, attribute in fields}
        line.update(self._members)
        if taken is not None:
            line.update((key, value) for key, value in attributes.items() if key not in taken)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return dumps(line)


def dumps(value: Any) -> str:
    """Compact and valid JSON, whatever it is."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    except (TypeError, ValueError):
        # A number without end, a key that is no text, or a value that holds itself.
        text = json.dumps(_plain(value, 16), ensure_ascii=False, separators=(",", ":"))
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, dict):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1) for item in value]
    return str(value)
