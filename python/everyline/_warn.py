"""What a handler says when it has attached: no journal, or others with other settings."""

from __future__ import annotations

import warnings

from everyline._native import Appender


def of_attaching(log: str, appender: Appender, stacklevel: int) -> None:
    """Warns (`RuntimeWarning`) of a degraded appender, and of settings that this process has replaced.

    `stacklevel`: as in `warnings.warn`, counted from the caller.
    """
    reason = appender.degraded
    if reason is not None:
        warnings.warn(
            f"{log}: there is no journal, so records are written whole, but the file is "
            f"not rotated. This is tried again every second. The reason: {reason}",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )
    conflict = appender.take_conflict()
    if conflict is not None:
        before, now = conflict
        names = [name for name in now if before.get(name) != now[name]]
        change = "; ".join(f"{name} was {before.get(name)} and is now {now[name]}" for name in names)
        warnings.warn(
            f"{log}: another process that is alive uses this log with other settings. "
            f"Those of the process that came last are in force: {change}. Give all processes the same.",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )
