"""Arguments that all constructors share, in the words of the engine."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def text_encoding(encoding: str | None) -> str:
    """`io.text_encoding` for a constructor's argument: also on Python 3.9, which has none.

    TypeError for what is no text, LookupError for an empty name, as `open` has it.
    """
    if encoding is not None and not isinstance(encoding, str):
        raise TypeError(f"encoding: {encoding!r} is not a name or None")
    if encoding == "":
        raise LookupError("unknown encoding: ''")
    known = getattr(io, "text_encoding", None)
    if known is not None:
        # The frame to warn about is that of the constructor's caller.
        return str(known(encoding, 3))
    if encoding is not None:
        return encoding
    return "utf-8" if sys.flags.utf8_mode else "locale"


def engine_options(
    commit: str,
    fsync: str,
    full: str,
    wait: float,
    ring_bytes: int | None,
    overflow_bytes: int | None,
    journal_dir: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """The constructors' common options, in the engine's words. The engine checks them."""
    return {
        "commit": commit,
        "fsync": fsync,
        "full": full,
        "wait": wait,
        "ring_bytes": ring_bytes,
        "overflow_bytes": overflow_bytes,
        # A handler may go to a process with another working directory.
        "journal_dir": None if journal_dir is None else os.path.abspath(os.fsdecode(journal_dir)),
    }


# For a subclass that leaves our constructor out.
DEFAULTS = engine_options("write-through", "never", "drop", 1.0, None, None, None)
