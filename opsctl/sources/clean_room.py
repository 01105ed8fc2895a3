"""A clean room: a folder for restored data, a shell that leads nowhere, and database servers that run inside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsctl.errors import Busy, SafetyRefusal, UsageError
from opsctl.model.values import value
from opsctl.repositories.private import remove_tree
from opsctl.repositories.whole import write_whole
from opsctl.shells.clean_room import CleanRoomShell
from opsctl.sources.interface import Database, Source

PREFIX = "opsctl-room-"
#: The name of a loaded database in its server; each has a server of its own.
DATABASE = "restored"
_RECORD = "room.json"


class Room:
    """One clean room. It is made by ``enter``, is ours alone until ``leave``, and its folder stays until ``remove``.

    ``about``: whose it is, ``state`` (directory) and ``run``. ``driver`` makes the driver of a source from its entry in a manifest, with the shell that its programs run in.
    """

    def __init__(
        self, name: str, parent: Path, *, about: Mapping[str, str], shown: Sequence[str],
        driver: Callable[[str, Mapping[str, Any], Any], Source],
    ) -> None:
        self.name = name
        self.place = place_of(name, parent)
        self.shell = CleanRoomShell(self.place, shown)
        self._about = dict(about)
        self._driver = driver
        #: Databases that were proven since the room was entered, which nobody else can have changed.
        self.proven: set[str] = set()
        self._lock: int | None = None
        self._servers: dict[str, tuple[Any, int]] = {}
        self._guard = threading.RLock()

    def enter(self, **more: str) -> None:
        """Make the room, or take over the one of that name. What a new one is for (``purpose backup set``) is written down in it.

        Raises Busy where another process has it, SafetyRefusal where something else is in its place.
        """
        with self._guard:
            if self._lock is not None:
                return
            with contextlib.suppress(FileExistsError):
                self.place.mkdir(mode=0o711)
                self.place.chmod(0o711)  # servers run under accounts of their own, and have to get through
            found = os.lstat(self.place)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise SafetyRefusal(f"{self.place} was not made by us", hint="find out who made it, and remove it")
            handle = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(handle)
                raise Busy(f"the clean room {self.name} is in use, by run {self.record.get('run', 'of somebody')}") from error
            self._lock = handle
            (self.place / "files").mkdir(mode=0o700, exist_ok=True)
            if not self.record:
                self._write({"room": self.name, **self._about, **more, "sources": {}})

    def leave(self) -> None:
        """End all that runs inside and let others have it; what lies in it stays."""
        with self._guard:
            for server, _ in self._servers.values():
                server.stop(server.orderly)
            self._servers.clear()
            self.proven.clear()
            self.shell.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def remove(self) -> None:
        """End all that runs inside, and remove it with all that lies in it."""
        with self._guard:
            for server, _ in self._servers.values():
                server.abandon()
            self._servers.clear()
            self.shell.close()
            remove_tree(self.place)
            self.leave()

    @property
    def there(self) -> bool:
        return self.place.is_dir()

    @property
    def record(self) -> dict[str, Any]:
        """What was written down when it was made, and under ``sources`` what was restored and how it was found; empty without one."""
        return _read(self.place)

    @property
    def says(self) -> str:
        """What showed that there is no way out, where that is more than that it could be made."""
        return ""

    def refuse_a_way_out(self) -> None:
        """SafetyRefusal where what runs inside could reach out. Here the first command makes sure of that."""

    def refuse_older(self, name: str, entry: Mapping[str, Any]) -> None:
        """ProgramFailed where the server that would be started is older than the one that the dump of a source comes from, or is not there."""
        self.database(name, entry).refuse_older_here(entry)

    def files(self, source: str) -> Path:
        """Where the files of a source are restored. Inside they are seen under the same path, and cannot be changed or run."""
        return self.place / "files" / source

    def source(self, name: str, entry: Mapping[str, Any]) -> Source:
        """The driver of a source, whose programs run inside."""
        return self._driver(name, entry, self.shell)

    def database(self, name: str, entry: Mapping[str, Any]) -> Database:
        """The same of a database. UsageError for what is none."""
        source = self.source(name, entry)
        if not isinstance(source, Database):
            raise UsageError(f"{name} is of kind {entry['kind']} and is not loaded into a server")
        return source

    @contextmanager
    def server(self, name: str, entry: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
        """The server of a database source, running inside on data that stays; gives ``server`` for ``Database.load`` and ``prove``.

        Several may have it at once; it ends with the last of them. Raises ProgramFailed where its programs are not here.
        """
        with self._guard:
            server, users = self._servers.get(name) or (self._server_for(name, entry), 0)
            server.start()
            self._servers[name] = server, users + 1
        try:
            yield server.address
        finally:
            with self._guard:
                if name in self._servers:
                    server, users = self._servers.pop(name)
                    if users > 1:
                        self._servers[name] = server, users - 1
                    else:
                        server.stop(server.orderly)

    def has_server(self, name: str) -> bool:
        """Whether a source's server was ever started in this room, and has data."""
        return (self._server_directory(name) / "data").is_dir()

    def forget_server(self, name: str) -> None:
        """Remove the data of a source's server, which does not run."""
        self.proven.discard(name)
        if self._server_directory(name).is_dir():
            remove_tree(self._server_directory(name))

    def _server_for(self, name: str, entry: Mapping[str, Any]) -> Any:
        prefix = self.shell.prefix()
        return self.database(name, entry).throwaway(self._server_directory(name), inside=prefix, as_owner=self.shell.as_owner())

    def _server_directory(self, name: str) -> Path:
        return self.place / f"db-{name}"

    def note(self, source: str, found: Mapping[str, Any]) -> None:
        """Write down how a restored source was found: ``set kind proven differences``, what else belongs to it."""
        with self._guard:
            record = self.record
            self._write({**record, "sources": {**record.get("sources", {}), source: dict(found)}})

    def _write(self, record: Mapping[str, Any]) -> None:
        write_whole(self.place / _RECORD, json.dumps(record, indent=1).encode() + b"\n")


@value
class Left:
    """A room that is there: its name, folder, what it is (``run backup set purpose``), and whether somebody is at work in it."""

    name: str
    place: Path
    record: Mapping[str, Any]
    busy: bool


def rooms_below(parent: Path, state: str) -> list[Left]:
    """The rooms below a folder that were made by this user for this state directory."""
    found = []
    for place in sorted(parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            if place.is_symlink() or place.stat().st_uid != os.geteuid():
                continue
            record = _read(place)
            if record.get("state", state) == state:  # one without a record was cut off when it was made
                found.append(Left(str(record.get("room", place.name.removeprefix(PREFIX))), place, record, _is_busy(place)))
    return found


def place_of(name: str, parent: Path) -> Path:
    return parent / f"{PREFIX}{name}"


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / _RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_busy(place: Path) -> bool:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
