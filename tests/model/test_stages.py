"""How long stages take, what is lost, and how they stand by the journal alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from opsctl.model.stages import Course, courses, expected, loss, ready

NOON = datetime(2026, 12, 12, 12, tzinfo=UTC)


@dataclass
class Line:
    type: str
    minutes: float
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> datetime:
        return NOON + timedelta(minutes=self.minutes)


def _end(minutes: float, step: str, outcome: str = "ok", because: str = "because") -> Line:
    return Line("step.end", minutes, {"step": step, "item": None, "outcome": outcome, "because": because})


def _begin(minutes: float, step: str) -> Line:
    return Line("step.begin", minutes, {"step": step, "item": None})


def _bound() -> Line:
    stage = {"backup": "portal", "set": "s1", "rto": 3600, "rpo": 86400, "loss": 7200, "steps": ["choose", "approve", "start"]}
    return Line("run.bound", 0, {"inputs": {"stages": [{**stage, "service": "db"}, {**stage, "service": "tax", "rpo": 60}]}})


def _both(*lines: Line) -> tuple[Course, Course]:
    db, tax = courses([_bound(), *lines])
    return db, tax


def test_a_stage_is_done_when_all_its_steps_are_and_is_held_against_its_targets() -> None:
    db, tax = _both(_begin(1, "db.choose"), _end(2, "db.choose"), _end(10, "db.approve"), _begin(29, "db.start"), _end(30, "db.start", "changed"))
    assert (db.outcome, db.took, db.after) == ("done", timedelta(minutes=29), timedelta(minutes=30))
    assert (db.as_json()["rto_met"], db.as_json()["rpo_met"]) == (True, True)
    assert (tax.outcome, tax.after, tax.as_json()["rto_met"], tax.as_json()["rpo_met"]) == ("open", None, None, False)
    late, _ = _both(_end(2, "db.choose"), _end(10, "db.approve"), _end(61, "db.start"))
    assert late.as_json()["rto_met"] is False


def test_what_a_stage_waits_for_is_said_until_it_is_there() -> None:
    asked = Line("run.waiting", 3, {"waiting": [{"step": "db.approve", "item": None, "for": "two people approve"}]})
    db, _ = _both(_end(2, "db.choose"), _end(3, "db.approve", "waiting", "two people approve"), asked)
    assert (db.outcome, db.waits, db.after) == ("waiting", ("two people approve",), None)
    db, _ = _both(_end(2, "db.choose"), _end(3, "db.approve", "waiting", "two people approve"), asked, _end(5, "db.approve"))
    assert (db.outcome, db.waits) == ("running", ())


def test_a_stage_that_failed_says_why_until_it_was_done_after_all() -> None:
    db, tax = _both(_end(2, "db.choose", "failed", "the set is damaged"), _end(2, "db.approve", "skipped"), _end(2, "tax.choose", "skipped"))
    assert (db.outcome, db.because) == ("failed", "the set is damaged")
    assert tax.outcome == "open"
    db, _ = _both(_end(2, "db.choose", "failed", "the set is damaged"), _end(4, "db.choose"), _end(5, "db.approve"), _end(6, "db.start"))
    assert (db.outcome, db.because) == ("done", "")


def test_a_run_that_is_no_restoration_has_no_stages() -> None:
    assert courses([Line("run.bound", 0, {"inputs": {"backups": ["portal"]}})]) == [] == courses([])


def test_drills_tell_in_proportion_to_the_size_and_only_those_that_succeeded() -> None:
    drill = {"ok": True, "sources": {"a": {"bytes": 100, "restore_seconds": 10.0, "load_seconds": None},
                                     "b": {"bytes": 50, "restore_seconds": 1.0, "load_seconds": 4.0}}}
    entries = {"a": {"bytes": 200}, "b": {"bytes": 50}, "c": {"bytes": 1}}
    assert expected(entries, ["a", "b"], [drill]) == timedelta(seconds=25)
    assert expected(entries, ["a", "c"], [drill]) is None
    assert expected(entries, ["a"], [drill, {**drill, "ok": False}]) == timedelta(seconds=20)
    assert expected(entries, ["a"], [{**drill, "ok": False}]) is None


def test_a_stage_is_ready_after_the_slowest_of_those_that_it_needs() -> None:
    others = {"db": timedelta(minutes=10), "files": timedelta(minutes=30), "odd": None}
    assert ready(["db", "files"], timedelta(minutes=5), others) == timedelta(minutes=35)
    assert ready(["elsewhere"], timedelta(minutes=5), others) == timedelta(minutes=5)
    assert ready(["odd"], timedelta(minutes=5), others) is None and ready([], None, others) is None


def test_what_is_lost_is_counted_to_the_first_bad_time() -> None:
    assert loss(NOON, None, NOON + timedelta(hours=5)) == timedelta(hours=5)
    assert loss(NOON, NOON + timedelta(hours=2), NOON + timedelta(hours=5)) == timedelta(hours=2)
    assert loss(None, None, NOON) is None
