"""Classes that stand in the place of Python's: who asks what a handler is gets the answer of before.

gunicorn reopens the files of whatever is an instance of `logging.FileHandler`. After `install()` that name
means ours, and Python's own handlers, those made before, and ours of other kinds are still instances of it.
While a class of ours does not stand in Python's place, it answers as any class.

And what is put into such a class later, a `doRollover` say, is noticed by the handlers that are there.
"""

from __future__ import annotations

import abc
import logging
import logging.handlers
from typing import Any

# Theirs, whatever stands under the name later.
_emit = logging.FileHandler.emit


class InPlaceOf(abc.ABCMeta):
    """The class of such classes. `theirs`: the class of Python's. (Of ABCMeta, for mix-ins that are.)"""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], theirs: type | None = None
    ) -> InPlaceOf:
        namespace["_theirs"] = theirs
        return super().__new__(mcs, name, bases, namespace)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], theirs: type | None = None
    ) -> None:
        super().__init__(name, bases, namespace)

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        _tell(cls, name)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        _tell(cls, name)

    def _stands_for(cls) -> type | None:
        theirs: type | None = cls.__dict__["_theirs"]
        if theirs is None:
            return None
        module = logging if theirs.__module__ == "logging" else logging.handlers
        return theirs if getattr(module, theirs.__name__, None) is cls else None

    def __instancecheck__(cls, instance: Any) -> bool:
        theirs = cls._stands_for()
        return super().__instancecheck__(instance) or (theirs is not None and isinstance(instance, theirs))

    def __subclasscheck__(cls, subclass: type) -> bool:
        theirs = cls._stands_for()
        return super().__subclasscheck__(subclass) or (theirs is not None and issubclass(subclass, theirs))


def _tell(cls: type, name: str) -> None:
    """Has a class, and the handlers of it that are there, look anew whose code runs."""
    noticed = getattr(cls, "_noticed_on_the_class", None)
    if noticed is None or not noticed(name):
        return
    for known in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = known()
        if handler is not None and cls in type(handler).__mro__:
            handler._class_changed(name)


def of_pythons(handler: Any, name: str) -> Any:
    """The method of Python's for a handler of Python's that came to ours because its class names its base.

    Such a class was defined before `install()`; `RotatingFileHandler.doRollover(self)` is what it says.
    """
    for cls in type(handler).__mro__:
        if cls.__module__ in ("logging", "logging.handlers") and name in vars(cls):
            return vars(cls)[name].__get__(handler)
    raise AttributeError(f"{type(handler).__qualname__}: Python's handlers have no {name}")


def emit_of_pythons(handler: Any, record: logging.LogRecord) -> None:
    """As `of_pythons`, for `emit`: Python's rotating handlers call `logging.FileHandler.emit` by name."""
    if isinstance(handler, logging.handlers.BaseRotatingHandler) and not hasattr(handler, "_everyline_emits"):
        handler._everyline_emits = True  # type: ignore[attr-defined]
        try:
            logging.handlers.BaseRotatingHandler.emit(handler, record)
        finally:
            del handler._everyline_emits  # type: ignore[attr-defined]
    else:
        _emit(handler, record)
