"""The reports of the engine, as dictionaries. Field by field they are the structures of the Rust crate."""

from __future__ import annotations

from typing import TypedDict


class Lease(TypedDict):
    """Who may write to the file now."""

    state: str  # "free", "held" or "pending"
    slot: int
    pid: int
    generation: int
    idle_ms: int


class Process(TypedDict):
    """One process that is attached, or died with records not yet written."""

    slot: int
    pid: int
    alive: bool
    started_unix_ns: int
    backlog_bytes: int
    overflow_bytes: int
    records: int
    bytes: int
    dropped: int
    ring_bytes: int


class Status(TypedDict):
    """The state of a log."""

    journal: str
    log: str
    settings: dict[str, str]
    lease: Lease
    rotations: int
    rotations_failed: int
    epoch: int
    file_bytes: int
    rollover_at: int | None
    errors: int
    last_error: tuple[int, str] | None
    processes: list[Process]


class Counters(TypedDict):
    """What a handler did since it last attached; `waited` is of the whole process."""

    records: int
    bytes: int
    dropped: int
    failed: int
    degraded: int
    waited: int
    is_degraded: bool


class Recovered(TypedDict):
    """What `recover` wrote."""

    records: int
    bytes: int
    slots: int
    corrupt_slots: int


class Cleaned(TypedDict):
    """What `clean` did."""

    removed: list[str]
    in_use: bool
