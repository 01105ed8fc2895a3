"""From a configuration to a world: the only module that names concrete drivers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.errors import ConfigError, Refused, SafetyRefusal
from opsctl.model.config import CommandSource, Config, MariadbSource, PathsSource, PostgresqlSource, SqliteSource
from opsctl.model.config_remote import programs_as_root
from opsctl.model.given_host import given_host, is_given
from opsctl.model.hosts import Host
from opsctl.model.plan import BoundPlan
from opsctl.model.snapshots import Progress
from opsctl.repositories.catalogue import Catalogue, seal_from
from opsctl.repositories.history import History, Ledger
from opsctl.repositories.private import private_folder
from opsctl.shells.interface import Answering, Shell
from opsctl.shells.local import LocalShell

TOOL_AT_ONCE = 8
"""Commands of one tool of the site at a time: as many as an sshd takes on one connection, with room for others."""


def this_machine() -> Shell:
    """Where commands run when there is no configuration to say it."""
    return LocalShell()


def postgresql_at(
    database: str, *, server: str | None, port: int | None, user: str | None, password_file: str | None, shell: Shell
) -> Any:
    """A PostgreSQL source that no configuration holds yet."""
    from opsctl.model.secrets import SecretRef
    from opsctl.sources.postgresql import Postgresql

    password = SecretRef("the role's password", file=password_file) if password_file else None
    return Postgresql(database, database=database, user=user, server=server, port=port, password=password, shell=shell)


def mariadb_at(
    database: str, *, server: str | None, port: int | None, user: str | None, password_file: str | None, shell: Shell
) -> Any:
    """A MariaDB source that no configuration holds yet."""
    from opsctl.model.secrets import SecretRef
    from opsctl.sources.mariadb import Mariadb

    password = SecretRef("the user's password", file=password_file) if password_file else None
    return Mariadb(database, database=database, user=user, server=server, port=port, password=password, shell=shell)


def login_keys_in(directory: Path, shell: Shell) -> list[Path]:
    """Make this machine's login keys in a folder, as far as they are missing there; the private ones that were made."""
    from opsctl.shells.ssh_keys import make_login_keys

    return make_login_keys(directory, shell)


class Keys:
    """Signing with the controller's key; checking anybody's signature."""

    def __init__(self, key: Path, shell: Shell) -> None:
        self.key = key
        self.shell = shell

    def sign(self, data: bytes, namespace: str) -> str:
        from opsctl.shells.signing import Signer

        return Signer(self.key, self.shell).sign(data, namespace)

    def check(self, data: bytes, signature: str, namespace: str) -> str:
        from opsctl.shells.signing import check

        return check(data, signature, namespace, self.shell)


class Site:
    """A configuration made to work: its repositories, sources, keys, journal and locks, each made when first needed."""

    def __init__(
        self, config: Config, *, clock: Callable[[], datetime], trust: Collection[str] = (), wait: float = 0.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.trust = tuple(trust)
        self.wait = wait
        self.environ = dict(os.environ if environ is None else environ)
        self.shell: Shell = LocalShell()
        self.state = Path(config.state)
        #: Where the journal and the runs lie: the state directory, unless ``go_elsewhere`` was called.
        self.place = self.state
        self.notes: list[str] = []
        self._histories: dict[str, History] = {}
        self._hosts: dict[tuple[str, str], Any] = {}
        self._turns: dict[str, threading.BoundedSemaphore] = {}
        self._forwarders: dict[tuple[str, str], Any] = {}
        self._regions: dict[str, Any] = {}
        self._guard = threading.RLock()

    @property
    def keys_directory(self) -> Path:
        """``keys/`` beside the configuration."""
        return (self.config.directory or self.state) / "keys"

    def go_elsewhere(self, place: Path, journal: Any) -> None:
        """Break-glass: keep what is written down in ``place``, and only look into the state directory."""
        self.place = place
        self.__dict__["journal"] = journal

    @functools.cached_property
    def signatures(self) -> Keys:
        return Keys(self.keys_directory / "controller", self.shell)

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.place / "catalogue.sqlite", seal_from(self.keys_directory / "controller"))

    @functools.cached_property
    def journal(self) -> Any:
        from opsctl.engine.journal import Journal

        return Journal(self.place / "journal", self.clock)

    @functools.cached_property
    def locks(self) -> Any:
        from opsctl.engine.lock import Locks

        zone = self.config.organisation.tz
        return Locks(self.runtime, lambda: datetime.now(zone), scope=self.scope)

    @functools.cached_property
    def runtime(self) -> Path:
        """The directory of locks and spools."""
        from opsctl.engine.runtime_directory import runtime_directory

        return runtime_directory(os.geteuid(), self.environ)

    @functools.cached_property
    def scope(self) -> str:
        """What tells locks and spools of several state directories on one machine apart."""
        return hashlib.sha256(str(self.state.absolute()).encode()).hexdigest()[:8]

    @functools.cached_property
    def own_fingerprint(self) -> str | None:
        """The fingerprint of this controller's signing key; None where it has none."""
        public = self.keys_directory / "controller.pub"
        return self.fingerprint(public.read_text()) if public.exists() else None

    @functools.cached_property
    def trusted(self) -> frozenset[str]:
        """Fingerprints of keys whose sets count: our own, those in ``keys/trusted``, and those given with --trust."""
        found = set(self.trust)
        if self.own_fingerprint:
            found.add(self.own_fingerprint)
        with contextlib.suppress(FileNotFoundError):
            for line in (self.keys_directory / "trusted").read_text().splitlines():
                if line.startswith("SHA256:"):
                    found.add(line.split()[0])
        return frozenset(found)

    def fingerprint(self, public_key: str) -> str:
        from opsctl.shells.signing import fingerprint

        return fingerprint(public_key)

    def history(self, name: str) -> History:
        """The repository ``name`` with its records and ledger. ConfigError where the configuration has none."""
        with self._guard:
            if name not in self._histories:
                self._histories[name] = self._history(name)
            return self._histories[name]

    @property
    def said(self) -> list[str]:
        """What a person is to be told at the end: notes of our own, and what the repositories did by themselves."""
        said = [note for history in self._histories.values() for note in history.repository.notes]
        repairs = self.journal.repairs if "journal" in self.__dict__ else []
        return list(dict.fromkeys([*self.notes, *repairs, *said]))

    def _history(self, name: str) -> History:
        from opsctl.repositories.restic import Restic

        if name not in self.config.repositories:
            raise ConfigError(f"there is no repository {name!r} in the configuration")
        spec = self.config.repositories[name]
        program, version = self.restic
        repository = Restic(
            name, spec.url, password=spec.password, rest_user=spec.user, rest_secret=spec.secret, cacert=spec.cacert,
            shell=self.shell, cache_dir=self.state / "restic-cache" if self.place == self.state else None, snapshot_cache=self.catalogue,
            program=program, version=version, wait=self.wait, s3_keys=spec.keys, s3_region=spec.region,
            sftp=self._sftp.door(name) if name in self._sftp.servers else None,
        )
        return History(repository, ledger=Ledger(self.state / "repositories" / f"{name}.json"),
                       records=self.catalogue, signatures=self.signatures, trusted=self.trusted,
                       copied=frozenset(self.config.copied_to(name)), removable=spec.removable)

    @functools.cached_property
    def restic(self) -> tuple[str, tuple[int, int, int]]:
        """The restic program and its version; refused by name and version where it is too old."""
        from opsctl.programs import require_restic

        return require_restic()

    @functools.cached_property
    def _sftp(self) -> Any:
        """The SFTP servers of all repositories, written down for restic's ssh below the state directory."""
        from opsctl.model.sftp import is_sftp, sftp_address
        from opsctl.repositories.sftp import SftpServer, SftpServers

        return SftpServers(self.place / "sftp", {
            name: SftpServer(sftp_address(spec.url), str(spec.pinned), Path(str(spec.ssh_key_file)))
            for name, spec in self.config.repositories.items() if is_sftp(spec.url)})

    @functools.cached_property
    def _keyring(self) -> Any:
        from opsctl.shells.ssh_connection import Keyring

        return Keyring()

    def target(self, name: str, spec: Host, login: str = "ssh-backup") -> Any:
        """A host as SSH knows it; ``login`` is the name of one of our login keys."""
        from opsctl.shells.ssh_connection import Login, Target

        return Target(name=name, address=spec.address, port=spec.port, user=spec.user, host_key=spec.pinned,
                      sudo=spec.become == "sudo", login=Login(self.keys_directory / login))

    def on_host(self, name: str, login: str = "ssh-backup") -> Any:
        """The shell of a host, on one connection per host and login key. ConfigError where there is no such host."""
        from opsctl.shells.ssh import SshShell
        from opsctl.shells.ssh_connection import Connection

        if name not in self.config.hosts:
            raise ConfigError(f"there is no host {name!r} in the configuration")
        with self._guard:
            if (name, login) not in self._hosts:
                self._hosts[name, login] = Connection(self.target(name, self.config.hosts[name], login), self._keyring)
            return SshShell(self._hosts[name, login])

    def entered(self, name: str) -> Any:
        """For what a host is entered with the key for isolation, and what makes a shell that is; None where it is not."""
        from opsctl.model.hosts_access import entered

        wanted = entered(self.config, name)
        return (wanted, lambda: self.on_host(name, "ssh-isolation")) if wanted is not None else None

    def isolation(self, name: str, host_key: str = "", key: str = "") -> Any:
        """The driver that cuts a host off. ConfigError where there is no such host, or none that software can cut off.

        ``host_key`` (a fingerprint) and ``key`` (a private key's file) are for a ``user@address`` that no configuration holds.
        """
        if is_given(name):
            return self._given_isolation(name, host_key, key)
        if name not in self.config.hosts:
            raise ConfigError(f"there is no host {name!r} in the configuration")
        spec = self.config.hosts[name]
        if spec.isolation == "nftables" and spec.here:
            from opsctl.isolation.nftables import Nftables

            caller = self.environ.get("SSH_CONNECTION")  # whoever sits here from afar is not shut out either
            return Nftables(name, connect=lambda: self.shell, sudo=spec.become == "sudo",
                            environ={"SSH_CONNECTION": caller} if caller else {})
        if spec.isolation == "nftables":
            return self._nftables(name, self.target(name, spec, "ssh-isolation"))
        if spec.isolation == "command":
            from opsctl.isolation.command import Command

            tool = self.config.isolation.tools[str(spec.tool)]
            with self._guard:
                turns = self._turns.setdefault(str(spec.tool), threading.BoundedSemaphore(TOOL_AT_ONCE))
            return Command(name, address=spec.address, limit=tool.limit.total_seconds(), turns=turns,
                           shell=self.on_host(tool.host, "ssh-isolation").plain() if tool.host else self.shell,
                           tool={"observe": tool.observe, "load": tool.load, "release": tool.release})
        if spec.isolation == "gateway":
            return self.gateway_for(name)
        if spec.isolation == "aws_security_group":
            from opsctl.isolation.aws_calls import Ec2
            from opsctl.isolation.aws_security_group import AwsSecurityGroup

            region = str(spec.region)
            with self._guard:
                ec2 = self._regions.setdefault(region, Ec2(region))
            return AwsSecurityGroup(name, instance=str(spec.instance), address=spec.address, ec2=ec2)
        raise ConfigError(f"{name} has no isolation: that software can carry out", hint=spec.by_hand)

    def gateway_for(self, name: str) -> Any:
        """The driver that cuts a host off at its gateway, whether it can be entered or not. ConfigError where it has none."""
        from opsctl.isolation.gateway import Gateway
        from opsctl.model.nft_gateway import GATE

        gateway = self.config.hosts[name].gateway if name in self.config.hosts else None
        if gateway is None:
            raise ConfigError(f"{name} has no gateway: in the configuration", hint="name there the host that forwards for it")
        return Gateway(name, addresses=self._addresses(name), at=self._forwarder(gateway, GATE), ports=self.config.hosts[name].ports)

    def door(self, name: str) -> Any:
        """The driver that shuts a host out at the machine of the backup store; None where no such machine is named."""
        from opsctl.isolation.gateway import Gateway
        from opsctl.model.nft_gateway import DOOR

        store = self.config.isolation.store
        if store is None or store == name:
            return None
        return Gateway(name, addresses=self._addresses(name), at=self._forwarder(store, DOOR))

    def service(self, name: str) -> Any:
        """Who asks, stops and starts a service (``shells.services.Runner``) on the machine where it runs."""
        from opsctl.shells.services import Runner

        spec = self.config.services[name]
        return Runner(name, spec, self.on_host(spec.on, "ssh-isolation") if spec.on is not None else self.shell)

    def knock(self, name: str) -> Any:
        """Whether a host still reaches the machine of the backup store (``isolation.knock.Knocked``), asked on it where that can be."""
        from opsctl.isolation.knock import Knock
        from opsctl.model.isolation_guard import places

        store, spec = self.config.isolation.store, self.config.hosts.get(name)
        entered = spec is not None and spec.os == "linux" and spec.pinned
        addresses = [one for one in self._addresses(store) if "/" not in one] if store is not None else []
        return Knock((lambda: self.on_host(name, "ssh-isolation")) if entered else None, list(places(self.config, addresses)))()

    def _addresses(self, name: str) -> tuple[str, ...]:
        """Those by which others know a host; of one that is configured by name, what the name stands for."""
        from opsctl.shells.resolve import resolved

        if is_given(name):
            return resolved(given_host(name).address)
        if name not in self.config.hosts:
            raise ConfigError(f"there is no host {name!r} in the configuration")
        spec = self.config.hosts[name]
        return tuple(dict.fromkeys((*resolved(spec.address), *spec.addresses)))

    def _forwarder(self, name: str, table: str) -> Any:
        """Who cuts off there, one for all hosts: what they ask at the same time is one transaction."""
        from opsctl.isolation.forwarder import Forwarder
        from opsctl.shells.ssh import SshShell
        from opsctl.shells.ssh_connection import Connection

        spec = self.config.hosts[name]
        with self._guard:
            if (name, table) not in self._forwarders:
                self._forwarders[name, table] = Forwarder(
                    name, connect=lambda: SshShell(Connection(self.target(name, spec, "ssh-isolation"), self._keyring)),
                    table=table)
            return self._forwarders[name, table]

    def _nftables(self, name: str, target: Any) -> Any:
        """Each connection is one of its own: that it can be made is the proof that we are not shut out."""
        from opsctl.isolation.nftables import Nftables
        from opsctl.shells.ssh import SshShell
        from opsctl.shells.ssh_connection import Connection

        with self._guard:
            line = self._many.line()
        return Nftables(name, connect=lambda: SshShell(Connection(target, self._keyring, line.turn)), sudo=target.sudo, turn=line.turn)

    @functools.cached_property
    def _many(self) -> Any:
        from opsctl.shells.turns import Turns

        return Turns()

    def _given_isolation(self, name: str, host_key: str, key: str) -> Any:
        from opsctl.shells.ssh_connection import Login, Target

        spec = given_host(name, host_key, key)
        target = Target(name=name, address=spec.address, port=spec.port, user=spec.user, host_key=host_key or None,
                        sudo=spec.user != "root", login=Login(Path(key) if key else None, self.environ.get("SSH_AUTH_SOCK")))
        return self._nftables(name, target)

    def prober(self, name: str, driver: Any) -> Any:
        """Who tries whether a host that ``driver`` cuts off can be reached, or reaches anything (``isolation.probes.Prober``)."""
        from opsctl.isolation.probes import Prober
        from opsctl.model.probes import endpoint

        common, spec = self.config.isolation, self.config.hosts.get(name)
        with self._guard:
            here, witness = self._probes_from_here, self._witness if common.witness not in (None, name) else None

        def enter() -> Answering | None:
            if driver.enforced == "host":
                return driver.asked
            entered = spec is not None and spec.os == "linux" and spec.pinned
            return self.on_host(name, "ssh-isolation").plain().answering("") if entered else None

        return Prober(name, addresses=[one for one in self._addresses(name) if "/" not in one], enter=enter, here=here,
                      witness=witness, ports=(*common.ports, *(spec.ports if spec else ())),
                      outside=[endpoint(one) for one in common.outside], knock=driver.enforced != "host",
                      gateway=driver.at.name if driver.enforced == "gateway" else None)

    @functools.cached_property
    def _probes_from_here(self) -> Any:
        from opsctl.isolation.calling import Desk, from_here

        return Desk(functools.partial(from_here, self.shell))

    @functools.cached_property
    def _witness(self) -> Any:
        """The witness, one for all hosts: its sshd serves one connection."""
        from opsctl.isolation.probes import Witness
        from opsctl.model.probes import endpoint

        name = str(self.config.isolation.witness)
        return Witness(name, lambda: self.on_host(name, "ssh-isolation"), self.config.hosts[name].port,
                       [endpoint(one) for one in self.config.isolation.outside])

    @functools.cached_property
    def isolated(self) -> Any:
        """What this machine has cut off (``isolation.register.Register``)."""
        from opsctl.engine.runtime_directory import open_spool
        from opsctl.isolation.register import Register

        other = self.state if self.place != self.state else open_spool(self.runtime, self.scope)
        return Register(self.place / "isolated", other / "isolated" if other is not None else None)

    def shown_key(self, name: str, spec: Host) -> str:
        """The key that a host shows, ``TYPE BASE64``, whether it is pinned or not. Nothing else is sent."""
        from opsctl.shells.ssh_connection import shown_key

        return shown_key(self.target(name, spec))

    def login_keys(self, make: bool) -> tuple[dict[str, str], list[Path]]:
        """Our public login keys by name, and those that were made just now. Missing ones are left out unless ``make``."""
        from opsctl.shells.ssh_keys import PURPOSES, make_login_keys, public_key

        made = make_login_keys(self.keys_directory, self.shell) if make else []
        there = [name for name in PURPOSES if self.keys_directory.joinpath(name).exists()
                 or self.keys_directory.joinpath(f"{name}.pub").exists()]
        return {name: public_key(self.keys_directory, name, self.shell) for name in there}, made

    def source(self, name: str, entry: Mapping[str, Any] | None = None) -> Any:
        """A source by its name; from its entry in a manifest where the configuration does not know it (any more)."""
        spec = self.config.sources.get(name)
        if spec is not None and (entry is None or spec.kind == entry["kind"]):
            return self._configured(name, spec)
        if entry is None:
            raise ConfigError(f"there is no source {name!r} in the configuration")
        return self._remembered(name, entry)

    def _configured(self, name: str, spec: Any) -> Any:
        if isinstance(spec, PathsSource):
            at_least = spec.at_least.model_dump(exclude_none=True) if spec.at_least else None
            if spec.host is not None:
                from opsctl.sources.paths_remote import RemotePaths

                return RemotePaths(name, paths=spec.paths, exclude=spec.exclude, at_least=at_least, marker=spec.marker,
                                   mountpoint=spec.mountpoint, shell=self.shell, there=self._there(spec))
            from opsctl.sources.paths import Paths

            return Paths(name, paths=spec.paths, exclude=spec.exclude, at_least=at_least, marker=spec.marker,
                         mountpoint=spec.mountpoint, shell=self.shell)
        if isinstance(spec, PostgresqlSource):
            from opsctl.sources.postgresql import Postgresql

            return Postgresql(name, database=spec.database, user=spec.user, server=spec.server, port=spec.port,
                              password=spec.password, proof=spec.proof, cacert=spec.cacert, shell=self.shell,
                              there=self._there(spec))
        if isinstance(spec, MariadbSource):
            from opsctl.sources.mariadb import Mariadb

            return Mariadb(name, database=spec.database, user=spec.user, server=spec.server, port=spec.port,
                           password=spec.password, proof=spec.proof, accounts=spec.accounts, cacert=spec.cacert,
                           shell=self.shell, there=self._there(spec))
        if isinstance(spec, CommandSource):
            from opsctl.sources.command import Command
            from opsctl.sources.spool import Spool

            spool, least = spec.spool, spec.at_least.model_dump(exclude_none=True) if spec.at_least else None
            return Command(name, argv=spec.argv, spool=Spool(name, spool.directory, spool.owner) if spool else None,
                           spool_free=spool.free if spool else None, restore=spec.restore, trailer=spec.trailer,
                           at_least=least, environment=spec.environment, password=spec.password,
                           variable=spec.password_variable, limit=spec.limit.total_seconds(), shell=self.shell,
                           there=self._there(spec))
        assert isinstance(spec, SqliteSource)
        if spec.host is not None:
            from opsctl.sources.sqlite_remote import RemoteSqlite

            return RemoteSqlite(name, path=spec.path, proof=spec.proof, shell=self.shell, there=self._there(spec))
        from opsctl.sources.sqlite import Sqlite

        return Sqlite(name, path=spec.path, proof=spec.proof, shell=self.shell)

    def _there(self, spec: Any) -> Any:
        """The shell of the machine that a source is on, None for this one; as root where that helps and is allowed."""
        if spec.host is None:
            return None
        shell = self.on_host(spec.host)
        return shell if programs_as_root(spec) else shell.plain()

    def _remembered(self, name: str, entry: Mapping[str, Any]) -> Any:
        kind = entry["kind"]
        if kind == "paths":
            from opsctl.sources.paths import Paths

            return Paths(name, paths=tuple(entry["paths"]), shell=self.shell)
        if kind == "postgresql":
            from opsctl.sources.postgresql import Postgresql

            return Postgresql(name, database=name, shell=self.shell)
        if kind == "mariadb":
            from opsctl.sources.mariadb import Mariadb

            return Mariadb(name, database=name, shell=self.shell)
        if kind == "sqlite":
            from opsctl.sources.sqlite import Sqlite

            return Sqlite(name, path=entry["paths"][0], shell=self.shell)
        if kind == "command":
            from opsctl.sources.command import Command

            return Command(name, argv=(), shell=self.shell)
        raise SafetyRefusal(f"{name} is of kind {kind!r}, which this version does not know",
                            hint="a newer opsctl may; or restore the other sources of the set: --source NAME")

    def home(self, backup: str) -> str:
        """The name of the repository that a backup lives in; the only repository, where no backup is configured."""
        if backup in self.config.backups:
            return self.config.backups[backup].repository
        if not self.config.backups and len(self.config.repositories) == 1:
            return next(iter(self.config.repositories))
        raise ConfigError(f"there is no backup {backup!r} in the configuration",
                          hint=f"there are: {', '.join(self.config.backups) or 'none'}")

    def token(self) -> str:
        """Four characters that make a run's id the only one of its minute."""
        return secrets.token_hex(2)


class World:
    """What the steps of one run may touch (``actions.interface.World``)."""

    def __init__(
        self, site: Site, plan: BoundPlan, *, on_progress: Callable[[Progress], None] | None = None,
        on_tell: Callable[[str], None] | None = None, directory: Path | None = None,
    ) -> None:
        self.site = site
        self.plan = plan
        self.run = plan.run
        self.now = plan.now
        self.by = plan.started_by
        self.clock = site.clock
        self.config = site.config
        self.shell = site.shell
        self.host = os.uname().nodename
        self.signatures = site.signatures
        self._warnings: list[str] = []
        self._drivers: dict[str, Any] = {}
        self._on_progress = on_progress
        self._on_tell = on_tell
        self._guard = threading.Lock()
        #: ``runs/ID``, where this run's plan lies and what it keeps for a resume; elsewhere for a dry run.
        self.directory = directory or site.place / "runs" / self.run

    def repository(self, name: str) -> History:
        return self.site.history(name)

    def home(self, backup: str) -> str:
        return self.site.home(backup)

    def source(self, name: str, entry: Mapping[str, Any] | None = None) -> Any:
        return self.site.source(name, entry)

    def isolation(self, name: str, host_key: str = "", key: str = "") -> Any:
        """The driver of a host, one for a whole run: connections are made once."""
        return self._driver(name, lambda: self.site.isolation(name, host_key, key))

    def _driver(self, key: str, make: Callable[[], Any]) -> Any:
        with self._guard:
            if key not in self._drivers:
                self._drivers[key] = make()
            return self._drivers[key]

    def gateway_for(self, name: str) -> Any:
        return self._driver(f"gateway {name}", lambda: self.site.gateway_for(name))

    def door(self, name: str) -> Any:
        return self._driver(f"door {name}", lambda: self.site.door(name))

    def knock(self, name: str) -> Any:
        return self.site.knock(name)

    def service(self, name: str) -> Any:
        return self.site.service(name)

    @property
    def isolated(self) -> Any:
        return self.site.isolated

    def prober(self, name: str, driver: Any) -> Any:
        """Who tries whether a host is cut off; one that is entered, on its driver's connection."""
        return self.site.prober(name, driver)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        place = self.directory / "scratch"
        private_folder(place)
        made = Path(tempfile.mkdtemp(dir=place))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def keep(self, *parts: str) -> Path:
        place = self.directory.joinpath("kept", *parts)
        private_folder(place)
        return place

    def progress(self, event: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(event)

    def tell(self, message: str) -> None:
        if self._on_tell is not None:
            self._on_tell(message)

    def warn(self, message: str) -> None:
        with self._guard:
            if message not in self._warnings:
                self._warnings.append(message)

    @property
    def warnings(self) -> list[str]:
        """Everything that has to be told about this run so far."""
        return [*self.site.said, *self._warnings]

    def journal_head(self) -> Mapping[str, Any]:
        entry = self.site.journal.append("journal.anchored", {"by": "manifest"}, run=self.run)
        return {"seq": entry.seq, "hash": entry.hash}

    def versions(self) -> Mapping[str, str]:
        _, version = self.site.restic
        return {"restic": ".".join(map(str, version))}

    def fingerprint(self, public_key: str) -> str:
        return self.site.fingerprint(public_key)

    def plan_digest(self) -> str:
        from opsctl.model.statements import plan_digest

        return plan_digest(self.plan.as_json())

    def records(self, step: str) -> Sequence[Mapping[str, Any]]:
        return [entry.data for entry in self.site.journal.read(run=self.run, types=("person.done",))
                if entry.data["statement"]["step"] == step]


def refuse_unsigned(site: Site) -> None:
    """Before a backup: there must be a key to sign its manifest with."""
    if not (site.keys_directory / "controller").exists():
        raise Refused(
            f"there is no signing key at {site.keys_directory}/controller",
            hint="`opsctl init` makes it; on a new controller bring the old one back, or make one and --trust the old key",
        )


def load_plan(site: Site, run: str) -> BoundPlan:
    """The bound plan of a run. UsageError where there is no such run, SafetyRefusal where it cannot be read."""
    here, there = (place / "runs" / run / "plan.json" for place in (site.place, site.state))
    path = there if there.exists() and not here.exists() else here
    try:
        return BoundPlan.from_json(json.loads(path.read_text()))
    except FileNotFoundError as error:
        from opsctl.model.unknown import unknown

        raise unknown("run", run, (one.name for one in path.parents[1].glob("*")), hint="opsctl runs") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SafetyRefusal(f"the plan of run {run} cannot be read: {error}") from error
    except OSError as error:
        from opsctl.engine.journal_files import unusable

        raise unusable(path.parent, error) from error
