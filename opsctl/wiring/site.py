"""A configuration made to work: what all runs of one process share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.errors import ConfigError, Refused, SafetyRefusal
from opsctl.model.config import Config
from opsctl.model.hosts import Host
from opsctl.repositories.catalogue import Catalogue, seal_from
from opsctl.repositories.history import History, Ledger
from opsctl.shells.interface import Shell
from opsctl.shells.local import LocalShell
from opsctl.wiring.isolations import Isolations
from opsctl.wiring.keys import Keys


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
        #: The entries of incidents that this process wrote: kind and incident.
        self.written: list[tuple[str, str]] = []
        #: Called after each of them; raises nothing.
        self.on_entry: Callable[[str, str], None] | None = None
        self._histories: dict[str, History] = {}
        self._hosts: dict[tuple[str, str], Any] = {}
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
        if name not in self.config.repositories:
            raise ConfigError(f"there is no repository {name!r} in the configuration")
        spec = self.config.repositories[name]
        cache = self.state / "restic-cache" if self.place == self.state else None
        return History(self._restic(name, spec.url, cache), ledger=Ledger(self.state / "repositories" / f"{name}.json"),
                       records=self.catalogue, signatures=self.signatures, trusted=self.trusted,
                       copied=frozenset(self.config.copied_to(name)), removable=spec.removable,
                       people=self._people)

    def _restic(self, name: str, url: str, cache: Path | None) -> Any:
        from opsctl.repositories.restic import Restic

        spec = self.config.repositories[name]
        program, version = self.restic
        return Restic(
            name, url, password=spec.password, rest_user=spec.user, rest_secret=spec.secret, cacert=spec.cacert,
            shell=self.shell, cache_dir=cache, snapshot_cache=self.catalogue,
            program=program, version=version, wait=self.wait, s3_keys=spec.keys, s3_region=spec.region,
            sftp=self._sftp.door(name) if name in self._sftp.servers and url == spec.url else None,
        )

    def upkeep(self, name: str) -> Any:
        """The door on the store's own side. SafetyRefusal where the configuration has none, or it is on another machine."""
        from opsctl.repositories.restic_upkeep import Upkeep

        history, door = self.history(name), self.config.repositories[name].maintenance
        if door is None:
            raise SafetyRefusal(f"repository {name} has no maintenance door, and nothing is pruned through the everyday one", where=name,
                                hint=f"on the machine that holds the store: repositories: {name}: maintenance: {{url: /path/of/the/store}}")
        repository = self._restic(name, door.url, None)
        repository.pin(history.identity())
        found = Upkeep(repository, Path(door.url))
        found.require()
        return found

    def _people(self) -> Mapping[str, Any]:
        from opsctl.wiring.people import members

        return members(self)

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
    def keyring(self) -> Any:
        """The login keys that were read, each once."""
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
                self._hosts[name, login] = Connection(self.target(name, self.config.hosts[name], login), self.keyring)
            return SshShell(self._hosts[name, login])

    def entered(self, name: str) -> Any:
        """For what a host is entered with the key for isolation, and what makes a shell that is; None where it is not."""
        from opsctl.model.hosts_access import entered

        wanted = entered(self.config, name)
        return (wanted, lambda: self.on_host(name, "ssh-isolation")) if wanted is not None else None

    @functools.cached_property
    def incidents(self) -> Any:
        """The incidents of this machine (``engine.incidents.Incidents``), also what lies in a spool that nobody took in."""
        from opsctl.engine.incidents import Incidents
        from opsctl.engine.journal import Journal
        from opsctl.engine.runtime_directory import open_spool

        spool = open_spool(self.runtime, self.scope) if self.place == self.state else None
        behind = [Journal(spool / "journal", self.clock)] if spool is not None else []
        return Incidents(self.journal, self.place / "incidents", self.clock, behind, self._incident_written)

    def _incident_written(self, kind: str, name: str) -> None:
        self.written.append((kind, name))
        if self.on_entry is not None:
            self.on_entry(kind, name)

    @functools.cached_property
    def reports(self) -> Any:
        """The reports of those incidents (``engine.reports.Reports``)."""
        from opsctl.engine.reports import Reports

        return Reports(self.incidents, self.config, self.clock)

    @functools.cached_property
    def media(self) -> Any:
        """The media that are carried away and brought back (``repositories.media.Media``)."""
        from opsctl.repositories.media import Media

        return Media(self.place / "media")

    @functools.cached_property
    def isolations(self) -> Isolations:
        """Who cuts off the hosts."""
        return Isolations(self)

    def service(self, name: str) -> Any:
        """Who asks, stops and starts a service (``shells.services.Runner``) on the machine where it runs."""
        from opsctl.shells.services import Runner

        spec = self.config.services[name]
        return Runner(name, spec, self.on_host(spec.on, "ssh-isolation") if spec.on is not None else self.shell)

    def scanner(self) -> Any:
        """Who searches restored files. ConfigError, as root, where others can write to the site's own rules."""
        from opsctl.scanning.yara import Scanner

        spec = self.config.scan
        own = Path(spec.rules) if spec.rules is not None else None
        if own is not None:
            from opsctl.wiring.rules import refuse_others

            refuse_others(own)
        return Scanner(self.shell, rules=own, largest=spec.largest, timeout=spec.timeout.total_seconds())

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

    def next_key(self) -> str:
        """The fingerprint of the signing key that shall follow ours; it is made where it is not there yet."""
        from opsctl.shells.ssh_keys import make_next_key, public_key

        made = make_next_key(self.keys_directory, self.shell)
        return self.fingerprint(public_key(made.parent, made.name, self.shell))

    def source(self, name: str, entry: Mapping[str, Any] | None = None) -> Any:
        """A source by its name; from its entry in a manifest where the configuration does not know it (any more)."""
        from opsctl.wiring import sources

        spec = self.config.sources.get(name)
        if spec is not None and (entry is None or spec.kind == entry["kind"]):
            return sources.configured(self, name, spec)
        if entry is None:
            raise ConfigError(f"there is no source {name!r} in the configuration")
        return sources.remembered(name, entry, self.shell)

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


def refuse_unsigned(site: Site) -> None:
    """Before a backup: there must be a key to sign its manifest with."""
    if not (site.keys_directory / "controller").exists():
        raise Refused(
            f"there is no signing key at {site.keys_directory}/controller",
            hint=f"ssh-keygen -q -t ed25519 -N '' -f {site.keys_directory}/controller makes it, and `opsctl init` together with a first "
                 "configuration; on a new controller bring the old one back, or make one and --trust the old key",
        )
