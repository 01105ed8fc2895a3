"""Hosts of the lab with the ways to cut them off: what the contract of all drivers is tried on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsctl.isolation.interface import Driver
from opsctl.isolation.nftables import Nftables
from opsctl.model.isolation import Mark, Order, opening
from opsctl.shells.interface import Result
from opsctl.shells.local import LocalShell
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Limits
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


BEDS: dict[str, Callable[[Lab], Bed]] = {
    "nftables": _nftables,
    "nftables-sudo": lambda lab: _nftables(lab, user="ops", sudo=True),
    "nftables-ipv6": lambda lab: _nftables(lab, address=lab.hosts["h0"].address6),
    "nftables-here": _here,
}
