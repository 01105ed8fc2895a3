"""Which sets of a backup go and which stay, and every reason why none may go now. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from opsctl.model.config_keep import Keep
from opsctl.model.damage import Damage
from opsctl.model.due import overdue
from opsctl.model.freezes import Freeze
from opsctl.model.keep import kept
from opsctl.model.quantities import counted
from opsctl.model.sets import FUTURE, INCOMPLETE, SetView
from opsctl.model.shares import NOT_OF_PACKS
from opsctl.model.signals import SUSPECT
from opsctl.model.snapshots import Finding
from opsctl.model.values import value

#: A set without a manifest that is this much older than the newest good one will not be finished any more.
UNFINISHED = timedelta(days=14)
#: What is gone, rewritten or claimed by nobody's word: whoever prunes now takes away what could still bring it back.
_GRAVE = frozenset({"snapshot-deleted", "snapshot-altered", "manifest-damaged", "prune-forged", "thaw-forged"})
_NAMED = 3


@value
class Choice:
    """``stays``: ids of sets, newest first, each with why; ``goes``: the sets that no rule keeps, oldest first.

    ``unfinished``: sets without a manifest that nobody will finish any more; they go only where that is asked for.
    """

    stays: Mapping[str, tuple[str, ...]]
    goes: tuple[SetView, ...]
    unfinished: tuple[SetView, ...]


@value
class Place:
    """What a look at one repository showed of a backup: its sets, and what concerns the repository as a whole.

    ``counts``: the states in which a set counts there; ``drilled``: ids of sets whose drill went well; ``accepted``: those
    that people said, when an earlier prune was approved, must not keep one from happening.
    """

    name: str
    sets: tuple[SetView, ...]
    counts: frozenset[str]
    findings: tuple[Finding, ...] = ()
    damage: tuple[Damage, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    drilled: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()

    @property
    def good(self) -> list[SetView]:
        """The sets that count, oldest first: whole, signed, and not known to be damaged."""
        return [view for view in self.sets if view.word in self.counts and view.time is not None]


def choose(keep: Keep, places: Sequence[Place], zone: ZoneInfo) -> Choice:
    """``places``: the repository that is pruned, then the backup's own where that is another one."""
    here = places[0]
    good = here.good
    stays = kept(keep, [(view.id, view.time) for view in good if view.time is not None], zone)
    drilled = frozenset().union(*(place.drilled for place in places))
    last = next((view.id for view in reversed(good) if view.id in drilled), None)
    if last is not None:
        stays[last] = (*stays.get(last, ()), "drilled")
    newest = good[-1].time if good else None
    unfinished = [view for view in here.sets if view.state == INCOMPLETE and view.manifest is None
                  and view.time and newest and newest - view.time > UNFINISHED]
    ordered = {view.id: stays[view.id] for view in reversed(good) if view.id in stays}
    return Choice(ordered, tuple(view for view in good if view.id not in stays), tuple(unfinished))


def refusals(
    choice: Choice, forget: Collection[str], places: Sequence[Place], accepted: Collection[str], *, every: timedelta, now: datetime,
) -> list[tuple[str, str]]:
    """Why nothing may be pruned now, each with what to do. ``forget``: ids of sets; ``accepted``: sets that shall be no reason."""
    found: list[tuple[str, str]] = []
    for place in places:
        found += [(f"{place.name} is frozen for incident {one.incident}{f' since {one.since:%Y-%m-%d}' if one.since else ''}",
                   f"when the incident is over: opsctl backup thaw --incident {one.incident}") for one in place.freezes]
        found += _gone(place) + _damaged(place)
    said = {*accepted}.union(*(place.accepted for place in places))
    found += _odd(places, said)
    here = places[0]
    wanted = [name for name in forget if name in choice.stays]
    if wanted:
        found.append((f"{_named(wanted)} would have to stay: {', '.join(choice.stays[wanted[0]])}",
                      "plan it anew: opsctl backup prune"))
    if not choice.stays:
        found.append((f"nothing would be left in {here.name}: no set in it counts", "opsctl backup list"))
    elif not frozenset().union(*(place.drilled for place in places)) & set(choice.stays) - {*forget}:
        found.append(("no set that would stay was ever restored to prove it", "opsctl verify --level drill, then plan it anew"))
    newest = here.good[-1].time if here.good else None
    if newest is not None and (late := overdue(newest, every, now)):
        found.append((f"{late}: is this machine's clock right, and are sets still taken?", "opsctl status; opsctl doctor"))
    return found


def _gone(place: Place) -> list[tuple[str, str]]:
    grave = [finding for finding in place.findings if finding.kind in _GRAVE]
    if not grave:
        return []
    more = f" (and {counted(len(grave) - 1, 'more finding')})" if len(grave) > 1 else ""
    return [(f"{place.name}: {grave[0].message}{more}", "find out what happened; until something is pruned much can be brought back")]


def _damaged(place: Place) -> list[tuple[str, str]]:
    damage = [one for one in place.damage if one.kind not in NOT_OF_PACKS]
    junk = [finding for finding in place.findings if finding.kind == "junk-object"]
    if damage:
        return [(f"{place.name} is damaged: {damage[0].what}", f"opsctl verify {place.name} --level data says what it reaches")]
    return [(f"{place.name}: {junk[0].message}", f"opsctl verify {place.name}")] if junk else []


def _odd(places: Sequence[Place], accepted: Collection[str]) -> list[tuple[str, str]]:
    found = []
    views = {view.id: view for place in places for view in place.sets if view.record and view.id not in accepted}
    suspect = [view.id for view in views.values() if view.verdict == SUSPECT and any(view.state in place.counts for place in places)]
    if suspect:
        found.append((f"{_named(suspect)} looks like an attack, and older sets may be the clean ones", _accept(suspect)))
    ahead = [view.id for view in views.values() if view.state == FUTURE]
    if ahead:
        found.append((f"{_named(ahead)} is dated in the future: a clock was wrong, or somebody has the controller's key", _accept(ahead)))
    return found


def _accept(names: Sequence[str]) -> str:
    return f"when people know that it is harmless: opsctl backup prune … {' '.join(f'--accept {name}' for name in names[:_NAMED])}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"set{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMED])}{more}"
