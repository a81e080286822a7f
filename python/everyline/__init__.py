"""Many processes, one rotating log file, every line.

`RotatingFileHandler` and `TimedRotatingFileHandler` take the place of the standard library's and may be
used by any number of processes on one file. `status`, `recover`, `reopen` and `clean` look after a log
from outside.
"""

from everyline._fast import explain, paths
from everyline._guard import NotSupported
from everyline._json import JsonFormatter
from everyline._native import Error, __version__, clean, recover, reopen, status
from everyline.handlers import RotatingFileHandler, TimedRotatingFileHandler

__all__ = [
    "Error",
    "JsonFormatter",
    "NotSupported",
    "RotatingFileHandler",
    "TimedRotatingFileHandler",
    "__version__",
    "clean",
    "explain",
    "paths",
    "recover",
    "reopen",
    "status",
]
