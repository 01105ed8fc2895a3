"""What is on this machine that ``init`` can propose: databases, folders, disks, and other backup tools to mention."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from opsctl.cli import init_databases
from opsctl.cli.init_databases import Server
from opsctl.shells.interface import Shell

_MOST = 3000  # entries of folders that are looked at; a person waits
_WORTH = re.compile(r"(?i)(uploads?|media|files|attachments?|documents?|filestore|data|storage|scans?)\Z")
_NOT_DATA = frozenset({"html", "backup", "backups", "lost+found", "cgi-bin", "tftp", "pub"})
_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "nfs", "nfs4", "cifs"})
_NO_STORE = re.compile(r"/(boot|efi|proc|sys|dev|run|snap|var/lib/(docker|containers|kubelet)|etc|usr)(/|\Z)")
_LEAST = 1 << 30
_TOOLS = re.compile(
    r"\b(borgmatic|borg|resticprofile|autorestic|restic|rsnapshot|rdiff-backup|duplicity|duply|kopia|backupninja|pgbackrest"
    r"|barman|wal-g|automysqlbackup|autopostgresqlbackup|mysqldump|mariadb-dump|mariabackup|xtrabackup|pg_dumpall|pg_dump"
    r"|pg_basebackup|bacula|bareos|urbackup|amanda|npbackup|backrest)\b")


@dataclass(frozen=True)
class Disk:
    """A mounted file system that is not the system's own: where, free bytes."""

    place: str
    free: int


@dataclass(frozen=True)
class Around:
    """What was found. ``folders`` and ``disks`` have the likeliest first; ``others`` are sentences."""

    servers: Sequence[Server] = ()
    folders: Sequence[str] = ()
    disks: Sequence[Disk] = ()
    others: Sequence[str] = field(default=())

    def server_of(self, database: str) -> Server | None:
        """The server that has a database of this name."""
        return next((one for one in self.servers if database in one.databases), None)

    @property
    def database(self) -> str | None:
        """The database that is proposed: the first one of the first server that lists some."""
        return next((one.databases[0] for one in self.servers if one.databases), None)


def look(shell: Shell, euid: int, root: Path = Path("/"), within: float = 10.0) -> Around:
    """Look around, at everything at once. Reads only: folders, mounts, crontabs, timers, and lists of databases.

    What takes longer than ``within`` seconds, as a mount whose server is gone, is left out.
    """
    parts: dict[str, Callable[[], Any]] = {
        "servers": lambda: init_databases.find(shell, euid, root), "folders": lambda: folders(root),
        "disks": lambda: disks(root), "others": lambda: others(root)}
    found: dict[str, Any] = {}

    def run(name: str) -> None:
        found[name] = parts[name]()

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in parts]
    deadline = time.monotonic() + within
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    shell.check()
    return Around(**dict(found))


def folders(root: Path = Path("/")) -> list[str]:
    """Folders that look like data of applications: uploads and the like first, then what lies in /srv and /var/www."""
    left = _MOST
    likely, possible = [], []
    for top in ("srv", "var/www", "opt", "home"):
        level = [root / top]
        for depth in range(3):
            below: list[Path] = []
            for folder in level:
                for name in _names(folder):
                    left -= 1
                    path = folder / name
                    if left < 0 or name.startswith(".") or name in _NOT_DATA or not _is_data(path):
                        continue
                    if _WORTH.match(name):
                        likely.append(path)
                        continue
                    if depth == 0 and top in ("srv", "var/www"):
                        possible.append(path)
                    below.append(path)
            level = below
    return [f"/{path.relative_to(root)}" for path in [*likely, *possible]]


def disks(root: Path = Path("/")) -> list[Disk]:
    """Mounted disks other than the system's, the one with most room first; best for a repository."""
    try:
        own = os.stat(root).st_dev
        lines = (root / "proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: dict[int, Disk] = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        place = _unescaped(before.split(" ")[4])
        if after.split(" ")[0] not in _DISKS or place == "/" or _NO_STORE.match(place):
            continue
        if after.split(" ")[0] in ("nfs", "nfs4", "cifs"):
            found[-len(found) - 1] = Disk(place, 0)  # one whose server is down would hang
            continue
        try:
            device, room = os.stat(place).st_dev, os.statvfs(place)
        except OSError:
            continue
        free = room.f_bavail * room.f_frsize
        if device != own and os.path.isdir(place) and free >= _LEAST and os.access(place, os.W_OK):
            found.setdefault(device, Disk(place, free))
    return sorted(found.values(), key=lambda one: one.free, reverse=True)


def others(root: Path = Path("/")) -> list[str]:
    """Timers and cron lines that run another backup tool, one sentence each."""
    found = []
    # What a package brings is in another folder, and runs only where it was enabled: then there is a link in here.
    for path in sorted((root / "etc/systemd/system").rglob("*.timer")):
        if not path.stem.endswith("@") and (tool := _TOOLS.search(path.stem)):
            found.append(f"{tool[1]}: the timer {path.name}")
    for path in _crontabs(root):
        tools = sorted({tool for line in _lines(path) for tool in _TOOLS.findall(line)})
        if tools:
            found.append(f"{', '.join(tools)}: /{path.relative_to(root)}")
    return list(dict.fromkeys(found))


def _crontabs(root: Path) -> Iterator[Path]:
    yield root / "etc/crontab"
    for folder in ("etc/cron.d", *(f"etc/cron.{often}" for often in ("hourly", "daily", "weekly", "monthly")),
                   "var/spool/cron", "var/spool/cron/crontabs"):
        yield from (root / folder / name for name in _names(root / folder) if (root / folder / name).is_file())


def _lines(path: Path) -> list[str]:
    """Lines that are no comments, and not our own."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
    except OSError:
        return []
    return [line for line in text.splitlines() if not line.lstrip().startswith("#") and "opsctl" not in line]


def _is_data(path: Path) -> bool:
    """Whether it is a folder with something in it, and no repository of restic's."""
    return bool(_names(path, 1)) and not all((path / part).exists() for part in ("config", "keys", "snapshots"))


def _names(folder: Path, most: int = _MOST) -> list[str]:
    """Some of the names in a folder, which may hold millions."""
    try:
        if folder.is_symlink():
            return []
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, most))
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
