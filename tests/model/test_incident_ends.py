"""What belongs to an incident is kept as it was recorded, and what is not ended holds its closing up."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from opsctl.model.incident import (
    ASKED,
    COLLECTED,
    DRAFTED,
    ENTERED,
    ENTRIES,
    OFFLINE,
    OPENED,
    PAPERED,
    RECONCILED,
    RECORDS,
    Incident,
    fold,
)
from opsctl.model.incident_ends import open_ends

IST = timezone(timedelta(hours=5, minutes=30))
NOTICED = datetime(2026, 12, 21, 2, 30, tzinfo=IST)
#: One of each, as `RECORDS` describes it.
SAMPLES: dict[str, dict[str, Any]] = {
    "drafted": {"report": "cert-in", "number": 2, "files": []}, "paper-asked": {"kind": "auditor-certificate", "text": "before reopening"},
    "papered": {"kind": "auditor-certificate", "name": "cert.pdf", "sha256": "a" * 64, "bytes": 9, "note": ""},
    "collected": {"host": "db-1", "profile": "volatile", "bag": "db-1", "counts": {"collected": 3, "failed": 1}, "manifest_sha256": "b" * 64},
    "sealed": {"bag": "db-1", "manifest_sha256": "b" * 64, "key": "SHA256:x"}, "handed": {"bag": "db-1", "to": "police", "reason": "FIR"},
    "offline": {"order": "o1", "services": ["tax"], "bodies": ["indore", "rewa"], "since": NOTICED.isoformat()},
    "receipts": {"order": "o1", "ranges": [{"body": "rewa", "series": "A", "first": 1, "last": 50}, {"body": "indore", "series": "A", "first": 51, "last": 60}]},
    "last-receipts": {"order": "o1", "what": "cut", "origin": "last.csv", "rows": [{"body": "rewa", "series": "P", "number": 7, "date": ""}]},
    "entered": {"order": "o1", "bodies": {"rewa": 12}, "file": "r.csv", "sha256": "c" * 64, "rows": 12, "total": "1,200.00"},
    "settled": {"order": "o1", "findings": [{"body": "rewa", "finding": "gap:A:3"}], "note": "spoiled"},
    "reconciled": {"order": "o1", "bodies": [{"body": "rewa", "gaps": 0, "doubles": 0, "seen": 0}], "note": ""}, "taken-over": {"lost": ["journal 5 to 9"]},
}


def made(*entries: tuple[str, dict[str, Any]]) -> Incident:
    first = SimpleNamespace(type=OPENED, seq=1, time=NOTICED, data={
        "incident": "i", "title": "T", "noticed_at": NOTICED.isoformat(), "noticed_by": "operator", "signal": "s", "in_charge": "Asha",
        "types": [], "zones": [], "by": "root"})
    lines = [SimpleNamespace(type=kind, seq=number, time=NOTICED + timedelta(minutes=number), data={"incident": "i", "by": "ravi", **data})
             for number, (kind, data) in enumerate(entries, 2)]
    return fold([first, *lines])["i"]


@pytest.mark.parametrize("kind", RECORDS)
def test_every_kind_of_record_is_kept_in_order_and_told_in_a_sentence(kind: str) -> None:
    said = SAMPLES[kind.partition(".")[2]]
    found = made((kind, said), (kind, said))
    assert [one.data["by"] for one in found.of(kind)] == ["ravi", "ravi"]
    assert [one.at for one in found.of(kind)] == [NOTICED + timedelta(minutes=2), NOTICED + timedelta(minutes=3)]
    assert found.timeline[-1].text not in ENTRIES  # words, not the name of the entry


def test_a_paper_that_was_asked_for_is_open_until_it_came() -> None:
    asked = (ASKED, SAMPLES["paper-asked"])
    assert [one.what for one in open_ends(made(asked, asked))] == ["auditor-certificate is not there (before reopening)"]
    assert not open_ends(made(asked, (PAPERED, SAMPLES["papered"])))


def test_each_body_that_works_on_paper_is_open_until_it_is_reconciled() -> None:
    left = open_ends(made((OFFLINE, SAMPLES["offline"]), (RECONCILED, SAMPLES["reconciled"])))
    assert [one.what for one in left] == ["indore is not reconciled (order o1)"]
    both = [{"body": body, "gaps": 0, "doubles": 0, "seen": 0} for body in ("rewa", "indore")]
    assert not open_ends(made((OFFLINE, SAMPLES["offline"]), (RECONCILED, {**SAMPLES["reconciled"], "bodies": both})))


def test_what_came_after_the_reconciliation_opens_it_again_and_many_bodies_are_one_line() -> None:
    done = (RECONCILED, {**SAMPLES["reconciled"], "bodies": [{"body": "rewa", "gaps": 0, "doubles": 0, "seen": 1}]})
    entered = (ENTERED, SAMPLES["entered"])
    assert not open_ends(made(entered, done))
    assert [one.what for one in open_ends(made(entered, done, entered))] == ["rewa is not reconciled (order o1)"]
    many = open_ends(made((OFFLINE, {**SAMPLES["offline"], "bodies": [f"b{number}" for number in range(412)]})))
    assert [one.what for one in many] == ["412 bodies are not reconciled (order o1): b0, b1, b2, b3, b4 and 407 more"]


def test_evidence_and_drafts_hold_nothing_up() -> None:
    assert not open_ends(made((COLLECTED, SAMPLES["collected"]), (DRAFTED, SAMPLES["drafted"])))
