"""What tells one file or folder from every other, whatever it is called."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_AT_FDCWD = -100
_NOFOLLOW = 0x100
_BIRTH = 0x800
_SIZE = 256


def identity(place: Path) -> str | None:
    """Its number in its file system and when it was made, where that is kept; None where nothing is there.

    A link is not followed. A number alone is given out again once its file is gone.
    """
    try:
        number = os.lstat(place).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{number}:{_born(place)}"


def _born(place: Path) -> int:
    """Nanoseconds since 1970; 0 where the system does not know."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        call = libc.statx
    except AttributeError:  # a C library older than the call
        return 0
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    found = ctypes.create_string_buffer(_SIZE)
    if call(_AT_FDCWD, os.fsencode(place), _NOFOLLOW, _BIRTH, found):
        return 0
    known = struct.unpack_from("I", found.raw)[0]
    seconds, nanoseconds = struct.unpack_from("qI", found.raw, 80)
    return int(seconds * 10**9 + nanoseconds) if known & _BIRTH else 0


def mount_of(place: Path) -> str:
    """The folder at which the file system of this path is mounted, or of the nearest folder above it that is there."""
    at = Path(os.path.realpath(place.parent))
    while not os.path.ismount(at):
        at = at.parent
    return str(at)
