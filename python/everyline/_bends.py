"""What of Python's handlers has been replaced, in a subclass or on an object.

Python's handlers are made to be bent: subclasses replace their steps, and code that has a handler in hand
sets its attributes. The engine rotates by itself only as long as nothing is bent. `decides`: Python code
says when, or opens the file; then each rotation is a step of Python's under the writer lease. `names`:
Python code names or treats archives; then the engine cuts, and archives are brought to their names after
it. The answer is kept on the handler and found anew when an attribute is set, so a log call asks one flag.
"""

from __future__ import annotations

from typing import Any

# What a module defines itself is no override.
_HOME = frozenset(
    {
        "everyline.handlers",
        "everyline._engine_handler",
        "everyline._stepping",
        "everyline._rotating",
        "everyline._timed",
        "everyline.concurrent_log_handler",
        "logging",
        "logging.handlers",
    }
)

OPENS = ("_open",)
DECIDES = ("shouldRollover", "doRollover", "computeRollover")
NAMES = ("namer", "rotator", "rotation_filename", "rotate", "getFilesToDelete")
# Setting one of these may change the answer, or how a record is written.
WATCHED = frozenset({*OPENS, *DECIDES, *NAMES, "suffix", "extMatch", "encoding", "errors"})

_MISSING = object()


def is_bent(handler: object, name: str) -> bool:
    """Whether `name` of this handler is somebody else's code."""
    value = handler.__dict__.get(name, _MISSING)
    if value is not _MISSING:
        return value is not None
    for owner in type(handler).__mro__:
        value = vars(owner).get(name, _MISSING)
        if value is not _MISSING:
            return value is not None and not is_home(value)
    return False


def is_any_bent(handler: object, names: tuple[str, ...]) -> bool:
    return any(is_bent(handler, name) for name in names)


def is_home(value: Any) -> bool:
    """Whether a function or property is ours or Python's: it knows where it was written."""
    value = getattr(value, "fget", value)
    return getattr(value, "__module__", None) in _HOME
