"""What a command says on standard error: a file in memory, of which the beginning and the end are kept."""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading

BEGINNING = END = 4 << 20
"""Bytes that are kept."""
_STEP = 1 << 20      # bytes that are let go of at once
_EVERY = 0.05        # seconds between two looks at what is being said, and
_TALKATIVE = 0.005   # where something is let go of
_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE


class Complaints:
    """No pipe: it never fills up, and where we are killed it does not break. restic dies of a broken one before it has taken its lock away.

    What lies between the beginning and the end takes no memory for long, whatever the command goes on to say.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("stderr")
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._let_go = BEGINNING
        self._lock = threading.Lock()
        self._open = True

    def mind(self) -> None:
        """Look after it until it is closed."""
        _keeper.mind(self)

    def trim(self) -> bool:
        """Let go of what lies between; whether there was any."""
        with self._lock:
            if not self._open:
                return False
            until = (os.fstat(self.descriptor).st_size - END) // _STEP * _STEP
            if until <= self._let_go:
                return False
            libc = ctypes.CDLL(None, use_errno=True)
            libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
            libc.fallocate(self.descriptor, _PUNCH, self._let_go, until - self._let_go)
            self._let_go = until
            return True

    def said(self) -> bytes:
        """The beginning and the end, and between them a line that tells how much is left out."""
        size = os.fstat(self.descriptor).st_size
        if size <= BEGINNING + END:
            return os.pread(self.descriptor, size, 0)
        left_out = f"\n… {size - BEGINNING - END:,} bytes are left out here …\n"
        return os.pread(self.descriptor, BEGINNING, 0) + left_out.encode() + os.pread(self.descriptor, END, size - END)

    def close(self) -> None:
        _keeper.leave(self)
        with self._lock:
            if self._open:
                self._open = False
                os.close(self.descriptor)


class _Keeper:
    """The one thread of this process that looks after them all; it waits where there are none."""

    def __init__(self) -> None:
        self._all: set[Complaints] = set()
        self._some = threading.Condition()
        self._thread: threading.Thread | None = None

    def mind(self, one: Complaints) -> None:
        with self._some:
            self._all.add(one)
            if self._thread is None or not self._thread.is_alive():  # none lives on after a fork
                self._thread = threading.Thread(target=self._keep, name="complaints", daemon=True)
                self._thread.start()
            self._some.notify()

    def leave(self, one: Complaints) -> None:
        with self._some:
            self._all.discard(one)

    def _keep(self) -> None:
        pause = threading.Event()
        while True:
            with self._some:
                while not self._all:
                    self._some.wait()
                now = list(self._all)
            pause.wait(_TALKATIVE if True in [one.trim() for one in now] else _EVERY)


_keeper = _Keeper()
