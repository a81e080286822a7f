"""Sends so many tasks, waits for their results, and prints which ones were done.

Usage: celery_client.py FIRST COUNT TASK
"""

from __future__ import annotations

import json
import sys
import time

import tasks

WAIT_S = 45.0


def main() -> None:
    first, count, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    sent = {str(n): tasks.app.send_task(name, (str(n),)) for n in range(first, first + count)}
    done: list[str] = []
    end = time.monotonic() + WAIT_S
    while sent and time.monotonic() < end:
        # A task whose process was killed is a result, too: a failure.
        ready = [n for n, result in sent.items() if result.ready()]
        done += [n for n in ready if sent.pop(n).successful()]
        time.sleep(0.05)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
