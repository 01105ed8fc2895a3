"""Files that are written whole or not at all, and an operating system's no in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from opsctl.errors import ProgramFailed
from opsctl.repositories.private import private_folder


def write_whole(path: Path, content: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write a file, private unless ``mode`` says otherwise, whole or not at all, and durably. ProgramFailed where the system says no.

    ``durable``: it outlives the machine's own end; without that a process's.
    """
    try:
        private_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fchmod(out.fileno(), mode)
                if durable:
                    os.fsync(out.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise system_said_no(error, path, len(content)) from error


def system_said_no(error: OSError, path: Path | None = None, needed: int | None = None) -> ProgramFailed:
    """An operating system's no as ours. A full disk says what was needed, where that is known, and is free (bytes)."""
    place = str(path or error.filename or "")
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        why = error.strerror or str(error)
        return ProgramFailed(f"{place}: {why}" if place else why, where=place or None)
    details = {"needed": needed, "free": _free(Path(place)) if place else None}
    known = {key: value for key, value in details.items() if value is not None}
    told = ", ".join(f"{value:,} bytes {key}" for key, value in known.items())
    return ProgramFailed(f"no space left for {place or 'a file'}{f': {told}' if told else ''}",
                         hint="make room there, then resume", where=place or None, details=known)


def _free(path: Path) -> int | None:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            found = os.statvfs(place)
            return found.f_bavail * found.f_frsize
    return None
