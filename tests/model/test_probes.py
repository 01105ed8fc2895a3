"""What probes prove, by value."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from opsctl.model.isolation import Facts, Mark, Opening, Order, Stand
from opsctl.model.probes import (
    PLACES,
    Endpoint,
    Look,
    Outcome,
    Place,
    Probe,
    endpoint,
    judge,
    ports,
    reachable,
    read_brief,
)

V4, V6 = "10.0.0.11", "fd00::11"
HERE, WITNESS = "10.0.0.2", "10.0.0.3"
ORDER = Order(Mark("run", "asha", "2026-12-21T10:00:00+05:30"))
STAND = Stand("isolated", facts=Facts(addresses=("127.0.0.1", "::1", "fe80::1", V4, V6), serves=(22, 443), manager=HERE))


def probe(place: Place, to: str, outcome: Outcome, source: str = "", why: str = "") -> Probe:
    return Probe(place, endpoint(to), outcome, source, why)


WHOLE = Look(
    (
        probe("here", f"{V4}:22", "open", HERE), probe("here", f"{V4}:443", "silent", HERE),
        probe("here", f"[{V6}]:443", "silent", "fd00::2"), probe("witness", f"{V4}:22", "silent", WITNESS),
        probe("witness", f"[{V6}]:22", "silent", "fd00::3"), probe("out", "10.0.9.9:443", "silent"),
        probe("out", "[fd00::9]:443", "silent"),
    ),
    witness="w-1", entered=True,
)


def without(*gone: Probe) -> Look:
    return replace(WHOLE, probes=tuple(one for one in WHOLE.probes if one not in gone))


def with_(*more: Probe) -> Look:
    return replace(WHOLE, probes=(*WHOLE.probes, *more))


def test_silence_everywhere_on_both_versions_is_proof() -> None:
    found = judge("db-1", WHOLE, ORDER, STAND, before=5, after=0)
    assert (found.verdict, found.wrong, found.gaps, found.notes) == ("proven", (), (), ())
    assert found.says() == "db-1: proven: probes: 3 from here, 2 from w-1, 2 from it"
    assert {found.cell(place, version) for place in PLACES for version in (4, 6)} == {"silent"}


def test_the_managers_own_way_in_is_no_finding_and_proves_nothing_either() -> None:
    only = Look((probe("here", f"{V4}:22", "open", HERE), probe("out", "10.0.9.9:443", "silent")), witness=None, entered=True)
    found = judge("db-1", only, ORDER, replace(STAND, facts=replace(STAND.facts, addresses=(V4,))), after=0)
    assert found.verdict == "partial" and found.gaps == ("IPv4 was not probed",) and found.notes == ("no witness",)


def test_the_host_sees_this_machine_by_another_address_where_addresses_are_translated() -> None:
    stand = replace(STAND, facts=replace(STAND.facts, manager="203.0.113.9"))
    assert judge("db-1", WHOLE, ORDER, stand, after=0).verdict == "proven"


def test_login_is_open_to_nobody_but_the_managers() -> None:
    found = judge("db-1", with_(probe("witness", f"{V4}:22", "open", WITNESS)), ORDER, STAND, after=0)
    assert found.verdict == "open"
    assert found.wrong == (f"port 22 of {V4} is open from the witness, over IPv4: no rule of ours lets it through",)
    assert found.cell("witness", 4) == "OPEN 22" and found.cell("witness", 6) == "silent"


def test_a_refusal_is_an_answer() -> None:
    found = judge("db-1", with_(probe("here", f"[{V6}]:80", "refused", "fd00::2")), ORDER, STAND, after=0)
    assert found.verdict == "open" and found.cell("here", 6) == "answers 80"


def test_what_was_allowed_is_no_finding_and_its_neighbours_are() -> None:
    order = replace(ORDER, allow=(Opening(f"{WITNESS}/32", 443), Opening("10.0.9.0/24", 443, direction="out")))
    through = with_(probe("witness", f"{V4}:443", "open", WITNESS), probe("out", "10.0.9.9:443", "open"))
    assert judge("db-1", through, order, STAND, after=0).wrong == ()
    for wrong in (probe("witness", f"{V4}:444", "open", WITNESS), probe("witness", f"{V4}:443", "open", "10.0.0.4"),
                  probe("out", "10.0.9.9:444", "open"), probe("out", "10.0.8.9:443", "open")):
        assert len(judge("db-1", with_(wrong), order, STAND, after=0).findings) == 1


def test_a_host_that_may_call_out_is_proven_by_what_comes_in() -> None:
    calling = replace(WHOLE, probes=tuple(replace(one, outcome="open") if one.place == "out" else one for one in WHOLE.probes))
    found = judge("db-1", calling, replace(ORDER, profile="outbound-only"), STAND, after=0)
    assert (found.verdict, found.wrong, found.gaps) == ("proven", (), ())
    assert judge("db-1", calling, ORDER, STAND, after=0).verdict == "open"


def test_behind_a_forwarded_port_its_own_is_open_as_well() -> None:
    order = replace(ORDER, port=2222)
    assert len(judge("db-1", WHOLE, order, STAND, after=0).findings) == 1
    assert judge("db-1", WHOLE, order, replace(STAND, facts=replace(STAND.facts, port=22)), after=0).findings == ()


BEHIND = replace(STAND, facts=replace(STAND.facts, port=22, addresses=("192.168.9.9",)))  # of which V4 is not


@pytest.mark.parametrize("place", ["here", "witness"])
def test_behind_a_forwarded_port_only_that_port_is_judged(place: Place) -> None:
    four = without(*(one for one in WHOLE.probes if one.to.version == 6))
    theirs = replace(four, probes=(*four.probes, probe(place, f"{V4}:80", "refused"), probe(place, f"{V4}:8443", "open")))
    found = judge("db-1", theirs, ORDER, BEHIND, after=0)
    assert found.verdict == "partial" and found.gaps == (
        f"only port 22 of {V4} was judged: by its own word that address is none of its own, so that a machine before it has the other ports "
        "(answering: 80, 8443); if it is its own, list it under addresses:",)
    let_in = replace(four, probes=(*four.probes, probe("witness", f"{V4}:22", "open", WITNESS)))
    said = judge("db-1", let_in, ORDER, BEHIND, after=0)
    assert said.verdict == "open" and "a machine before it may answer" in said.wrong[0]
    assert [judge("db-1", replace(theirs, listed=listed), ORDER, BEHIND, after=0).verdict for listed in ((V4,), ("10.0.0.0/24",), ("10.9.0.0/24",))] == [
        "open", "open", "partial"]
    assert judge("db-1", theirs, ORDER, STAND, after=0).verdict == "open"  # where nobody is logged in, nobody was told its own ones
    mine = replace(STAND, facts=replace(STAND.facts, port=22))
    assert judge("db-1", theirs, ORDER, mine, after=0).verdict == "open"


def test_silence_of_what_a_forwarder_keeps_proves_nothing() -> None:
    only = Look((probe("here", f"{V4}:22", "open", HERE), probe("here", f"{V4}:443", "silent", HERE), probe("out", "10.0.9.9:443", "silent")), entered=True)
    assert "IPv4 was not probed" in judge("db-1", only, ORDER, BEHIND, after=0).gaps
    assert judge("db-1", only, ORDER, STAND, after=0).gaps[:1] != ("IPv4 was not probed",)


def test_what_answers_where_nothing_shows_that_it_is_the_host_is_a_doubt() -> None:
    other = replace(with_(probe("here", "[fd00::77]:80", "open"), probe("witness", f"{V4}:443", "silent", WITNESS)), doubted=(("here", "fd00::77"),))
    found = judge("db-1", other, ORDER, STAND, after=0)
    assert found.verdict == "partial" and found.gaps == (
        "fd00::77 is its own only by its own word, and nothing shows that it is this host that answers there (answering: 80); if it is, list it under addresses:",)
    assert judge("db-1", replace(other, doubted=(("witness", "fd00::77"),)), ORDER, STAND, after=0).verdict == "open"
    many = replace(other, probes=(*other.probes, *(probe("here", f"[fd00::77]:{port}", "open") for port in range(81, 90))))
    assert "(answering: 80, 81, 82, 83, 84 and 5 more)" in judge("db-1", many, ORDER, STAND, after=0).gaps[0]


def test_addresses_that_were_not_called_are_counted_and_leave_their_version_unproven() -> None:
    look = replace(WHOLE, uncalled=("203.0.113.77",))
    assert judge("db-1", look, ORDER, STAND, after=0).notes == ("not called: 1 address that it says it has and that may be another's from here",)
    assert judge("db-1", look, ORDER, STAND, after=0).as_json()["not_called"] == ["203.0.113.77"]
    four = replace(without(*(one for one in WHOLE.probes if one.to.version == 6 and one.place != "out")), uncalled=(V6,))
    assert judge("db-1", four, ORDER, STAND, after=0).gaps == (
        "IPv6 was not probed: the IPv6 address that it says it has is reached from here by another way than its known one; list it under addresses:",)


@pytest.mark.parametrize(("place", "port", "facts"), [("here", 443, {"port": 443}), ("witness", 22, {"manager": WITNESS}),
                                                      ("witness", 443, {"manager": WITNESS, "port": 443})])
def test_promise_4_a_host_that_lies_about_who_is_connected_to_it_hides_no_port(place: Place, port: int, facts: Any) -> None:
    found = judge("db-1", with_(probe(place, f"{V4}:{port}", "open")), ORDER, replace(STAND, facts=replace(STAND.facts, **facts)), after=0)
    assert found.verdict != "proven" and any(f"port {port} " in one for one in (*found.gaps, *found.wrong))


def test_of_a_witness_whose_tool_does_not_say_from_where_all_addresses_count() -> None:
    order = replace(ORDER, allow=(Opening(WITNESS, 443),))
    call = probe("witness", f"{V4}:443", "open")
    assert judge("db-1", replace(with_(call), sources=(WITNESS, "fd00::3")), order, STAND, after=0).wrong == ()
    assert judge("db-1", replace(with_(call), sources=("10.0.0.4",)), order, STAND, after=0).verdict == "open"


def test_a_version_that_nobody_could_try_is_said_and_never_counts_as_blocked() -> None:
    six = [one for one in WHOLE.probes if one.to.version == 6 and one.place != "out"]
    tried = [replace(one, outcome="cannot", why="there is no way to it") for one in six]
    found = judge("db-1", replace(without(*six), probes=(*without(*six).probes, *tried)), ORDER, STAND, after=0)
    assert found.verdict == "partial" and found.gaps == ("IPv6 was not probed: there is no way to it",)
    assert found.cell("here", 6) == "not probed" and found.cell("out", 6) == "silent"


def test_where_nobody_told_its_addresses_the_other_version_is_not_known_to_be_missing() -> None:
    four = without(*(one for one in WHOLE.probes if one.to.version == 6))
    assert judge("pc-7", four, ORDER, Stand("isolated"), after=0).gaps == ("nobody knows whether it has IPv6 addresses",)
    assert judge("pc-7", four, ORDER, Stand("isolated", facts=Facts(addresses=(V4,))), after=0).gaps == ()


def test_what_it_reaches_over_a_version_has_to_be_tried_as_well() -> None:
    out6 = probe("out", "[fd00::9]:443", "silent")
    assert judge("db-1", without(out6), ORDER, STAND, after=0).gaps == ("nothing was tried from it over IPv6",)


def test_a_host_that_is_dead_is_never_proven() -> None:
    dead = Look(tuple(replace(one, outcome="silent") for one in WHOLE.probes if one.place != "out"), witness="w-1",
                trouble={"out": "nothing was tried from it: db-1 did not answer"})
    found = judge("db-1", dead, ORDER, STAND, after=None)
    assert found.verdict == "partial"
    assert "it gave no sign of life, and a machine that is off looks the same" in found.gaps
    earlier = Look((probe("here", f"{V4}:445", "open", HERE),))
    assert "it gave no sign of life, and a machine that is off looks the same" not in judge(
        "db-1", dead, ORDER, STAND, earlier=earlier).gaps


def test_old_connections_that_are_left_make_it_open_and_uncounted_ones_partial() -> None:
    assert judge("db-1", WHOLE, ORDER, STAND, before=5, after=2).wrong == ("still there: 2 old connections",)
    assert judge("db-1", WHOLE, ORDER, STAND).gaps == ("nobody could count its old connections",)


def test_before_it_is_confirmed_old_connections_are_only_paused() -> None:
    found = judge("db-1", WHOLE, ORDER, replace(STAND, standing="armed", connections=2), before=2, after=2)
    assert (found.verdict, found.wrong) == ("proven", ())
    assert found.notes == ("its old connections are paused and not ended, for it is not confirmed",)


def test_what_answered_before_is_told_of_each_probe() -> None:
    earlier = Look((probe("here", f"{V4}:443", "open", HERE), probe("here", f"{V4}:22", "open", HERE)))
    kept = read_brief(json.loads(json.dumps(earlier.brief())))
    found = judge("db-1", WHOLE, ORDER, STAND, after=0, earlier=kept)
    assert [(one["port"], one["before"], one["outcome"]) for one in found.as_json()["probes"]][:3] == [
        (22, "open", "open"), (443, "open", "silent"), (443, None, "silent")]
    assert found.notes == ("nothing answered over IPv6 before either",)


def test_a_way_of_cutting_off_that_is_partial_makes_the_proof_partial() -> None:
    found = judge("db-1", WHOLE, ORDER, replace(STAND, partial=("no rules on the network ports",)), after=0)
    assert found.verdict == "partial" and found.gaps == ("no rules on the network ports",)


def test_a_word_that_there_is_no_way_counts_where_the_way_is_known_to_be_good() -> None:
    barred = [replace(one, outcome="barred") if one.to == Endpoint(V6, 443) else one for one in WHOLE.probes
              if one.place != "witness"]
    look = Look(tuple(barred), entered=True)
    assert judge("db-1", look, ORDER, STAND, after=0).gaps == (
        "IPv6 was not probed: a firewall or a broken way said that there is none",)
    earlier = Look((probe("here", f"[{V6}]:443", "open", "fd00::2"),))
    assert judge("db-1", look, ORDER, STAND, after=0, earlier=earlier).verdict == "proven"


def test_a_witness_that_was_asked_for_and_could_not_look_is_a_gap() -> None:
    look = replace(without(*(one for one in WHOLE.probes if one.place == "witness")), trouble={"witness": "w-1 is away"})
    found = judge("db-1", look, ORDER, STAND, after=0)
    assert found.verdict == "partial" and found.gaps == ("w-1 is away",) and found.cell("witness", 4) == "not probed"


def test_what_a_machine_tells_of_itself_may_be_anything() -> None:
    stand = replace(STAND, facts=replace(STAND.facts, addresses=("1.2.3", "x", V4, V6), manager="10.0.0.999"))
    calls = (probe("witness", f"{V4}:443", "open", "evil"), probe("witness", f"{V4}:443", "silent", "-"))
    found = judge("db-1", with_(*calls), ORDER, stand, after=0)
    assert found.verdict == "open" and found.versions == (4, 6)


def test_only_addresses_that_others_can_reach_and_no_more_ports_than_are_sensible() -> None:
    assert list(reachable(["127.0.0.1", "::1", "fe80::1%eth0", V4, V6, V4])) == [V4, V6]
    assert ports([22, 443], [443, 8080]) == ([22, 443, 8080], 0)
    assert ports([22], range(1, 1001))[1] == 936 and ports([22], range(1, 1001))[0][0] == 22
