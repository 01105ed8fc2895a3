"""Open damage, by value: what ends it is a look that could have seen it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsctl.model.damage import open_damage, with_damage
from opsctl.model.sets import SetView
from opsctl.model.shares import count

BEGAN = datetime(2026, 12, 12, tzinfo=UTC)
PACK = f"data/{'0b' * 32}"  # its first byte is 11: share 12/30, 1/11, 12/256
FLIPPED = {"kind": "pack-damaged", "object": PACK, "sets": ["s1", "s2"], "reaches_all": False}


def record(day: int, level: str = "data", shares: tuple[int, ...] = (12,), total: int = 30, *findings: Any) -> dict[str, Any]:
    return {"time": (BEGAN + timedelta(days=day)).isoformat(), "run": f"run-{day}", "level": level, "shares": list(shares),
            "total": total, "findings": list(findings)}


def quick(day: int, *findings: Any) -> dict[str, Any]:
    return record(day, "quick", (), 0, *findings)


@pytest.mark.parametrize(("later", "ends"), [
    (quick(2), False),
    (record(2, "data", (13,), 30), False),
    (record(2, "data", (12,), 30), True),
    (record(2, "data", (11, 12), 30), True),
    (record(2, "data", (1,), 1), True),
    (record(2, "data", (12,), 256), True),
    (record(2, "data", (11,), 256), False),
    (record(2, "data", (1,), 11), True),
    (record(2, "data", (2,), 11), False),
    (record(2, "data", (1,), 1, {"kind": "index-damaged", "object": "index/1"}), False),
    (record(2, "data", (1,), 1, {"kind": "snapshot-foreign", "object": "snapshots/1"}), True),
])
def test_a_wrong_byte_ends_with_a_reading_of_its_own_pack(later: dict[str, Any], ends: bool) -> None:
    named = [one.object for one in open_damage([record(1, "data", (12,), 30, FLIPPED), later])]
    assert (PACK not in named) is ends


def test_what_a_quick_look_sees_a_quick_look_ends() -> None:
    lost = {"kind": "pack-missing", "object": PACK, "sets": ["s1"]}
    assert open_damage([record(1, "data", (3,), 30, lost), quick(2)]) == ()
    assert open_damage([quick(1, lost), quick(2, lost)])[0].found == BEGAN + timedelta(days=1)


def test_a_wrong_byte_that_was_once_a_lost_pack_still_needs_a_reading() -> None:
    lost = {"kind": "pack-missing", "object": PACK, "sets": ["s1"]}
    (one,) = open_damage([record(1, "data", (12,), 30, FLIPPED), quick(2, lost), quick(3)])
    assert one.sets == ("s1", "s2") and one.share == "12/256" and one.found == BEGAN + timedelta(days=1)


def view(name: str, day: float, **more: Any) -> SetView:
    return SetView(name, "portal", "good", BEGAN + timedelta(days=day), **more)


def test_each_set_says_what_reaches_it_and_a_later_one_what_may() -> None:
    found = open_damage([record(1, "data", (12,), 30, FLIPPED)])
    views = [view("s1", -3), view("s0", -9), view("s3", 2), replace(view("t1", 2), backup="tax"),
             replace(view("s2", 0), state="altered")]
    words = {one.id: (one.word, [damage.sure for damage in one.damage]) for one in with_damage(views, found)}
    assert words == {"s1": ("damaged", [True]), "s0": ("good", []), "s3": ("good", [False]), "t1": ("good", []),
                     "s2": ("altered", [])}


def test_two_backups_of_one_run_share_an_id_and_not_their_damage() -> None:
    found = open_damage([record(1, "data", (12,), 30, {**FLIPPED, "sets": ["s1"], "of": ["portal/s1"]})])
    views = [view("s1", -3), replace(view("s1", -3), backup="tax"), view("s2", 2), replace(view("s2", 2), backup="tax")]
    words = [(one.backup, one.word, [damage.sure for damage in one.damage]) for one in with_damage(views, found)]
    assert words == [("portal", "damaged", [True]), ("tax", "good", []), ("portal", "good", [False]), ("tax", "good", [])]


def test_a_record_that_names_ids_alone_reaches_all_of_that_id_until_a_reading_says_whose() -> None:
    old = record(1, "data", (12,), 30, {**FLIPPED, "sets": ["s1", "s0"]})
    views = [view("s0", -9), view("s1", -3), replace(view("s1", -3), backup="tax")]
    assert [one.word for one in with_damage(views, open_damage([old]))] == ["damaged"] * 3
    newer = record(2, "data", (12,), 30, {**FLIPPED, "sets": ["s1"], "of": ["tax/s1"]})
    assert [one.word for one in with_damage(views, open_damage([old, newer]))] == ["damaged", "good", "damaged"]


def test_damage_without_an_object_is_known_by_whose_set_it_is_in() -> None:
    both = [{"kind": "structure", "object": None, "sets": ["s1"], "of": [f"{backup}/s1"]} for backup in ("portal", "tax")]
    views = [view("s1", -3), replace(view("s1", -3), backup="tax")]
    assert [one.word for one in with_damage(views, open_damage([quick(1, *both)]))] == ["damaged", "damaged"]


def test_what_was_mended_is_not_carried_on() -> None:
    (hit,) = with_damage([view("s1", -3)], open_damage([record(1, "data", (12,), 30, FLIPPED)]))
    assert hit.word == "damaged" and with_damage([hit], ())[0].word == "good"


def test_what_a_state_tells_by_itself_is_not_told_twice() -> None:
    planted = {"kind": "junk-object", "object": "snapshots/1", "sets": [], "reaches_all": True}
    (one,) = with_damage([view("s1", 0)], open_damage([quick(1, planted)]))
    assert one.damage == ()


def test_a_share_is_never_finer_than_restic_can_tell_apart() -> None:
    assert count(timedelta(days=400)) == 256
