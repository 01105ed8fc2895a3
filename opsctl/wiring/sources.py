"""Which driver backs up a source: one of the configuration, of a manifest, or of a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsctl.errors import SafetyRefusal
from opsctl.model.config import CommandSource, MariadbSource, PathsSource, PostgresqlSource, SqliteSource
from opsctl.model.config_remote import programs_as_root
from opsctl.shells.interface import Shell
from opsctl.shells.local import LocalShell

if TYPE_CHECKING:
    from opsctl.wiring.site import Site


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


def configured(site: Site, name: str, spec: Any) -> Any:
    """The driver of a source as the configuration describes it."""
    if isinstance(spec, PathsSource):
        at_least = spec.at_least.model_dump(exclude_none=True) if spec.at_least else None
        if spec.host is not None:
            from opsctl.sources.paths_remote import RemotePaths

            return RemotePaths(name, paths=spec.paths, exclude=spec.exclude, at_least=at_least, marker=spec.marker,
                               mountpoint=spec.mountpoint, shell=site.shell, there=_there(site, spec), sealed=spec.sealed)
        from opsctl.sources.paths import Paths

        return Paths(name, paths=spec.paths, exclude=spec.exclude, at_least=at_least, marker=spec.marker,
                     mountpoint=spec.mountpoint, shell=site.shell, canaries=spec.canaries, sealed=spec.sealed)
    if isinstance(spec, PostgresqlSource):
        from opsctl.sources.postgresql import Postgresql

        return Postgresql(name, database=spec.database, user=spec.user, server=spec.server, port=spec.port,
                          password=spec.password, proof=spec.proof, cacert=spec.cacert, shell=site.shell,
                          there=_there(site, spec))
    if isinstance(spec, MariadbSource):
        from opsctl.sources.mariadb import Mariadb

        return Mariadb(name, database=spec.database, user=spec.user, server=spec.server, port=spec.port,
                       password=spec.password, proof=spec.proof, accounts=spec.accounts, cacert=spec.cacert,
                       shell=site.shell, there=_there(site, spec))
    if isinstance(spec, CommandSource):
        from opsctl.sources.command import Command
        from opsctl.sources.spool import Spool

        spool, least = spec.spool, spec.at_least.model_dump(exclude_none=True) if spec.at_least else None
        return Command(name, argv=spec.argv, spool=Spool(name, spool.directory, spool.owner) if spool else None,
                       spool_free=spool.free if spool else None, restore=spec.restore, trailer=spec.trailer,
                       at_least=least, environment=spec.environment, password=spec.password,
                       variable=spec.password_variable, limit=spec.limit.total_seconds(), shell=site.shell,
                       there=_there(site, spec))
    assert isinstance(spec, SqliteSource)
    if spec.host is not None:
        from opsctl.sources.sqlite_remote import RemoteSqlite

        return RemoteSqlite(name, path=spec.path, proof=spec.proof, shell=site.shell, there=_there(site, spec))
    from opsctl.sources.sqlite import Sqlite

    return Sqlite(name, path=spec.path, proof=spec.proof, shell=site.shell)


def _there(site: Site, spec: Any) -> Any:
    """The shell of the machine that a source is on, None for this one; as root where that helps and is allowed."""
    if spec.host is None:
        return None
    shell = site.on_host(spec.host)
    return shell if programs_as_root(spec) else shell.plain()


def remembered(name: str, entry: Mapping[str, Any], shell: Shell) -> Any:
    """The driver of a source that only a manifest tells of; ``shell``: where its programs run. SafetyRefusal for a kind that this version does not know."""
    kind = entry["kind"]
    if kind == "paths":
        from opsctl.sources.paths import Paths

        return Paths(name, paths=tuple(entry["paths"]), shell=shell)
    if kind == "postgresql":
        from opsctl.sources.postgresql import Postgresql

        return Postgresql(name, database=name, shell=shell)
    if kind == "mariadb":
        from opsctl.sources.mariadb import Mariadb

        return Mariadb(name, database=name, shell=shell)
    if kind == "sqlite":
        from opsctl.sources.sqlite import Sqlite

        return Sqlite(name, path=entry["paths"][0], shell=shell)
    if kind == "command":
        from opsctl.sources.command import Command

        return Command(name, argv=(), shell=shell)
    raise SafetyRefusal(f"{name} is of kind {kind!r}, which this version does not know",
                        hint="a newer opsctl may; or restore the other sources of the set: --source NAME")
