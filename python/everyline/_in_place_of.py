"""Classes that stand in the place of Python's: who asks what a handler is gets the answer of before.

gunicorn reopens the files of whatever is an instance of `logging.FileHandler`. After `install()` that name
means ours, and Python's own handlers, those made before, and ours of other kinds are still instances of it.
While a class of ours does not stand in Python's place, it answers as any class.
"""

from __future__ import annotations

import abc
import logging
import logging.handlers
from typing import Any


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
