"""Disks on this machine by the UUID of their file system: plugged in or not, mounted where and how."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from opsctl.errors import ProgramFailed
from opsctl.model.values import value
from opsctl.shells.interface import Shell

_COLUMNS = "TARGET,SOURCE,FSTYPE,UUID,LABEL,OPTIONS"
_OPTIONS = "nosuid,nodev,noexec"
"""A disk that was away may carry anything."""
_LIMIT = 120.0  # seconds; a disk that fails keeps the kernel waiting


@value
class Mounted:
    """A file system that is mounted. ``uuid`` is empty where it has none (tmpfs)."""

    target: str
    filesystem: str
    uuid: str
    label: str | None
    options: tuple[str, ...]

    @property
    def writable(self) -> bool:
        return "rw" in self.options


def holding(shell: Shell, path: str) -> Mounted | None:
    """The file system that a path lies on; None where the path is not there."""
    return _found(shell, "--target", path)


def mounted_at(shell: Shell, path: str) -> Mounted | None:
    """What is mounted at exactly this path."""
    return _found(shell, "--mountpoint", path)


def _found(shell: Shell, how: str, path: str) -> Mounted | None:
    result = shell.run(["findmnt", "--json", "--first-only", how, path, "--output", _COLUMNS], accept=(0, 1), timeout=_LIMIT)
    if result.code:
        return None
    # The last one hides those below it.
    found = json.loads(result.text)["filesystems"][-1]
    return Mounted(found["target"], found["fstype"], found.get("uuid") or "", found.get("label"), tuple(found["options"].split(",")))


def device(shell: Shell, uuid: str) -> str | None:
    """The device with this file system; None where no such disk is plugged in."""
    result = shell.run(["blkid", "--cache-file", "/dev/null", "--uuid", uuid], accept=(0, 2), timeout=_LIMIT)
    found = result.text.strip()
    return found if found and not _gone(found) else None


def _gone(found: str) -> bool:
    """Whether the device is one that was just pulled out, of which blkid still remembers the first blocks."""
    try:
        with open(f"/sys/class/block/{os.path.basename(os.path.realpath(found))}/size", encoding="ascii") as size:
            return size.read().strip() == "0"
    except OSError:
        return not os.path.exists(found)


def holders(found: str) -> list[int]:
    """Processes in other mount namespaces (containers) where this device is mounted as well, one for each namespace.

    Those of others are seen by root only.
    """
    number = os.stat(found).st_rdev
    wanted = f" {os.major(number)}:{os.minor(number)} "
    seen = {os.readlink("/proc/self/ns/mnt")}
    held = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):  # gone, or not for us to see
            space = os.readlink(f"/proc/{entry}/ns/mnt")
            if space not in seen:
                seen.add(space)
                with open(f"/proc/{entry}/mountinfo", encoding="utf-8", errors="replace") as lines:
                    if any(wanted in line for line in lines):
                        held.append(int(entry))
    return held


def mount(shell: Shell, found: str, target: str, *, write: bool) -> None:
    """Mount a device; nothing on it can be run. ProgramFailed where the system says no."""
    try:
        os.makedirs(target, mode=0o755, exist_ok=True)
    except OSError as error:
        raise ProgramFailed(f"{target}: {error.strerror}", hint=_as_root(), where=target) from error
    _run(shell, ["mount", "-o", f"{'rw' if write else 'ro'},{_OPTIONS}", "--", found, target], target)


def remount(shell: Shell, target: str, *, write: bool) -> None:
    """The same file system for reading only, or for writing as well."""
    _run(shell, ["mount", "-o", f"remount,{'rw' if write else 'ro'},{_OPTIONS}", "--", target], target)


def unmount(shell: Shell, target: str) -> None:
    """Write everything to it and let go of it. ProgramFailed where something still uses it."""
    _run(shell, ["umount", "--", target], target)


def _run(shell: Shell, argv: list[str], target: str) -> None:
    try:
        shell.run(argv, timeout=_LIMIT)
    except ProgramFailed as error:
        busy = "busy" in error.message
        error.hint = _as_root() or (f"something still uses it: fuser -vm {target}" if busy else error.hint)
        raise


def _as_root() -> str | None:
    return "mounting takes root: run it as root" if os.geteuid() else None
