"""The clients: a bounded number of HTTP requests at a steady rate, each sent once and never repeated.

Runs as a process of its own (`python -m demo.drive`), so that it shares no interpreter with the watcher.
Prints one JSON object a line: progress, and at the end the numbers of all answered requests.
"""

import argparse
import json
import socket
import threading
import time

TIMEOUT_SECONDS = 10.0
PROGRESS_SECONDS = 0.25
REQUEST = b"GET /?n=%d HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Driver:
    def __init__(self, port: int, requests: int, rate: float, give_up_after_seconds: float) -> None:
        self.port = port
        self.requests = requests
        self.rate = rate
        self.answered: set[int] = set()
        self.failures: list[str] = []
        self._next = 0
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._deadline = self._start + give_up_after_seconds

    def client(self) -> None:
        """Takes the next number, waits until it is due, sends it; until there are none or the time is up."""
        while True:
            with self._lock:
                self._next += 1
                number = self._next
            if number > self.requests or time.monotonic() > self._deadline:
                return
            wait = self._start + number / self.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                answer = self._ask(number)
            except OSError as error:
                self.failures.append(f"request {number}: {error}")
                continue
            if answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\nlogged %d" % number):
                self.answered.add(number)
            else:
                self.failures.append(f"request {number}: answer {answer[:80]!r}")

    def _ask(self, number: int) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS) as connection:
            connection.sendall(REQUEST % number)
            parts = []
            while part := connection.recv(4096):
                parts.append(part)
        return b"".join(parts)

    def run(self, clients: int) -> None:
        threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(PROGRESS_SECONDS)
                print(json.dumps({"answered": len(self.answered), "failed": len(self.failures)}), flush=True)
        print(
            json.dumps(
                {
                    "done": sorted(self.answered),
                    "failures": self.failures[:20],
                    "failed": len(self.failures),
                    "seconds": time.monotonic() - self._start,
                }
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    driver = Driver(given.port, given.requests, given.rate, 30 + 3 * given.requests / given.rate)
    driver.run(given.clients)


if __name__ == "__main__":
    main()
