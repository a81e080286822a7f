"""What `handler.stream` is: the log as this process has it open.

Other code uses a handler's stream as the text file that it is with Python's: gunicorn closes it, replaces it
and marks its descriptor, an `emit` of a subclass or `print` writes to it, a child process gets it for its
standard output. All of that works. Whole lines go through the engine, however many calls they were written
with. What is written to the descriptor goes past Python and the engine: it is appended to the file that was
live when `fileno` was called, and others' records stay whole.
"""

from __future__ import annotations

import codecs
import io
import locale
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from everyline._native import Appender, Options
from everyline._step import is_in_step

# A rotation takes less than this between two names, unless its process is killed there.
_BETWEEN_NAMES_S = 0.5


class Codec:
    """Encodes whole records, each on its own."""

    def __init__(self, encoding: str, errors: str | None) -> None:
        """Raises LookupError for a name that is not known."""
        self.wanted = (encoding, errors)
        self.encoding = _locale_encoding() if encoding == "locale" else encoding
        self.errors = errors or "strict"
        codecs.lookup_error(self.errors)
        # Every record is put behind others, so none may begin with a byte order mark.
        self._mark_bytes = len("".encode(self.encoding))

    def encode(self, text: str) -> bytes:
        return text.encode(self.encoding, self.errors)[self._mark_bytes :]


def _locale_encoding() -> str:
    # `getencoding` is new in Python 3.11; the older one sees UTF-8 mode, too, where "locale" is not used.
    if hasattr(locale, "getencoding"):
        return str(locale.getencoding())
    return locale.getpreferredencoding(False)


def codec_of_file(opened: Any) -> Codec | None:
    """How a file that is open on the log encodes text. None: it is no plain text file."""
    raw = getattr(opened, "buffer", None) if isinstance(opened, io.TextIOWrapper) else None
    if isinstance(opened, (codecs.StreamReaderWriter, codecs.StreamWriter)):
        # `codecs.open`
        raw = opened.stream
    plain = isinstance(raw, io.FileIO) or isinstance(getattr(raw, "raw", None), io.FileIO)
    encoding = getattr(opened, "encoding", None)
    if not plain or not isinstance(encoding, str):
        return None
    return Codec(encoding, opened.errors)


class LogStream:
    """A text stream on top of an appender. One line is one record."""

    newlines = None
    line_buffering = True
    write_through = False

    def __init__(self, path: str, options: Options, codec: Codec, mode: str) -> None:
        self.name = path
        self.mode = mode
        self.encoding = codec.encoding
        self.errors = codec.errors
        self.closed = False
        self.options = options
        self.appender = Appender(path, options)
        self._codec = codec
        self._descriptor: tuple[int, tuple[int, int]] | None = None
        self._lock = threading.Lock()
        # The beginning of a line, and the process that has written it.
        self._begun = (b"", 0)

    def write(self, text: str) -> int:
        """Takes text; what follows the last line break is kept until the line is whole, or until `flush`."""
        self._write(self._codec.encode(text))
        return len(text)

    def _write(self, data: bytes) -> None:
        pid = os.getpid()
        with self._lock:
            begun, by = self._begun
            # A line that was begun before a fork is the parent's.
            whole = begun + data if by == pid else data
            end = whole.rfind(b"\n") + 1
            self._begun = (whole[end:], pid)
        if end:
            self.appender.append(whole[:end])

    def _end_line(self) -> None:
        with self._lock:
            begun, by = self._begun
            self._begun = (b"", 0)
        if begun and by == os.getpid():
            self.appender.append(begun)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Returns when everything written so far is in the file; TimeoutError after the handler's `wait`."""
        self._end_line()
        self.appender.flush()

    def tell(self) -> int:
        """The length of the file, as all processes have written it so far."""
        self.flush()
        return os.stat(self.name).st_size

    def close(self) -> None:
        """Flushes and detaches. A later write attaches again."""
        self.closed = True
        self._close_descriptor()
        # In a step under the lease everything is in the file, and the lease is not to be let go.
        if not is_in_step(self.name):
            try:
                self._end_line()
            finally:
                self.appender.close()

    @property
    def buffer(self) -> _Bytes:
        """For code that writes bytes."""
        return _Bytes(self)

    def fileno(self) -> int:
        """A descriptor of the live file, open to append: for a child process, or to be looked at or marked.

        To be asked for at each use: after a rotation it is another file's, under the same number. A process
        that may not open the log (a worker that gave up root) gets one that only names the file.
        """
        held = self._held_descriptor()
        try:
            found = os.stat(self.name)
            if held is not None and _identity_of(found) == held[1]:
                return held[0]
            opened = self._open()
        except FileNotFoundError:
            if held is not None:
                # Moved away by somebody else: the log as it was, until the next record makes it anew.
                return held[0]
            opened = self._open_in_a_moment()
        if held is not None:
            os.dup2(opened, held[0], inheritable=False)
            os.close(opened)
            opened = held[0]
        self._descriptor = (opened, _identity_of(os.fstat(opened)))
        return opened

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
        try:
            # A FIFO without a reader must not hold anybody up.
            opened = os.open(self.name, flags | os.O_NONBLOCK)
        except PermissionError:
            return os.open(self.name, os.O_PATH | os.O_CLOEXEC)
        os.set_blocking(opened, True)
        return opened

    def _open_in_a_moment(self) -> int:
        # In the middle of a rotation, another process's, there is no file of that name for an instant.
        until = time.monotonic() + _BETWEEN_NAMES_S
        while True:
            try:
                return self._open()
            except FileNotFoundError:
                if time.monotonic() >= until:
                    break
            time.sleep(0.001)
        if not is_in_step(self.name):
            # Moved away by somebody else.
            self.appender.reopen()
        return self._open()

    def _held_descriptor(self) -> tuple[int, tuple[int, int]] | None:
        """The one that was handed out, unless a daemonizer has closed it: it may be somebody else's."""
        held = self._descriptor
        try:
            return held if held is not None and _identity_of(os.fstat(held[0])) == held[1] else None
        except OSError:
            return None

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def _unsupported(self, *_: Any) -> Any:
        raise io.UnsupportedOperation(
            f"{self.name}: a log that is shared is written, not read, moved in or cut"
        )

    read = readline = readlines = seek = truncate = detach = reconfigure = _unsupported
    __iter__ = __next__ = _unsupported

    def __enter__(self) -> LogStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_descriptor(self) -> None:
        held, self._descriptor = self._held_descriptor(), None
        if held is not None:
            os.close(held[0])

    def __del__(self) -> None:
        # The appender looks after itself.
        if getattr(self, "_descriptor", None) is not None:
            self._close_descriptor()


# It is asked for by code that tells text from bytes. Not a base: its end would close the stream.
io.TextIOBase.register(LogStream)


class _Bytes:
    """`stream.buffer`."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def write(self, data: bytes | bytearray | memoryview) -> int:
        whole = bytes(data)
        self._stream._write(whole)
        return len(whole)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


def _identity_of(found: os.stat_result) -> tuple[int, int]:
    return (found.st_dev, found.st_ino)
