"""Probes of hosts that are cut off, and of some that only seem to be, on real sshds and real nft."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from opsctl.actions.isolating import shown
from opsctl.isolation.calling import Answer, Desk, from_here, ways_from_here
from opsctl.isolation.forwarder import Forwarder
from opsctl.isolation.gateway import Gateway
from opsctl.isolation.nftables import Nftables
from opsctl.isolation.probe_scripts import CALLS
from opsctl.isolation.probes import Prober, Witness
from opsctl.model.isolation import Mark, Opening, Order, Stand
from opsctl.model.nft_rules import FAMILIES
from opsctl.model.probes import PLACES, Endpoint, Matrix
from opsctl.shells.interface import Result
from opsctl.shells.local import LocalShell
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Limits, shows_its_key
from tests.lab.isolation import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("probes"),
]

ORDER = Order(Mark("20261221-1000", "asha", "2026-12-21T10:00:00+05:30"), seconds=None)
WAYS = Desk(functools.partial(ways_from_here, LocalShell()))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(2, box=["h0"]) as made:
        yield made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the lab nothing is lost on the way."""
    monkeypatch.setattr("opsctl.isolation.calling.WITHIN", 0.6)


class Entered(LocalShell):
    """Commands of this machine, run on one of the lab's."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.machine = name

    def run(self, argv: Sequence[Any], **more: Any) -> Result:
        return super().run(self.lab.inside(self.machine, argv), **more)


class Probed:
    """The host h0, its driver, and its prober."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = lab.hosts["h0"]
        self.keyring = Keyring()
        self.driver = Nftables("h0", connect=lambda: self.shell("h0"))
        self.outside = [Endpoint(lab.hosts["manager"].address, 22), Endpoint(lab.hosts["manager"].address6, 22)]

    def shell(self, name: str, **more: Any) -> SshShell:
        return SshShell(Connection(self.lab.target(name, **more), self.keyring))

    def witness(self, **more: Any) -> Witness:
        return Witness("outside", lambda: self.shell("outside", **more), 22, self.outside)

    def cut_off(self, order: Order = ORDER) -> None:
        self.driver.load(order, self.driver.observe())

    def probe(
        self, order: Order = ORDER, witness: Witness | None = None, here: Desk[Endpoint, Answer] | None = None, stand: Stand | None = None,
        listed: Sequence[str] = (),
    ) -> Matrix:
        target = self.driver.shell.connection.target  # type: ignore[attr-defined]
        prober = Prober("h0", addresses=[target.address], listed=listed, enter=lambda: self.driver.asked, here=here or Desk(functools.partial(from_here, LocalShell())),
                        ways=WAYS, witness=witness, ports=(22, 80, 443), outside=self.outside,
                        shows_its_key=lambda place: shows_its_key(replace(target, address=place.address, port=place.port)))
        return prober.probe(order, stand or self.driver.observe(), before=0, after=0)


@pytest.fixture
def h0(lab: Lab) -> Iterator[Probed]:
    kept = lab.run("h0", ["nft", "list", "tables"])
    found = Probed(lab)
    yield found
    for line in lab.run("h0", ["nft", "list", "tables"]).splitlines():
        if line not in kept:
            lab.run("h0", ["nft", "delete", *line.split()])
    found.driver.close()


def test_a_host_that_is_cut_off_is_proven_so_on_both_versions(h0: Probed) -> None:
    h0.cut_off()
    found = h0.probe(witness=h0.witness())
    assert (found.verdict, found.wrong, found.gaps, found.notes) == ("proven", (), (), ())
    places = {(one.place, one.to.version) for one in found.look.probes if one.outcome == "silent"}
    assert places == {(place, version) for place in ("here", "witness", "out") for version in (4, 6)}
    login = [one for one in found.look.probes if one.to == Endpoint(h0.host.address, 22)]
    assert {(one.place, one.outcome) for one in login} == {("here", "open"), ("witness", "silent")}
    assert not [one for one in found.look.probes if one.to.address.startswith("172.17.")]


def test_without_a_witness_and_a_place_outside_it_is_tried_from_the_host_to_here(h0: Probed, lab: Lab) -> None:
    h0.outside = []
    opened = h0.probe()
    assert {str(one.probe.to) for one in opened.findings if one.probe.place == "out"} == {
        f"{lab.address}:22", f"[{lab.address6}]:22"}
    h0.cut_off()
    found = h0.probe()
    assert (found.verdict, found.gaps, found.notes) == ("proven", (), ("no witness",))


def test_a_host_that_is_open_is_found_from_every_side(h0: Probed) -> None:
    found = h0.probe(witness=h0.witness())
    assert found.verdict == "open"
    assert {found.cell(place, version) for place in ("here", "witness") for version in (4, 6)} == {
        "OPEN 22, answers 80, answers 443", "answers 80, answers 443"}
    assert "OPEN 22" in found.cell("out", 4) and "OPEN 22" in found.cell("out", 6)


def test_a_hole_in_the_rules_is_found_with_the_rule_that_makes_it(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    outside = lab.hosts["outside"].address
    for chain, rule in (("iso_in", f"ip saddr {outside} tcp dport 22"), ("iso_out", f"ip daddr {outside} tcp sport 22")):
        for family in FAMILIES:
            lab.run("h0", ["nft", "insert", "rule", family, "opsctl_iso", chain, *rule.split(), "accept"])
    found = h0.probe(witness=h0.witness())
    assert [(str(one), one.rule) for one in found.findings] == [
        (f"port 22 of {h0.host.address} is open from the witness, over IPv4: let through by "
         f"`ip saddr {outside} tcp dport 22 accept`", f"ip saddr {outside} tcp dport 22 accept")]

    # Only whoever looks from there again finds it shut.
    first = shown(found, None, "2026-12-12T02:30:00+05:30")
    assert first.verdict == "open" and (first.ports, first.places) == ((22,), ("witness",))
    h0.cut_off()
    for witness in (None, h0.witness(address=lab.silent, limits=Limits(connect=0.5))):
        assert shown(h0.probe(witness=witness), first, "2026-12-12T02:40:00+05:30") == first
    again = shown(h0.probe(witness=h0.witness()), first, "2026-12-12T02:40:00+05:30")
    assert (again.verdict, again.findings, again.at) == ("proven", (), "2026-12-12T02:40:00+05:30")


def test_what_was_allowed_is_open_and_no_finding(h0: Probed, lab: Lab) -> None:
    outside, manager = lab.hosts["outside"].address, lab.hosts["manager"].address
    order = replace(ORDER, allow=(Opening(outside, 22), Opening(manager, 22, direction="out")))
    h0.cut_off(order)
    found = h0.probe(order, h0.witness())
    assert found.verdict == "proven"
    assert {one.place for one in found.look.probes if one.outcome == "open"} == {"here", "witness", "out"}


def test_rules_that_forget_a_version_are_found(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    for family, six in (("inet", "ipv6"), ("netdev", "ip6")):
        lab.run("h0", ["nft", "delete", "element", family, "opsctl_iso", "armed", f"{{ {six} }}"])
    found = h0.probe(witness=h0.witness())
    assert found.verdict == "open" and {one.probe.to.version for one in found.findings} == {6}
    assert {one.probe.place for one in found.findings} == {"here", "witness", "out"}


@pytest.mark.parametrize(("how", "verdict"), [("reject with icmpx admin-prohibited", "partial"),
                                              ("meta l4proto tcp reject with tcp reset", "open")])
def test_of_rules_that_answer_a_reset_is_an_answer_and_a_word_is_none(
    h0: Probed, lab: Lab, how: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Over a cable this short the word comes back while the call is still being made, and then the kernel forgets it.
    monkeypatch.setattr("opsctl.isolation.calling.WITHIN", 1.5)
    keep = f"ip saddr {lab.address} tcp dport 22 accept"
    lab.run("h0", ["nft", "-f", "-"], stdin=f"""table inet other {{
        chain pre {{ type filter hook input priority -300; iif lo accept; {keep}; icmpv6 type nd-neighbor-advert accept
            icmpv6 type nd-neighbor-solicit accept; ct state established accept; {how}
        }}
    }}""")
    # Otherwise the kernel leaves some of the words out.
    lab.run("h0", ["sh", "-c", "echo 0 >/proc/sys/net/ipv6/icmp/ratelimit; echo 0 >/proc/sys/net/ipv4/icmp_ratelimit"])
    before = h0.driver.observe()
    found = h0.probe()
    assert found.verdict == "open"  # for it reaches everything itself
    ours = [one for one in found.findings if one.probe.place != "out"]
    assert bool(ours) == (verdict == "open") and before.standing == "open"
    if verdict == "partial":  # over IPv4 a port that is let through shows that the way is good, over IPv6 nothing does
        assert found.gaps == ("IPv6 was not probed: a firewall or a broken way said that there is none",)


@pytest.mark.parametrize("tool", ["python3", "bash", "none"])
def test_the_witness_uses_what_it_has(h0: Probed, lab: Lab, tool: str) -> None:
    h0.cut_off()
    outside = lab.hosts["outside"]
    outside.put("python3", f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} "$@"\n' if tool == "python3" else "#!/bin/sh\nexit 127\n")
    if tool == "none":
        lab.run("outside", ["mount", "--bind", "/dev/null", "/usr/bin/bash"])
    try:
        cut_off = h0.probe(witness=h0.witness())
        h0.driver.release()
        opened = h0.probe(witness=h0.witness())
    finally:
        outside.drop("python3")
        if tool == "none":
            lab.run("outside", ["umount", "/usr/bin/bash"])
    if tool == "none":
        assert cut_off.verdict == "partial"
        assert cut_off.gaps == ("the witness outside could not look: outside has no tool to try with: neither python3 nor bash",)
        assert cut_off.cell("witness", 4) == "not probed"
    else:
        assert (cut_off.verdict, cut_off.gaps) == ("proven", ())
        assert opened.cell("witness", 4) == opened.cell("witness", 6) == "OPEN 22, answers 80, answers 443"
        assert {bool(one.source) for one in cut_off.look.probes if one.place == "witness"} == {tool == "python3"}


def test_a_host_without_any_tool_is_proven_only_from_outside(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    h0.host.put("python3", "#!/bin/sh\nexit 127\n")
    lab.run("h0", ["mount", "--bind", "/dev/null", "/usr/bin/bash"])
    try:
        found = h0.probe(witness=h0.witness())
    finally:
        lab.run("h0", ["umount", "/usr/bin/bash"])
        h0.host.drop("python3")
    assert found.gaps == ("nothing was tried from it: h0 has no tool to try with: neither python3 nor bash",)
    assert found.cell("witness", 6) == "silent" and found.cell("out", 6) == "not probed"


def test_a_witness_that_does_not_answer_makes_the_proof_partial(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    found = h0.probe(witness=h0.witness(address=lab.silent, limits=Limits(connect=0.5)))
    assert found.verdict == "partial"
    assert found.gaps == (f"the witness outside could not look: outside ({lab.silent}) did not answer within 0.5 seconds",)


def test_a_witness_that_is_cut_off_itself_proves_nothing(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    witness = Nftables("outside", connect=lambda: h0.shell("outside"))
    witness.load(ORDER, witness.observe())
    try:
        found = h0.probe(witness=h0.witness())
    finally:
        witness.release()
        witness.close()
    assert found.cell("witness", 4) == found.cell("witness", 6) == "not probed"
    assert found.verdict == "partial" and found.gaps == (
        "the witness outside could not try: outside reaches nothing over IPv4, not even what it should, "
        "outside reaches nothing over IPv6, not even what it should",)


def test_a_version_that_nobody_has_a_way_for_is_not_probed(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    lab.run("h1", ["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"])

    def from_h1(targets: Sequence[Endpoint]) -> Sequence[Answer]:
        with lab.within("h1"):
            return from_here(Entered(lab, "h1"), targets)

    found = h0.probe(here=Desk(from_h1))
    assert found.verdict == "partial" and found.gaps == ("IPv6 was not probed: there is no address to call from",)
    assert found.cell("here", 4) == "silent" and found.cell("here", 6) == "not probed"


def test_without_a_router_nothing_was_probed(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    lab.run("h1", ["sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip addr flush dev eth0; "
                               f"ip addr add {lab.hosts['h1'].address}/32 dev eth0; "
                               f"ip route add default via {lab.silent} dev eth0 onlink"])

    def from_h1(targets: Sequence[Endpoint]) -> Sequence[Answer]:
        with lab.within("h1"):
            return from_here(Entered(lab, "h1"), targets)

    found = h0.probe(here=Desk(from_h1))
    assert "IPv4 was not probed: the router on the way does not answer" in found.gaps


@pytest.mark.parametrize("honest", [True, False])
def test_an_address_of_somebody_else_is_no_finding_and_a_far_one_is_not_called(h0: Probed, lab: Lab, honest: bool) -> None:
    theirs = lab.hosts["outside"].address
    lab.here(["ip", "route", "add", "203.0.113.77", "dev", "lo"])  # nothing that is sent there leaves this machine
    if honest:  # networks of its own that are others where we stand
        lab.run("h0", ["sh", "-c", f"ip addr add {theirs}/32 dev lo && ip addr add 203.0.113.77/32 dev lo"])
    else:
        h0.host.put("ip", f'#!/bin/sh\n/sbin/ip "$@"; code=$?\necho "7: eth9    inet 203.0.113.77/32 scope global eth9"\n'
                          f'echo "7: eth9    inet {theirs}/32 scope global eth9"\nexit $code\n')
    try:
        h0.cut_off()
        stand = h0.driver.observe()
        found = h0.probe(stand=stand)
    finally:
        if honest:
            lab.run("h0", ["sh", "-c", f"ip addr del {theirs}/32 dev lo; ip addr del 203.0.113.77/32 dev lo"])
        h0.host.drop("ip")
        lab.here(["ip", "route", "del", "203.0.113.77", "dev", "lo"])
    assert {theirs, "203.0.113.77"} <= set(stand.facts.addresses)
    called = {one.to.address for one in found.look.probes if one.place != "out"}
    assert called == {h0.host.address, h0.host.address6, theirs} and found.as_json()["not_called"] == ["203.0.113.77"]
    assert found.verdict == "partial" and found.wrong == () and found.gaps == (
        f"{theirs} is its own only by its own word, and nothing shows that it is this host that answers there (answering: 22, 80, 443); "
        "if it is, list it under addresses:",)


def test_another_port_of_the_host_is_known_by_its_key_and_one_of_another_host_is_not(lab: Lab) -> None:
    target = lab.target("h0")
    assert shows_its_key(target) and shows_its_key(replace(target, address=lab.hosts["h0"].address6))
    assert not shows_its_key(replace(target, address=lab.hosts["outside"].address)) and not shows_its_key(replace(target, port=9))


def test_a_host_behind_a_forwarded_port_is_judged_by_that_port_alone(h0: Probed, lab: Lab) -> None:
    before = lab.hosts["manager"]
    lab.run("manager", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
    lab.run("manager", ["nft", "-f", "-"], stdin=f"""table ip forwarder {{
        chain in {{ type nat hook prerouting priority -100; tcp dport 2222 dnat to {h0.host.address}:22; }}
        chain out {{ type nat hook postrouting priority 100; ip daddr {h0.host.address} masquerade; }}
    }}""")
    h0.driver = Nftables("h0", connect=lambda: h0.shell("h0", address=before.address, port=2222))
    order = replace(ORDER, port=2222)
    try:
        h0.cut_off(order)
        found = h0.probe(order)
        claimed = h0.probe(order, listed=[before.address])
        h0.driver.release()
        opened = h0.probe(order)
    finally:
        h0.driver.close()
        lab.run("manager", ["sh", "-c", "nft delete table ip forwarder; echo 0 >/proc/sys/net/ipv4/ip_forward"])
    gap = (f"only port 2222 of {before.address} was judged: by its own word that address is none of its own, so that a machine before it has "
           "the other ports (answering: 22, 80, 443); if it is its own, list it under addresses:")
    assert (found.verdict, found.wrong) == ("partial", ()) and gap in found.gaps
    assert claimed.verdict == "open" and {one.probe.to.address for one in claimed.findings} == {before.address}
    assert {one.probe.to.address for one in opened.findings if one.probe.place == "here"} == {h0.host.address, h0.host.address6}


def test_a_host_that_died_is_not_proven(h0: Probed, lab: Lab) -> None:
    h0.cut_off()
    stand = h0.driver.observe()
    h0.driver.close()
    lab.run("h0", ["ip", "link", "set", "eth0", "down"])
    found = h0.probe(stand=stand)
    assert found.verdict == "partial" and "it gave no sign of life, and a machine that is off looks the same" in found.gaps


def test_at_a_gateway_counts_only_what_passes_it() -> None:
    with Lab(0, zones={"a": 2}) as lab:
        keyring = Keyring()
        a0 = lab.hosts["a0"]
        outside = [Endpoint(lab.hosts["manager"].address, 22), Endpoint(lab.hosts["manager"].address6, 22)]
        first = [a0.address, a0.address6]
        at = Forwarder("gw", connect=lambda: SshShell(Connection(lab.target("gw"), keyring)))
        driver = Gateway("a0", addresses=(a0.address, a0.address6), at=at)
        host = SshShell(Connection(lab.target("a0"), keyring))

        def probe(witness: str, enter: bool = True) -> Matrix:
            other = Witness(witness, lambda: SshShell(Connection(lab.target(witness), keyring)), 22, outside)
            prober = Prober("a0", addresses=first, enter=lambda: host.answering(CALLS) if enter else None, knock=True,
                            here=Desk(functools.partial(from_here, LocalShell())), ways=WAYS, witness=other, ports=(22, 443),
                            outside=outside, gateway="gw")
            stand = driver.observe()
            told = replace(stand.facts, addresses=tuple(first))
            return prober.probe(ORDER, replace(stand, partial=(), facts=told), before=0, after=0)

        assert probe("outside").cell("witness", 4) == "OPEN 22, answers 443"
        first.pop()  # what the gateway does not know, the host tells where it is entered
        driver.load(ORDER, driver.observe())
        found = probe("outside")
        assert (found.verdict, found.wrong, found.gaps) == ("proven", (), ())
        assert all(found.cell(place, version) == "silent" for place in PLACES for version in (4, 6))
        neighbour = probe("a1", enter=False)
        assert neighbour.verdict == "partial" and neighbour.cell("witness", 4) == "not probed"
        assert neighbour.gaps == ("the witness a1 could not try: what is on its own segment does not pass gw",
                                  "nothing was tried from it, for it is not entered")
        host.connection.close()
        at.close()
