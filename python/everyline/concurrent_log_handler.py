"""The two handlers of the package concurrent-log-handler, with its arguments and hooks, over the engine.

Change `from concurrent_log_handler import ...` to `from everyline.concurrent_log_handler import ...` and
leave the rest. There is no lock file and no lock around a record. What that package does to logs is not
copied: nothing is emptied with `backupCount=0`, a `rotator` is called, and a record's length counts before
it is written. `docs/python.md` lists the arguments that mean nothing here.
"""

from __future__ import annotations

import datetime
import gzip
import logging
import logging.handlers
import os
import shutil
import warnings
from typing import Any

from everyline._bends import is_any_bent, is_bent
from everyline._rotating import Rotating
from everyline._step import is_in_step
from everyline._stream import Codec, LogStream
from everyline.handlers import RotatingFileHandler, TimedRotatingFileHandler

__all__ = [
    "ConcurrentRotatingFileHandler",
    "ConcurrentTimedRotatingFileHandler",
]

_GZ = ".gz"
_POLICIES = ("ignore", "replace", "strict")


class _Concurrent(Rotating):
    """What both share: owner and mode of files, line ends, undecodable text, gzip, and the hooks."""

    is_posix = True
    is_locked = False
    stream_lock = None
    maxLockAttempts = 20
    lockPollInterval = 0.001
    # `do_write`, or the lock hooks, are replaced.
    _writes = False
    _locks = False
    use_gzip = False
    unicode_error_policy = "ignore"

    def _set_up(
        self,
        debug: bool,
        use_gzip: bool,
        owner: tuple[str | int, str | int] | None,
        chmod: int | None,
        umask: int | None,
        newline: str | None,
        terminator: str | None,
        unicode_error_policy: str,
        lock_file_directory: str | None,
        keep_file_open: bool,
    ) -> None:
        if unicode_error_policy not in _POLICIES:
            warnings.warn(
                f"unicode_error_policy: {unicode_error_policy!r} is not one of {_POLICIES}; 'ignore' is used",
                UserWarning,
                stacklevel=3,
            )
            unicode_error_policy = "ignore"
        self._debug = debug
        self.use_gzip = use_gzip
        self._owner = owner
        self.chmod = chmod
        self.umask = umask
        self.newline = newline
        self.terminator = "\n" if terminator is None else terminator
        self.unicode_error_policy = unicode_error_policy
        self.lock_file_directory = lock_file_directory
        self.keep_file_open = keep_file_open
        self.lockFilename = self.getLockFilename(lock_file_directory)
        mode = 0o666 if chmod is None else chmod & 0o777
        self._engine["mode"] = mode if umask is None else mode & ~umask

    # Attributes and hooks of the package's

    @property
    def num_rollovers(self) -> int:
        """Rotations of the log since its journal exists, by whichever process; 0 without one."""
        stream = self._stream
        seen = None if stream is None else stream.appender.glance()
        return 0 if seen is None else seen[1]

    def getLockFilename(self, lock_file_directory: str | None) -> str:
        """The name that the package would give its lock file. There is none."""
        folder, name = self.baseLockFilename(self.baseFilename)
        return os.path.join(lock_file_directory or folder, name)

    @staticmethod
    def baseLockFilename(baseFilename: str) -> tuple[str, str]:
        """Folder and name of the lock file that the package would use."""
        folder, name = os.path.split(baseFilename)
        return folder, ".__" + (name[:-4] if name.endswith(".log") else name) + ".lock"

    def _do_lock(self) -> None:
        """Called before a record if replaced; nothing has to be locked."""

    def _do_unlock(self) -> None:
        """Called after a record if `_do_lock` is."""

    def do_write(self, msg: str) -> None:
        """Writes one formatted record."""
        self._attach().appender.append(self._its_codec().encode(self._line(msg)))

    def do_open(self, mode: str | None = None) -> Any:
        """Opens the file, to append; called under the lease if replaced, and what it returns is closed."""
        return self.atomic_open(self.baseFilename)

    def atomic_open(self, file_path: str) -> Any:
        """Opens a file to append."""
        encoding = None if self.encoding == "locale" else self.encoding
        return open(file_path, "a", encoding=encoding, newline=self.newline, errors=self.errors)

    def do_gzip(self, input_filename: str) -> None:
        """Compresses an archive and removes it. Killed at any moment, it leaves one of the two whole."""
        part = input_filename + _GZ + ".part"
        with open(input_filename, "rb") as source, gzip.open(part, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 18)
        shutil.copymode(input_filename, part)
        os.rename(part, input_filename + _GZ)
        os.remove(input_filename)

    # To the engine

    def _look(self) -> None:
        super()._look()
        state = self.__dict__
        state["_writes"] = is_bent(self, "do_write")
        state["_locks"] = is_any_bent(self, ("_do_lock", "_do_unlock"))
        state["_bent"] = self._bent or self._writes or self._locks

    def _look_at_rotation(self) -> None:
        state = self.__dict__
        state["_opens"] = self._opens or is_any_bent(self, ("do_open", "atomic_open"))
        super()._look_at_rotation()
        state["_names"] = self._names or bool(self.use_gzip)

    def _open(self) -> Any:
        return self.do_open() if is_in_step(self.baseFilename) else self._new_stream()

    def _make_codec(self, otherwise: str | None = None) -> Codec:
        # What cannot be encoded is written by the policy.
        return super()._make_codec(otherwise or self.unicode_error_policy)

    def _attached(self, stream: LogStream) -> None:
        # Best effort, as with the package; a rotation hands owner and mode on.
        try:
            if self.chmod is not None and os.stat(self.baseFilename).st_mode & 0o7777 != self.chmod:
                os.chmod(self.baseFilename, self.chmod)
            if self._owner is not None:
                shutil.chown(self.baseFilename, *self._owner)
        except (OSError, LookupError):
            pass
        super()._attached(stream)

    def _line(self, text: str) -> str:
        text += self.terminator
        return text.replace("\n", self.newline) if self.newline in ("\r", "\r\n") else text

    def _encode(self, record: logging.LogRecord) -> bytes:
        return self._its_codec().encode(self._line(self.format(record)))

    def _emit_bent(self, record: logging.LogRecord) -> None:
        if not self._locks:
            super()._emit_bent(record)
            return
        self._do_lock()
        try:
            super()._emit_bent(record)
        finally:
            self._do_unlock()

    def _write_out(self, stream: LogStream, record: logging.LogRecord, data: bytes, level: int) -> None:
        if self._writes:
            self.do_write(self.format(record))
        else:
            super()._write_out(stream, record, data, level)

    # gzip

    def _endings(self) -> tuple[str, ...]:
        return ("", _GZ) if self.use_gzip else ("",)

    def _rotate_staged(self, source: str, dest: str) -> None:
        if source.endswith(_GZ):
            os.rename(source, dest + _GZ)
        elif not self.use_gzip:
            self.rotate(source, dest)
        elif is_any_bent(self, ("rotate", "rotator", "do_gzip")):
            self.rotate(source, dest)
            if os.path.exists(dest):
                self.do_gzip(dest)
        elif os.path.lexists(source + _GZ):
            # A process was killed between the two: the compressed one is whole.
            os.remove(source)
            os.rename(source + _GZ, dest + _GZ)
        else:
            self.do_gzip(source)
            os.rename(source + _GZ, dest + _GZ)


class ConcurrentRotatingFileHandler(_Concurrent, RotatingFileHandler):
    """`concurrent_log_handler.ConcurrentRotatingFileHandler`, for any number of processes on one file.

    The arguments are that package's; `errors` and all after it are by name. `owner` is (user, group) by name
    or number and `chmod` the mode, both best effort; `umask` that of new files; `newline` as in `open`;
    `unicode_error_policy` is `ignore`, `replace` or `strict`. `debug`, `delay`, `lock_file_directory` and
    `keep_file_open` are taken and mean nothing. Errors are those of `everyline.FileHandler`.
    """

    _watched = RotatingFileHandler._watched | {"use_gzip"}

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        maxBytes: int = 0,
        backupCount: int = 0,
        encoding: str | None = None,
        debug: bool = False,
        delay: bool | None = None,
        use_gzip: bool = False,
        owner: tuple[str | int, str | int] | None = None,
        chmod: int | None = None,
        umask: int | None = None,
        newline: str | None = None,
        terminator: str | None = "\n",
        unicode_error_policy: str = "ignore",
        lock_file_directory: str | None = None,
        keep_file_open: bool = True,
        *,
        errors: str | None = None,
        **engine: Any,
    ) -> None:
        RotatingFileHandler.__init__(
            self, filename, mode, maxBytes, backupCount, encoding, True, errors, **engine
        )
        self._set_up(
            debug,
            use_gzip,
            owner,
            chmod,
            umask,
            newline,
            terminator,
            unicode_error_policy,
            lock_file_directory,
            keep_file_open,
        )
        self._start()


class ConcurrentTimedRotatingFileHandler(_Concurrent, TimedRotatingFileHandler):  # type: ignore[misc]
    """`concurrent_log_handler.ConcurrentTimedRotatingFileHandler`, for any number of processes on one file.

    With `maxBytes` it rotates by size, too; an archive whose dated name is taken gets `.1`, `.2` and so on.
    `when` to `errors` are Python's, the rest as with `ConcurrentRotatingFileHandler`; `mode` is taken and
    means nothing. `finalize_handler_configuration` is called before anything is opened.
    """

    _watched = TimedRotatingFileHandler._watched | {"use_gzip", "maxBytes"}

    def __init__(
        self,
        filename: str | os.PathLike[str],
        when: str = "h",
        interval: int = 1,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        utc: bool = False,
        atTime: datetime.time | None = None,
        errors: str | None = None,
        maxBytes: int = 0,
        use_gzip: bool = False,
        owner: tuple[str | int, str | int] | None = None,
        chmod: int | None = None,
        umask: int | None = None,
        newline: str | None = None,
        terminator: str | None = "\n",
        unicode_error_policy: str = "ignore",
        lock_file_directory: str | None = None,
        keep_file_open: bool = True,
        *,
        mode: str = "a",
        debug: bool = False,
        **engine: Any,
    ) -> None:
        self.maxBytes = maxBytes
        TimedRotatingFileHandler.__init__(
            self, filename, when, interval, backupCount, encoding, True, utc, atTime, errors, **engine
        )
        self._set_up(
            debug,
            use_gzip,
            owner,
            chmod,
            umask,
            newline,
            terminator,
            unicode_error_policy,
            lock_file_directory,
            keep_file_open,
        )
        self.finalize_handler_configuration()
        self._start()

    def finalize_handler_configuration(self) -> None:
        """For subclasses: the last word about attributes, before the log is opened."""

    def _rotation(self) -> dict[str, Any]:
        rotation = super()._rotation()
        if 0 < self.maxBytes < 1 << 63:
            rotation["max_bytes"] = max(1, int(self.maxBytes) - 1)
        return rotation

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether a period has ended, or the record would make the file reach `maxBytes`."""
        if super().shouldRollover(record):
            return True
        found = self._stat_regular() if self.maxBytes > 0 else None
        if found is None or found.st_size == 0:
            return False
        return found.st_size + len(self._encode(record)) >= self.maxBytes


for _class in (ConcurrentRotatingFileHandler, ConcurrentTimedRotatingFileHandler):
    # As the package does: for `class=handlers.ConcurrentRotatingFileHandler` in a fileConfig. Where the
    # package itself is imported, its classes stay.
    if not hasattr(logging.handlers, _class.__name__):
        setattr(logging.handlers, _class.__name__, _class)
