"""A WSGI application that logs for each request and then answers. Also for requests that never end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Any, Callable

import owed


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    request = environ["QUERY_STRING"].partition("request=")[2]
    owed.log(request)
    path = environ["PATH_INFO"]
    if path != "/":
        owed.accept(request, os.environ["OWED_DIRECTORY"])
        if path == "/hang-deaf":
            # Only SIGKILL ends it.
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
        while True:
            time.sleep(1)
    body = f"logged {request}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
