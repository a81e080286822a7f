"""gunicorn's settings, read by gunicorn itself.

The handler is made in the arbiter, before the workers are forked, as with every `logconfig_dict`.
"""

import os
from typing import Any

from demo.rows import LOG_NAME, all_rows

_directory = os.environ["DEMO_DIRECTORY"]
_row = next(r for r in all_rows(int(os.environ["DEMO_REQUESTS"])) if r.name == os.environ["DEMO_ROW"])

bind = "127.0.0.1:0"
workers = int(os.environ["DEMO_WORKERS"])
worker_class = "sync"
worker_tmp_dir = _directory
logconfig_dict = _row.logging_config(os.path.join(_directory, "logs", LOG_NAME))


def when_ready(server: Any) -> None:
    """Tells the demo which free port the kernel chose."""
    name = os.path.join(_directory, "port")
    with open(name + ".new", "w") as file:
        file.write(str(server.LISTENERS[0].sock.getsockname()[1]))
    os.rename(name + ".new", name)
