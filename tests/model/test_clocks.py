"""Clocks of an incident: each from its own anchor, never reset, ended only by what was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.clocks import Clock, clocks, next_due
from opsctl.model.incident import (
    ANCHORED,
    CLOSED,
    CORRECTED,
    DECIDED,
    EXPLAINED,
    MET,
    NOTED,
    OPENED,
    ORDERED,
    STATED,
    Incident,
    fold,
)
from opsctl.protocols.cert_in import protocol

IST = timezone(timedelta(hours=5, minutes=30))
NOTICED = datetime(2026, 12, 21, 2, 30, tzinfo=IST)
RECORDED = NOTICED + timedelta(minutes=20)


@dataclass
class Written:
    """A line of a journal."""

    type: str
    data: dict[str, Any]
    time: datetime = RECORDED
    seq: int = field(default=1)


def opened(**more: Any) -> Written:
    return Written(OPENED, {"incident": "i", "title": "T", "noticed_at": NOTICED.isoformat(), "noticed_by": "operator", "signal": "files renamed",
                            "in_charge": "Asha", "types": ["malicious-code"], "zones": ["portal"], "by": "root", **more})


def entry(kind: str, **data: Any) -> Written:
    return Written(kind, {"incident": "i", "by": "asha", **data})


def made(*lines: Written) -> Incident:
    return fold([opened(), *lines])["i"]


def at(found: Incident, after: timedelta, **more: Any) -> dict[str, Clock]:
    return {one.duty: one for one in clocks(found, protocol().duties, NOTICED + after, **more)}


HOUR = timedelta(hours=1)


def test_the_six_hours_run_from_the_first_notice_and_not_from_opening() -> None:
    clock = at(made(), HOUR)["certin-initial-report"]
    assert (clock.due, clock.state, clock.force) == (NOTICED + 6 * HOUR, "running", "binding")
    assert at(made(), 6 * HOUR)["certin-initial-report"].state == "running"
    assert at(made(), 6 * HOUR + timedelta(seconds=1))["certin-initial-report"].state == "overdue"


def test_an_earlier_notice_moves_the_clock_and_a_later_one_changes_nothing_and_both_stay() -> None:
    earlier, later = (entry(CORRECTED, what="noticed_at", value=(NOTICED + shift).isoformat(), why="log of the help desk")
                      for shift in (-2 * HOUR, 3 * HOUR))
    found = made(later, earlier)
    assert at(found, HOUR)["certin-initial-report"].due == NOTICED + 4 * HOUR
    assert [notice.at for notice in found.notices] == [NOTICED, NOTICED + 3 * HOUR, NOTICED - 2 * HOUR]


@given(st.lists(st.sampled_from([
    entry(CORRECTED, what="types", value=["data-leak"], why="w"), entry(CORRECTED, what="in_charge", value="Ravi", why="w"),
    entry(NOTED, text="n"), entry(STATED, subject="leak", text="none", basis="logs", at=NOTICED.isoformat()),
    entry(CORRECTED, what="noticed_at", value=(NOTICED + HOUR).isoformat(), why="w")])))
def test_nothing_but_an_earlier_notice_ever_moves_a_clock_that_runs(lines: list[Written]) -> None:
    assert at(made(*lines), HOUR)["certin-initial-report"].due == NOTICED + 6 * HOUR


def test_only_a_recorded_submission_or_decision_ends_a_duty() -> None:
    sent = entry(MET, duty="certin-initial-report", at=(NOTICED + 5 * HOUR).isoformat(), channel="e-mail", reference="C-1")
    assert at(made(sent), 9 * HOUR)["certin-initial-report"].state == "met"
    late = entry(MET, duty="certin-initial-report", at=(NOTICED + 7 * HOUR).isoformat(), channel="e-mail")
    assert at(made(late), 9 * HOUR)["certin-initial-report"].state == "late"
    explained = entry(EXPLAINED, duty="certin-initial-report", reason="no telephone")
    clock = at(made(explained), 9 * HOUR)["certin-initial-report"]
    assert (clock.state, clock.reason) == ("overdue", "no telephone (asha)")
    decided = entry(DECIDED, duty="certin-initial-report", reason="it was a drill")
    assert at(made(decided), 9 * HOUR)["certin-initial-report"].state == "decided"


def test_what_was_missed_stays_late_and_what_was_recorded_late_says_when() -> None:
    def sent(after: timedelta, recorded: timedelta) -> Written:
        return replace(entry(MET, duty="certin-initial-report", at=(NOTICED + after).isoformat(), channel="e-mail"), time=NOTICED + recorded)

    def clock(*lines: Written) -> Clock:
        return at(made(*lines), 20 * HOUR)["certin-initial-report"]

    late, claimed, in_time = sent(7 * HOUR, 8 * HOUR), sent(5 * HOUR, 9 * HOUR), sent(5 * HOUR, 5 * HOUR)
    found = clock(late, claimed)
    assert (found.state, found.missed, found.met and found.met.at) == ("late", True, NOTICED + 7 * HOUR)
    assert found.earlier is not None and (found.earlier.at, found.earlier.recorded) == (NOTICED + 5 * HOUR, NOTICED + 9 * HOUR)
    found = clock(claimed)
    assert (found.state, found.recorded_late, found.met and found.met.recorded) == ("met", True, NOTICED + 9 * HOUR)
    explained = replace(entry(EXPLAINED, duty="certin-initial-report", reason="no telephone"), time=NOTICED + 7 * HOUR)
    for lines in ((explained, claimed), (claimed, explained)):
        assert (clock(*lines).state, clock(*lines).missed) == ("late", True), "a person recorded that it was missed"
    for lines in ((in_time,), (in_time, late), (in_time, claimed), (late, in_time)):  # of two journals neither is the first
        assert (clock(*lines).state, clock(*lines).recorded_late, clock(*lines).earlier) == ("met", False, None)
    order = entry(ORDERED, order="17", received_at=NOTICED.isoformat(), due_at=(NOTICED + 6 * HOUR).isoformat(), text="send the logs")
    answers = [replace(one, data={**one.data, "duty": "order 17"}) for one in (late, claimed)]
    assert at(made(order, *answers), 20 * HOUR)["order 17"].state == "late"


def test_an_order_has_a_clock_of_its_own() -> None:
    came, due = NOTICED + HOUR, NOTICED + 3 * HOUR
    found = made(entry(ORDERED, order="17", received_at=came.isoformat(), due_at=due.isoformat(), text="send the logs"))
    clock = at(found, 4 * HOUR)["order 17"]
    assert (clock.since, clock.due, clock.state, clock.force) == (came, due, "overdue", "binding")
    assert at(made(entry(ORDERED, order="18", received_at=came.isoformat(), due_at=None, text="x")), 4 * HOUR)["order 18"].state == "open"


def test_each_clock_starts_with_its_own_anchor_only() -> None:
    names = set(at(made(), HOUR))
    assert names == {"certin-initial-report", "certin-supplementary-report", "police-complaint", "nic-cert-and-ciso"}
    money = made(entry(ANCHORED, anchor="money_moved_at", at=NOTICED.isoformat(), why="bank called"))
    clock = at(money, HOUR)["police-helpline-1930"]
    assert (clock.state, clock.due) == ("overdue", NOTICED), "at once means at once"
    filed = made(entry(ANCHORED, anchor="complaint_filed_at", at=NOTICED.isoformat(), why="portal"))
    assert at(filed, HOUR)["efir-signature"].due == NOTICED + timedelta(days=3)
    reopening = made(entry(ANCHORED, anchor="reopen_requested_at", at=NOTICED.isoformat(), why="minister"))
    assert at(reopening, HOUR)["audit-before-rehosting"].state == "open"
    assert at(made(Written(CLOSED, {"incident": "i", "by": "x"})), HOUR)["lessons-learned"].due == RECORDED + timedelta(days=14)


def test_nciipc_is_told_only_where_a_system_was_gazetted() -> None:
    assert "nciipc-report" not in at(made(), HOUR)
    assert at(made(), HOUR, protected=True)["nciipc-report"].due == NOTICED + 6 * HOUR


def test_a_duty_that_is_not_in_force_is_shown_as_coming() -> None:
    aware = made(entry(ANCHORED, anchor="became_aware_at", at=NOTICED.isoformat(), why="copies for sale"))
    clock = at(aware, HOUR)["dpdp-board-detailed"]
    assert (clock.state, clock.in_force_from, clock.ended) == ("coming", date(2027, 5, 13), True)
    later = datetime(2027, 5, 13, 1, 0, tzinfo=IST)
    found = made(entry(ANCHORED, anchor="became_aware_at", at=later.isoformat(), why="w"))
    in_force = {one.duty: one for one in clocks(found, protocol().duties, later + HOUR)}["dpdp-board-detailed"]
    assert (in_force.state, in_force.due) == ("running", later + timedelta(hours=72))


def test_what_is_due_first_stands_first_and_no_number_is_made_up() -> None:
    found = clocks(made(), protocol().duties, NOTICED + HOUR / 2)
    assert [one.duty for one in found][:2] == ["nic-cert-and-ciso", "certin-initial-report"]
    assert all(one.due is None for one in found if one.state == "open")
    following = next_due(found)
    assert following is not None and following.duty == "nic-cert-and-ciso"
    done = [replace(one, state="met") for one in found]
    assert next_due(done) is None


def test_entries_of_an_incident_that_nobody_opened_are_left_out_and_the_timeline_keeps_the_rest() -> None:
    lines = [entry(NOTED, text="before"), opened(), entry(NOTED, text="after"), Written(NOTED, {"incident": "other", "text": "x"})]
    found = fold(lines)
    assert list(found) == ["i"] and [event.text for event in found["i"].timeline][1:] == ["after"]


@pytest.mark.parametrize("duty", sorted(protocol().duties))
def test_every_duty_has_its_sources_and_its_force(duty: str) -> None:
    known = protocol()
    found = known.duties[duty]
    assert found.sources and all(source.split()[0] in known.sources for source in found.sources), found.sources
    assert found.force in ("binding", "guideline", "practice", "design_default") and found.recipient in known.contacts
    assert found.confidence in ("verified", "unverified") and (found.confidence == "unverified" or found.basis in ("primary", "secondary"))


def test_all_twenty_types_and_twenty_two_fields_are_there() -> None:
    known = protocol()
    assert sum(one.annexure is not None for one in known.types.values()) == 20
    assert [one.order for one in known.fields] == list(range(1, 23))
