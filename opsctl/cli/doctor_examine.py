"""Everything that a configuration lets ``doctor`` look at, all at once and within time limits. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli import (
    doctor_clock,
    doctor_files,
    doctor_isolation,
    doctor_jobs,
    doctor_kit,
    doctor_people,
    doctor_rooms,
    doctor_scan,
    doctor_schedule,
    doctor_space,
    doctor_watch,
)
from opsctl.cli.doctor import Check
from opsctl.cli.doctor_jobs import Job

if TYPE_CHECKING:
    from opsctl.shells.interface import Shell
    from opsctl.wiring import Site

# Seconds: each a little more than what the calls in it allow themselves, so that their own words are said if they can be.
HERE = 15.0
SECRET = 35.0
CLOCK = 12.0
STORE = 30.0
SOURCE = 30.0
HOST = 45.0


def examine(site: Site, environ: Mapping[str, str], *, offline: bool = False) -> list[Check]:
    """The rows that a loaded configuration allows, in the order in which they are shown."""
    from opsctl.cli import doctor_sources, doctor_stores

    config = site.config
    sizes = doctor_space.newest_sizes(site.catalogue.standing())
    elsewhere = {name: sizes[name] for name, spec in config.repositories.items() if name in sizes and not spec.local}
    linux = [name for name, host in config.hosts.items() if host.os == "linux"]
    refs = doctor_files.refs_of(config)
    owners = doctor_files.owners_of(site.state, site.keys_directory)

    def room() -> Sequence[Check]:
        found = doctor_space.cache(site.state, elsewhere)
        return [*doctor_files.state(site.state), *([found] if found else [])]

    def schedule() -> Sequence[Check]:
        found = doctor_schedule.check(config, site.clock(), environ)
        return [found] if found else []

    jobs = [
        Job("state", room, HERE),
        Job("signing key", lambda: doctor_files.keys(site.keys_directory, site.shell, hosts=bool(linux)), HERE),
        Job("secrets", lambda: doctor_files.secrets([one for one in refs if not one.command], owners, site.shell), HERE),
        # A command asks who knows whom.
        *(Job("secret", lambda ref=ref: doctor_files.command(ref, owners, site.shell), SECRET, outside=True,  # type: ignore[misc]
              hint=f"{ref}: does its command wait for somebody?") for ref in refs if ref.command),
        Job("clock", lambda: [doctor_clock.check(config.organisation.ntp, site.shell, offline=offline)], CLOCK),
        *(Job(f"repository {name}",
              lambda name=name: doctor_stores.check(site, name, sizes.get(name, 0), offline=offline),  # type: ignore[misc]
              STORE, hint="is the store running, and the network up?") for name in config.repositories),
        *(Job(f"source {name}", lambda name=name: doctor_sources.source(site, name), SOURCE,  # type: ignore[misc]
              outside=doctor_sources.asks_outside(spec)) for name, spec in config.sources.items()),
    ]
    hosts = [Job(f"host {name}", lambda name=name: doctor_sources.host(site, name), HOST, outside=True)  # type: ignore[misc]
             for name in linux]
    after = [*doctor_isolation.jobs(site), *doctor_people.jobs(site), Job(doctor_kit.NAME, lambda: doctor_kit.check(site), HERE), Job(doctor_scan.NAME, lambda: doctor_scan.rules(site), HERE),
             Job(doctor_rooms.NAME, lambda: doctor_rooms.check(site), HERE),
             Job("schedule", schedule, HERE), Job("notices", lambda: doctor_watch.notices(site), HERE),
             Job("backups", lambda: doctor_watch.backups(site), HERE)]
    found = doctor_jobs.look([*jobs, *hosts, *after], offline=offline, ended=site.shell.check)
    before, behind = len(jobs), len(jobs) + len(hosts)
    return [*chain(*found[:before]), *doctor_sources.together(list(chain(*found[before:behind]))), *chain(*found[behind:])]


def without_configuration(directory: Path | None, shell: Shell) -> list[Check]:
    """What can be judged where the configuration cannot be read: its keys and secrets by their files, and the clock."""
    jobs = [Job("clock", lambda: [doctor_clock.check((), shell)], CLOCK)]
    if directory is not None:
        jobs = [Job("signing key", lambda: doctor_files.keys(directory / "keys", shell), HERE),
                Job("secrets", lambda: doctor_files.secret_files(_files(directory)), HERE), *jobs]
    return list(chain(*doctor_jobs.look(jobs, offline=False, ended=shell.check)))


def _files(directory: Path) -> dict[str, str]:
    """Secret files that the broken configuration names, as far as it can be read."""
    from opsctl.engine.configuration import config_files, read_documents
    from opsctl.errors import ConfigError

    try:
        documents = read_documents(config_files(directory), os.geteuid())
    except (ConfigError, OSError):
        return {}
    found: dict[str, str] = {}
    for document in documents:
        found |= doctor_files.files_named(document.data, directory)
    return found
