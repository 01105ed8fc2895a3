"""A ``restic backup`` that opens its repository at once, and begins when it may."""

from __future__ import annotations

import os
from types import TracebackType


class Gate:
    """Holds back the one restic that is told ``options`` until ``open`` is called.

    restic reads a file of patterns to exclude once it has opened its repository, which takes it half a second. This one comes
    out of a pipe that begins with a pattern that restic refuses: where we are killed, or leave without having opened
    it, it ends without a snapshot. The whole pattern excludes nothing that there is.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.write(self._write, b"[")

    @property
    def options(self) -> list[str]:
        return ["--exclude-file", f"/proc/{os.getpid()}/fd/{self._read}"]

    def open(self) -> None:
        os.write(self._write, b".]opsctl-may-begin\n")
        os.close(self._write)
        self._write = -1

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._write >= 0:
            os.close(self._write)
        os.close(self._read)
