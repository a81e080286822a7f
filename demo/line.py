"""The format of a log line, shared by the application that writes it and the counter that reads it.

A line carries all that is needed to judge it alone: when it was made, by which run, by which process and in
which order, for which request, and a CRC over everything before it.
"""

import zlib
from typing import NamedTuple, Optional


class Line(NamedTuple):
    stamp: float
    run: str
    pid: int
    sequence: int
    request: int


def write(line: Line) -> str:
    text = (
        f"{line.stamp:.6f} run={line.run} pid={line.pid} seq={line.sequence:06d} req={line.request:06d} "
        f"GET /?n={line.request} 200"
    )
    return f"{text} crc={zlib.crc32(text.encode()):08x}"


def read(raw: bytes) -> Optional[Line]:
    """The line, or None if it is not whole."""
    text, mark, crc = raw.rpartition(b" crc=")
    if not mark or crc != b"%08x" % zlib.crc32(text):
        return None
    try:
        stamp, run, pid, sequence, request = text.split(b" ")[:5]
        return Line(float(stamp), run[4:].decode(), int(pid[4:]), int(sequence[4:]), int(request[4:]))
    except ValueError:
        return None
