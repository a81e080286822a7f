"""The service: a WSGI application that logs one line for each request, then answers.

The answer says that the log call has returned. From then on the line is owed.
"""

import itertools
import logging
import os
import time
from collections.abc import Iterable
from typing import Any, Callable

from demo.line import Line, write

RUN = os.environ.get("DEMO_RUN", "")
LOGGER = logging.getLogger("demo")
# gunicorn loads this module in each worker, so each worker counts for itself.
SEQUENCE = itertools.count(1)

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    number = int(environ["QUERY_STRING"].partition("n=")[2])
    pid = os.getpid()
    sequence = next(SEQUENCE)
    LOGGER.info(write(Line(time.time(), RUN, pid, sequence, number)))
    body = b"logged %d" % number
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
