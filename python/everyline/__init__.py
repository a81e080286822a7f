"""Many processes, one rotating log file, every line.

`Handler` has everything the engine can do; `JsonFormatter` writes records as JSON, one a line.
`RotatingFileHandler` and `TimedRotatingFileHandler` take the place of the standard library's and may be
used by any number of processes on one file. `status`, `recover`, `reopen` and `clean` look after a log
from outside.
"""

from everyline._guard import NotSupported
from everyline._native import Error, __version__, clean, recover, reopen, status
from everyline.handlers import RotatingFileHandler, TimedRotatingFileHandler
from everyline.json_lines import JsonFormatter
from everyline.modern import Handler

__all__ = [
    "Error",
    "Handler",
    "JsonFormatter",
    "NotSupported",
    "RotatingFileHandler",
    "TimedRotatingFileHandler",
    "__version__",
    "clean",
    "recover",
    "reopen",
    "status",
]
