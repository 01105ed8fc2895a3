"""Every key of the configuration, as frozen models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from opsctl.model.config_approvals import Approvals, Playbooks
from opsctl.model.config_bodies import Body, Paper
from opsctl.model.config_canaries import CANARIES, SEALED, Canaries
from opsctl.model.config_clean_room import CleanRoom
from opsctl.model.config_command import CommandSource
from opsctl.model.config_evidence import Evidence
from opsctl.model.config_isolation import Isolation
from opsctl.model.config_keep import Keep, Maintenance
from opsctl.model.config_libraries import Library
from opsctl.model.config_mariadb import MariadbSource
from opsctl.model.config_notify import Notify
from opsctl.model.config_remote import programs_as_root
from opsctl.model.config_reopening import Reopening
from opsctl.model.config_s3 import ObjectLock
from opsctl.model.config_scan import Scan
from opsctl.model.config_sense import sense
from opsctl.model.config_services import Service
from opsctl.model.config_source import SourcePart, secret_keys, secret_ref
from opsctl.model.config_values import Email, Mounted, Phone, PublicKey, Store, TimeServer, TimeZone
from opsctl.model.fields import (
    Argument,
    Command,
    Count,
    Duration,
    FilePath,
    Line,
    Lines,
    Mistake,
    Name,
    Names,
    Part,
    Shown,
    Size,
    SomeNames,
    SomePaths,
    Variable,
)
from opsctl.model.hosts import Host, HostKey, Zone
from opsctl.model.limits import IONice, Limits
from opsctl.model.part import Field, Kinds, Strict
from opsctl.model.secrets import SecretRef
from opsctl.model.values import value

UNNAMED = "unnamed"
"""What an organisation is called that the configuration says nothing of."""


class Organisation(Part):
    """Whose machines these are."""

    name: Line = Field(description="Name of the organisation, as it stands on reports.")
    timezone: TimeZone = Field(
        default="UTC", description="Time zone in which times are shown, such as `Asia/Kolkata`."
    )
    languages: Annotated[tuple[Literal["en", "hi"], ...], Strict(False), Field(min_length=1)] = Field(
        default=("en",), description="Languages of pages and reports, the first one preferred."
    )
    ntp: Annotated[tuple[TimeServer, ...], Strict(False)] = Field(
        default=(),
        description="Time servers that `opsctl doctor` asks how far this machine's clock is off. CERT-In's directions of "
        "28 April 2022 name those of NIC and NPL: `[samay1.nic.in, samay2.nic.in, time.nplindia.org]`.",
    )

    protected_system: bool = Field(
        default=False, description="One of its systems was gazetted as protected under section 70 of the IT Act, so that incidents are "
        "reported to NCIIPC as well. A notified fact, never inferred."
    )

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Engine(Part):
    """Where runs are kept."""

    database: None = Field(
        default=None, description="Always `null` in this version: runs are kept in the state directory."
    )


class Person(Part):
    """Someone who may be asked, told or named. The key of the entry is the short name."""

    name: Line = Field(description="Full name.")
    roles: Names = Field(
        default=(), description="Roles that this person may act in, such as `incident-lead`."
    )
    ssh_key: PublicKey | None = Field(
        default=None,
        description="SSH public key with which this person signs; the line of their `.pub` file.",
    )
    phone: Phone | None = Field(default=None, description="Telephone number, in quotes.")
    email: Email | None = Field(default=None, description="E-mail address.")
    deputy_of: Name | None = Field(default=None, description="The person whom this one stands in for.")


class Repository(Part):
    """A place where backups are kept, encrypted. The key of the entry is its name."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **secret_keys("password", "secret", "access_key", "secret_key"),
    }

    url: Store = Field(
        description="A path on this machine, `rest:https://host:port/name` for a REST server, "
        "`s3:https://host/bucket/prefix` for an S3 store, or `sftp:user@host:/path` (`sftp://user@host:port//path`) for an "
        "SFTP server."
    )
    user: Line | None = Field(default=None, description="User name at the REST server.")
    secret_file: FilePath | None = Field(
        default=None, description="File with the password of `user` at the REST server."
    )
    secret_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the password of `user`."
    )
    secret_env: Variable | None = Field(
        default=None, description="Environment variable with the password of `user`."
    )
    cacert: FilePath | None = Field(
        default=None,
        description="PEM file with the certificate that the REST server's or S3 store's TLS is checked against.",
    )
    access_key_file: FilePath | None = Field(
        default=None, description="File with the id of the access key at the S3 store. One `access_key_…` is needed there."
    )
    access_key_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the id of the access key."
    )
    access_key_env: Variable | None = Field(
        default=None, description="Environment variable with the id of the access key."
    )
    secret_key_file: FilePath | None = Field(
        default=None, description="File with the secret of the access key. One `secret_key_…` is needed at an S3 store."
    )
    secret_key_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the secret of the access key."
    )
    secret_key_env: Variable | None = Field(
        default=None, description="Environment variable with the secret of the access key."
    )
    region: Argument | None = Field(
        default=None, description="Region of the S3 store; by default `us-east-1`, which most stores take."
    )
    object_lock: ObjectLock | None = Field(
        default=None,
        description="The bucket of the S3 store locks its objects. Nothing is copied there unless it can, and after each "
        "set or copy everything in it is locked anew.",
    )
    host_key: HostKey | None = Field(
        default=None,
        description="For an SFTP server: its SSH host key, compared on its own console; no other one is ever accepted.",
    )
    ssh_key_file: FilePath | None = Field(
        default=None, description="For an SFTP server: the private key to log in with, of no use anywhere else."
    )
    password_file: FilePath | None = Field(
        default=None,
        description="File with the password that encrypts the repository. One `password_…` is needed.",
    )
    password_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the repository's password."
    )
    password_env: Variable | None = Field(
        default=None, description="Environment variable with the repository's password."
    )
    append_only: bool = Field(
        default=False, description="The store refuses deletion (`rest-server --append-only`)."
    )
    maintenance: Maintenance | None = Field(
        default=None, description="The door on the store's own side, through which sets are pruned; through no other one."
    )
    removable: bool = Field(
        default=False,
        description="On a disk that is away on purpose most of the time: a copy there is made when it is here.",
    )
    every: Duration | None = Field(
        default=None,
        description="For a repository that holds copies: how old its newest set may become; by default as old as "
        "the backup's own.",
    )

    _name: str = ""

    @property
    def name(self) -> str:
        return self._name

    @property
    def pinned(self) -> str | None:
        """The SFTP server's host key as ``TYPE BASE64``, without a comment."""
        return " ".join(self.host_key.split()[:2]) if self.host_key else None

    @property
    def local(self) -> bool:
        """Whether ``url`` is a path on this machine."""
        return self.url.startswith("/")

    @property
    def password(self) -> SecretRef:
        """Where the password of the repository is found."""
        found = secret_ref(self, "password", f"password of repository {self._name}")
        assert found is not None, "a configuration that loaded has exactly one password_…"
        return found

    @property
    def secret(self) -> SecretRef | None:
        """Where the password of ``user`` at the REST server is found."""
        return secret_ref(self, "secret", f"password of user {self.user} at repository {self._name}")

    @property
    def keys(self) -> tuple[SecretRef, SecretRef] | None:
        """Where the id and the secret of the access key at the S3 store are found; None for another store."""
        ident = secret_ref(self, "access_key", f"access key of repository {self._name}")
        secret = secret_ref(self, "secret_key", f"secret key of repository {self._name}")
        return (ident, secret) if ident is not None and secret is not None else None


class AtLeast(Part):
    """The least that has to be there for a backup to be believed."""

    files: Count | None = Field(default=None, description="Number of files.")
    bytes: Size | None = Field(default=None, description="Size of all files together.")


class PathsSource(SourcePart):
    """Files and folders of this machine."""

    kind: Literal["paths"] = Field(description="What sort of source this is.")
    paths: SomePaths = Field(description="Files and folders to back up.")
    exclude: Lines = Field(
        default=(), description="Patterns of what is left out, as restic reads them (`*.tmp`)."
    )
    at_least: AtLeast | None = Field(default=None, description="The source counts as incomplete below this.")
    marker: Line | None = Field(
        default=None,
        description="File without which the source counts as missing: a path, or a name in each folder.",
    )
    mountpoint: Mounted | None = Field(
        default=None,
        description="Where a file system has to be mounted, or the source counts as missing: a path, or "
        "`true` for every one of `paths`.",
    )
    canaries: Canaries = Field(default=(), description=CANARIES)
    sealed: Lines = Field(default=(), description=SEALED)


class PostgresqlSource(SourcePart):
    """One PostgreSQL database, with the roles and grants that it needs."""

    elsewhere: ClassVar[Mapping[str, str]] = secret_keys("password")

    kind: Literal["postgresql"] = Field(description="What sort of source this is.")
    database: Argument = Field(description="Name of the database.")
    server: Argument | None = Field(
        default=None,
        description="Address of the server, or the folder of its socket; by default this machine's socket.",
    )
    port: Annotated[int, Field(ge=1, le=65535), Shown("number")] = Field(
        default=5432, description="Port of the server."
    )
    user: Argument | None = Field(
        default=None,
        description="Role to connect as; by default the name of the system user. It needs `pg_read_all_data`, and "
        "`BYPASSRLS` where tables have row-level security, which `pg_dump` refuses to dump in part.",
    )
    password_file: FilePath | None = Field(default=None, description="File with the password of the role.")
    password_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the password of the role."
    )
    password_env: Variable | None = Field(
        default=None, description="Environment variable with the password of the role."
    )
    cacert: FilePath | None = Field(
        default=None,
        description="PEM file that the server's TLS certificate is checked against, which has to name `server`. Without it "
        "nothing tells whether it is the right server, and another one can ask for the password as it is.",
    )
    proof: Literal["full", "counts", "off"] = Field(
        default="full",
        description="What a restore is compared with: checksums of all tables, row counts, or nothing.",
    )

    @property
    def password(self) -> SecretRef | None:
        """Where the password of ``user`` is found; None where the server asks for none."""
        return secret_ref(self, "password", f"password of source {self._name}")


class SqliteSource(SourcePart):
    """One SQLite database file of this machine."""

    kind: Literal["sqlite"] = Field(description="What sort of source this is.")
    path: FilePath = Field(description="The database file.")
    proof: Literal["full", "counts", "off"] = Field(
        default="full",
        description="What a restore is compared with: checksums of all tables, row counts, or nothing.",
    )


Source = PathsSource | PostgresqlSource | MariadbSource | SqliteSource | CommandSource

_AnySource = Annotated[
    Source,
    Kinds({
        "paths": PathsSource, "postgresql": PostgresqlSource, "mariadb": MariadbSource, "sqlite": SqliteSource,
        "command": CommandSource,
    }),
]


class Verify(Part):
    """How long a backup may go unverified."""

    read_all_within: Duration = Field(
        default=timedelta(days=30),
        description="Everything in the repository is read back within this time, a share each day.",
    )
    drill: Duration | None = Field(
        default=None,
        description="A set is restored into a clean room and proven at least this often; by default not asked for.",
    )


class Backup(Part):
    """Which sources go into which repository, and how often. The key of the entry is its name."""

    sources: SomeNames = Field(description="Names of the sources; together they make one set.")
    repository: Name = Field(description="Name of the repository.")
    copies: Names = Field(
        default=(), description="Names of other repositories that each set is copied to."
    )
    every: Duration = Field(
        default=timedelta(days=3), description="A new set is due this long after the last good one."
    )
    keep: Keep | None = Field(
        default=None, description="Which sets stay when `opsctl backup prune` is run; without it nothing is ever pruned."
    )
    verify: Verify = Field(default_factory=Verify, description="How long the backup may go unverified.")
    bandwidth: Annotated[Size, Field(ge=1024)] | None = Field(
        default=None, description="Most that is sent to the repository in a second (`10MiB`); at least `1KiB`."
    )
    nice: Annotated[int, Field(ge=0, le=19), Shown("number")] | None = Field(
        default=None, description="How far the work stands back for other programs' processor time, 0 to 19."
    )
    ionice: IONice | None = Field(
        default=None, description="How far it stands back for others' disk: only an `idle` one, or the last in the row."
    )
    retries: Annotated[int, Field(ge=0, le=10), Shown("number")] = Field(
        default=0,
        description="How often a repository that does not answer is tried again, after 10 s, 30 s, 90 s and then "
        "every 300 s. Without it the next hourly `--due` does.",
    )

    _name: str = ""

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        """How much of the machine and of the line it may take."""
        return Limits(self.bandwidth, self.nice, self.ionice)


@value
class Origin:
    """Where a configuration came from: directory, files read, SHA-256 of the content, and doubts."""

    directory: Path | None = None
    files: tuple[str, ...] = ()
    digest: str = ""
    warnings: tuple[str, ...] = ()


class Config(Part):
    """The whole configuration."""

    organisation: Organisation = Field(
        default_factory=lambda: Organisation(name=UNNAMED), description="Whose machines these are."
    )
    state: FilePath = Field(
        default="/var/lib/opsctl",
        description="Directory for the journal, runs, the catalogue and the ledgers (mode 0700).",
    )
    engine: Engine = Field(default_factory=Engine, description="Where runs are kept.")
    people: dict[Name, Person] = Field(default_factory=dict, description="People, by short name.")
    approvals: Approvals = Field(default_factory=Approvals, description="How people approve what takes several of them.")
    playbooks: Playbooks = Field(default_factory=Playbooks, description="Your own playbooks.")
    zones: dict[Name, Zone] = Field(default_factory=dict, description="What is cut off together, by name.")
    hosts: dict[Name, Host] = Field(default_factory=dict, description="Machines reached over SSH, by name.")
    isolation: Isolation = Field(default_factory=Isolation, description="What is common to all hosts when they are cut off.")
    repositories: dict[Name, Repository] = Field(
        default_factory=dict, description="Places for backups, by name."
    )
    sources: dict[Name, _AnySource] = Field(
        default_factory=dict, description="What can be backed up, by name."
    )
    backups: dict[Name, Backup] = Field(default_factory=dict, description="Backups, by name.")
    clean_room: CleanRoom = Field(default_factory=CleanRoom, description="Where restored data is proven before it is used.")
    services: dict[Name, Service] = Field(default_factory=dict, description="What can be stopped and started, by name.")
    reopening: Reopening = Field(default_factory=Reopening, description="The waves in which people are let in again.")
    libraries: dict[Name, Library] = Field(default_factory=dict, description="Tape libraries, by name.")
    scan: Scan = Field(default_factory=Scan, description="What restored data is searched for.")
    bodies: dict[Name, Body] = Field(default_factory=dict, description="Municipal bodies that can work on paper, by their ids.")
    paper: Paper = Field(default_factory=Paper, description="What work on paper needs to know.")
    evidence: Evidence = Field(default_factory=Evidence, description="What is collected of hosts as evidence.")
    notify: Notify | None = Field(default=None, description="Who is told when something is wrong.")

    _origin: Origin = Origin()

    def model_post_init(self, context: Any, /) -> None:
        for part in (self.hosts, self.repositories, self.sources, self.backups):
            for name, entry in part.items():
                object.__setattr__(entry, "_name", name)
        gates = {self.isolation.store, self.clean_room.host, *(host.gateway for host in self.hosts.values()),
                 *(service.on for service in self.services.values()), *(wave.on for wave in self.reopening.waves.values()),
                 *(source.host for service in self.services.values() for name in service.restores
                   if (source := self.sources.get(name)) is not None and source.kind == "paths" and source.promotion is None)}
        for name, host in self.hosts.items():
            wanted = (programs_as_root(source) for source in self.sources.values() if source.host == name)
            object.__setattr__(host, "_root_shell", name in gates)
            object.__setattr__(host, "_as_root", tuple(dict.fromkeys(program for programs in wanted for program in programs)))

    def copied_to(self, repository: str) -> Iterator[str]:
        """The backups whose sets are copied to a repository."""
        return (name for name, backup in self.backups.items() if repository in backup.copies)

    @property
    def directory(self) -> Path | None:
        """The directory it was read from."""
        return self._origin.directory

    @property
    def files(self) -> tuple[str, ...]:
        return self._origin.files

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content of the files, whatever their layout; empty if made in memory."""
        return self._origin.digest

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and looks wrong, one sentence each."""
        return self._origin.warnings

    @classmethod
    def mistakes(cls, data: Any) -> Iterator[Mistake]:
        """Unknown references, and secrets given twice or not at all."""
        return sense(data)
