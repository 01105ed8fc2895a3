"""Which hosts ``opsctl isolate`` is asked about: named, of zones, all, or named with everything that it takes to log in."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli import break_glass
from opsctl.errors import ConfigError, OpsError, UsageError
from opsctl.model.given_host import given_host, is_given
from opsctl.model.unknown import unknown
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.wiring import Site


@value
class Asked:
    """What was said of hosts. ``keys`` are fingerprints, one for each ``user@address`` in its order; ``key`` a file."""

    names: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    every: bool = False
    without: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    key: str = ""

    @property
    def logins(self) -> list[str]:
        """How to log into hosts that no configuration holds, as playbooks take it. UsageError where it is not said."""
        given = [name for name in self.names if is_given(name)]
        if len(self.keys) not in (len(given), 0):
            raise UsageError(f"--host-key was given {len(self.keys)} times for {len(given)} hosts of the form user@address",
                             hint="one for each, in their order")
        key = os.path.abspath(self.key) if self.key else ""
        try:
            for name, host_key in zip(given, self.keys, strict=False):
                given_host(name, host_key)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return [" ".join(filter(None, (name, host_key, key))) for name, host_key in zip(given, self.keys, strict=False)]


def ask(
    names: Sequence[str] | None = None, zones: Sequence[str] | None = None, every: bool = False,
    without: Sequence[str] | None = None, keys: Sequence[str] | None = None, key: str = "",
) -> Asked:
    """What a command line said of hosts; those of no configuration are written in one way. UsageError for what is no address."""
    try:
        found = [given_host(name).name if is_given(name) else name for name in names or ()]
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Asked(tuple(found), tuple(zones or ()), every, tuple(without or ()), tuple(keys or ()), key)


def site_for(session: Session, asked: Asked, unread: list[OpsError] | None = None) -> Site:
    """The configuration made to work; without one, or with a broken one, where only hosts are meant that need none.

    These are ``user@address``, and without any name those that were cut off so: then the broken one is put into ``unread``,
    because it may hold others.
    """
    from opsctl.cli.work import clock, open_site
    from opsctl.model.config import Config
    from opsctl.wiring import Site

    try:
        return open_site(session)
    except ConfigError as error:
        home = session.environ.get("XDG_STATE_HOME") or os.path.join(session.environ.get("HOME", "/root"), ".local/state")
        if asked.keys and asked.names and not all(map(is_given, asked.names)):
            first = next(name for name in asked.names if not is_given(name))
            raise UsageError(f"{first} is no host of a configuration, for there is none that can be used: {error.message}",
                             hint=f"without one, with the account that logs in: root@{first} --host-key SHA256:…") from error
        known = asked.names or os.path.isdir(os.path.join(home, "opsctl", "isolated"))
        if not known or not all(map(is_given, asked.names)) or asked.zones or asked.every:
            if asked.names:  # a machine is to be off now
                way = f"with the account that logs in: {_written_out(asked.names[0])} --host-key SHA256:… --key FILE"
                error.hint = f"until it is mended, {way}" if error.problems else f"without one, {way}; otherwise {error.hint}"
            raise
        site = Site(Config.model_validate({"state": os.path.join(home, "opsctl")}), clock=clock(session), environ=session.environ)
        session.hooks.session, session.hooks.site = session, site
        break_glass.enter(session, site)
        if unread is not None and error.problems and not asked.names:
            unread.append(error)
        elif error.problems or session.config is not None:
            site.notes.append(f"without the configuration, which cannot be used: {error.message}")
        return site


def _written_out(name: str) -> str:
    """As a host that no configuration holds is named."""
    try:
        return given_host(f"root@{name}").name
    except ValueError:
        return name if is_given(name) else "root@ADDRESS"


def hosts_of(asked: Asked, config: Any) -> list[str]:
    """The hosts that are meant, each once, those named first. UsageError for names that are not there, or none at all."""
    for zone in asked.zones:
        if zone not in config.zones:
            raise unknown("zone", zone, config.zones)
    for name in (*asked.names, *asked.without):
        if not is_given(name) and name not in config.hosts:
            raise unknown("host", name, config.hosts)
    inside = [name for name, host in config.hosts.items() if asked.every or host.zone in asked.zones]
    found = [name for name in dict.fromkeys([*asked.names, *inside]) if name not in asked.without]
    if not found:
        raise UsageError("which hosts?" if not (asked.zones or asked.every or asked.names) else "no host is left of what was named",
                         hint="HOST…, --zone ZONE or --all; or user@address --host-key SHA256:… without a configuration")
    return found


def doors(config: Any, hosts: Sequence[str]) -> list[str]:
    """Those of the hosts that have a door at the machine of the backup store, where one is named."""
    store = config.isolation.store
    return [host for host in hosts if host != store] if store is not None else []


def person() -> str:
    """Who sits here: behind sudo, the one who called it."""
    from opsctl.cli.work import who

    behind = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
    if behind:
        try:
            return pwd.getpwnam(behind).pw_name
        except KeyError:
            pass
    return who()
