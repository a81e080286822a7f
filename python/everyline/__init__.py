"""Many processes, one rotating log file, every line.

`RotatingFileHandler`, `TimedRotatingFileHandler`, `WatchedFileHandler` and `FileHandler` take the place of
the standard library's and may be used by any number of processes on one file; `install()` puts them there.
`Handler` has everything the engine can do; `JsonFormatter` writes records as JSON, one a line.
`status`, `recover`, `reopen` and `clean` look after a log from outside.
"""

from everyline._fast import explain, paths
from everyline._install import install, uninstall
from everyline._native import Error, __version__, clean, recover, reopen, status
from everyline.concurrent_log_handler import (
    ConcurrentRotatingFileHandler,
    ConcurrentTimedRotatingFileHandler,
)
from everyline.handlers import (
    FileHandler,
    RotatingFileHandler,
    TimedRotatingFileHandler,
    WatchedFileHandler,
)
from everyline.json_lines import JsonFormatter
from everyline.modern import Handler

__all__ = [
    "ConcurrentRotatingFileHandler",
    "ConcurrentTimedRotatingFileHandler",
    "Error",
    "FileHandler",
    "Handler",
    "JsonFormatter",
    "RotatingFileHandler",
    "TimedRotatingFileHandler",
    "WatchedFileHandler",
    "__version__",
    "clean",
    "explain",
    "install",
    "paths",
    "recover",
    "reopen",
    "status",
    "uninstall",
]
