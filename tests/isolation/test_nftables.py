"""What is cut off by a host's own rules, and what stays: flows, containers, children, raw frames, neighbours, path MTU."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from opsctl.isolation.nftables import Nftables
from opsctl.model.isolation import Opening, Order, opening
from tests.isolation.beds import HELD, MARK, ORDER, nftables, ruleset, shell
from tests.isolation.flows import Flow, alive, dead, flow, open_flows
from tests.isolation.frames import frames, send_tagged
from tests.lab.isolation import Lab, reachable
from tests.lab.waiting import until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.as_root("network namespaces need root"),
    pytest.mark.xdist_group("isolation"),
]


@pytest.fixture
def lab(isolation_lab: Lab) -> Iterator[Lab]:
    before = ruleset(isolation_lab, "h0")
    yield isolation_lab
    for name in ("h0", "h1", "a0"):
        isolation_lab.run(name, ["nft", "-f", "-"], stdin="".join(
            f"add table {family} opsctl_iso\ndelete table {family} opsctl_iso\n" for family in ("inet", "netdev")))
    assert ruleset(isolation_lab, "h0") == before


@pytest.fixture
def h0(lab: Lab) -> Iterator[Nftables]:
    driver = nftables(lab)
    yield driver
    driver.close()


def cut_off(driver: Nftables, order: Order = ORDER) -> None:
    """As the action does it."""
    driver.load(order, driver.observe())
    driver.confirm()


# What is there already

def foreign(lab: Lab) -> list[Flow]:
    """Connections of h0, its container and its macvlan child with outside."""
    h0, outside = lab.hosts["h0"], lab.hosts["outside"]
    child = {4: h0.address.replace(".10.", ".64."), 6: f"{h0.address6}:c"}
    found = []
    for version, at, other in ((4, h0.address, outside.address), (6, h0.address6, outside.address6)):
        found += [
            flow(lab, f"in, v{version}", "outside", "h0", at, near="h0"),
            flow(lab, f"out, v{version}", "h0", "outside", other, near="h0"),
            flow(lab, f"published port, v{version}", "outside", "h0/box", at, near="h0/box", port=80, dialled=8080),
            flow(lab, f"out of the container, v{version}", "h0/box", "outside", other, near="h0/box"),
            flow(lab, f"into the child, v{version}", "outside", "h0/child", child[version], near="h0/child"),
        ]
    return found


def own(lab: Lab) -> list[Flow]:
    """Connections of h0 with itself."""
    h0 = lab.hosts["h0"]
    return [flow(lab, f"h0 with {at}", "h0", "h0", at, near="h0") for at in ("127.0.0.1", "::1", h0.address, h0.address6)]


def test_promise_4_old_connections_stop_at_once_are_dead_after_the_cut_and_never_come_back(lab: Lab, h0: Nftables) -> None:
    with open_flows(foreign(lab)) as theirs, open_flows(own(lab)) as ours:
        everything = [one.name for one in (*theirs, *ours)]
        assert alive([*theirs, *ours]) == everything
        h0.load(ORDER, h0.observe())
        kept = [one.name for one in ours]
        assert alive([*theirs, *ours]) == kept
        h0.confirm()
        assert not any(dead(one.near) for one in theirs)  # that cannot be undone, so not before it is confirmed
        assert h0.observe().connections == len(theirs)
        done = h0.cut(ORDER)
        assert (done.before, done.after, done.notes) == (len(theirs), 0, ())
        assert all(dead(one.near) for one in theirs)
        assert h0.observe().connections == 0
        h0.release()
        assert alive([*theirs, *ours]) == kept
        until(lambda: all(dead(one.far) for one in theirs))


def test_without_the_cut_they_come_back(lab: Lab, h0: Nftables) -> None:
    """What the test above is worth: a drop alone is a pause."""
    with open_flows(foreign(lab)) as theirs:
        cut_off(h0)
        assert alive(theirs) == []
        h0.release()
        until(lambda: len(alive(theirs)) == len(theirs))


def test_new_connections_are_refused_both_ways_and_the_managers_are_not(lab: Lab, h0: Nftables) -> None:
    host, outside = lab.hosts["h0"], lab.hosts["outside"]
    child = [(host.address.replace(".10.", ".64."), 22), (f"{host.address6}:c", 22)]
    ways = {"outside": [(host.address, 22), (host.address6, 22), (host.address, 8080), (host.address6, 8080)],
            "h0": [(outside.address, 22), (outside.address6, 22), (lab.address, 22)],
            "h0/box": [(outside.address, 22), (outside.address6, 22)], "h0/child": [(outside.address, 22), (outside.address6, 22)]}
    with ExitStack() as serving:
        for space, port in (("h0/box", 80), ("h0/child", 22)):
            serve(lab, serving, space, port)
        assert reachable(lab, "outside", child)  # else the children would prove nothing
        cut_off(h0)
        assert {space: reachable(lab, space, places) for space, places in ways.items()} == {space: [] for space in ways}
        assert reachable(lab, "outside", child) == []
    again = nftables(lab)
    assert again.observe().standing == "isolated"
    again.close()


def serve(lab: Lab, stack: ExitStack, space: str, port: int) -> socket.socket:
    """A TCP port, of both versions, that takes connections."""
    with lab.within(space):
        return stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))


def test_who_is_let_through_comes_through_and_cannot_be_called(lab: Lab, h0: Nftables) -> None:
    host, outside, manager = lab.hosts["h0"], lab.hosts["outside"], lab.hosts["manager"]
    order = replace(ORDER, managers=(manager.address6,), allow=(Opening(outside.address6, 22, direction="out"),))
    with open_flows([flow(lab, "out", "h0", "outside", outside.address6, near="h0")]) as theirs:
        cut_off(h0, order)
        assert reachable(lab, "manager", [(host.address6, 22), (host.address, 22)]) == [(host.address6, 22)]
        assert reachable(lab, "h0", [(manager.address6, 22), (outside.address6, 22), (outside.address, 22)]) == [(outside.address6, 22)]
        assert reachable(lab, "outside", [(host.address6, 22)]) == []
        assert alive(theirs) == []
        assert h0.cut(order).after == 0
    with ExitStack() as serving:
        serve(lab, serving, "outside", 8000)
        store = replace(ORDER, profile="backup-only", allow=(Opening(outside.address6, 8000, direction="out"),))
        cut_off(h0, store)
        assert reachable(lab, "h0", [(outside.address6, 8000), (outside.address6, 22)]) == [(outside.address6, 8000)]


def test_a_connection_that_is_let_through_outlives_the_cut(lab: Lab, h0: Nftables) -> None:
    outside, host = lab.hosts["outside"], lab.hosts["h0"]
    both = [flow(lab, "let out", "h0", "outside", outside.address, near="h0", port=8000),
            flow(lab, "let in", "outside", "h0", host.address6, near="h0", port=8443),
            flow(lab, "neither", "outside", "h0", host.address, near="h0", port=8444)]
    order = replace(ORDER, allow=(opening(f"out:{outside.address}:8000"), opening(f"in:[{outside.address6}]:8443")))
    with open_flows(both):
        cut_off(h0, order)
        assert h0.observe().connections == 1
        done = h0.cut(order)
        assert (done.before, done.after) == (1, 0)
        assert alive(both) == ["let out", "let in"]
        assert h0.observe().connections == 0


# The profile that lets the host itself call others

def test_outbound_only_lets_it_call_and_nobody_in(lab: Lab, h0: Nftables) -> None:
    host, outside = lab.hosts["h0"], lab.hosts["outside"]
    order = replace(ORDER, profile="outbound-only", allow=(opening(f"out:udp:{outside.address}:53"),))
    with ExitStack() as serving, open_flows([
        flow(lab, "called", "h0", "outside", outside.address, near="h0"), flow(lab, "called, v6", "h0", "outside", outside.address6, near="h0"),
    ]) as called:
        served = serve(lab, serving, "h0", 9000)
        with lab.within("outside"):
            caller = socket.create_connection((host.address6, 9000))
        answer, _ = served.accept()
        came = Flow("came", answer, caller)
        for end in (caller, answer):
            end.setblocking(False)
        with open_flows([came]):
            assert alive([*called, came]) == ["called", "called, v6", "came"]
            cut_off(h0, order)
            assert alive([*called, came]) == ["called", "called, v6"]
            assert h0.observe().connections == 1
            assert h0.cut(order).after == 0
            assert dead(answer) and alive(called) == ["called", "called, v6"]
        assert reachable(lab, "outside", [(host.address, 22), (host.address6, 22), (host.address6, 9000)]) == []
        places = [(outside.address, 22), (outside.address6, 22)]
        assert reachable(lab, "h0", places) == places
        assert [udp(lab, "h0", outside.address, port) for port in (53, 54)] == [True, False]


def udp(lab: Lab, caller: str, address: str, port: int) -> bool:
    """Whether a word comes to a UDP port of outside, and one back."""
    with lab.within("outside"):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lab.within(caller):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("", port))
        for end in (server, client):
            end.settimeout(0.4)
        try:
            client.sendto(b"?", (address, port))
            _, back = server.recvfrom(10)
            server.sendto(b"!", back)
            return client.recv(10) == b"!"
        except OSError:
            return False


# What rules for IP alone do not see

def test_raw_frames_and_dhcp_are_stopped_at_the_port_and_dhcp_passes_where_it_is_asked_for(lab: Lab, h0: Nftables) -> None:
    sent = {"raw": (40000, 40001), "asks": (68, 67)}
    back = {"answers": (67, 68)}
    assert frames(lab, "h0", "outside", sent) == {"raw", "asks", "arp"} and frames(lab, "outside", "h0", back) == {"answers", "arp"}
    cut_off(h0)
    assert frames(lab, "h0", "outside", sent) == {"arp"} and frames(lab, "outside", "h0", back) == {"arp"}
    cut_off(h0, replace(ORDER, dhcp=True))
    assert frames(lab, "h0", "outside", sent) == {"asks", "arp"} and frames(lab, "outside", "h0", back) == {"answers", "arp"}


def test_an_address_that_is_leased_is_told_with_the_time_that_is_left(lab: Lab) -> None:
    driver = nftables(lab, "h1")
    assert driver.observe().facts.leased is None
    lab.run("h1", ["ip", "addr", "add", "198.18.7.7/24", "dev", "eth0", "valid_lft", "600", "preferred_lft", "600"])
    assert 0 < (driver.observe().facts.leased or 0) <= 600
    lab.run("h1", ["ip", "addr", "delete", "198.18.7.7/24", "dev", "eth0"])
    driver.close()


def test_an_interface_that_comes_later_is_cut_off_and_said_to_be_cut_off_in_part(lab: Lab, h0: Nftables) -> None:
    cut_off(h0)
    assert h0.observe().partial == ()
    lab.cable("h0", "outside", "late")
    try:
        for name, end in (("h0", 1), ("outside", 2)):
            lab.run(name, ["ip", "addr", "add", f"198.18.9.{end}/24", "dev", "late"])
            lab.run(name, ["ip", "link", "set", "late", "up"])
        assert reachable(lab, "outside", [("198.18.9.1", 22)]) == []
        stand = h0.observe()
        assert (stand.standing, stand.partial) == ("isolated", ("no rules on late, which is new",))
        cut_off(h0)
        assert h0.observe().partial == ()
    finally:
        lab.run("h0", ["ip", "link", "delete", "late"])
    h0.release()


# The manager's own way in

def test_ipv6_is_found_again_when_neighbours_are_forgotten(lab: Lab) -> None:
    driver = nftables(lab, address=lab.hosts["h0"].address6)
    cut_off(driver)
    driver.close()
    lab.run("h0", ["ip", "neigh", "flush", "all"])
    lab.here(["ip", "neigh", "flush", "dev", f"opsiso{lab.number}"])
    assert driver.observe().standing == "isolated"
    driver.close()


@pytest.mark.parametrize("version", [4, 6])
def test_much_output_comes_over_a_way_that_takes_small_packets_only(lab: Lab, version: int) -> None:
    host = lab.hosts["a0"]
    address = host.address if version == 4 else host.address6
    driver = nftables(lab, "a0", address=address)
    narrow = [lab.address if version == 4 else lab.address6, "dev", "eth0", "mtu", "lock", "1280"]
    lab.run("gw", ["ip", "route", "add", *narrow])
    try:
        cut_off(driver)
        with (there := shell(lab, "a0", address=address)).connection:
            assert len(there.run(["seq", "60000"], timeout=20).stdout) == 348894
    finally:
        driver.close()
        lab.run("gw", ["ip", "route", "delete", *narrow])


def test_a_manager_that_comes_over_a_vlan_stays(lab: Lab, h0: Nftables) -> None:
    """Frames with a tag are seen as what is in them. Where the kernel knows VLANs the whole way is gone."""
    cut_off(h0)
    lab.run("h0", ["nft", "-f", "-"], stdin="""table netdev seen { chain in { type filter hook ingress device "eth0" priority -400
        vlan id 5 tcp dport 22 counter
    }
}
""")
    try:
        for source in (lab.hosts["outside"].address, lab.address):
            send_tagged(lab, source)
        until(lambda: " packets 0 " not in lab.run("h0", ["nft", "list", "table", "netdev", "seen"]))
        assert "counter packets 1 " in lab.run("h0", ["nft", "list", "table", "netdev", "seen"])  # the manager's, which was sent last
    finally:
        lab.run("h0", ["nft", "delete", "table", "netdev", "seen"])
    link, vlan = f"opsiso{lab.number}", ["type", "vlan", "id", "5"]
    if subprocess.run(["ip", "link", "add", "link", link, "name", f"{link}.5", *vlan], capture_output=True, check=False).returncode:
        return
    h0.release()
    driver = nftables(lab, address="198.18.8.2")
    try:
        lab.here(["ip", "addr", "add", "198.18.8.1/24", "dev", f"{link}.5"])
        lab.here(["ip", "link", "set", f"{link}.5", "up"])
        lab.run("h0", ["ip", "link", "add", "link", "eth0", "name", "eth0.5", *vlan])
        lab.run("h0", ["ip", "addr", "add", "198.18.8.2/24", "dev", "eth0.5"])
        lab.run("h0", ["ip", "link", "set", "eth0.5", "up"])
        stand = driver.observe()
        assert stand.facts.manager == "198.18.8.1" and stand.facts.devices == ("eth0",)
        cut_off(driver)
        assert driver.observe().standing == "isolated"
        driver.release()
    finally:
        driver.close()
        lab.here(["ip", "link", "delete", f"{link}.5"])
        lab.run("h0", ["ip", "link", "delete", "eth0.5"], check=False)


LABELLED = r"""
import socket, struct, sys

def part(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

place = socket.inet_aton("192.0.2.1")
said = struct.pack("BBBBI", 2, 32, 0, 0, 1) + part(2, place) + part(1, place) + part(3, sys.argv[1].encode() + b"\0")
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
    kernel.bind((0, 0))
    kernel.send(struct.pack("IHHII", 16 + len(said), 20, 0x605, 1, 0) + said)
    assert struct.unpack("i", kernel.recv(4096)[16:20]) == (0,)
"""


@pytest.mark.parametrize("name", ["\n== sockets\n", "\n== space\n"])
def test_promise_4_who_owns_a_container_hides_no_connection_by_what_an_address_is_called(lab: Lab, h0: Nftables, name: str) -> None:
    outside = lab.hosts["outside"].address
    with open_flows([flow(lab, f"out of {space}", space, "outside", outside, near=space) for space in ("h0", "h0/box", "h0/child")]):
        cut_off(h0)
        assert h0.observe().connections == 3
        lab.run("h0/box", ["python3", "-c", LABELLED, name])
        try:
            assert (h0.observe().connections, h0.cut(ORDER).after) == (None, None)
        finally:
            lab.run("h0/box", ["ip", "addr", "del", "192.0.2.1/32", "dev", "lo"])


def test_promise_4_who_owns_a_container_hides_no_connection_by_taking_the_address_of_its_peer(lab: Lab, h0: Nftables) -> None:
    outside = lab.hosts["outside"].address
    with open_flows([flow(lab, "out of the container", "h0/box", "outside", outside, near="h0/box")]):
        lab.run("h0/box", ["ip", "addr", "add", f"{outside}/32", "dev", "lo"])
        try:
            cut_off(h0)
            assert (h0.observe().connections, h0.cut(ORDER).after) == (1, 1)
        finally:
            lab.run("h0/box", ["ip", "addr", "del", f"{outside}/32", "dev", "lo"])
        assert h0.cut(ORDER).after == 0


def test_a_manager_that_comes_by_a_link_local_address_stays(lab: Lab) -> None:
    own_address = lab.run("h0", ["ip", "-o", "-6", "addr", "show", "dev", "eth0", "scope", "link"]).split()[3].split("/")[0]
    driver = nftables(lab, address=f"{own_address}%opsiso{lab.number}")
    stand = driver.observe()
    assert (stand.facts.manager or "").startswith("fe80::") and "%" not in (stand.facts.manager or "")
    cut_off(driver)
    assert driver.observe().standing == "isolated" and driver.cut(HELD).after == 0
    driver.release()
    driver.close()


def test_a_port_that_is_forwarded_to_sshd_is_the_one_of_sshd(lab: Lab, h0: Nftables) -> None:
    cut_off(h0, Order(MARK, port=2222))
    assert h0.observe().standing == "isolated"
