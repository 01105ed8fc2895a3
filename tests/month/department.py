"""The department: two databases, folders, a register and a program of its own, and the stores of their backups."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from tests.badluck.faults import small_disk
from tests.lab.restserver import RestServer
from tests.machine import Machine
from tests.month.controller import Controller
from tests.month.sinks import Door, Mailbox, Switch
from tests.month.sources import Dumped, Folder, MariadbDatabase, PostgresDatabase, Register, Source, secret
from tests.month.stores import Store, password

LOGIN = "login of the department"


@dataclass(frozen=True)
class Backup:
    """One backup of the configuration."""

    name: str
    sources: tuple[str, ...]
    home: str
    copies: tuple[str, ...]
    every: timedelta


BACKUPS = (
    Backup("portal", ("portal-db", "uploads"), "main", ("near", "far", "offline"), timedelta(days=3)),
    Backup("licences", ("licence-db",), "main", ("far",), timedelta(days=2)),
    Backup("office", ("register", "forms"), "office", ("offline",), timedelta(days=1)),
)
#: How old the newest copy on the removable disk may become.
OFFLINE_EVERY = timedelta(days=7)


class Department:
    """Everything that runs and lies somewhere; ``with Department(place, seed)`` ends and removes it.

    ``place`` has to be reachable for the accounts of the servers.
    """

    def __init__(self, place: Path, chance: random.Random) -> None:
        self.place, self.chance = place, chance
        self.machine = Machine(place / "controller")
        self.controller = Controller(place / "machine", self.machine.etc)
        self.keys = self.machine.etc / "keys"
        self.mailbox, self.switch = Mailbox(), Switch()
        self.postgres = Postgres(place / "postgresql", tcp=True, password="superuser's own")
        self.mariadb = Mariadb(place / "mariadb", tcp=True)
        self.first = RestServer(place / "first", user="portal", password=LOGIN, tls=True)
        self.second = RestServer(place / "second", user="portal", password=LOGIN, tls=True)
        self.door: Door
        self.sources: dict[str, Source] = {}
        self.stores: dict[str, Store] = {}
        self.backups = {backup.name: backup for backup in BACKUPS}
        self._stack = ExitStack()

    def __enter__(self) -> Department:
        with ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        data = self.place / "data"
        data.mkdir()
        self.near_disk = stack.enter_context(small_disk(self.place / "near-disk", "64M"))
        self.state_disk = stack.enter_context(small_disk(self.place / "state-disk", "128M"))
        self.mailbox.start()
        stack.callback(self.mailbox.stop)
        stack.callback(self.switch.stop)
        for server in (self.first, self.second):
            stack.enter_context(server)
        self.door = Door(self.first.port)
        self.door.open()
        stack.callback(self.door.shut)
        self._make_stores()
        main = self.stores["main"]
        main.made(main.begin())
        making = {name: store.begin(like=main) for name, store in self.stores.items() if store is not main}
        for server in (self.postgres, self.mariadb):
            stack.enter_context(server)
        for name, begun in making.items():
            self.stores[name].made(begun)
        self.uploads = Folder("uploads", data / "uploads")
        self.register = Register("register", data / "register.sqlite")
        self.forms = Dumped("forms", data / "forms")
        self.portal_db = PostgresDatabase("portal-db", self.postgres, self.keys / "portal-db-password")
        self.licence_db = MariadbDatabase("licence-db", self.mariadb, self.keys / "licence-db-password")
        for source in (self.portal_db, self.uploads, self.licence_db, self.register, self.forms):
            self.sources[source.name] = source
        self.machine.make_key()
        self.configure()
        self.machine("backup", "init", expect=0)
        self.controller.start()
        stack.callback(self.controller.stop)
        self.controller.install()

    @property
    def state(self) -> Path:
        return self.state_disk / "state"

    @property
    def disk(self) -> Path:
        """The removable disk, where it is plugged in."""
        return self.place / "media" / "offline"

    @property
    def shelf(self) -> Path:
        return self.place / "shelf"

    def unplug(self) -> None:
        if self.disk.exists():
            self.disk.rename(self.shelf)

    def plug_in(self) -> None:
        if self.shelf.exists():
            self.shelf.rename(self.disk)

    def _make_stores(self) -> None:
        self.login = secret(self.keys / "login", LOGIN)
        rest = f"user: portal, secret_file: {self.login}, append_only: true"
        first, second = f"rest:https://127.0.0.1:{self.door.port}/portal", self.second.repository_url("portal")
        self.disk.mkdir(parents=True)
        for name, spec, path in (
            ("main", f"url: '{first}', cacert: {self.first.certificate}, {rest}", self.first.repository_path("portal")),
            ("office", f"url: {self.place}/office", self.place / "office"),
            ("near", f"url: {self.near_disk}/opsctl", self.near_disk / "opsctl"),
            ("far", f"url: '{second}', cacert: {self.second.certificate}, {rest}", self.second.repository_path("portal")),
            ("offline", f"url: {self.disk}/opsctl, removable: true, every: {OFFLINE_EVERY.days}d", self.disk / "opsctl"),
        ):
            file = password(self.keys, name)
            self.stores[name] = Store(name, f"{{{spec}, password_file: {file}}}", path, file, self.place / "owner-cache",
                                      may_be_away=name == "offline")

    def configure(self) -> None:
        """Write the configuration."""
        urls = secret(self.keys / "notify-urls", self.mailbox.url)
        lines = ["organisation: {name: Urban Development Department, timezone: Asia/Kolkata}", f"state: {self.state}",
                 "repositories:", *(f"  {store.name}: {store.spec}" for store in self.stores.values()),
                 "sources:", *(f"  {name}: {source.spec}" for name, source in self.sources.items()), "backups:"]
        lines += [f"  {one.name}: {{sources: [{', '.join(one.sources)}], repository: {one.home}, "
                  f"copies: [{', '.join(one.copies)}], every: {one.every.days}d}}" for one in self.backups.values()]
        lines += [f"notify: {{urls_file: {urls}, dead_man: '{self.switch.url}'}}"]
        self.machine.configure("\n".join(lines) + "\n")

    def write(self, day: int) -> None:
        """A day's work in every source."""
        for source in self.sources.values():
            source.write(self.chance, day)

    def now(self) -> dict[str, str]:
        """The content of every source as it is."""
        return {name: source.now() for name, source in self.sources.items()}


def made(place: Path) -> Iterator[Path]:
    """A folder that the servers' accounts can reach, gone afterwards."""
    place.chmod(0o711)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def owner_of(path: Path) -> list[str]:
    """What runs a program as the owner of a file."""
    found = path.stat()
    return ["setpriv", "--reuid", str(found.st_uid), "--regid", str(found.st_gid), "--clear-groups"] if os.geteuid() == 0 else []


__all__ = ["BACKUPS", "OFFLINE_EVERY", "Backup", "Department", "made", "subprocess"]
