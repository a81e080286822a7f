"""What the children of docs/servers/multiprocessing.md are made to do."""

from __future__ import annotations

import owed


def work(number: int) -> None:
    owed.log(str(number))
