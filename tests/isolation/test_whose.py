"""Which addresses of a host are called, and when an answer there is taken for its own, by value."""

from __future__ import annotations

import pytest

from opsctl.isolation.calling import Way, ways
from opsctl.isolation.whose import MOST_NAMED, called, doubts
from opsctl.model.probes import Endpoint, Place, Probe

ON_LINK, ROUTED, DEFAULT = Way("eth0"), Way("eth0", "10.0.0.254"), Way("eth0", "10.0.0.1", default=True)
DEFAULT6 = Way("eth0", "fe80::1", default=True)


@pytest.mark.parametrize(("known", "address", "way", "wanted"), [
    (ON_LINK, "10.0.0.12", ON_LINK, True),
    (ON_LINK, "fd00::12", ON_LINK, True),
    (ON_LINK, "172.18.0.1", Way("docker0"), False),  # containers of ours have such networks, too
    (ON_LINK, "10.8.0.1", Way("wg0"), False),
    (ON_LINK, "203.0.113.77", DEFAULT, False),
    (ON_LINK, "2001:db8:9::77", DEFAULT6, False),
    (ROUTED, "10.1.9.12", ROUTED, True),
    (ROUTED, "10.1.9.12", Way("eth0", "10.0.0.253"), False),
    (ROUTED, "fd00:1::12", Way("eth0", "fd00::254"), True),
    (DEFAULT, "203.0.113.77", DEFAULT, False),
    (DEFAULT, "192.168.1.12", DEFAULT, False),
    (DEFAULT, "10.0.7.12", DEFAULT, True),  # of the same /24
    (DEFAULT, "2001:db8:9::77", DEFAULT6, True),  # the configuration has no IPv6 address of it
    (ON_LINK, "10.0.0.12", Way("lo", own=True), False),
    (ON_LINK, "fd00::12", None, True),  # no way: nothing is sent, and the call says why
    (None, "10.0.0.12", None, False),  # nobody tells the ways
    (None, "10.0.0.12", ON_LINK, False),
    (Way("lo", own=True), "10.0.0.12", Way("lo", own=True), True),
    (Way("lo", own=True), "10.0.0.12", ON_LINK, False),
])
def test_an_address_that_only_the_host_names_is_called_where_it_is_reached_as_the_known_one_is(
    known: Way | None, address: str, way: Way | None, wanted: bool
) -> None:
    assert called([address], ["10.0.7.11"], [], [], {"10.0.7.11": known, address: way}) == ([address] if wanted else [])


def test_what_the_configuration_says_comes_first_and_there_are_never_more_than_a_few() -> None:
    told = [f"10.0.7.{number}" for number in range(20, 40)]
    assert called(told, ["10.0.7.11"], [], [], dict.fromkeys(["10.0.7.11", *told], ON_LINK)) == told[:MOST_NAMED]
    assert called(told, ["10.0.7.11"], [], told[:19], dict.fromkeys(["10.0.7.11", *told], ON_LINK)) == told[19:]  # other hosts'
    assert called(["192.0.2.9"], ["10.0.7.11"], ["192.0.2.0/28"], [], {}) == ["192.0.2.9"]
    six = called([*told, "fd00::12"], ["10.0.7.11"], [], [], dict.fromkeys(["10.0.7.11", *told, "fd00::12"], ON_LINK))
    assert six == [*told[:MOST_NAMED], "fd00::12"]


def test_ways_that_the_machine_has_no_route_of_its_own_to_are_known() -> None:
    known = ways(
        "2: eth0    inet 10.0.0.2/24 scope global eth0\n10.0.0.11 dev eth0 src 10.0.0.2 uid 0 \\    cache\n"
        "10.9.0.11 via 10.0.0.1 dev eth0 src 10.0.0.2\n10.1.0.11 via 10.0.0.9 dev eth0 src 10.0.0.2\n"
        "198.51.100.1 via 10.0.0.1 dev eth0 src 10.0.0.2\n10.2.0.11 via inet6 fe80::9 dev eth0 src 10.0.0.2\n"
        "10.0.0.11 dev eth0 lladdr 02:00:00:00:00:0b REACHABLE\n10.0.0.12 dev eth0  FAILED\n")
    assert known.way("10.0.0.11") == Way("eth0", hardware="02:00:00:00:00:0b")
    assert known.way("10.9.0.11") == Way("eth0", "10.0.0.1", default=True) and known.way("10.1.0.11") == Way("eth0", "10.0.0.9")
    assert known.way("10.2.0.11") == Way("eth0", "fe80::9") and known.way("10.0.0.2") == Way("eth0", own=True)
    assert known.way("10.0.0.99") is None and known.gone == {"10.0.0.12"}


def test_an_answer_is_the_hosts_where_its_hardware_or_its_key_shows_it() -> None:
    known, told = "10.0.7.11", "fd00::12"
    met: dict[Place, dict[str, Way]] = {"here": {known: Way("eth0", hardware="02:0b"), told: Way("eth0", hardware="02:0b")},
                                        "witness": {known: ROUTED, told: Way("eth0", "fd00::254")}}
    here, witness = Probe("here", Endpoint(told, 80), "refused"), Probe("witness", Endpoint(told, 80), "open")

    def found(*probes: Probe, key: bool = False) -> list[tuple[Place, str]]:
        return list(doubts(probes, [told], [known], met, lambda address: key))

    assert found(here) == found(here, witness) == [] and found(Probe("here", Endpoint(told, 80), "silent")) == []
    assert found(witness) == [("witness", told)]
    met["here"][told] = Way("eth0", hardware="02:0c")
    assert found(here, witness) == [("here", told), ("witness", told)] and found(here, witness, key=True) == []
    met["witness"][told] = Way("wg0")  # there it is somebody else's
    assert found(here, witness, key=True) == [("witness", told)]
    met["witness"] = {}  # it has no `ip`
    assert found(here, witness, key=True) == [] and found(here, witness) == [("here", told), ("witness", told)]
    assert list(doubts([here], [], [known], {}, lambda address: False)) == []
