"""Draws what `python_speed.py` measured: records per second over processes, and percentiles of a log call.

    python bench/plot.py bench/results/2026-11-25-python

Reads `python.json` there and writes `throughput.svg` and `latency.svg` beside it. Both axes of values are
logarithmic, as the rivals are up to a hundred times apart.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 300, 44, 52
COLOURS = ("#6b7280", "#b45309", "#be185d", "#0891b2", "#1d4ed8", "#15803d")
PERCENTILES = ("p50", "p90", "p99", "p999")
NAMES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
Series = tuple[str, list[tuple[int, float]]]


def draw(data: dict[str, Any], names: Sequence[str], out: Path) -> None:
    """Writes both pictures."""
    processes = sorted({run["processes"] for run in data["runs"]})

    def median(name: str, count: int, key: str) -> float | None:
        found = [r[key] for r in data["runs"] if r["rival"] == name and r["processes"] == count]
        return statistics.median(found) if found else None

    def series(value: Callable[[str, int], float | None], places: int) -> list[Series]:
        made = []
        for name in names:
            points = [(at, value(name, at)) for at in range(places)]
            made.append((name, [(at, found) for at, found in points if found]))
        return [one for one in made if one[1]]

    over = series(lambda name, at: median(name, processes[at], "records_s"), len(processes))
    labels = [f"{count} process{'es' if count > 1 else ''}" for count in processes]
    (out / "throughput.svg").write_text(
        picture("Records per second, all processes together", labels, over, count_of)
    )
    calls = series(lambda name, at: micros(median(name, 8, f"{PERCENTILES[at]}_ns")), len(PERCENTILES))
    title = "A log call with 8 processes, microseconds"
    (out / "latency.svg").write_text(picture(title, [NAMES[p] for p in PERCENTILES], calls, count_of))


def micros(ns: float | None) -> float | None:
    return None if ns is None else ns / 1000


def count_of(value: float) -> str:
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {letter}"
    return f"{value:g}"


def picture(title: str, labels: list[str], series: list[Series], text: Callable[[float], str]) -> str:
    values = [value for _, points in series for _, value in points] or [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def x(at: int) -> float:
        return LEFT + 24 + at * (WIDTH - LEFT - RIGHT - 48) / max(len(labels) - 1, 1)

    def y(value: float) -> float:
        return TOP + (high - math.log10(value)) * (HEIGHT - TOP - BOTTOM) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" fill="#111827">{title}</text>',
    ]
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e7eb"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#374151">{text(10**power)}</text>'
        )
    for at, label in enumerate(labels):
        parts.append(
            f'<text x="{x(at):.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle" fill="#374151">'
            f"{label}</text>"
        )
    for (_, points), colour in zip(series, COLOURS):
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(at):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for at, v in points]
    # Names from top to bottom as the lines end.
    order = sorted(range(len(series)), key=lambda number: y(series[number][1][-1][1]))
    for place, number in enumerate(order):
        at = TOP + 20 + place * 22
        colour = COLOURS[number % len(COLOURS)]
        start = WIDTH - RIGHT + 16
        parts.append(f'<rect x="{start}" y="{at - 9}" width="12" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{start + 20}" y="{at}" fill="#111827">{series[number][0]}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    measured = json.loads((folder / "python.json").read_text())
    counts: dict[str, set[int]] = {}
    for one in measured["runs"]:
        counts.setdefault(one["rival"], set()).add(one["processes"])
    most = max(map(len, counts.values()))
    draw(measured, [name for name, seen in counts.items() if len(seen) == most], folder)
