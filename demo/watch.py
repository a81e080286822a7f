"""The independent witness: follows every create, rename, delete and write of the log files through inotify.

It never opens a log. It replays the kernel's events on a set of names, in the kernel's order, so it knows of
each file when it was renamed away from the live name and how long it was then. "In the wrong file" follows:

- the queue has one order: a write event under an archive's name is a write after its rotation, by no clock;
- `rotated_at` is read after the event arrived, so never before the rename: a line made later is misfiled;
- `size_rotated` is read after that, so never less than the size at the rename: bytes behind it came later.

A slow watcher can only miss misfiled lines, it cannot invent one.
"""

import ctypes
import os
import select
import struct
import threading
import time
from dataclasses import dataclass
from typing import Optional

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
IN_Q_OVERFLOW, IN_ISDIR = 0x4000, 0x40000000
HEADER = struct.Struct("iIII")


@dataclass
class LogFile:
    """One file, whatever its name is at the moment. `serial` counts in order of creation."""

    serial: int
    created_at: float
    rotated_at: Optional[float] = None
    inode_rotated: Optional[int] = None
    size_rotated: Optional[int] = None
    late_writes: int = 0
    end: str = ""


class Watcher(threading.Thread):
    """Watches one directory from construction to `stop`. The live file must not exist yet."""

    def __init__(self, directory: str, live: str) -> None:
        super().__init__(daemon=True)
        self.directory = directory
        self.live = live
        self.names: dict[str, LogFile] = {}
        self.gone: list[LogFile] = []
        self.rotations = 0
        self.overflowed = False
        self._serial = 0
        self._moving: dict[int, LogFile] = {}
        self._stopping = threading.Event()
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        mask = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
        if libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch {directory}")

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        # One more look after `stop`: what happened before it is in the queue.
        last_look = False
        while not last_look:
            last_look = self._stopping.is_set()
            while poll.poll(0 if last_look else 100):
                events = os.read(self._fd, 1 << 16)
                self._replay(events, time.time())
        os.close(self._fd)

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _replay(self, events: bytes, now: float) -> None:
        offset = 0
        while offset < len(events):
            _, mask, cookie, length = HEADER.unpack_from(events, offset)
            offset += HEADER.size + length
            if mask & IN_Q_OVERFLOW:
                self.overflowed = True
                continue
            name = os.fsdecode(events[offset - length : offset].rstrip(b"\0"))
            # Lock files, journals and temporary names do not count until they carry the log's name.
            if mask & IN_ISDIR or not (name.startswith(self.live) or cookie in self._moving):
                continue
            self._event(mask, cookie, name, now)

    def _event(self, mask: int, cookie: int, name: str, now: float) -> None:
        if mask & IN_CREATE:
            self.names[name] = self._new(now)
        elif mask & IN_DELETE:
            self._forget(name, "deleted")
        elif mask & IN_MOVED_FROM:
            file = self.names.pop(name, None)
            if file is not None:
                self._moving[cookie] = file
                if name == self.live and file.rotated_at is None:
                    self.rotations += 1
                    file.rotated_at = now
        elif mask & IN_MOVED_TO:
            self._forget(name, "renamed over")
            file = self._moving.pop(cookie, None) or self._new(now)
            self.names[name] = file
            if file.rotated_at is not None and file.size_rotated is None:
                self._measure(file, name)
        elif mask & IN_MODIFY:
            file = self.names.get(name)
            if file is not None and file.rotated_at is not None:
                file.late_writes += 1

    def _new(self, now: float) -> LogFile:
        self._serial += 1
        return LogFile(self._serial, now)

    def _measure(self, file: LogFile, name: str) -> None:
        """Notes the size. The name may be another file's by now, so the inode is noted too."""
        try:
            found = os.stat(os.path.join(self.directory, name))
        except OSError:
            return
        file.inode_rotated, file.size_rotated = found.st_ino, found.st_size

    def _forget(self, name: str, end: str) -> None:
        file = self.names.pop(name, None)
        if file is not None:
            file.end = end
            self.gone.append(file)
