"""Which driver cuts a host off, who probes it, and what is known to be cut off."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import ConfigError, OpsError
from opsctl.model.given_host import given_host, is_given
from opsctl.shells.interface import Answering

if TYPE_CHECKING:
    from opsctl.model.nft_gateway import Member
    from opsctl.model.probes import Endpoint
    from opsctl.wiring.site import Site

TOOL_AT_ONCE = 8
"""Commands of one tool of the site at a time: as many as an sshd takes on one connection, with room for others."""

_APART = 0.25
"""Seconds from one program that tells the ways to hosts to the next, where hundreds ask one after another."""


class Isolations:
    """The drivers of a site's hosts. What several of them share (a gateway, a tool's turns, a region) is made once."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._turns: dict[str, threading.BoundedSemaphore] = {}
        self._forwarders: dict[tuple[str, str], Any] = {}
        self._regions: dict[str, Any] = {}
        self._guard = threading.RLock()

    def driver(self, name: str, host_key: str = "", key: str = "") -> Any:
        """The driver that cuts a host off. ConfigError where there is no such host, or none that software can cut off.

        ``host_key`` (a fingerprint) and ``key`` (a private key's file) are for a ``user@address`` that no configuration holds.
        """
        if is_given(name):
            return self._given_isolation(name, host_key, key)
        if name not in self.site.config.hosts:
            raise ConfigError(f"there is no host {name!r} in the configuration")
        spec = self.site.config.hosts[name]
        if spec.isolation == "nftables" and spec.here:
            from opsctl.isolation.nftables import Nftables

            caller = self.site.environ.get("SSH_CONNECTION")  # whoever sits here from afar is not shut out either
            return Nftables(name, connect=lambda: self.site.shell, sudo=spec.become == "sudo",
                            environ={"SSH_CONNECTION": caller} if caller else {})
        if spec.isolation == "nftables":
            return self._nftables(name, self.site.target(name, spec, "ssh-isolation"))
        if spec.isolation == "command":
            from opsctl.isolation.command import Command

            tool = self.site.config.isolation.tools[str(spec.tool)]
            with self._guard:
                turns = self._turns.setdefault(str(spec.tool), threading.BoundedSemaphore(TOOL_AT_ONCE))
            return Command(name, address=spec.address, limit=tool.limit.total_seconds(), turns=turns,
                           shell=self.site.on_host(tool.host, "ssh-isolation").plain() if tool.host else self.site.shell,
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

        gateway = self.site.config.hosts[name].gateway if name in self.site.config.hosts else None
        if gateway is None:
            raise ConfigError(f"{name} has no gateway: in the configuration", hint="name there the host that forwards for it")
        return Gateway(name, addresses=self._addresses(name), at=self._forwarder(gateway, GATE), ports=self.site.config.hosts[name].ports)

    def door(self, name: str) -> Any:
        """The driver that shuts a host out at the machine of the backup store; None where no such machine is named."""
        from opsctl.isolation.gateway import Gateway
        from opsctl.model.nft_gateway import DOOR

        store = self.site.config.isolation.store
        if store is None or store == name:
            return None
        return Gateway(name, addresses=self._addresses(name), at=self._forwarder(store, DOOR))

    def doors(self, names: Iterable[str]) -> Any:
        """Who is shut out at the machine of the backup store (``isolation.doors.Doors``); None where no such machine is named.

        ``names``: hosts whose names are looked up where they have no address; others are known by what stands in the configuration.
        """
        from opsctl.isolation.doors import doors
        from opsctl.model.nft_gateway import DOOR, member

        store = self.site.config.isolation.store
        if store is None:
            return None
        known: dict[str, Sequence[str]] = {name: (spec.address, *spec.addresses) for name, spec in self.site.config.hosts.items()}
        for name in names:
            with contextlib.suppress(OpsError):
                known[name] = self._addresses(name)
        members: dict[str, list[Member]] = {name: [] for name in known if name != store}
        for name, found in members.items():
            for one in known[name]:
                with contextlib.suppress(ValueError):  # a name
                    found.append(member(one))
        return doors(store, self._forwarder(store, DOOR).gate(), members)

    def knock(self, name: str) -> Any:
        """Whether a host still reaches the machine of the backup store (``isolation.knock.Knocked``), asked on it where that can be."""
        from opsctl.isolation.knock import Knock
        from opsctl.model.isolation_guard import places

        store, spec = self.site.config.isolation.store, self.site.config.hosts.get(name)
        entered = spec is not None and spec.os == "linux" and spec.pinned
        addresses = [one for one in self._addresses(store) if "/" not in one] if store is not None else []
        return Knock((lambda: self.site.on_host(name, "ssh-isolation")) if entered else None, list(places(self.site.config, addresses)))()

    def _addresses(self, name: str) -> tuple[str, ...]:
        """Those by which others know a host; of one that is configured by name, what the name stands for."""
        from opsctl.shells.resolve import resolved

        if is_given(name):
            return resolved(given_host(name).address)
        if name not in self.site.config.hosts:
            raise ConfigError(f"there is no host {name!r} in the configuration")
        spec = self.site.config.hosts[name]
        return tuple(dict.fromkeys((*resolved(spec.address), *spec.addresses)))

    def _forwarder(self, name: str, table: str) -> Any:
        """Who cuts off there, one for all hosts: what they ask at the same time is one transaction."""
        from opsctl.isolation.forwarder import Forwarder
        from opsctl.shells.ssh import SshShell
        from opsctl.shells.ssh_connection import Connection

        spec = self.site.config.hosts[name]
        with self._guard:
            if (name, table) not in self._forwarders:
                self._forwarders[name, table] = Forwarder(
                    name, connect=lambda: SshShell(Connection(self.site.target(name, spec, "ssh-isolation"), self.site.keyring)),
                    table=table)
            return self._forwarders[name, table]

    def _nftables(self, name: str, target: Any) -> Any:
        """Each connection is one of its own: that it can be made is the proof that we are not shut out."""
        from opsctl.isolation.nftables import Nftables
        from opsctl.shells.ssh import SshShell
        from opsctl.shells.ssh_connection import Connection

        with self._guard:
            line = self._many.line()
        return Nftables(name, connect=lambda: SshShell(Connection(target, self.site.keyring, line.turn)), sudo=target.sudo, turn=line.turn)

    @functools.cached_property
    def _many(self) -> Any:
        from opsctl.shells.turns import Turns

        return Turns()

    def _given_isolation(self, name: str, host_key: str, key: str) -> Any:
        from opsctl.shells.ssh_connection import Login, Target

        spec = given_host(name, host_key, key)
        target = Target(name=name, address=spec.address, port=spec.port, user=spec.user, host_key=host_key or None,
                        sudo=spec.user != "root", login=Login(Path(key) if key else None, self.site.environ.get("SSH_AUTH_SOCK")))
        return self._nftables(name, target)

    def prober(self, name: str, driver: Any) -> Any:
        """Who tries whether a host that ``driver`` cuts off can be reached, or reaches anything (``isolation.probes.Prober``)."""
        from opsctl.isolation.probe_scripts import CALLS
        from opsctl.isolation.probes import Prober
        from opsctl.model.probes import endpoint, reachable

        common, spec = self.site.config.isolation, self.site.config.hosts.get(name)
        with self._guard:
            here, ways, others = self._probes_from_here, self._ways_from_here, self._every_address
            witness = self._witness if common.witness not in (None, name) else None

        def enter() -> Answering | None:
            if driver.enforced == "host":
                return driver.asked
            entered = spec is not None and spec.os == "linux" and spec.pinned
            return self.site.on_host(name, "ssh-isolation").plain().answering(CALLS) if entered else None

        # Loopback, by which this machine may be named, is open by intent.
        return Prober(name, addresses=reachable(one for one in self._addresses(name) if "/" not in one), enter=enter, here=here,
                      ways=ways, others=others, listed=spec.addresses if spec else (), shows_its_key=functools.partial(self._shows_its_key, driver),
                      witness=witness, ports=(*common.ports, *(spec.ports if spec else ())),
                      outside=[endpoint(one) for one in common.outside], knock=driver.enforced != "host",
                      gateway=driver.at.name if driver.enforced == "gateway" else None, way_in=self._way_in(driver))

    @staticmethod
    def _way_in(driver: Any) -> Endpoint | None:
        """Where a host that cuts itself off is logged into: with what is asked there, a call of its own would show nothing more."""
        from opsctl.model.probes import Endpoint

        target = getattr(getattr(driver.shell, "connection", None), "target", None) if driver.enforced == "host" else None
        return Endpoint(target.address, target.port) if target is not None else None

    @functools.cached_property
    def _probes_from_here(self) -> Any:
        from opsctl.isolation.calling import Desk, from_here

        return Desk(functools.partial(from_here, self.site.shell))

    @functools.cached_property
    def _ways_from_here(self) -> Any:
        from opsctl.isolation.calling import Desk, ways_from_here

        return Desk(functools.partial(ways_from_here, self.site.shell), apart=_APART)

    @functools.cached_property
    def _every_address(self) -> frozenset[str]:
        """Those that the configuration has for any host. Names are not looked up."""
        from opsctl.model.probes import reachable

        hosts = self.site.config.hosts.values()
        return frozenset(reachable(one for spec in hosts for one in (spec.address, *spec.addresses) if "/" not in one))

    @staticmethod
    def _shows_its_key(driver: Any, place: Endpoint) -> bool:
        """Whether it is the sshd of the host that answers there."""
        from opsctl.shells.ssh_connection import shows_its_key

        target = getattr(getattr(driver.shell, "connection", None), "target", None) if driver.enforced == "host" else None
        return target is not None and shows_its_key(replace(target, address=place.address, port=place.port))

    @functools.cached_property
    def _witness(self) -> Any:
        """The witness, one for all hosts: its sshd serves one connection."""
        from opsctl.isolation.probes import Witness
        from opsctl.model.probes import endpoint

        name = str(self.site.config.isolation.witness)
        return Witness(name, lambda: self.site.on_host(name, "ssh-isolation"), self.site.config.hosts[name].port,
                       [endpoint(one) for one in self.site.config.isolation.outside])

    @functools.cached_property
    def register(self) -> Any:
        """What this machine has cut off (``isolation.register.Register``)."""
        from opsctl.engine.runtime_directory import open_spool
        from opsctl.isolation.register import Register

        other = self.site.state if self.site.place != self.site.state else open_spool(self.site.runtime, self.site.scope)
        return Register(self.site.place / "isolated", other / "isolated" if other is not None else None)
