"""The department: two databases, folders, a register and a program of its own, and the stores of their backups."""

from __future__ import annotations

import random
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from opsctl.sources.mariadb_server import Mariadb
from opsctl.sources.postgresql_server import Postgres
from tests.badluck.faults import small_disk
from tests.lab.restserver import RestServer
from tests.lab.s3server import Bucket, S3Server
from tests.lab.sshd import USER, Lab
from tests.machine import Machine
from tests.month.controller import Controller
from tests.month.sinks import Door, Mailbox, Switch
from tests.month.sources import HERE, At, Dumped, Folder, MariadbDatabase, PostgresDatabase, Register, Source, secret
from tests.month.stores import Store, password

LOGIN = "login of the department"
HOSTS = ("db-1", "db-2", "app-1")


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
    """Everything that runs and lies somewhere; ``with Department(place, chance)`` ends and removes it.

    ``place`` has to be reachable for the accounts of the servers. ``s3``: a server for one more copy of the portal, under
    Object Lock, for those who have the time; ``lab``: three hosts, on which all but the papers then lies.
    """

    def __init__(self, place: Path, chance: random.Random, s3: S3Server | None = None, lab: Lab | None = None) -> None:
        self.place, self.chance, self.s3, self.lab = place, chance, s3, lab
        self.there = lab.place / "department" if lab is not None else place
        self.bucket: Bucket | None = None
        self.machine = Machine(place / "controller")
        self.controller = Controller(place / "machine", self.machine.etc)
        self.keys = self.machine.etc / "keys"
        self.mailbox, self.switch = Mailbox(), Switch()
        self.postgres = Postgres(self.there / "postgresql", tcp=True, password="superuser's own")
        self.mariadb = Mariadb(self.there / "mariadb", tcp=True)
        self.first = RestServer(place / "first", user="portal", password=LOGIN, tls=True)
        self.second = RestServer(place / "second", user="portal", password=LOGIN, tls=True)
        self.door: Door
        self.sources: dict[str, Source] = {}
        self.stores: dict[str, Store] = {}
        self.backups = {backup.name: backup for backup in BACKUPS}
        if s3 is not None:
            portal = self.backups["portal"]
            self.backups["portal"] = replace(portal, copies=(*portal.copies, "vault"))
        self._stack = ExitStack()

    def __enter__(self) -> Department:
        with ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        data = self.there / "data"
        data.mkdir(parents=True)
        if self.lab is not None:
            stack.callback(shutil.rmtree, self.there, ignore_errors=True)
            self.there.chmod(0o711)
            data.chmod(0o777)
        self.near_disk = stack.enter_context(small_disk(self.place / "near-disk", "64M"))
        self.state_disk = stack.enter_context(small_disk(self.place / "state-disk", "128M"))
        self.mailbox.start()
        stack.callback(self.mailbox.stop)
        stack.callback(self.switch.stop)
        for rest in (self.first, self.second):
            stack.enter_context(rest)
        self.door = Door(self.first.port)
        self.door.open()
        stack.callback(self.door.shut)
        self._make_stores()
        main = self.stores["main"]
        main.made(main.begin())
        making = {name: store.begin(like=main) for name, store in self.stores.items() if store is not main}
        for server in (self.postgres, self.mariadb):
            stack.enter_context(server)
            self.let_in(server)
        for name, begun in making.items():
            self.stores[name].made(begun)
        if self.bucket is not None:
            self.bucket.load(self.stores["vault"].path)
        self.uploads = Folder("uploads", self.place / "uploads")
        self.register = Register("register", data / "register.sqlite", self._at(2))
        self.forms = Dumped("forms", data / "forms", self._at(2))
        self.portal_db = PostgresDatabase("portal-db", self.postgres, self.keys / "portal-db-password", self._at(0))
        self.licence_db = MariadbDatabase("licence-db", self.mariadb, self.keys / "licence-db-password", self._at(1))
        for source in (self.portal_db, self.uploads, self.licence_db, self.register, self.forms):
            self.sources[source.name] = source
        self.machine.make_key()
        self.configure()
        self.machine("backup", "init", expect=0)
        self.controller.start()
        stack.callback(self.controller.stop)
        self.controller.install()

    def _at(self, number: int) -> At:
        return HERE if self.lab is None else At(HOSTS[number], self.lab.place, Path("/run/lab"))

    def let_in(self, server: Postgres | Mariadb) -> None:
        """Let every account of the server's machine speak to it. Each start closes it again."""
        for path in (server.directory, server.sockets):
            path.chmod(0o711)

    def programs(self, source: Source) -> Path:
        """What lies here goes before the other programs of the machine that a source is on."""
        if self.lab is None or source.at.host is None:
            return self.controller.programs
        return self.lab.hosts[HOSTS.index(source.at.host)].folder / "bin"

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
        if self.s3 is not None:
            self.bucket = self.s3.bucket()
            keys = {name: secret(self.keys / f"vault-{name}", text) for name, text in (("key", self.s3.writer.id), ("secret", self.s3.writer.secret))}
            file = password(self.keys, "vault")
            spec = (f"{{url: '{self.bucket.url()}', access_key_file: {keys['key']}, secret_key_file: {keys['secret']}, "
                    f"object_lock: {{mode: COMPLIANCE, days: 1}}, password_file: {file}}}")
            self.stores["vault"] = Store(
                "vault", spec, self.place / "vault-before", file, self.place / "owner-cache", address=self.bucket.url(),
                environment={"AWS_ACCESS_KEY_ID": self.s3.owner.id, "AWS_SECRET_ACCESS_KEY": self.s3.owner.secret})

    def configure(self) -> None:
        """Write the configuration."""
        urls = secret(self.keys / "notify-urls", self.mailbox.url)
        lines = ["organisation: {name: Urban Development Department, timezone: Asia/Kolkata}", f"state: {self.state}",
                 "repositories:", *(f"  {store.name}: {store.spec}" for store in self.stores.values()),
                 "sources:", *(f"  {name}: {source.spec}" for name, source in self.sources.items()), "backups:"]
        lines += [f"  {one.name}: {{sources: [{', '.join(one.sources)}], repository: {one.home}, "
                  f"copies: [{', '.join(one.copies)}], every: {one.every.days}d}}" for one in self.backups.values()]
        if self.lab is not None:
            secret(self.keys / "ssh-backup", (self.lab.place / "login").read_text().rstrip("\n"))
            lines += ["hosts:", *(f"  {name}: {{address: {host.address}, user: {USER}, host_key: {host.key}}}"
                                  for name, host in zip(HOSTS, self.lab.hosts, strict=True))]
        lines += [f"notify: {{urls_file: {urls}, dead_man: '{self.switch.url}'}}"]
        self.machine.configure("\n".join(lines) + "\n")

    def write(self, day: int) -> None:
        """A day's work in every source."""
        for source in self.sources.values():
            source.write(self.chance, day)

    def now(self) -> dict[str, str]:
        """The content of every source as it is."""
        return {name: source.now() for name, source in self.sources.items()}
