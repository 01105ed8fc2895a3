"""Which set of a backup is the clean point: the newest one that can be restored and in which, and before which, nothing looks like an attack."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, tzinfo
from typing import Any

from opsctl.model.quantities import counted
from opsctl.model.signals import CLEAN, LAST, SUSPECT, UNKNOWN, reasons
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

INNOCENT, ATTACK = "innocent", "attack"


@value
class Looked:
    """What people said of a suspect set after looking at it: ``innocent`` or ``attack``; ``time`` in RFC 3339.

    ``needs``: how many more have to sign that it is innocent before that counts.
    """

    word: str
    by: str
    time: str
    note: str = ""
    needs: int = 0

    def words(self, zone: tzinfo) -> str:
        """``looked at by asha, 21 Dec``."""
        day = parse_time(self.time).astimezone(zone)
        return f"looked at by {self.by}, {day.day} {day:%b}"


@value
class Candidate:
    """One set. ``until``: when its last source was captured. ``trouble``: why it can be restored from nowhere; None where it can.

    ``signals``: as in a manifest, computed or empty.
    """

    id: str
    time: datetime | None
    until: datetime | None = None
    trouble: str | None = None
    signals: Mapping[str, Any] = field(default_factory=dict)
    looked: Looked | None = None

    @property
    def verdict(self) -> str:
        """What its signals say, unless a person has said otherwise."""
        if self.looked is not None and self.looked.word == ATTACK:
            return SUSPECT
        found = str(self.signals.get("verdict", UNKNOWN))
        return CLEAN if self.trusted and found == SUSPECT else found

    @property
    def trusted(self) -> bool:
        """Whether people vouch for it with all the signatures that it takes."""
        return self.looked is not None and self.looked.word == INNOCENT and not self.looked.needs

    @property
    def why(self) -> str:
        """Why it is suspect or unknown, in one line; empty for a clean one."""
        if self.verdict == CLEAN:
            return ""
        if self.looked is not None and self.looked.word == ATTACK:
            return f"an attack, says {self.looked.by}"
        why = "; ".join(reasons(self.signals)) or "its changes were not looked at"
        if self.looked is not None and self.looked.needs:
            why += f"; {self.looked.by} called it innocent, and {counted(self.looked.needs, 'more person has', 'more people have')} to sign that"
        return why


@value
class Point:
    """A set as a point to go back to. ``refused``: why it is not clean, or cannot be gone back to; None where it is a clean point.

    ``unknown``: that nothing is known against it, but too little for it. ``relies``: of a clean one the suspect sets, itself or before
    it, that are taken for innocent because people said so.
    """

    set: Candidate
    refused: str | None = None
    unknown: bool = False
    relies: tuple[Candidate, ...] = ()

    def words(self, zone: tzinfo) -> str:
        """On whose word it is clean; empty where on nobody's."""
        return "; ".join(f"{'' if one.id == self.set.id else f'set {one.id} '}{one.looked.words(zone)}" for one in self.relies if one.looked)


def weigh(sets: Sequence[Candidate], before: datetime | None = None) -> list[Point]:
    """Judge the sets of one backup, oldest first, for going back to before the first bad time ``before``.

    What was changed in a suspect set is still so in those after it, however quiet these are.
    """
    begun = _attack(sets)
    found = []
    for number, one in enumerate(sets):
        point = Point(one)
        moment = one.until or one.time
        if one.trouble is not None:
            point = replace(point, refused=one.trouble)
        elif before is not None and (moment is None or moment >= before):
            point = replace(point, refused="not from before the first bad time")
        elif one.verdict == SUSPECT:
            point = replace(point, refused=f"suspect: {one.why}")
        elif begun is not None and number >= begun[0]:
            how = f"holds what changed in suspect set {begun[1]}" if number > begun[2] else f"already holds a few files that are noise, as suspect set {begun[1]}"
            point = replace(point, refused=how)
        elif one.verdict == UNKNOWN:
            point = replace(point, refused=f"unknown: {one.why}", unknown=True)
        else:
            point = replace(point, relies=tuple(each for each in sets[:number + 1] if each.trusted and each.signals.get("verdict") == SUSPECT))
        found.append(point)
    return found


def _attack(sets: Sequence[Candidate]) -> tuple[int, str, int] | None:
    """From which set on an attack may be in all of them, by which suspect set, and where that is; None where none is suspect."""
    first = next((number for number, one in enumerate(sets) if one.verdict == SUSPECT), None)
    if first is None:
        return None
    begin = first
    if _scrambled(sets[first]):
        earlier = [number for number in range(max(0, first - LAST), first) if _scrambled(sets[number]) and not sets[number].trusted]
        begin = min([first, *earlier])
    return begin, sets[first].id, first


def _scrambled(one: Candidate) -> bool:
    sources: Collection[Mapping[str, Any]] = one.signals.get("sources", {}).values()
    return any(entry["numbers"].get("sample", {}).get("scrambled") for entry in sources)


def clean_point(points: Sequence[Point]) -> Point | None:
    """The newest clean one."""
    return next((point for point in reversed(points) if point.refused is None), None)


def next_best(points: Sequence[Point]) -> Point | None:
    """The newest one that nothing is known against, where there is no clean one."""
    return next((point for point in reversed(points) if point.unknown), None)


def newer(points: Sequence[Point], than: Point | None) -> list[Point]:
    """Those after the clean one, oldest first: each with why it is not that."""
    return list(points[points.index(than) + 1:] if than is not None else points)
