"""The rows of the table: which handler each one uses.

A row is only data. The class is named by its import path and made by `logging.config`, as in a real service,
so an everyline row needs nothing here but that `import everyline` works.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any

LOG_NAME = "app.log"
MAX_BYTES = 50_000


@dataclass(frozen=True)
class Row:
    """One handler to try. `arguments` are those of its constructor, without the file name."""

    name: str
    title: str
    handler: str
    timed: bool = False
    ours: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)

    def module(self) -> str:
        return self.handler.rpartition(".")[0]

    def available(self) -> bool:
        try:
            module = importlib.import_module(self.module())
        except ImportError:
            return False
        return hasattr(module, self.handler.rpartition(".")[2])

    def logging_config(self, log: str) -> dict[str, Any]:
        """For gunicorn's `logconfig_dict`: requests to the row's handler, gunicorn's own words to stderr."""
        to_stderr = {"level": "INFO", "handlers": ["stderr"], "propagate": False}
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "bare": {"format": "%(message)s"},
                "full": {"format": "%(asctime)s [%(process)d] %(levelname)s %(message)s"},
            },
            "handlers": {
                "file": {"class": self.handler, "filename": log, "formatter": "bare", **self.arguments},
                "stderr": {"class": "logging.StreamHandler", "formatter": "full"},
            },
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "demo": {"level": "INFO", "handlers": ["file"], "propagate": False},
                "gunicorn.error": to_stderr,
                # One line a request is the row's business, not gunicorn's.
                "gunicorn.access": {**to_stderr, "level": "WARNING"},
            },
        }


def all_rows(requests: int) -> list[Row]:
    """Every row, with room for all archives of so many requests: nothing may be lost by retention."""
    by_size = {"maxBytes": MAX_BYTES, "backupCount": max(200, requests // 100)}
    by_time = {"when": "S", "interval": 1, "backupCount": 0, "utc": True}
    stdlib, clh = "logging.handlers.", "concurrent_log_handler."
    return [
        Row(
            "python-timed", "Python, every second", stdlib + "TimedRotatingFileHandler", True, False, by_time
        ),
        Row("python-size", "Python, 50 kB", stdlib + "RotatingFileHandler", False, False, by_size),
        Row(
            "clh-size",
            "concurrent-log-handler, 50 kB",
            clh + "ConcurrentRotatingFileHandler",
            False,
            False,
            by_size,
        ),
        Row(
            "everyline-timed",
            "everyline, every second",
            "everyline.TimedRotatingFileHandler",
            True,
            True,
            by_time,
        ),
        Row("everyline-size", "everyline, 50 kB", "everyline.RotatingFileHandler", False, True, by_size),
    ]
