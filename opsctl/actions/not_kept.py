"""What of restored files does not come back where they are restored to, and why: restic leaves it out without a word."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import tempfile
from pathlib import Path

_ANYBODY = 0xFFFFFFFF
#: An access list that lets nobody else do anything, as the kernel reads it.
_LIST = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (1, 6, _ANYBODY), (2, 4, 65534), (4, 0, _ANYBODY), (16, 4, _ANYBODY), (32, 0, _ANYBODY)))
_TRIED = {"extended attributes": ("user.opsctl", b"tried"), "access lists (ACL)": ("system.posix_acl_access", _LIST)}


def not_kept(place: Path) -> list[str]:
    """A sentence for each sort of thing that files restored below ``place`` come back without, if they had it."""
    lost = [f"{what}: {why}" for what, why in _refused(place).items()]
    said = [f"the file system of {place} does not keep {'; '.join(lost)}"] if lost else []
    if os.geteuid():
        said.append(f"what is restored to {place} comes back without owners, groups and file capabilities: only root can give them")
    return said


def _refused(place: Path) -> dict[str, str]:
    """What the file system does not know at all, tried on a file of our own; a trouble of another sort is told by restic."""
    found = {}
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=place, prefix=".opsctl-tried-") as tried:
        for what, (name, value) in _TRIED.items():
            try:
                os.setxattr(tried.name, name, value)
            except OSError as error:
                if error.errno in (errno.ENOTSUP, errno.ENOSYS):
                    found[what] = str(error.strerror)
    return found
