"""Which sets go, which stay and what speaks against it, by value; and how sets look that people have given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.config_keep import Keep
from opsctl.model.damage import Damage
from opsctl.model.freezes import Freeze
from opsctl.model.pruning import Choice, Place, choose, refusals
from opsctl.model.sets import SetView, judge
from opsctl.model.snapshots import Finding
from tests.model.test_sets import NOW, OURS, entry, kinds, manifest, states

ZONE = ZoneInfo("Asia/Kolkata")
DAY = timedelta(days=1)


def view(number: int, state: str = "good", *, verdict: str | None = None, at: datetime | None = None) -> SetView:
    """A set taken that many days ago."""
    signals = {"signals": {"format": "opsctl-signals/1", "verdict": verdict, "sources": {}}} if verdict else {}
    record = {} if state == "incomplete" else {"set": f"s{number}", **signals}
    return SetView(f"s{number}", "portal", state, at or NOW - number * DAY, None if state == "incomplete" else f"m{number}", record=record)


SETS = tuple(view(number) for number in (9, 6, 3, 0))
HERE = Place("main", SETS, frozenset({"good"}), drilled=frozenset({"s0"}))


def choice(place: Place = HERE, keep: Keep | None = None) -> Choice:
    return choose(keep or Keep(daily=2), [place], ZONE)


def why(*places: Place, forget: tuple[str, ...] = ("s9", "s6"), accept: tuple[str, ...] = (), every: timedelta = 3 * DAY) -> list[str]:
    found = places or (HERE,)
    return [reason for reason, _ in refusals(choose(Keep(daily=2), found, ZONE), forget, found, accept, every=every, now=NOW)]


def test_what_no_rule_keeps_goes_and_the_last_drilled_set_stays() -> None:
    assert [one.id for one in choice().goes] == ["s9", "s6"]
    found = choice(replace(HERE, drilled=frozenset({"s9", "s6"})))
    assert found.stays == {"s0": ("daily 1",), "s3": ("daily 2",), "s6": ("drilled",)}
    assert [one.id for one in found.goes] == ["s9"]


def test_promise_3_nothing_speaks_against_it() -> None:
    assert why() == []


@pytest.mark.parametrize(("place", "said"), [
    (replace(HERE, freezes=(Freeze("f", "INC-1", NOW, "asha", True),)), "main is frozen for incident INC-1 since 2026-12-18"),
    (replace(HERE, findings=(Finding("snapshot-deleted", "set x is gone"),)), "main: set x is gone"),
    (replace(HERE, findings=(Finding("prune-forged", "it counts for nothing"),) * 2), "main: it counts for nothing (and 1 more finding)"),
    (replace(HERE, findings=(Finding("junk-object", "something is no snapshot"),)), "main: something is no snapshot"),
    (replace(HERE, damage=(Damage("pack-damaged", f"data/{'0' * 64}", (), False, NOW, NOW, "r", "data", (), True),)),
     "main is damaged: pack 000000000000 is damaged"),
    (replace(HERE, sets=(*SETS[:-1], view(0, verdict="suspect"))), "set s0 looks like an attack, and older sets may be the clean ones"),
    (replace(HERE, sets=(SETS[0], view(6, verdict="suspect"), *SETS[2:])), "set s6 looks like an attack, and older sets may be the clean ones"),
    (replace(HERE, sets=(*SETS, view(1, "future", at=NOW + DAY))), "set s1 is dated in the future: a clock was wrong, or somebody has the "
     "controller's key"),
    (replace(HERE, drilled=frozenset()), "no set that would stay was ever restored to prove it"),
    (replace(HERE, sets=SETS[:2], drilled=frozenset({"s6"})), "the newest set is 6 days old, asked for every 3 days: is this machine's clock "
     "right, and are sets still taken?"),
])
def test_promise_3_each_thing_that_speaks_against_it(place: Place, said: str) -> None:
    assert why(place, forget=() if "days old" in said else ("s9",)) == [said]


def test_promise_3_a_set_that_keep_asks_for_does_not_go() -> None:
    assert why(forget=("s9", "s3")) == ["set s3 would have to stay: daily 2"]
    assert why(replace(HERE, sets=(view(9), view(6, "damaged"), view(3, "altered"), view(0))), forget=("s9",)) == [
        "set s9 would have to stay: daily 2"], "what does not count keeps nothing else from counting"


def test_promise_3_a_drill_of_a_set_that_goes_is_none() -> None:
    assert why(replace(HERE, drilled=frozenset({"s9"})), forget=("s9",)) == [
        "set s9 would have to stay: drilled", "no set that would stay was ever restored to prove it"]


def test_promise_3_of_a_copy_its_home_is_asked_as_well() -> None:
    copy = Place("offline", tuple(view(number, "copy") for number in (9, 6, 3, 0)), frozenset({"copy"}))
    assert why(copy, HERE) == []
    assert why(copy, replace(HERE, freezes=(Freeze("f", "INC-1"),))) == ["main is frozen for incident INC-1"]
    assert why(copy, replace(HERE, sets=(*SETS, view(-1, verdict="suspect")))) == [
        "set s-1 looks like an attack, and older sets may be the clean ones"]


def test_what_people_know_to_be_harmless_is_no_reason() -> None:
    odd = replace(HERE, sets=(view(9), view(6, verdict="suspect"), *SETS[2:], view(1, "future", at=NOW + DAY)))
    assert len(why(odd)) == 2 and why(odd, accept=("s6", "s1")) == []
    assert why(replace(odd, accepted=frozenset({"s6", "s1"}))) == [], "once said, it holds for the next prune"


ODD = st.builds(
    view, st.integers(-9000, 9000), st.sampled_from(["foreign", "damaged", "altered", "future", "incomplete", "deleted", "pruned"]),
    at=st.datetimes(datetime(2020, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),
)


@given(odd=st.lists(ODD, max_size=9), keep=st.builds(Keep, daily=st.integers(1, 4), monthly=st.none() | st.integers(1, 3)))
def test_what_does_not_count_changes_nothing_and_is_never_chosen(odd: list[SetView], keep: Keep) -> None:
    named = [replace(one, id=f"odd-{number}") for number, one in enumerate(odd)]
    alone, among = choice(keep=keep), choice(replace(HERE, sets=(*SETS, *named)), keep)
    assert (among.stays, among.goes) == (alone.stays, alone.goes)
    assert all(one.state == "incomplete" for one in among.unfinished)


def judged(*, without: tuple[str, ...] = (), forgotten: tuple[str, ...] = (), ledger: tuple[str, ...] = ("1", "2")):  # type: ignore[no-untyped-def]
    found = [manifest("1", days=6), manifest("2", days=3, previous="1")]
    return judge(
        repository_id="repo", snapshots=[one for snapshots, _ in found for one in snapshots if one.id not in without],
        records={record.snapshot: record for _, record in found if record.snapshot not in without}, trusted={OURS},
        ledger=[entry(name) for name in ledger], now=NOW, forgotten=dict.fromkeys(forgotten, "given up"),
    )


@pytest.mark.parametrize(("without", "state"), [
    ((), {"1": "pruned", "2": "good"}), (("m-1",), {"1": "pruned", "2": "good"}), (("s-1",), {"1": "pruned", "2": "good"}),
    (("m-1", "s-1"), {"2": "good"}),
])
def test_what_people_gave_up_never_counts_and_is_never_called_deleted(without: tuple[str, ...], state: dict[str, str]) -> None:
    found = judged(without=without, forgotten=("m-1", "s-1"))
    assert states(found) == state and found.findings == ()


@pytest.mark.parametrize("ledger", [("1", "2"), ()])
def test_what_is_gone_besides_is_deleted(ledger: tuple[str, ...]) -> None:
    found = judged(without=("m-1", "s-1"), forgotten=("m-0", "s-0"), ledger=ledger)
    assert kinds(found) == ["snapshot-deleted"]
