"""Renames that never cover anything, whatever appears at their target meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

_NOREPLACE = 1
_EXCHANGE = 2
_AT_FDCWD = -100
#: What file systems and kernels answer that do not know the flag.
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def move(old: Path, new: Path) -> None:
    """Rename within one file system. FileExistsError where anything is at ``new``, be it since a moment ago."""
    found = _rename(old, new)
    if found in _UNKNOWN:
        _move_without(old, new)
    elif found:
        raise OSError(found, os.strerror(found), str(old), None, str(new))


def move_over_empty(old: Path, new: Path) -> None:
    """Rename a directory; an empty directory at ``new`` gives way. FileExistsError for anything else there."""
    try:
        # POSIX: a directory replaces nothing but an empty directory, and that in one step.
        os.rename(old, new)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(old), None, str(new)) from error
        raise


def exchange(one: Path, other: Path) -> bool:
    """Each gets the name of the other, in one step. False where the file system has no such step; nothing is done then."""
    found = _rename(one, other, _EXCHANGE)
    if found in _UNKNOWN:
        return False
    if found:
        raise OSError(found, os.strerror(found), str(one), None, str(other))
    return True


def _rename(old: Path, new: Path, how: int = _NOREPLACE) -> int:
    """``renameat2`` with one flag; the number of its error, 0 where it went well."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        call = libc.renameat2
    except AttributeError:  # a C library older than the flag
        return errno.ENOSYS
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    done = call(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), how)
    return ctypes.get_errno() if done else 0


def _move_without(old: Path, new: Path) -> None:
    """The same by means that every file system has: a directory over an empty one, a file by a second name."""
    if stat.S_ISDIR(os.lstat(old).st_mode):
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(old), None, str(new))
        move_over_empty(old, new)
        return
    os.link(old, new, follow_symlinks=False)
    os.unlink(old)
