"""The engine as Python sees it; see `crates/everyline-python`. Compared with the module by stubtest."""

from collections.abc import Callable
from os import PathLike
from typing import TypeVar, final

from everyline._types import Cleaned, Counters, Recovered, Status

_T = TypeVar("_T")

__all__ = [
    "Appender",
    "Error",
    "Options",
    "__version__",
    "clean",
    "command",
    "next_rollover",
    "recover",
    "reopen",
    "status",
]

__version__: str

class Error(OSError):
    """The engine could not do what was asked. What the system refused is a plain OSError.

    `errno` is the one that comes nearest, `filename` the path. `kind` is one of "invalid-target",
    "unsupported-file-system", "foreign-journal", "no-free-slot", "dropped", "record-too-large",
    "not-rotatable", "not-attached" and "other".
    """

    kind: str

@final
class Options:
    def __new__(
        cls,
        *,
        max_bytes: int | None = None,
        when: str | None = None,
        interval: int = 1,
        at_time: int | None = None,
        utc: bool = False,
        naming: str = "numbered",
        keep: int | None = None,
        keep_age: float | None = None,
        keep_total_bytes: int | None = None,
        compress: str = "none",
        compress_after: float | None = None,
        link: str | None = None,
        mode: int | None = None,
        owner: tuple[int, int] | None = None,
        urgent_level: int | None = None,
        commit: str = "write-through",
        fsync: str = "never",
        full: str = "drop",
        wait: float = 1.0,
        ring_bytes: int | None = None,
        overflow_bytes: int | None = None,
        journal_dir: str | PathLike[str] | None = None,
        truncate: bool = False,
    ) -> Options: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Appender:
    def __new__(cls, path: str | PathLike[str], options: Options) -> Appender: ...
    @property
    def path(self) -> str: ...
    @property
    def degraded(self) -> str | None: ...
    def append(self, record: bytes, level: int = 0) -> None: ...
    def exclusive(self, act: Callable[[], _T], wait: float) -> _T: ...
    def glance(self) -> tuple[int, int, int] | None: ...
    def set_rollover_at(self, unix_s: int) -> None: ...
    def begin_maintenance(self) -> bool: ...
    def end_maintenance(self) -> None: ...
    def take_conflict(self) -> tuple[dict[str, str], dict[str, str]] | None: ...
    def flush(self) -> None: ...
    def sync(self) -> None: ...
    def rotate(self) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...
    def status(self) -> Status: ...
    def counters(self) -> Counters: ...

def next_rollover(when: str, interval: int, at_time: int | None, utc: bool, now: int) -> int: ...
def command(args: list[str]) -> int: ...
def status(path: str | PathLike[str]) -> Status: ...
def recover(path: str | PathLike[str]) -> Recovered: ...
def reopen(path: str | PathLike[str]) -> None: ...
def clean(path: str | PathLike[str]) -> Cleaned: ...
