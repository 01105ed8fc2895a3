"""Canaries on this machine: whether each is as it was planted, and planting those that are not there."""

from __future__ import annotations

import contextlib
import os

from opsctl.errors import ProgramFailed, SafetyRefusal

THERE, ABSENT, OTHER = "there", "absent", "other"


def stands(path: str, content: bytes) -> str:
    """``there``, ``absent``, or ``other``: something else is at its place. ProgramFailed where that cannot be seen."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            return THERE if file.read(len(content) + 1) == content else OTHER
    except FileNotFoundError:
        return ABSENT
    except IsADirectoryError:
        return OTHER
    except OSError as error:
        if os.path.islink(path):
            return OTHER
        raise ProgramFailed(f"{path}: {error.strerror}", where=path) from error


def plant(path: str, content: bytes) -> None:
    """Write it, where nothing is, as whoever the folder belongs to. SafetyRefusal where something is; nothing is ever overwritten."""
    folder = os.path.dirname(path)
    made = f"{folder}/.{os.path.basename(path)}.{os.getpid()}"
    try:
        owner = os.stat(folder)
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                os.fsync(file.fileno())
            os.link(made, path)  # unlike a rename, it never replaces what came there meanwhile
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made)
    except FileExistsError as error:
        raise SafetyRefusal(f"{path} is there already, and is no canary of ours", hint="name another path under canaries:", where=path) from error
    except OSError as error:
        raise ProgramFailed(f"{path} cannot be planted: {error.strerror}", where=path,
                            hint="does its folder exist, and may this user write there?") from error
