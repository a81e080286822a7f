"""The demo: the same service and the same requests, once with each handler, and one table at the end.

For each row a real gunicorn with several workers is started, driven with real HTTP requests and stopped.
Coreutils' `tail -F` reads the live file, as a monitor would. All data stay under the output directory.

Exit code: 0 if every everyline row is perfect, 1 if not, 2 if the demo could not be run.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from demo.count import Result, count
from demo.rows import LOG_NAME, Row, all_rows
from demo.table import table
from demo.watch import Watcher

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 15.0
QUIET_SECONDS = 0.7


class DemoError(Exception):
    """Something the demo needs is missing or did not start."""


class Progress:
    """One line that is rewritten on a terminal, else a line every five seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = 0.0

    def show(self, text: str, end: bool = False) -> None:
        if self._terminal:
            print("\r\033[K" + text, end="\n" if end else "", flush=True)
        elif end or time.monotonic() - self._last >= 5:
            self._last = time.monotonic()
            print(text, flush=True)


class RowRun:
    """One row: starts the processes, drives them, stops them, counts."""

    def __init__(self, row: Row, options: argparse.Namespace, progress: Progress, label: str) -> None:
        self.row = row
        self.options = options
        self.progress = progress
        self.label = label
        self.run_id = uuid.uuid4().hex[:8]
        self.directory = Path(options.out).resolve() / row.name
        self.logs = self.directory / "logs"
        self.processes: list[subprocess.Popen[Any]] = []

    def run(self) -> Result:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.logs.mkdir(parents=True)
        watcher = Watcher(str(self.logs), LOG_NAME)
        watcher.start()
        try:
            server = self._start_server()
            monitor = self._start_monitor()
            answered, last_word = self._drive()
            self._stop(server)
            self._wait_until_quiet()
            self._stop(monitor)
        finally:
            self._clean_up()
            watcher.stop()
        result = count(
            self.run_id,
            self.options.requests,
            answered,
            watcher,
            str(self.directory / "monitor.out"),
            self.row.timed,
            self.row.arguments.get("maxBytes"),
            str(self.directory / "gunicorn.err"),
        )
        result.seconds = round(last_word["seconds"], 3)
        result.failures = last_word["failures"]
        report = {"row": self.row.name, "run": self.run_id, "handler": self.row.handler, **result.as_json()}
        (self.directory / "result.json").write_text(json.dumps(report, indent=1) + "\n")
        return result

    def _spawn(self, name: str, command: list[str], **kept: Any) -> "subprocess.Popen[Any]":
        with open(self.directory / f"{name}.err", "wb") as err:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=err, **kept)
        self.processes.append(process)
        return process

    def _start_server(self) -> "subprocess.Popen[Any]":
        environment = {
            **os.environ,
            # gunicorn puts a control socket into one of these.
            "HOME": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.directory),
            "DEMO_ROW": self.row.name,
            "DEMO_RUN": self.run_id,
            "DEMO_DIRECTORY": str(self.directory),
            "DEMO_REQUESTS": str(self.options.requests),
            "DEMO_WORKERS": str(self.options.workers),
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "demo/gunicorn_conf.py", "demo.app:application"]
        server = self._spawn("gunicorn", command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not (self.directory / "port").exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"gunicorn did not start; see {self.directory / 'gunicorn.err'}")
            time.sleep(0.02)
        return server

    def _start_monitor(self) -> "subprocess.Popen[Any]":
        """Only when the file exists: a tail that starts without it polls, and sees next to nothing."""
        (self.logs / LOG_NAME).touch()  # Most handlers made it at start, concurrent-log-handler did not.
        command = ["tail", "-n", "+1", "-F", str(self.logs / LOG_NAME)]
        with open(self.directory / "monitor.out", "wb") as out:
            monitor = self._spawn("monitor", command, stdout=out, env={**os.environ, "LC_ALL": "C"})
        time.sleep(0.3)
        return monitor

    def _drive(self) -> tuple[set[int], dict[str, Any]]:
        options = self.options
        port = (self.directory / "port").read_text()
        command = [sys.executable, "-m", "demo.drive", "--port", port]
        command += ["--requests", str(options.requests), "--rate", str(options.rate)]
        started = time.monotonic()
        driver = self._spawn("driver", command, stdout=subprocess.PIPE, text=True)
        assert driver.stdout is not None
        for text in driver.stdout:
            word = json.loads(text)
            if "done" in word:
                driver.wait()
                return set(word["done"]), word
            rate = word["answered"] / max(0.001, time.monotonic() - started)
            failed = f", {word['failed']:,} failed" if word["failed"] else ""
            self.progress.show(
                f"{self.label}: {word['answered']:,} of {options.requests:,} requests, {rate:,.0f}/s{failed}"
            )
        raise DemoError(f"the clients broke off; see {self.directory / 'driver.err'}")

    def _stop(self, process: "subprocess.Popen[Any]") -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{process.args!r} did not stop within {STOP_SECONDS:.0f} s") from None

    def _clean_up(self) -> None:
        """Ends whatever still runs, politely first: gunicorn takes its workers along."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait_until_quiet(self) -> None:
        """Gives the monitor time to read what is left."""
        path, deadline = self.directory / "monitor.out", time.monotonic() + STOP_SECONDS
        size, since = -1, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < QUIET_SECONDS:
            now = path.stat().st_size
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)


def choose(options: argparse.Namespace) -> list[Row]:
    known = {row.name: row for row in all_rows(options.requests)}
    names = options.rows.split(",") if options.rows else list(known)
    for name in names:
        if name not in known:
            raise DemoError(f"no row named {name!r}; there are {', '.join(known)}")
    missing = [known[n].handler for n in names if not known[n].available()]
    if missing:
        raise DemoError(f"not installed: {', '.join(missing)} (`make demo` installs all; or choose --rows)")
    return [known[name] for name in names]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo.run", description="Logs a gunicorn through each handler."
    )
    parser.add_argument(
        "--requests", type=int, default=20_000, help="requests for each row (default %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=1_000, help="requests a second (default %(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="gunicorn workers (default %(default)s)")
    parser.add_argument("--rows", default="", help="names, separated by commas (default: all)")
    parser.add_argument(
        "--out", default=str(ROOT / "out" / "demo"), help="where the data go (default %(default)s)"
    )
    options = parser.parse_args()
    if options.requests < 1 or options.workers < 1 or not options.rate > 0:
        parser.error("--requests, --workers and --rate must be positive")
    return options


def tell(results: list[tuple[Row, Result]], out: str) -> int:
    """Prints the table and the verdict, and returns the exit code."""
    print()
    print(table([(row.title, result) for row, result in results]))
    print(f"\nRaw data: {out}/<row>/ (logs, what the monitor saw, result.json)")
    ours = [(row, result) for row, result in results if row.ours]
    imperfect = [(row, result) for row, result in ours if result.faults()]
    for row, result in imperfect:
        print(f"NOT PERFECT: {row.title}: {'; '.join(result.faults())}")
    if ours and not imperfect:
        print("every line: nothing lost, doubled, torn or misfiled, and the monitor saw all of it")
    return 1 if imperfect else 0


def stop_by_signal(number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, stop_by_signal)
    started = time.monotonic()
    results: list[tuple[Row, Result]] = []
    try:
        rows = choose(options)
        progress = Progress()
        print(
            f"gunicorn with {options.workers} sync workers, {options.requests:,} requests a row at "
            f"{options.rate:,.0f}/s, {len(rows)} rows; Python {platform.python_version()}"
        )
        for number, row in enumerate(rows, 1):
            label = f"[{number}/{len(rows)}] {row.title}"
            progress.show(f"{label}: starting")
            result = RowRun(row, options, progress, label).run()
            results.append((row, result))
            progress.show(f"{label}: done, {result.rotations} rotations in {result.seconds:.1f} s", end=True)
        code = tell(results, options.out)
        print(f"{time.monotonic() - started:.0f} s in all")
        return code
    except DemoError as error:
        if results:
            tell(results, options.out)
        print(f"\ndemo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
