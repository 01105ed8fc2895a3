"""Hosts of the lab with the ways to cut them off: what the contract of all drivers is tried on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opsctl.isolation.command import Command
from opsctl.isolation.forwarder import Forwarder
from opsctl.isolation.gateway import Gateway
from opsctl.isolation.interface import Driver
from opsctl.isolation.nftables import Nftables
from opsctl.model.isolation import Mark, Order, opening
from opsctl.model.nft_gateway import GATE
from opsctl.shells.interface import Result
from opsctl.shells.local import LocalShell
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Limits
from tests.isolation.clouds import Cloud, region
from tests.isolation.switch import Switch, words
from tests.lab.isolation import Lab, reachable

MARK = Mark(run="20261221-1000-main-7f3a", by="asha", at="2026-12-21T10:00:00+05:30", incident="inc-1")
ORDER = Order(MARK, seconds=60.0)
HELD = Order(MARK, seconds=None)
OTHER = Order(MARK, allow=(opening("in:10.9.9.9:443"),), seconds=60.0)

#: What firewalld, fail2ban and an administrator lay down.
FOREIGN = """
table inet firewalld {
    chain filter_PREROUTING { type filter hook prerouting priority -140; policy accept; }
    chain filter_INPUT { type filter hook input priority 10; policy accept
        ct state { established, related } accept
        iifname "lo" accept
        tcp dport 22 ct state new counter accept
    }
}
table inet f2b-table {
    set addr-set-sshd { type ipv4_addr; flags timeout; elements = { 192.0.2.7 timeout 1h, 192.0.2.8 timeout 10m } }
    chain f2b-chain { type filter hook input priority -1; policy accept; tcp dport 22 ip saddr @addr-set-sshd reject; }
}
"""


class Entered(LocalShell):
    """This machine's shell, on one of the lab's machines."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.machine = name

    def run(self, argv: Sequence[Any], **more: Any) -> Result:
        return super().run(self.lab.inside(self.machine, argv), **more)


@dataclass
class Bed:
    """One host, ``make`` for drivers of it, and ``rules``: what lies where the driver works, as text, without what moves."""

    lab: Lab
    make: Callable[[], Driver]
    rules: Callable[[], str]
    reach: Callable[[], bool]
    clean: Callable[[], None] = lambda: None
    made: list[Driver] = field(default_factory=list)

    def driver(self) -> Driver:
        """A new one, which knows nothing of others."""
        self.made.append(self.make())
        return self.made[-1]

    def close(self) -> None:
        for driver in self.made:
            driver.close()
        self.made.clear()
        self.clean()


_keyring = Keyring()


def shell(lab: Lab, name: str = "h0", **more: Any) -> SshShell:
    """A shell on a connection of its own."""
    quick = {"limits": Limits(connect=2, handshake=10, silence=30)}
    return SshShell(Connection(lab.target(name, **{**quick, **more}), _keyring))


def nftables(lab: Lab, name: str = "h0", **more: Any) -> Nftables:
    """The driver of a host of the lab; ``more`` is of the target: ``user``, ``sudo``, ``address``."""
    return Nftables(name, connect=lambda: shell(lab, name, **more))


def ruleset(lab: Lab, name: str) -> str:
    return lab.run(name, ["nft", "-s", "list", "ruleset"])


def _nftables(lab: Lab, **more: Any) -> Bed:
    lab.run("h0", ["nft", "-f", "-"], stdin=FOREIGN)
    host = lab.hosts["h0"]

    def clean() -> None:
        lab.run("h0", ["nft", "-f", "-"], stdin="".join(
            f"add table {table}\ndelete table {table}\n"
            for table in ("inet firewalld", "inet f2b-table", "inet opsctl_iso", "netdev opsctl_iso")))

    return Bed(lab, lambda: nftables(lab, **more), lambda: ruleset(lab, "h0"),
               lambda: bool(reachable(lab, "outside", [(host.address, 22), (host.address6, 22)])), clean)


def _here(lab: Lab) -> Bed:
    bed = _nftables(lab)
    bed.make = lambda: Nftables("h0", connect=lambda: Entered(lab, "h0"))
    return bed


def gateway(lab: Lab, name: str = "a0", *, table: str = GATE, at: str = "gw", **more: Any) -> Gateway:
    """The driver of a host behind the lab's forwarder; ``more`` is of the target of the one that cuts it off."""
    host = lab.hosts[name]
    where = Forwarder(at, connect=lambda: shell(lab, at, **more), table=table)
    return Gateway(name, addresses=(host.address, host.address6), at=where)


def _gateway(lab: Lab, **more: Any) -> Bed:
    lab.run("gw", ["nft", "-f", "-"], stdin=FOREIGN)
    host = lab.hosts["a0"]

    def rules() -> str:
        """Without what stays after a release: an hour's guard, and rules that ask empty sets."""
        text = lab.run("gw", ["nft", "-s", "list", "ruleset"])
        foreign, found, ours = text.partition(f"table inet {GATE} {{")
        return text if host.address in re.sub(r"\tset guard.*?\n\t}", "", ours, flags=re.DOTALL) else foreign if found else text

    def clean() -> None:
        lab.run("gw", ["nft", "flush", "ruleset"])

    return Bed(lab, lambda: gateway(lab, **more), rules,
               lambda: bool(reachable(lab, "outside", [(host.address, 22), (host.address6, 22)])), clean)


def _command(lab: Lab) -> Bed:
    """A port of the switch that the host is plugged into."""
    folder = TemporaryDirectory(prefix="opsctl-switch-")
    switch, host = Switch(lab, Path(folder.name)), lab.hosts["h0"]

    def clean() -> None:
        switch.close()
        folder.cleanup()

    return Bed(lab, lambda: Command("h0", address=host.address, tool=words(switch.program), shell=LocalShell()),
               lambda: ruleset(lab, "h0") + "".join(f"{port} is shut\n" for port in switch.shut),
               lambda: bool(reachable(lab, "outside", [(host.address, 22), (host.address6, 22)])), clean)


def _aws(lab: Lab) -> Bed:
    """An instance with two interfaces, of which moto tells no more than the groups: none but ours is out of reach."""
    stack = ExitStack()
    cloud = Cloud(stack.enter_context(region()))
    stack.callback(cloud.close)
    instance = cloud.instance()
    cloud.plug(instance)
    before = {name: one["groups"] for name, one in cloud.interfaces(instance).items()}

    def rules() -> str:
        ours = {name: one for name, one in cloud.interfaces(instance).items() if one["tags"] or one["groups"] != before[name]}
        kept = {name: sorted(one["tags"].get("opsctl:groups", "").split()) for name, one in ours.items()}
        found = {name: kept.get(name, one["groups"]) for name, one in cloud.interfaces(instance).items()}
        foreign = [name for name in cloud.names() if not name.startswith("opsctl-")]
        more = [f"{ours} {sorted(set(cloud.names()) - set(foreign))} {cloud.lists()}"] if ours else []
        return "\n".join([f"{found} {foreign}", *more])

    def reach() -> bool:
        names = {one["GroupId"]: one["GroupName"] for one in cloud.client.describe_security_groups()["SecurityGroups"]}
        return any(not names[each].startswith("opsctl-") for one in cloud.interfaces(instance).values() for each in one["groups"])

    return Bed(lab, lambda: cloud.driver(instance), rules, reach, stack.close)


BEDS: dict[str, Callable[[Lab], Bed]] = {
    "nftables": _nftables,
    "nftables-sudo": lambda lab: _nftables(lab, user="ops", sudo=True),
    "nftables-ipv6": lambda lab: _nftables(lab, address=lab.hosts["h0"].address6),
    "nftables-here": _here,
    "gateway": _gateway,
    "gateway-sudo": lambda lab: _gateway(lab, user="ops", sudo=True),
    "command": _command,
    "aws_security_group": _aws,
}
