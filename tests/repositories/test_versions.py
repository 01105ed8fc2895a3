"""What brings objects back to how they were at a moment: by value, without a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from opsctl.repositories.versions import Kept, Step, Version, alike, events, steps

THEN = datetime(2026, 12, 12, 6, tzinfo=UTC)


def version(ident: str, minutes: int, *, tag: str = "good", size: int = 50) -> Version:
    """One that was stored so many minutes after the moment."""
    return Version(ident, THEN + timedelta(minutes=minutes), size, tag)


def kept(*versions: Version, markers: dict[str, int] | None = None, hidden: bool = False) -> Kept:
    """Versions, newest first, and delete markers by their minutes."""
    return Kept(versions, tuple((ident, THEN + timedelta(minutes=each)) for ident, each in (markers or {}).items()), hidden)


def sound(name: str, version: Version) -> bool:
    return version.tag.startswith("good")


GOOD = version("v1", -60)
BAD = version("v2", 10, tag="bad")
AGAIN = version("v3", 30)
DATED_ANEW = version("v1", 5)  # as Ceph does it with one whose lock was renewed before it was replaced


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (kept(GOOD), None),
        (kept(version("v1", 0)), None),
        (kept(GOOD, markers={"m": 5}, hidden=True), Step("x", "uncover", GOOD, ("m",))),
        (kept(GOOD, markers={"n": 6, "m": 5}, hidden=True), Step("x", "uncover", GOOD, ("n", "m"))),
        (kept(BAD, GOOD), Step("x", "put-back", GOOD)),
        (kept(BAD, GOOD, markers={"m": 20}, hidden=True), Step("x", "put-back", GOOD)),
        (kept(BAD, GOOD, markers={"m": 5}), Step("x", "put-back", GOOD)),
        # What was put back already, also over a marker, and what was stored once more as it was.
        (kept(AGAIN, BAD, GOOD), None),
        (kept(AGAIN, BAD, GOOD, markers={"m": 20}), None),
        (kept(AGAIN, BAD, GOOD, markers={"m": 40}, hidden=True), Step("x", "uncover", GOOD, ("m",))),
        # Of what was overwritten before the moment the later one is wanted, and what was deleted then stays deleted.
        (kept(version("v2", -10, tag="good later"), GOOD), None),
        (kept(BAD, version("v2", -10, tag="good later"), GOOD), Step("x", "put-back", version("v2", -10, tag="good later"))),
        (kept(GOOD, markers={"m": -5}, hidden=True), None),
        # One that the store dates after the moment, and that was there.
        (kept(BAD, DATED_ANEW), Step("x", "put-back", DATED_ANEW)),
        (kept(DATED_ANEW, markers={"m": 20}, hidden=True), Step("x", "uncover", DATED_ANEW, ("m",))),
        # What came later: sound, it stays in sight; planted, it is hidden, once.
        (kept(AGAIN), None),
        (kept(BAD), Step("x", "hide")),
        (kept(BAD, markers={"m": 20}, hidden=True), None),
        (kept(AGAIN, BAD), None),
        (kept(BAD, GOOD, markers={"m": -5}), Step("x", "hide")),
        (kept(AGAIN, GOOD, markers={"m": -5}), None),
        (kept(markers={"m": 5}, hidden=True), None),
    ],
)
def test_what_an_object_needs(found: Kept, step: Step | None) -> None:
    assert list(steps({"x": found}, THEN, sound)) == ([step] if step else [])


def test_what_is_named_is_hidden_though_it_looks_sound() -> None:
    assert list(steps({"x": kept(AGAIN)}, THEN, sound, hide=["x"])) == [Step("x", "hide")]
    assert list(steps({"x": kept(AGAIN, markers={"m": 40}, hidden=True)}, THEN, sound, hide=["x"])) == []


def test_the_content_is_asked_only_where_nothing_else_can_tell() -> None:
    def never(name: str, version: Version) -> bool:
        raise AssertionError(f"{name} {version} was read")

    assert len(list(steps({"x": kept(BAD, GOOD), "y": kept(GOOD), "z": kept(AGAIN, BAD, GOOD)}, THEN, never))) == 1


def test_a_tag_made_of_parts_is_settled_by_the_content() -> None:
    parts = version("v1", -60, tag="aa-2")
    assert alike(parts, version("v3", 30, tag="bb")) == "unsure" and alike(parts, version("v2", 1, tag="cc-2")) == "no"
    assert alike(parts, version("v2", 1, tag="aa-2", size=6)) == "no"
    assert list(steps({"x": kept(version("v3", 30, tag="good"), BAD, parts)}, THEN, sound)) == []
    forged = kept(version("v3", 30, tag="forged"), BAD, parts)
    assert list(steps({"x": forged}, THEN, sound)) == [Step("x", "put-back", parts)]


def test_what_happened_is_told_in_order() -> None:
    found = {"a": kept(BAD, GOOD, markers={"m": 17}, hidden=True), "b": kept(GOOD, markers={"n": 1}, hidden=True),
             "c": kept(GOOD), "d": kept(AGAIN, GOOD)}
    assert [(event.name, event.what) for event in events(found)] == [
        ("b", "deleted"), ("a", "overwritten"), ("a", "deleted")]
