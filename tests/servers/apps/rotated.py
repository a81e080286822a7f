"""Logs until a file named `stop` appears, then says when each line was logged. Usage: rotated.py NAME"""

from __future__ import annotations

import json
import os
import sys
import time

import logs
import owed


def main() -> None:
    name, directory = sys.argv[1], os.environ["OWED_DIRECTORY"]
    logs.configure()
    times = []
    while not os.path.exists(f"{directory}/stop"):
        for _ in range(20):
            before = time.time()
            owed.log(f"{name}-{len(times)}", 1)
            times.append((before, time.time()))
        time.sleep(0.004)
    with open(f"{directory}/times-{name}", "w") as file:
        json.dump(times, file)


if __name__ == "__main__":
    main()
