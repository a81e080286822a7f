"""What `handler.stream` is: the log as this process has it open.

Other code looks at a handler's stream: gunicorn closes it, replaces it and asks for its descriptor, and
an `emit` of a subclass writes to it. All of that works. Not promised: that it is a file. It cannot be
read, and its descriptor cannot be written to, as that would go past the engine.
"""

from __future__ import annotations

import codecs
import locale
import os
import time
from collections.abc import Iterable

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


class LogStream:
    """A text stream on top of an appender. One `write` is one record."""

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

    def write(self, text: str) -> int:
        self.appender.append(self._codec.encode(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
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
            self.appender.close()

    def fileno(self) -> int:
        """A descriptor that names the file, to be looked at, marked or kept open over a daemon's start.

        Not one to write to: what is written there would miss the engine, and after a rotation the file.
        """
        if self._descriptor is None:
            descriptor = self._open_by_name()
            self._descriptor = (descriptor, _identity(descriptor))
        return self._descriptor[0]

    def _open_by_name(self) -> int:
        # In the middle of a rotation, another process's, there is no file of that name for an instant.
        until = time.monotonic() + _BETWEEN_NAMES_S
        while True:
            try:
                return os.open(self.name, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                if time.monotonic() >= until:
                    raise
            time.sleep(0.001)

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def _close_descriptor(self) -> None:
        if self._descriptor is None:
            return
        descriptor, identity = self._descriptor
        self._descriptor = None
        try:
            # A daemonizer may have closed it, and the number may be somebody else's by now.
            if _identity(descriptor) == identity:
                os.close(descriptor)
        except OSError:
            pass

    def __del__(self) -> None:
        # The appender looks after itself.
        if getattr(self, "_descriptor", None) is not None:
            self._close_descriptor()


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino)
