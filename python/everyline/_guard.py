"""What this version does not honour is refused, never ignored.

Python's handlers are made to be bent: subclasses replace their steps, and code that has a handler in hand
sets its attributes. Here the engine decides and rotates, for all processes, in any one of them, so a step
replaced in one of them would simply not run. This module says which names that concerns and raises
`NotSupported` for them: for a class when the first handler is made of it, for an assignment at once.
Setting what is already set is always allowed.
"""

from __future__ import annotations

from typing import Any

from everyline._native import Error

# What a module defines itself is no override.
_HOME = ("everyline.handlers", "everyline._engine_handler", "logging", "logging.handlers")

_NAMES = "archives are named as by Python: app.log.1, or app.log.2026-01-31. Rename them once they are there"
_STEPS = "treat archives from outside, once they are there, or keep Python's handler for this log"
_NEW = "make a new handler with it"
_TIMES = "set when, interval, utc and atTime when the handler is made"

# Name: the way out. These can be replaced in a subclass or on an object.
OVERRIDES = {
    "namer": _NAMES,
    "rotation_filename": _NAMES,
    "rotator": _STEPS,
    "rotate": _STEPS,
    "doRollover": _STEPS,
    "shouldRollover": "set maxBytes, or take TimedRotatingFileHandler; or call doRollover() when you want it",
    "computeRollover": _TIMES,
    "getFilesToDelete": "set backupCount; or set it to 0, with dated names, and delete archives from outside",
    "_open": "the engine opens the file; its permissions follow the umask",
}

# These are set on an object.
SETTINGS = {
    "baseFilename": _NEW,
    "mode": _NEW,
    "encoding": _NEW,
    "errors": _NEW,
    "delay": _NEW,
    "when": _TIMES,
    "interval": _TIMES,
    "utc": _TIMES,
    "atTime": _TIMES,
    "dayOfWeek": _TIMES,
    "rolloverAt": _TIMES,
    "suffix": _NAMES,
    "extMatch": "archives are recognised by the names they are given; backupCount says how many stay",
}

_ASSIGNMENTS = {**OVERRIDES, **SETTINGS}
_MISSING = object()


class NotSupported(Error, TypeError):
    """Something that Python's handler would call, and this version of everyline would not."""


def check_class(cls: type) -> None:
    """Refuses a class that replaces a step of Python's handlers."""
    for name, way_out in OVERRIDES.items():
        for owner in cls.__mro__:
            value = vars(owner).get(name, _MISSING)
            if value is _MISSING:
                continue
            # A function knows where it was written, also when it was put into one of our classes from
            # elsewhere.
            if value is not None and getattr(value, "__module__", None) not in _HOME:
                raise NotSupported(
                    f"{cls.__qualname__}: {owner.__qualname__}.{name} would never be called, the engine does "
                    f"that for all processes. Way out: {way_out}."
                )
            break


def check_assignment(handler: object, name: str, value: Any) -> None:
    """Refuses a new value for an attribute that the engine would not look at."""
    way_out = _ASSIGNMENTS.get(name)
    if way_out is None:
        return
    current = getattr(handler, name, _MISSING)
    if current is _MISSING or current is value or current == value:
        return
    raise NotSupported(
        f"{type(handler).__qualname__}: {name} cannot be set on a handler, it would have no effect. "
        f"Way out: {way_out}."
    )
