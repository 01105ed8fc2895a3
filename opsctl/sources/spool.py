"""A private folder for a program that writes its dump as files, gone when the work is."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opsctl.errors import Busy, ProgramFailed, SafetyRefusal
from opsctl.model.quantities import format_size

_SPARE = 16 << 20


class Spool:
    """``opsctl-NAME`` in ``directory``, always the same place, since database servers are told it once.

    ``owner``: the system user that it belongs to; None: ours.
    """

    def __init__(self, name: str, directory: str, owner: str | None = None) -> None:
        self.name = name
        self.directory = Path(directory)
        self.owner = owner

    @property
    def place(self) -> Path:
        return self.directory / f"opsctl-{self.name}"

    def check(self, needed: int) -> None:
        """ProgramFailed where the folder could not be made, or ``needed`` bytes are not free; changes nothing."""
        self._account()
        try:
            mode = os.stat(self.directory).st_mode
        except OSError as error:
            raise ProgramFailed(f"the spool directory {self.directory} cannot be used: {error.strerror}",
                                hint="is its file system mounted? opsctl does not make it") from error
        if not stat.S_ISDIR(mode):
            raise ProgramFailed(f"the spool directory {self.directory} is no directory")
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            raise ProgramFailed(f"others can write to the spool directory {self.directory}, and take our folder away",
                                hint=f"chmod go-w {self.directory}")
        free = shutil.disk_usage(self.directory).free + _occupied(self.place)
        if free < needed + _SPARE:
            raise ProgramFailed(
                f"{self.directory} has {format_size(free)} free and the dump needs {format_size(needed + _SPARE)}",
                hint="make room there, or choose another spool directory",
                details={"needed": needed + _SPARE, "free": free},
            )

    @contextmanager
    def made(self, needed: int) -> Iterator[Path]:
        """The folder, empty, mode 0700; removed afterwards. What a killed run left in it goes first.

        Raises as ``check``; Busy where another run is at it; SafetyRefusal where something there is not ours.
        """
        with self._held():
            self.check(needed)
            self._clear()
            account = self._account()
            os.mkdir(self.place, 0o700)
            try:
                if account is not None and account.pw_uid != os.geteuid():
                    os.chown(self.place, account.pw_uid, account.pw_gid)
                yield self.place
            except BaseException:
                shutil.rmtree(self.place, ignore_errors=True)
                raise
            self._clear()

    def give(self, path: Path) -> None:
        """Let the owner have what we put into the folder."""
        account = self._account()
        if account is not None and account.pw_uid != os.geteuid():
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)

    @contextmanager
    def _held(self) -> Iterator[None]:
        lock = self.directory / f".opsctl-{self.name}.lock"
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProgramFailed(f"the spool directory {self.directory} cannot be used: {error.strerror}",
                                hint="is its file system mounted, and may we write there?") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise Busy(f"another run is using the spool folder {self.place}", hint="opsctl runs") from error
        finally:
            os.close(descriptor)

    def _clear(self) -> None:
        """Remove the folder and what is in it; SafetyRefusal where it is not one of ours."""
        try:
            found = os.lstat(self.place)
        except FileNotFoundError:
            return
        account = self._account()
        ours = {os.geteuid()} | ({account.pw_uid} if account is not None else set())
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
            raise SafetyRefusal(f"{self.place} is in the way, and opsctl did not make it",
                                hint="find out whose it is, and move it away")
        with suppress(OSError):  # a server that was told to stop may still be at its last file
            shutil.rmtree(self.place)
            return
        try:
            shutil.rmtree(self.place)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ProgramFailed(f"{self.place} could not be removed: {error.strerror}",
                                hint="does a program still write there?") from error

    def _account(self) -> pwd.struct_passwd | None:
        if self.owner is None:
            return None
        try:
            account = pwd.getpwnam(self.owner)
        except KeyError as error:
            raise ProgramFailed(f"there is no user {self.owner} on this machine, who is to own {self.place}") from error
        if os.geteuid() not in (0, account.pw_uid):
            raise ProgramFailed(f"only root can give {self.place} to {self.owner}", hint=f"run opsctl as root or {self.owner}")
        return account


def _occupied(place: Path) -> int:
    """Bytes on the disk that a folder of an earlier run still takes."""
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, names in os.walk(place) for name in names)
