"""The longest log call while an archive of 100 MB is being compressed, beside the same run without.

    .venv/bin/python bench/compression.py [--repeats 5] [--processes 4] [--rate 1000] [--megabytes 100]

A log has one archive of so many megabytes (text of a web server's kind, made new for each run). Processes log
at a steady rate, each call is clocked, and what counts is the time from the start of the compression until
the archive is replaced by its compressed form: `compress_after=0` in one of two runs, no compression in the
other, which lasts as long. The runs take turns, the first one changes with each repeat. Every record is
counted in the end. Python's garbage collection is off in the workers, as it would be the longest call.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import logging
import os
import random
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import everyline

MESSAGE = "%s GET /api/orders/%d 200 in %d us, 4711 bytes, customer 00%d, region eu-central"


def worker(
    log: str, options: dict[str, Any], rate: int, phase: Any, slowest: Any, calls: Any, index: int
) -> None:
    """Logs until phase 2; clocks calls in phase 1."""
    handler = everyline.Handler(log, **options)
    handler.setFormatter(logging.Formatter("%(asctime)s [%(process)d] %(levelname)s %(name)s %(message)s"))
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    gc.disable()
    clock, longest, count, samples = time.perf_counter_ns, 0, 0, []
    began = clock()
    while phase.value < 2:
        started = clock()
        logger.info(MESSAGE, index, count, count % 977, count % 8999)
        took = clock() - started
        count += 1
        if phase.value == 1:
            samples.append(took)
            longest = max(longest, took)
        time.sleep(max(0.0, (began + count * 1_000_000_000 // rate - clock()) / 1e9))
    handler.close()
    samples.sort()
    slowest[2 * index] = longest
    slowest[2 * index + 1] = samples[len(samples) * 999 // 1000] if samples else 0
    calls[index] = count


def make_archive(path: Path, megabytes: int) -> None:
    """Lines that compress to about a sixth, as logs do."""
    random.seed(1)
    line = "2026-11-25 10:%02d:%02d,%03d [%d] INFO shop GET /api/orders/%d 200 in %d us, %d bytes\n"
    numbers = random.randrange
    block = "".join(
        line
        % (n // 60 % 60, n % 60, numbers(1000), 4000 + n % 8, numbers(10**6), numbers(10**5), numbers(10**4))
        for n in range(100_000)
    ).encode()
    with path.open("wb") as file:
        while file.tell() < megabytes << 20:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def run(
    directory: Path, compress: str | None, seconds: float, arguments: argparse.Namespace
) -> dict[str, float]:
    """One run. `seconds`: how long it lasts without compression."""
    log = directory / "app.log"
    archive = directory / "app.log.1"
    log.touch()
    # Not due, and so not begun, before everybody is at work: attached without compression first.
    make_archive(archive, arguments.megabytes)
    options: dict[str, Any] = {"naming": "numbered", "keep": 9}
    context = get_context("spawn")
    phase = context.Value("i", 0)
    slowest, calls = context.Array("q", 2 * arguments.processes), context.Array("q", arguments.processes)
    workers = [
        context.Process(target=worker, args=(str(log), options, arguments.rate, phase, slowest, calls, index))
        for index in range(arguments.processes)
    ]
    for process in workers:
        process.start()
    while log.stat().st_size == 0:
        time.sleep(0.01)
    time.sleep(1)
    phase.value = 1
    began = time.monotonic()
    # One more process attaches; with compression it finds the archive, and does it.
    extra = everyline.Handler(
        log, **options, **({"compress": compress, "compress_after": 0} if compress else {})
    )
    if compress:
        while archive.exists():
            time.sleep(0.005)
            if time.monotonic() - began > 120:
                raise SystemExit("the archive is not compressed after two minutes")
    else:
        time.sleep(seconds)
    lasted = time.monotonic() - began
    phase.value = 2
    for process in workers:
        process.join()
    extra.close()
    lines = log.read_bytes().count(b"\n")
    if lines != sum(calls):
        raise SystemExit(f"{lines} lines of {sum(calls)} records")
    packed = archive.with_name("app.log.1.gz")
    if compress:
        with gzip.open(packed) as file:
            size = sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))
        if size < arguments.megabytes << 20:
            raise SystemExit(f"{packed} holds {size} bytes")
    return {
        "seconds": lasted,
        "longest_us": max(slowest[0::2]) / 1000,
        "p999_us": max(slowest[1::2]) / 1000,
        "calls_a_second": sum(calls) / (lasted + 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=int, default=1000, help="calls a second of each process")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument(
        "--directory", type=Path, default=None, help="where the log is; default: a temporary one"
    )
    arguments = parser.parse_args()
    seconds, rows = 3.0, []
    for repeat in range(arguments.repeats):
        results = {}
        for compress in (None, "gzip") if repeat % 2 else ("gzip", None):
            with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
                found = run(Path(directory), compress, seconds, arguments)
            if compress:
                seconds = found["seconds"]
            results[compress] = found
        rows.append((results[None], results["gzip"]))
        without, during = rows[-1]
        print(
            f"{repeat + 1}: {during['seconds']:.1f} s; longest call {during['longest_us']:.0f} us while "
            f"compressing, {without['longest_us']:.0f} us without; "
            f"p99.9 {during['p999_us']:.0f} and {without['p999_us']:.0f} us; "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for name, unit in (("longest_us", "longest call"), ("p999_us", "p99.9 of the slowest process")):
        pair = [statistics.median(row[which][name] for row in rows) for which in (1, 0)]
        print(f"median {unit}: {pair[0]:.0f} us while compressing, {pair[1]:.0f} us without")


if __name__ == "__main__":
    main()
