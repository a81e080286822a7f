"""Speed of log calls from Python, beside the handlers people use, in one run.

    make bench-python
    python bench/python_speed.py --out bench/results/2026-11-25-python --readme bench/README.md

Each rival runs in an interpreter of its own, with the same format, and all take turns within each repeat. A
run has two loops: one without a clock in it, for records per second until all are in the file, and one
that clocks each call. Afterwards the lines in the files are counted, by number and writer. A rival that
lost or doubled lines is marked. What is not installed is left out and named. Needs `pip install
concurrent-log-handler loguru picologging` beside everyline for all rows. A new repeat is begun only while
there is time for it (`--seconds`).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import logging.handlers
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plot

FORMAT = "%(asctime)s [%(process)d] %(levelname)s %(name)s %(message)s"
LOGURU_FORMAT = "{time:YYYY-MM-DD HH:mm:ss,SSS} [{process}] {level} bench {message}"
MESSAGE = "writer %d record %d of an ordinary length, as services log them"
# Some files are rotated in each run, and none is removed.
ROTATION = {"maxBytes": 2_000_000, "backupCount": 1000}

# Calls for each process: of the loop that is timed as a whole, and of the loop that clocks each call.
CALLS = {1: (30_000, 10_000), 2: (12_000, 4_000), 8: (4_000, 1_500), 32: (1_000, 400)}
# With these numbers of processes all rivals run; with the others those that are drawn over processes.
FULL = (1, 8)
# The faster ones make more calls, so that a run is more than its start.
MORE = {"native": 6, "os.write": 6, "everyline": 2}
Log = Callable[[str, int, int], Any]
Made = tuple[Log, Callable[[], Any]]


# The rivals. Each makes, in the worker, a function that logs, and one that brings everything to the file.


def by_logger(logger: Any, close: Callable[[], Any]) -> Made:
    info = logger.info
    return info, close


def stock(handler: logging.Handler) -> Made:
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [handler]
    return by_logger(logger, handler.close)


def null(path: str) -> Made:
    return stock(logging.NullHandler())


def os_write(path: str) -> Made:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    head = f"2026-11-25 00:00:00,000 [{os.getpid()}] INFO bench "
    return (lambda m, w, n: os.write(descriptor, f"{head}{m % (w, n)}\n".encode())), lambda: None


def stdlib_file(path: str) -> Made:
    return stock(logging.FileHandler(path, encoding="utf-8"))


def stdlib_watched(path: str) -> Made:
    return stock(logging.handlers.WatchedFileHandler(path, encoding="utf-8"))


def stdlib_rotating(path: str) -> Made:
    return stock(logging.handlers.RotatingFileHandler(path, encoding="utf-8", **ROTATION))


def clh(path: str) -> Made:
    module = importlib.import_module("concurrent_log_handler")
    return stock(module.ConcurrentRotatingFileHandler(path, encoding="utf-8", **ROTATION))


def picologging(path: str) -> Made:
    module = importlib.import_module("picologging")
    handlers = importlib.import_module("picologging.handlers")
    handler = handlers.RotatingFileHandler(path, encoding="utf-8", **ROTATION)
    handler.setFormatter(module.Formatter(FORMAT))
    logger = module.getLogger("bench")
    logger.setLevel(module.INFO)
    logger.addHandler(handler)
    return by_logger(logger, handler.close)


def ours(path: str, native: bool = False, formatter: str = "", **options: Any) -> Made:
    everyline = importlib.import_module("everyline")
    if native:
        everyline.install(loggers=True)
    handler = everyline.RotatingFileHandler(path, encoding="utf-8", **ROTATION, **options)
    log, close = stock(handler)
    if formatter == "json":
        handler.setFormatter(everyline.JsonFormatter())
    return log, close


class Queue:
    """`QueueHandler` in the workers, a listener with Python's rotating handler in the parent."""

    def __init__(self, path: str) -> None:
        import multiprocessing

        self.queue: Any = multiprocessing.get_context("fork").Queue()
        target = logging.handlers.RotatingFileHandler(path, encoding="utf-8", **ROTATION)
        target.setFormatter(logging.Formatter(FORMAT))
        self.listener = logging.handlers.QueueListener(self.queue, target)
        self.target = target

    def worker(self) -> Made:
        log, _ = stock(logging.handlers.QueueHandler(self.queue))

        def close() -> None:
            self.queue.close()
            self.queue.join_thread()

        return log, close

    def start(self) -> None:
        self.listener.start()

    def stop(self) -> None:
        self.listener.stop()
        self.target.close()


class Loguru:
    """`enqueue=True`, one sink made before the fork."""

    def __init__(self, path: str) -> None:
        self.logger: Any = importlib.import_module("loguru").logger
        self.logger.remove()
        self.logger.add(path, enqueue=True, format=LOGURU_FORMAT, rotation=ROTATION["maxBytes"], level="INFO")

    def worker(self) -> Made:
        info = self.logger.info
        return (lambda message, writer, number: info(message % (writer, number))), self.logger.complete

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.logger.remove()


# Name: how it is made; whether it writes to files; what has to be installed.
RIVALS: dict[str, tuple[Callable[[str], Any], str]] = {
    "NullHandler (nothing is written)": (null, ""),
    "bare os.write of a ready line": (os_write, ""),
    "logging.FileHandler": (stdlib_file, ""),
    "logging.WatchedFileHandler": (stdlib_watched, ""),
    "logging.RotatingFileHandler": (stdlib_rotating, ""),
    "QueueHandler, mp.Queue, listener": (Queue, ""),
    "concurrent-log-handler": (clh, "concurrent_log_handler"),
    "loguru, enqueue=True": (Loguru, "loguru"),
    "picologging": (picologging, "picologging"),
    "everyline, stock Logger, write-through": (ours, "everyline"),
    "everyline, stock Logger, deferred": (lambda path: ours(path, commit="deferred"), "everyline"),
    "everyline, native Logger, write-through": (lambda path: ours(path, native=True), "everyline"),
    "everyline, native Logger, deferred": (
        lambda path: ours(path, native=True, commit="deferred", ring_bytes=1 << 22),
        "everyline",
    ),
    "everyline, native Logger, JSON, write-through": (
        lambda path: ours(path, native=True, formatter="json"),
        "everyline",
    ),
}

# Those drawn over the number of processes.
DRAWN = (
    "bare os.write of a ready line",
    "logging.RotatingFileHandler",
    "concurrent-log-handler",
    "everyline, stock Logger, write-through",
    "everyline, native Logger, write-through",
    "everyline, native Logger, deferred",
)


# One run, in an interpreter of its own


def worker(made: Made, writer: int, calls: tuple[int, int], gate: int, results: int) -> None:
    log, close = made
    log(MESSAGE, writer, -1)
    os.read(gate, 1)
    spent, started = cpu_s(), time.monotonic()
    for number in range(calls[0]):
        log(MESSAGE, writer, number)
    called = time.monotonic()
    # The clock's own cost is part of each latency.
    clock, took = time.perf_counter_ns, []
    for number in range(calls[0], calls[0] + calls[1]):
        before = clock()
        log(MESSAGE, writer, number)
        took.append(clock() - before)
    closing = time.monotonic()
    close()
    closed = time.monotonic()
    report = {"started": started, "called": called, "flush_s": closed - closing, "cpu_s": cpu_s() - spent}
    with os.fdopen(results, "w") as file:
        json.dump({**report, "took": took}, file)


def cpu_s() -> float:
    """Of this process and all its threads."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def one_run(name: str, processes: int, directory: str) -> dict[str, Any]:
    make = RIVALS[name][0]
    path = os.path.join(directory, "app.log")
    shared = make(path) if isinstance(make, type) else None
    more = next((times for word, times in MORE.items() if word in name), 1)
    calls = (CALLS[processes][0] * more, CALLS[processes][1] * more)
    gate_read, gate = os.pipe()
    children = []
    for writer in range(processes):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(gate)
            worker(shared.worker() if shared else make(path), writer, calls, gate_read, writing)
            os._exit(0)
        os.close(writing)
        children.append((pid, reading))
    if shared:
        shared.start()
    time.sleep(0.3 + 0.02 * processes)
    before_s = cpu_s()
    os.write(gate, b"g" * processes)
    reports = []
    for _, reading in children:
        with os.fdopen(reading) as file:
            reports.append(json.load(file))
    for pid, _ in children:
        os.waitpid(pid, 0)
    stopping = time.monotonic()
    if shared:
        shared.stop()
    stop_s = time.monotonic() - stopping
    spent_s = sum(r["cpu_s"] for r in reports) + (cpu_s() - before_s if shared else 0)
    took = sorted(t for report in reports for t in report["took"])
    called_s = max(r["called"] for r in reports) - min(r["started"] for r in reports)
    # What was still on its way when the calls had returned is part of the first loop, by its share.
    share = calls[0] / sum(calls)
    rest_s = (max(r["flush_s"] for r in reports) + stop_s) * share
    everything = processes * (sum(calls) + 1)
    return {
        "records_s": processes * calls[0] / (called_s + rest_s),
        "cpu_us": spent_s * 1e6 / everything,
        "p50_ns": took[len(took) // 2],
        "p90_ns": took[len(took) * 90 // 100],
        "p99_ns": took[len(took) * 99 // 100],
        "p999_ns": took[len(took) * 999 // 1000],
        "max_ns": took[-1],
        "expected": everything,
        **count(directory, processes, sum(calls)),
    }


LINE = re.compile(
    rb'(?:\{"time": ")?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d{3}[ Z].*'
    rb"writer (\d+) record (-?\d+) of an ordinary length, as services log them"
    rb'(?:", "pid": \d+, "thread": "[^"]*"\})?'
)


def count(directory: str, processes: int, calls: int) -> dict[str, int]:
    found: Counter[tuple[int, int]] = Counter()
    damaged = 0
    for file in Path(directory).iterdir():
        # Lock files have names of their own.
        if not file.is_file() or not file.name.startswith("app"):
            continue
        for line in file.read_bytes().split(b"\n")[:-1]:
            match = LINE.fullmatch(line)
            if match:
                found[int(match[1]), int(match[2])] += 1
            else:
                damaged += 1
    known = sum(1 for writer, number in found if writer < processes and -1 <= number < calls)
    return {"found": known, "doubled": sum(n - 1 for n in found.values()), "damaged": damaged}


def disabled() -> dict[str, float]:
    """A `logger.debug` below the level: nanoseconds a call, with the loop and without."""
    logger = logging.getLogger("bench.disabled")
    logger.setLevel(logging.INFO)
    calls = 500_000

    def measure(function: Callable[[int], Any]) -> float:
        runs = []
        for _ in range(7):
            before = time.perf_counter_ns()
            function(calls)
            runs.append((time.perf_counter_ns() - before) / calls)
        return min(runs)

    def loop(count: int) -> None:
        for _ in range(count):
            logger.debug("a plain message")

    def nothing(count: int) -> None:
        for _ in range(count):
            pass

    empty, theirs = measure(nothing), measure(loop)
    importlib.import_module("everyline").install(loggers=True)
    return {"loop_ns": empty, "stdlib_ns": theirs, "native_ns": measure(loop)}


# All of them


def installed(module: str) -> bool:
    return not module or importlib.util.find_spec(module) is not None


def child(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", *arguments], capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def machine(where: str) -> dict[str, Any]:
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": model[0] if model else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg(),
        "file_system": subprocess.run(
            ["df", "--output=fstype", where], capture_output=True, text=True
        ).stdout.split()[-1],
    }


def all_runs(repeats: int, seconds: float, where: str, only: str) -> dict[str, Any]:
    names = [n for n, (_, module) in RIVALS.items() if installed(module) and only in n]
    absent = [n for n, (_, module) in RIVALS.items() if not installed(module)]
    data: dict[str, Any] = {"machine": machine(where), "absent": absent, "runs": [], "disabled": []}
    began = time.monotonic()
    for repeat in range(repeats):
        spent = time.monotonic() - began
        if repeat and spent * (repeat + 1) / repeat > seconds:
            break
        data["disabled"].append(child("disabled"))
        for processes in CALLS:
            # Another one is first each time.
            for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
                if processes in FULL or name in DRAWN:
                    data["runs"].append(measured(name, processes, repeat, where))
    data["machine"]["load_at_end"] = os.getloadavg()
    data["machine"]["took_s"] = round(time.monotonic() - began)
    return data


def measured(name: str, processes: int, repeat: int, where: str) -> dict[str, Any]:
    directory = tempfile.mkdtemp(dir=where)
    load = os.getloadavg()[0]
    try:
        run = child(name, str(processes), directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{processes} {name}: {run['records_s']:.0f}/s p50 {run['p50_ns']} ns", file=sys.stderr)
    return {"rival": name, "processes": processes, "repeat": repeat, "load": load, **run}


def median(data: dict[str, Any], name: str, processes: int, key: str) -> float | None:
    values = [r[key] for r in data["runs"] if r["rival"] == name and r["processes"] == processes]
    return statistics.median(values) if values else None


def verdict(data: dict[str, Any], name: str, processes: int) -> str:
    if name.startswith("Null"):
        return "writes nothing"
    runs = [r for r in data["runs"] if r["rival"] == name and r["processes"] == processes]
    lost = [r["expected"] - r["found"] for r in runs]
    counts = {word: max(r[word] for r in runs) for word in ("doubled", "damaged")}
    # A line of which the time cannot be read is there, but not as it should be.
    counts = {"lost": max(max(lost) - counts["damaged"], 0), **counts}
    faults = [f"{count:,} {word}" for word, count in counts.items() if count]
    return "**" + ", ".join(faults) + "**" if faults else f"all {runs[0]['expected']:,}"


def micro(ns: float | None) -> str:
    return "" if ns is None else f"{ns / 1000:.2f}" if ns < 10_000 else f"{ns / 1000:,.0f}"


def report(data: dict[str, Any]) -> str:
    told = data["machine"]
    load = (
        " ".join(f"{n:.1f}" for n in told["load_at_start"]),
        " ".join(f"{n:.1f}" for n in told["load_at_end"]),
    )
    lines = [
        f"{told['date']}, {told['processors']} x {told['processor']}, Linux {told['kernel']}, CPython "
        f"{told['python']}, {told['file_system']}. Load average at the start {load[0]}, "
        f"at the end {load[1]}.",
        f"{max(r['repeat'] for r in data['runs']) + 1} repeats in {told['took_s']} s, medians over them; the "
        "lines are those of the worst repeat. A pair of clock readings takes 0.08 µs, "
        "which is part of each latency.",
        "",
    ]
    reference = "logging.RotatingFileHandler"
    for processes in CALLS:
        lines += [
            f"### {processes} process{'es' if processes > 1 else ''}",
            "",
            "| | records/s | / RotatingFileHandler | CPU µs | p50 µs | p99 µs | p99.9 µs "
            "| lines in the files |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        ]
        base = median(data, reference, processes, "records_s") or 1.0
        for name in RIVALS:
            speed = median(data, name, processes, "records_s")
            if speed is None:
                continue
            cpu = median(data, name, processes, "cpu_us") or 0.0
            cells = [f"{cpu:.2f}"] + [
                micro(median(data, name, processes, key)) for key in ("p50_ns", "p99_ns", "p999_ns")
            ]
            lines.append(
                f"| {name} | {speed:,.0f} | {speed / base:.1f}x | {' | '.join(cells)} "
                f"| {verdict(data, name, processes)} |"
            )
        lines.append("")
    return "\n".join(lines + aims(data, reference))


def aims(data: dict[str, Any], reference: str) -> list[str]:
    def of(name: str, key: str) -> float:
        return median(data, name, 1, key) or float("nan")

    prefix = "everyline, "
    ratio = of(prefix + "native Logger, write-through", "records_s") / of(reference, "records_s")
    over = of(prefix + "stock Logger, write-through", "p50_ns") - of(
        "NullHandler (nothing is written)", "p50_ns"
    )
    through = of(prefix + "native Logger, write-through", "p50_ns")
    deferred = of(prefix + "native Logger, deferred", "p50_ns")
    calls = data["disabled"]
    share = statistics.median(c["native_ns"] / c["stdlib_ns"] for c in calls)
    bare = statistics.median((c["native_ns"] - c["loop_ns"]) / (c["stdlib_ns"] - c["loop_ns"]) for c in calls)
    rows = [
        (
            "write-through, native Logger: a call, median",
            "<= 2 µs",
            f"{through / 1000:.2f} µs",
            through <= 2000,
        ),
        (
            "write-through, native Logger: records/s over RotatingFileHandler",
            ">= 10x",
            f"{ratio:.1f}x",
            ratio >= 10,
        ),
        (
            "deferred, native Logger: a call, median",
            "<= 0.4 µs",
            f"{deferred / 1000:.2f} µs",
            deferred <= 400,
        ),
        (
            "write-through, stock Logger: median over the NullHandler row",
            "<= 2 µs",
            f"{over / 1000:.2f} µs",
            over <= 2000,
        ),
        (
            f"a disabled `logger.debug` / stdlib's ({share:.0%} with the loop around it)",
            "<= 60 %",
            f"{bare:.0%}",
            bare <= 0.6,
        ),
    ]
    lines = ["### Aims, 1 process", "", "| aim | bound | measured | met |", "| --- | ---: | ---: | --- |"]
    for aim, bound, measured, met in rows:
        lines.append(f"| {aim} | {bound} | {measured} | {'yes' if met else '**no**'} |")
    if data["absent"]:
        lines += ["", "Not installed, so left out: " + "; ".join(data["absent"]) + "."]
    return [*lines, ""]


BEGIN, END = "<!-- python results: begin -->", "<!-- python results: end -->"


def put_into(readme: Path, text: str) -> None:
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        result = (
            disabled() if sys.argv[2] == "disabled" else one_run(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        )
        print(json.dumps(result))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="at most; see --seconds")
    parser.add_argument("--seconds", type=float, default=200, help="no repeat is begun that would end later")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where the logs are written")
    parser.add_argument("--only", default="", help="only rivals with this in their name")
    parser.add_argument("--out", type=Path, help="directory for the raw data")
    parser.add_argument("--readme", type=Path, help="document to put the tables into")
    options = parser.parse_args()
    data = all_runs(options.repeats, options.seconds, options.dir, options.only)
    text = report(data)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "python.json").write_text(json.dumps(data, indent=1) + "\n")
        plot.draw(data, DRAWN, options.out)
    if options.readme:
        put_into(options.readme, text)


if __name__ == "__main__":
    main()
