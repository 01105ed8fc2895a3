"""What repositories keep of an incident, put together: in order whatever clocks said, each entry once, gaps named."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import Any

from opsctl.model.incident import fold
from opsctl.model.incident_kept import gather, unpack
from opsctl.model.records import INCIDENT, Record


def entry(number: int, minute: int = 0) -> dict[str, Any]:
    return {"seq": number, "hash": sha256(str(number).encode()).hexdigest(), "time": f"2026-12-21T03:{minute:02d}:00Z", "type": "incident.noted", "run": None,
            "data": {"incident": "i", "by": "a", "text": str(number)}}


def record(minute: int, *entries: dict[str, Any], previous: str = "", **more: Any) -> Record:
    return Record(f"{minute:064x}", {"format": INCIDENT, "incident": "i", "time": f"2026-12-21T04:{minute:02d}:00Z", "entries": list(entries), "previous": previous, **more}, "SHA256:k")


def test_entries_come_in_the_order_of_writing_whatever_the_clocks_say() -> None:
    ten = [entry(number, 30 - 3 * number) for number in range(10)]  # a clock that runs backwards
    first, second = random.Random(7), [("a", record(9, *ten[:4])), ("a", record(3, *ten[4:7], previous=ten[3]["hash"])), ("b", record(5, *ten[2:], previous=ten[1]["hash"]))]
    first.shuffle(second)
    found = gather(second)
    assert found is not None and [one.seq for one in found.entries] == list(range(10)) and found.gaps == ()


def test_a_record_that_was_taken_out_leaves_a_gap_that_is_named() -> None:
    found = gather([("a", record(1, entry(1))), ("a", record(3, entry(3), previous=entry(2)["hash"]))])
    assert found is not None and [one.seq for one in found.entries] == [1, 3]
    assert found.gaps == ("what was written before 2026-12-21T03:00:00Z (as a tells)",)


def test_entries_of_another_incident_or_of_no_incident_at_all_are_none_of_it() -> None:
    other = {**entry(1), "data": {"incident": "j", "by": "a", "text": "closed"}}
    approval = {**entry(2), "type": "approval"}
    found = gather([("a", record(1, entry(0), other, approval))])
    assert found is not None and [one.seq for one in found.entries] == [0]


def test_an_entry_that_cannot_be_understood_holds_nothing_up() -> None:
    opened = {**entry(0), "type": "incident.opened", "data": {
        "incident": "i", "by": "a", "title": "t", "noticed_at": "2026-12-21T02:30+05:30", "noticed_by": "b", "signal": "s", "in_charge": "c", "types": [], "zones": []}}
    odd = [{**entry(number), "type": f"incident.{kind}", "data": {"incident": "i", **data}} for number, (kind, data) in enumerate(
        (("met", {}), ("corrected", {"what": "noticed_at", "value": 7}), ("anchored", {"anchor": [], "at": "x", "why": ""}), ("drafted", {"report": "cert-in"}),
         ("receipts", {"ranges": [{}]}), ("opened", {}), ("ordered", {"order": "1", "received_at": "yesterday", "text": ""})), 1)]
    found = fold(unpack(one) for one in [opened, *odd, entry(9)])["i"]
    assert [one.text for one in found.timeline][1:] == [*(f"an entry that cannot be understood ({one['type']})" for one in odd), "9"]
    assert found.met == () and found.noticed.isoformat() == "2026-12-21T02:30:00+05:30"


def test_of_files_the_newest_counts_and_older_ones_give_the_rest() -> None:
    found = gather([("a", record(1, files={"x": "1", "y": "1"})), ("b", record(2, files={"x": "2"}))])
    assert found is not None and found.files == {"x": "2", "y": "1"}
    assert [(one.repository, dict(one.files)) for one in found.folders] == [("b", {"x": "2"}), ("a", {"y": "1"})]
    assert gather([]) is None
