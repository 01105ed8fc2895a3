"""Which set is the clean point: by value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from opsctl.model.points import Candidate, Looked, clean_point, next_best, weigh

DAY = datetime(2026, 12, 1, tzinfo=UTC)


def one(number: int, verdict: str, *, scrambled: int = 0, **more: Any) -> Candidate:
    signals = {"verdict": verdict, "format": "opsctl-signals/1", "sources": {"files": {
        "verdict": verdict, "reasons": ["a reason"], "notes": [], "examples": [], "numbers": {"sample": {"scrambled": scrambled}}}}}
    return Candidate(f"set-{number}", DAY + timedelta(days=number), signals=signals, **more)


def chosen(*sets: Candidate, before: datetime | None = None) -> str | None:
    found = clean_point(weigh(sets, before))
    return found.set.id if found else None


def test_the_newest_clean_one_before_the_first_bad_time() -> None:
    sets = (one(0, "unknown"), one(1, "clean"), one(2, "clean"))
    assert chosen(*sets) == "set-2"
    assert chosen(*sets, before=DAY + timedelta(days=2)) == "set-1"
    assert chosen(*sets, before=DAY + timedelta(days=1)) is None
    late = one(3, "clean", until=DAY + timedelta(days=9))
    assert chosen(*sets, late, before=DAY + timedelta(days=5)) == "set-2", "part of it was captured too late"


def test_what_follows_a_suspect_set_is_no_clean_point_until_a_person_says_that_it_was_innocent() -> None:
    sets = [one(1, "clean"), one(2, "suspect"), one(3, "clean")]
    assert chosen(*sets) == "set-1"
    assert [point.refused for point in weigh(sets)] == [None, "suspect: files: a reason", "holds what changed in suspect set set-2"]
    assert chosen(sets[0], one(2, "suspect", looked=Looked("innocent", "asha", "")), sets[2]) == "set-3"
    assert chosen(sets[0], one(2, "suspect", looked=Looked("attack", "asha", "")), sets[2]) == "set-1"
    assert chosen(one(1, "clean"), one(2, "clean", looked=Looked("attack", "asha", ""))) == "set-1", "a person knows better"


def test_a_slow_encryption_taints_the_sets_in_which_it_had_begun() -> None:
    sets = [one(1, "clean"), one(2, "clean", scrambled=1), one(3, "clean"), one(4, "suspect", scrambled=3), one(5, "clean")]
    assert chosen(*sets) == "set-1"
    assert "already holds a few files" in str(weigh(sets)[1].refused)
    assert chosen(*sets[:3]) == "set-3", "one such file alone is an accident"


def test_what_cannot_be_restored_is_none_and_what_is_unknown_is_second_best() -> None:
    points = weigh([one(1, "unknown"), one(2, "unknown", trouble="damaged"), one(3, "suspect")])
    assert clean_point(points) is None
    assert (best := next_best(points)) is not None and best.set.id == "set-1"
    assert chosen(one(1, "clean"), one(2, "clean", trouble="incomplete: no manifest")) == "set-1"
