"""Log calls without Python code: `emit` of our handlers and, on request, the methods of `logging.Logger`.

Promise. What is native does what the code in Python does, to the byte, and steps back for it whenever
anything is not as the standard library made it: a replaced method, a hook, a step under the lease.
`paths` counts which way records went; `explain` says why a logger's calls need a record. EVERYLINE_NATIVE=0
leaves all of it out. An attribute `_emits_in_python` that is true does so for one handler. The logger's
methods are replaced only by `install_loggers`, and put back by `uninstall_loggers`.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from everyline import _native
from everyline._engine_handler import EngineHandler
from everyline._stream import Codec, LogStream
from everyline.modern import Handler

_OFF = os.environ.get("EVERYLINE_NATIVE") == "0"


def _failed(handler: EngineHandler | Handler, record: logging.LogRecord, error: BaseException) -> None:
    """What `emit` does with an error."""
    if isinstance(error, RecursionError) and isinstance(handler, EngineHandler):
        raise error
    try:
        raise error
    except Exception as raised:
        if handler._is_worth_a_report(raised):
            handler.handleError(record)


def _failed_without_record(
    handler: EngineHandler | Handler,
    logger: logging.Logger,
    level: int,
    message: object,
    arguments: tuple[Any, ...],
    error: BaseException,
) -> None:
    """The same for a line that was made without a record; the record is made now."""
    record = logger.makeRecord(logger.name, level, "(unknown file)", 0, message, arguments, None)
    _failed(handler, record, error)


if not _OFF:
    _native.register_handlers(EngineHandler, Handler, LogStream, Codec, _failed)


# Ours and theirs, once they were asked for.
_methods: list[tuple[Any, Any]] = []


def install_loggers() -> None:
    """Gives `logging.Logger`, and so every logger of the process, native methods for log calls."""
    if not _OFF:
        _methods[:] = _native.logger_methods(_failed_without_record).values()
        _exchange({id(theirs): ours for ours, theirs in _methods})


def uninstall_loggers() -> None:
    """Puts the standard library's methods back."""
    _exchange({id(ours): theirs for ours, theirs in _methods})


def _exchange(methods: dict[int, Any]) -> None:
    # By what is there, not by name: an older Python has `fatal` as another name of `critical`.
    for name, method in list(vars(logging.Logger).items()):
        if id(method) in methods:
            setattr(logging.Logger, name, methods[id(method)])


def explain(logger: logging.Logger | logging.LoggerAdapter[Any], level: int = logging.INFO) -> str | None:
    """Why a log call of `logger` at `level` needs a record; None if it does not.

    Calls with named arguments (`extra`, `exc_info`, `stack_info`, `stacklevel`) always make one.
    """
    if _OFF:
        return "EVERYLINE_NATIVE=0 is set"
    if isinstance(logger, logging.LoggerAdapter):
        return "a LoggerAdapter passes extra"
    return _native.explain_logger(logger, level)


def paths() -> dict[str, int]:
    """How many records of this process went which way.

    `no_record`: from the logger's method to the engine, without a record. `native_emit`: with a record,
    formatted and handed over natively. `python_emit`: by the handler's code in Python. With
    EVERYLINE_NATIVE=0 nothing is counted.
    """
    return _native.paths()
