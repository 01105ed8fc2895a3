"""A host cut off by the machine that forwards for it: real nft, real connections."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from opsctl.errors import NotConverged, ProgramFailed, SafetyRefusal
from opsctl.isolation import together
from opsctl.isolation.forwarder import Forwarder
from opsctl.isolation.gateway import Gateway
from opsctl.model import nft_gateway
from opsctl.model.isolation import Mark, Order, opening
from opsctl.model.nft_gateway import Wish
from tests.isolation.forwarding import Forwarding
from tests.lab.sshd import until

pytestmark = pytest.mark.as_root("network namespaces need root")

ORDER = Order(Mark("20261212-0230-isolate-7f3a", "asha", "2026-12-12T02:30:00+05:30", "inc-2026-1"), seconds=60)
HELD = replace(ORDER, seconds=None)
RESET = "ConnectionResetError"
A1 = "10.61.250.1"


@pytest.fixture(scope="module")
def _lab() -> Iterator[Forwarding]:
    with Forwarding() as lab:
        yield lab


@pytest.fixture
def lab(_lab: Forwarding, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forwarding]:
    monkeypatch.setattr(together, "WAIT", 0.005)  # most ask alone here
    for address in ("10.61.0.1", "fd61::1"):  # the gateway knows both addresses of a1
        _lab.agent("a1").join({address: A1 if "." in address else "fd61::a1"}, address)
    for each in ("out", "a1", "b"):  # what a test before left half closed would go on sending, and be a flow again
        _lab.run(each, "ss", "-K", "-t", "state", "connected")
    _lab.run("gw", "conntrack", "-F")
    _lab.log_in()
    yield _lab
    for table in ("opsctl_gate", "opsctl_door"):
        _lab.run("gw", "nft", "delete", "table", "inet", table, check=False)


def a1(at: Forwarder, name: str = "a1") -> Gateway:
    return Gateway(name, addresses=(A1,), at=at)


def isolate(driver: Gateway, order: Order = ORDER) -> None:
    driver.load(order, driver.observe())
    driver.confirm()
    driver.cut(order)


@pytest.mark.parametrize("loose", ["1", "0"])
def test_live_connections_are_reset_new_ones_do_not_pass_and_idle_ones_are_dead_after_the_release(
    lab: Forwarding, loose: str
) -> None:
    lab.run("gw", "sysctl", "-qw", f"net.netfilter.nf_conntrack_tcp_loose={loose}")
    out, host, other = lab.agent("out"), lab.agent("a1"), lab.agent("b")
    begun = {**host.join({"4": A1, "idle": A1}, "10.60.0.2"), **host.join({"6": "fd61::a1", "idle6": "fd61::a1"}, "fd60::2"),
             **host.join({"gw": A1}, "10.62.0.2"), **other.join({"b": "10.62.0.2"}, "10.60.0.2")}
    assert set({**begun, **out.join({"forwarded": "10.60.0.2"}, "10.60.0.1", 8080)}.values()) == {"alive"}
    foreign = lab.foreign()
    other.stream("10.60.0.2")
    at, _ = lab.forwarder()
    driver = a1(at)
    before = driver.observe()
    assert (before.standing, before.connections) == ("open", 6)

    driver.load(ORDER, before)
    loaded = driver.observe()
    assert loaded.standing == "armed" and 0 < (loaded.left or 0) <= 60
    driver.confirm()
    assert set(host.tick(["4", "6"]).values()) == set(out.tick(["forwarded"]).values()) == {RESET}
    assert driver.cut(ORDER).after == 0
    stand = driver.observe()
    assert (stand.standing, stand.left, stand.connections) == ("isolated", None, 0)
    assert (stand.mark, stand.digest) == (ORDER.mark, ORDER.digest)
    assert stand.partial == ("hosts of its own segment still reach it: that does not pass gw",)
    tried = {**host.each({"out": (A1, "10.60.0.2", 7), "out6": ("fd61::a1", "fd60::2", 7), "zone": (A1, "10.62.0.2", 7),
                          "gateway": (A1, "10.61.0.1", 7)}),
             **out.each({"in": ("10.60.0.2", A1, 7), "in6": ("fd60::2", "fd61::a1", 7), "forwarded": ("10.60.0.2", "10.60.0.1", 8080)})}
    assert set(tried.values()) == {"silent"}
    assert other.tick(["b"]) == {"b": "alive"}

    driver.release()
    assert driver.observe().standing == "open"
    assert set(host.tick(["idle", "idle6"]).values()) == {RESET}
    after = {**host.join({"4": A1}, "10.60.0.2"), **host.join({"6": "fd61::a1"}, "fd60::2"),
             **out.join({"forwarded": "10.60.0.2"}, "10.60.0.1", 8080)}
    assert set(after.values()) == {"alive"}
    assert set({**host.tick(["4", "6"]), **out.tick(["forwarded"]), **other.tick(["b"])}.values()) == {"alive"}
    sent, missing = other.lost()
    assert sent > 100 and missing == 0
    assert lab.foreign() == foreign


def test_where_nothing_is_tracked_nobody_says_that_no_connection_is_left(lab: Forwarding) -> None:
    lab.agent("out")
    assert lab.agent("a1").join({"4": A1}, "10.60.0.2") == {"4": "alive"}
    lab.run("gw", "conntrack", "-F")  # not even the one that it is asked over
    at, _ = lab.forwarder()
    driver = a1(at)
    assert driver.observe().connections is None
    driver.load(ORDER, driver.observe())
    driver.confirm()
    done = driver.cut(ORDER)
    assert (done.before, done.after) == (None, None) and "nobody counts them" in done.notes[0]


@pytest.mark.parametrize("many", [40, pytest.param(412, marks=pytest.mark.full)])
def test_half_of_the_hosts_of_a_zone_are_cut_off_in_one_transaction(many: int) -> None:
    with Forwarding(many) as lab:
        clients = lab.agent("a")
        lab.agent("out")
        assert set(clients.join({each: each for each in lab.hosts}, "10.60.0.2").values()) == {"alive"}
        cut, left = lab.hosts[: many // 2], lab.hosts[many // 2:]
        at, shells = lab.forwarder()
        drivers = [Gateway(f"pc-{number}", addresses=(address,), at=at) for number, address in enumerate(cut)]
        with ThreadPoolExecutor(len(drivers)) as pool:
            stands = list(pool.map(Gateway.observe, drivers))
            list(pool.map(Gateway.load, drivers, [ORDER] * len(drivers), stands))
            list(pool.map(Gateway.confirm, drivers))
            assert set(clients.tick(cut).values()) == {RESET}
            assert set(clients.tick(left).values()) == {"alive"}
            list(pool.map(Gateway.cut, drivers, [ORDER] * len(drivers)))
            stands = list(pool.map(Gateway.observe, drivers))
            assert {(each.standing, each.connections) for each in stands} == {("isolated", 0)}
            assert {each.partial[1] for each in stands} == {
                f"only {address}: others have the same hardware address, so addresses that are not known pass" for address in cut}
            transactions = [argv for shell in shells for argv in shell.calls if "exec nft -f -" in argv]
            assert len(transactions) < len(drivers) / 2
            list(pool.map(Gateway.release, drivers))
        assert set(clients.join({each: each for each in cut}, "10.60.0.2").values()) == {"alive"}
        assert set(clients.tick(left).values()) == {"alive"}


def test_it_lifts_itself_and_a_late_confirmation_says_so_and_changes_nothing(lab: Forwarding) -> None:
    at, _ = lab.forwarder()
    driver = a1(at)
    driver.load(replace(ORDER, seconds=0.2), driver.observe())
    until(lambda: driver.observe().standing == "lifted")
    for late in (driver.confirm, lambda: driver.extend(60)):
        with pytest.raises(NotConverged, match="a1 at gw had lifted itself"):
            late()
    stand = driver.observe()
    assert (stand.standing, stand.mark) == ("lifted", ORDER.mark)
    lab.agent("out")
    assert lab.agent("a1").join({"again": A1}, "10.60.0.2") == {"again": "alive"}
    driver.release()
    assert driver.observe().standing == "open"


def test_it_is_extended_and_confirmed_over_a_connection_made_after_it_was_loaded(lab: Forwarding) -> None:
    at, shells = lab.forwarder()
    driver = a1(at)
    driver.load(replace(ORDER, seconds=30), driver.observe())
    assert len(shells) == 1
    driver.extend(5000)
    assert len(shells) == 2 and 4000 < (driver.observe().left or 0) <= 5000
    driver.confirm()
    assert driver.observe().standing == "isolated"


def test_another_controller_sees_who_ordered_it_and_releases_it(lab: Forwarding) -> None:
    at, _ = lab.forwarder()
    isolate(a1(at), HELD)
    elsewhere, _ = lab.forwarder()
    driver = a1(elsewhere, "windows-7")
    assert driver.observe().mark == ORDER.mark
    # An address that the gateway has forgotten meanwhile goes as well.
    lab.run("gw", "ip", "neigh", "flush", "dev", "za")
    driver.release()
    assert not [line for line in lab.run("gw", "nft", "list", "table", "inet", "opsctl_gate").splitlines()
                if "elements" in line and "expires" not in line]


def test_two_controllers_may_be_the_first_ones_at_the_same_time(lab: Forwarding) -> None:
    drivers = [Gateway(address, addresses=(address,), at=lab.forwarder()[0]) for address in lab.hosts[:4]]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda driver: driver.load(HELD, driver.observe()), drivers))
        assert {stand.standing for stand in pool.map(Gateway.observe, drivers)} == {"isolated"}
    assert not drivers[0].at.look(drivers[0].own).gate.altered


@pytest.mark.full
def test_ten_thousand_are_one_transaction(lab: Forwarding) -> None:
    at, shells = lab.forwarder()
    hosts = [nft_gateway.member(f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}") for number in range(10_000)]
    look = at.look(hosts[:1])  # type: ignore[arg-type]
    at.load.work([(str(host), Wish(ORDER, look.facts, (host,)), look) for host in hosts])
    at.arm.work([(str(host), (host,), None) for host in hosts])
    found = at.look((hosts[-1],)).gate
    assert set(found.held) == set(hosts) and set(found.held.values()) == {None} and not found.altered
    at.release.work([(host,) for host in hosts])
    assert not at.look((hosts[-1],)).gate.held
    assert sum("exec nft -f -" in argv for shell in shells for argv in shell.calls) == 3


def test_one_host_that_cannot_be_cut_off_does_not_take_the_others_along(lab: Forwarding) -> None:
    at, _ = lab.forwarder()
    held = Gateway("held", addresses=("10.61.77.0/24",), at=at)
    held.load(HELD, held.observe())
    good = [Gateway(f"pc-{each}", addresses=(each,), at=at) for each in lab.hosts[:5]]
    overlapping = Gateway("overlapping", addresses=("10.61.77.0/25",), at=at)
    itself = Gateway("gateway", addresses=("10.62.0.1",), at=at)
    manager = Gateway("manager", addresses=("10.60.0.9",), at=at)
    bad = [overlapping, itself, manager]

    def load(driver: Gateway) -> Exception | None:
        try:
            driver.load(HELD, driver.observe())
        except (ProgramFailed, SafetyRefusal) as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(load, [*good, *bad]))
    assert said[:5] == [None] * 5
    assert [type(each) for each in said[5:]] == [ProgramFailed, SafetyRefusal, SafetyRefusal]
    assert "10.62.0.1 is an address of gw itself" in str(said[6])
    assert "10.60.0.9 is where opsctl is connected from" in str(said[7])
    assert [each.observe().standing for each in [*good, *bad]] == ["isolated"] * 5 + ["open"] * 3


def test_what_is_let_through_lives_and_nothing_else_by_it(lab: Forwarding) -> None:
    out, host, other = lab.agent("out"), lab.agent("a1"), lab.agent("b")
    host.join({"kept": A1}, "10.60.0.2")
    host.join({"other": A1}, "10.62.0.2")
    at, _ = lab.forwarder()
    driver, second = a1(at), Gateway("b", addresses=("10.62.0.2",), at=at)
    order = replace(HELD, allow=(opening("out:10.60.0.2:7"), opening("in:10.62.0.0/24:7")))
    isolate(driver, order)
    assert driver.observe().connections == 0
    assert driver.observe().digest == order.digest != ORDER.digest
    assert {**host.tick(["kept", "other"])} == {"kept": "alive", "other": RESET}
    assert host.join({"new": A1}, "10.60.0.2") == {"new": "alive"}
    assert out.join({"in": "10.60.0.2"}, A1) == {"in": "silent"}
    assert other.join({"b": "10.62.0.2"}, A1) == {"b": "alive"}
    isolate(second, HELD)  # its own order does not let through what that of the other side does
    assert other.tick(["b"]) == {"b": RESET}
    assert other.join({"b": "10.62.0.2"}, A1) == {"b": "silent"}
    isolate(driver, HELD)
    assert host.tick(["kept"]) == {"kept": RESET}
    assert driver.observe().digest == ORDER.digest


def test_a_host_that_may_only_call_out_keeps_what_it_began_and_nothing_that_others_did(lab: Forwarding) -> None:
    out, host = lab.agent("out"), lab.agent("a1")
    host.join({"own": A1}, "10.60.0.2")
    out.join({"theirs": "10.60.0.2"}, A1)
    driver = Gateway("a1", addresses=(A1,), at=lab.forwarder()[0], ports=(7,))
    order = replace(HELD, profile="outbound-only")
    driver.load(order, driver.observe())
    assert (driver.observe().connections, len(driver.observe().partial)) == (1, 1)
    unknown = a1(lab.forwarder()[0])
    assert "it may call out, and what others began with it goes on: no ports: say which it serves" in unknown.observe().partial
    assert driver.cut(order).before == 1 and driver.observe().connections == 0
    assert {**host.tick(["own"]), **out.tick(["theirs"])} == {"own": "alive", "theirs": "silent"}
    assert {**host.join({"new": A1}, "10.60.0.2"), **out.join({"in": "10.60.0.2"}, A1)} == {"new": "alive", "in": "silent"}


def test_somebody_elses_accept_before_ours_helps_nobody(lab: Forwarding) -> None:
    out, host = lab.agent("out"), lab.agent("a1")
    assert host.join({"old": A1}, "10.60.0.2") == {"old": "alive"}
    lab.run("gw", "nft", "-f", "-", stdin="""table inet early {
        chain pre { type filter hook prerouting priority -500; policy accept; accept; }
        chain through { type filter hook forward priority -500; policy accept; ct state established accept; accept; }
    }""")
    try:
        isolate(a1(lab.forwarder()[0]), HELD)
        assert host.tick(["old"]) == {"old": RESET}
        assert out.join({"in": "10.60.0.2"}, A1) == {"in": "silent"}
    finally:
        lab.run("gw", "nft", "delete", "table", "inet", "early")


def test_what_others_do_to_our_rules_shows_and_is_mended_by_loading_anew(lab: Forwarding) -> None:
    at, _ = lab.forwarder()
    driver = a1(at)
    isolate(driver, HELD)
    sealed = driver.observe().seal
    another = Gateway("pc", addresses=(lab.hosts[0],), at=at)
    isolate(another, replace(HELD, allow=(opening("10.60.0.2"),)))
    stand = driver.observe()
    assert stand.seal == sealed  # what is done for other hosts does not count
    said = "somebody altered our rules at gw ({}): opsctl isolate apply a1".format
    for command, what in (
        (["flush", "chain", "inet", "opsctl_gate", "fwd_from"], "fwd_from"),
        (["insert", "rule", "inet", "opsctl_gate", "from_new", "accept"], "from_new"),
        (["add", "rule", "inet", "opsctl_gate", "pass_to", "accept"], "pass_to"),
        (["add", "table", "inet", "opsctl_gate", "{ flags dormant; }"], "all"),
    ):
        lab.run("gw", "nft", *command)
        changed = driver.observe()
        assert changed.standing == "lifted"
        assert changed.seal == driver.observe().seal != sealed and said(what) in changed.partial
        driver.load(HELD, changed)
        assert (driver.observe().seal, driver.observe().partial) == (sealed, stand.partial)
    lab.agent("out")
    assert lab.agent("a1").join({"out": A1}, "10.60.0.2") == {"out": "silent"}
    assert lab.agent("a").join({"let": lab.hosts[0]}, "10.60.0.2") == {"let": "alive"}

    lab.run("gw", "nft", "delete", "element", "inet", "opsctl_gate", "held6", "{ fd61::a1 }")
    assert driver.observe().standing == "lifted" and "fd61::a1 has lifted itself" in driver.observe().partial
    driver.load(HELD, driver.observe())
    assert driver.observe().standing == "isolated"
    lab.run("gw", "nft", "flush", "set", "inet", "opsctl_gate", "held4")
    lab.run("gw", "nft", "flush", "set", "inet", "opsctl_gate", "heldmac")
    assert driver.observe().standing == "lifted"
    lab.run("gw", "nft", "delete", "table", "inet", "opsctl_gate")
    assert driver.observe().standing == "open"


def test_an_address_that_the_host_takes_later_is_cut_off_by_its_hardware_address(lab: Forwarding) -> None:
    host = lab.agent("a1")
    lab.agent("out")
    driver = a1(lab.forwarder()[0])
    isolate(driver, HELD)
    lab.run("a1", "ip", "addr", "add", "10.61.250.77/16", "dev", "eth0")
    assert host.join({"other": "10.61.250.77"}, "10.60.0.2") == {"other": "silent"}
    lab.run("a1", "ip", "addr", "del", "10.61.250.77/16", "dev", "eth0")


def test_a_door_shuts_hosts_out_of_the_machine_itself(lab: Forwarding) -> None:
    """The store's own machine: connections that end there, and no others."""
    host = lab.agent("b")
    lab.agent("out")
    lab.agent("gw")
    assert host.join({"store": "10.62.0.2", "idle": "10.62.0.2"}, "10.62.0.1") == {"store": "alive", "idle": "alive"}
    at, _ = lab.forwarder(table="opsctl_door")
    driver = Gateway("b", addresses=("10.62.0.2",), at=at)
    before = driver.observe()
    assert before.connections
    driver.load(HELD, before)
    heard = lab.agent("gw").heard()
    assert host.tick(["store"]) == {"store": RESET}
    assert lab.agent("gw").heard() == heard
    heard = host.heard()
    lab.agent("gw").stream("10.62.0.2")
    sent, missing = lab.agent("gw").lost()
    assert missing == sent > 0 and host.heard() == heard
    assert driver.cut(HELD).after == 0
    stand = driver.observe()
    assert (stand.standing, stand.connections, stand.partial) == ("isolated", 0, ())
    assert host.join({"new": "10.62.0.2"}, "10.62.0.1") == {"new": "silent"}
    driver.release()
    assert host.join({"new": "10.62.0.2"}, "10.62.0.1") == {"new": "alive"}
    assert host.tick(["idle"]) != {"idle": "alive"}
