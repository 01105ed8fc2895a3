"""Files that others may have put there: opened through no link, without waiting for a pipe, and read only as far as is said.

Standard library only. Everything raises OSError, whose ``strerror`` reads after "it cannot be used:".
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder",
          stat.S_IFLNK: "a link"}
LARGEST = 1 << 30
"""Bytes of a file that is taken into memory."""


class NoPlainFile(OSError):
    """Something else than a file."""


def open_plain(path: Path, most: int | None = None, *, follow: bool = False) -> BinaryIO:
    """Open a plain file to read. ``most``: bytes that it may have; ``follow``: a link to one will do."""
    _refuse(path, os.stat(path, follow_symlinks=follow), most)  # opening alone does something to a device
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        _refuse(path, os.fstat(handle), most)
        return open(handle, "rb", buffering=0)
    except BaseException:
        os.close(handle)
        raise


def read_plain(path: Path, most: int = LARGEST) -> bytes:
    """The content of a plain file."""
    with open_plain(path, most) as file:
        content = bytearray()
        while len(content) <= most and (piece := file.read(min(1 << 20, most + 1 - len(content)))):
            content += piece
    if len(content) > most:
        raise _too_large(path, most)
    return bytes(content)


def sha256_of(path: Path, most: int | None = None) -> str:
    """SHA-256 of a plain file."""
    digest, size = hashlib.sha256(), 0
    with open_plain(path, most) as file:
        while piece := file.read(1 << 20):
            size += len(piece)
            if most is not None and size > most:
                raise _too_large(path, most)
            digest.update(piece)
    return digest.hexdigest()


def is_read_for_ever(entry: os.DirEntry[str]) -> bool:
    """Whether whoever opens this to read it may wait for ever: a pipe, a socket, a device, or a link to one."""
    if entry.is_file() or entry.is_dir():
        return False
    try:
        return stat.S_IFMT(entry.stat().st_mode) in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
    except OSError:
        return False


def _refuse(path: Path, seen: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise NoPlainFile(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(seen.st_mode), 'no plain file')}, not a file", str(path))
    if most is not None and seen.st_size > most:
        raise _too_large(path, most)


def _too_large(path: Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
