"""How a backup stands, in one small value that ``status`` can show without asking a repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from opsctl.model import shares
from opsctl.model.due import due, grace, overdue, words
from opsctl.model.quantities import counted
from opsctl.model.sets import FUTURE, GOOD, INCOMPLETE, SKEW, UNVOUCHED, WHOLE
from opsctl.model.signals import SUSPECT, reasons
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value
from opsctl.repositories.history import Holdings

#: How many drills a standing remembers: enough to see whether restoring gets slower.
DRILLS = 5

#: How many sets before the newest one it remembers, for a clock that turns out to have run ahead when it looked.
EARLIER = 50


@value
class Standing:
    """One backup at the last look (``checked``). Times are RFC 3339; ``states`` counts sets by state.

    ``read_since``: everything in the repository was read back after this time; None where something never was.
    ``drills``: the last ones, oldest first, each with ``time set ok seconds``.
    ``lacking``: of a copy: sets that could not be copied because their data is damaged.
    ``damage``: how much verifications found in its sets, or in what every set needs, that no later one found mended.
    ``locked``: until when (``until``, None: not at all) its S3 store locks what is in it, in which ``mode``, how many of
    its ``objects`` were ``looked`` at, and how the bucket is ``weak``; None where no store is said to lock.
    ``suspects``: the sets that count and whose changes looked like an attack, newest first, each with ``set time why``.
    ``earlier``: the sets that count before the newest, newest first, each with ``set time bytes``.
    ``frozen``: the freezes of its repository that nobody lifted, each with ``incident since``.
    """

    backup: str
    repository: str
    checked: str
    newest: str | None
    newest_time: str | None
    first_time: str | None
    states: Mapping[str, int]
    bytes: int
    unfinished: str | None
    read_since: str | None
    verified: str | None
    damage: int
    drills: Sequence[Mapping[str, Any]] = ()
    lacking: Sequence[str] = ()
    locked: Mapping[str, Any] | None = None
    earlier: Sequence[Mapping[str, Any]] = ()
    frozen: Sequence[Mapping[str, Any]] = ()
    suspects: Sequence[Mapping[str, Any]] = ()


def standing(
    backup: str, repository: str, holdings: Holdings, term: timedelta, now: datetime, *, copy: bool = False,
    locked: Mapping[str, Any] | None = None,
) -> Standing:
    """Sum a look up. ``copy``: at a repository that holds the backup's copies, which count there."""
    sets = holdings.judgement.of(backup)
    counted = WHOLE if copy else {GOOD}
    good = [view for view in sets if view.state in counted and view.time is not None]
    ordered = sorted(good, key=lambda view: view.time or now)[::-1]
    newest = ordered[0] if ordered else None
    states: dict[str, int] = {}
    for view in sets:
        states[view.word] = states.get(view.word, 0) + 1
    later = [view.id for view in sets if view.state == INCOMPLETE and newest is not None
             and view.time is not None and newest.time is not None and view.time > newest.time]
    records = holdings.verifications
    read = read_since(records, term)
    return Standing(
        backup=backup, repository=repository, checked=now.isoformat(),
        newest=newest.id if newest else None, newest_time=_stamp(newest.time if newest else None),
        first_time=_stamp(min((view.time for view in good if view.time), default=None)),
        states=states, bytes=newest.bytes if newest else 0, unfinished=later[-1] if later else None,
        read_since=_stamp(read), verified=records[-1]["time"] if records else None,
        damage=_damage(backup, holdings), drills=_drills(backup, holdings),
        locked=locked,
        earlier=[{"set": view.id, "time": _stamp(view.time), "bytes": view.bytes} for view in ordered[1:EARLIER + 1]],
        frozen=[{"incident": one.incident, "since": _stamp(one.since)} for one in holdings.freezes],
        suspects=[{"set": view.id, "time": _stamp(view.time), "why": "; ".join(reasons(view.signals))} for view in ordered
                  if view.verdict == SUSPECT][:EARLIER],
    )


def _damage(backup: str, holdings: Holdings) -> int:
    """What is wrong with the data of other backups' sets alone is theirs; all else may be anybody's."""
    found = 0
    for one in holdings.damage:
        whose = {view.backup for view in holdings.judgement.sets if view.state not in UNVOUCHED and one.reaches(view)}
        found += one.kind in shares.NOT_OF_PACKS or one.reaches_all or not whose or backup in whose
    return found


def as_of(found: Standing, now: datetime) -> Standing:
    """The standing as a look now would judge it: what is dated in the future, by a clock that ran ahead, counts no more."""
    limit = now + SKEW
    kept = [drill for drill in found.drills if parse_time(drill["time"]) <= limit]
    read = found.read_since if found.read_since and parse_time(found.read_since) <= limit else None
    found = replace(found, drills=kept, read_since=read)
    if found.newest_time is None or parse_time(found.newest_time) <= limit:
        return found
    past = [one for one in found.earlier if parse_time(one["time"]) <= limit]
    ahead = 1 + len(found.earlier) - len(past)
    states = {**found.states, FUTURE: found.states.get(FUTURE, 0) + ahead}
    for state in WHOLE:
        taken = min(ahead, states.get(state, 0))
        states[state] = states.get(state, 0) - taken
        ahead -= taken
    first = found.first_time if found.first_time and parse_time(found.first_time) <= limit else None
    newest: Mapping[str, Any] = past[0] if past else {"set": None, "time": None, "bytes": 0}
    return replace(found, newest=newest["set"], newest_time=newest["time"], bytes=newest["bytes"], first_time=first,
                   states={state: count for state, count in states.items() if count}, earlier=past[1:])


def _drills(backup: str, holdings: Holdings) -> list[dict[str, Any]]:
    found = [record for record in holdings.drills if record["backup"] == backup]
    return [{key: record[key] for key in ("time", "set", "ok", "seconds")} for record in found[-DRILLS:]]


def read_since(records: Sequence[Mapping[str, Any]], term: timedelta) -> datetime | None:
    """After which time everything in a repository was read back whole, by its verifications; None where something never was."""
    whole = [parse_time(record["time"]) for record in records
             if record.get("total") == 1 and record.get("shares") == [1] and not record.get("damaged")]
    rotating = shares.oldest_unread(records, term)
    return max([*whole, *([rotating] if rotating else [])], default=None)


@value
class Verdict:
    """What a person is told: ``word`` (``ok due overdue never unverified undrilled damaged suspect unknown``) and why.

    ``wrong``: only by what the last look at its repository ended with.
    """

    word: str
    because: str
    late: bool
    wrong: bool = False


def verdict(
    found: Standing | None, every: timedelta, term: timedelta, now: datetime, drill: timedelta | None = None
) -> Verdict:
    """Judge a standing now. ``late`` ones make ``status`` exit 5."""
    if found is None:
        return Verdict("never", "never ran, as far as this machine knows", True)
    newest = parse_time(found.newest_time) if found.newest_time else None
    late = overdue(newest, every, now)
    if newest is None:
        return Verdict("never", "no good set in the repository", True)
    if found.damage:
        return Verdict("damaged", f"{counted(found.damage, 'damage')} found by verification and not seen mended since; `opsctl backup list` names the sets", True)
    if late:
        more = f"; set {found.unfinished} did not finish" if found.unfinished else ""
        return Verdict("overdue", late + more, True)
    unread = unverified(found, term, now)
    if unread:
        return Verdict("unverified", unread, True)
    if drill is not None and (why := undrilled(found, drill, now)):
        return Verdict("undrilled", why, True)
    soon = due(newest, every, now)
    return Verdict("due", soon, False) if soon else Verdict("ok", f"{words(max(now - newest, timedelta(0)))} old", False)


def with_suspects(judged: Verdict, found: Standing | None) -> Verdict:
    """The same where no set of it is suspect; ``suspects`` of ``found`` are those that nobody has looked at."""
    if found is None or not found.suspects:
        return judged
    first = found.suspects[-1]
    others = f" and {counted(len(found.suspects) - 1, 'later set')}" if len(found.suspects) > 1 else ""
    why = f"set {first['set']}{others} may show an attack: {first['why']}"
    return replace(judged, because=f"{judged.because}; {why}") if judged.late else Verdict("suspect", why, True)


def unverified(found: Standing, term: timedelta, now: datetime) -> str | None:
    """Why the data is unverified for too long, or None."""
    since = parse_time(found.read_since or found.first_time or found.newest_time or found.checked)
    if now - since <= term + timedelta(days=1):
        return None
    what = "was never read back whole" if found.read_since is None else f"was last read back {words(now - since)} ago"
    return f"the data {what}, asked for every {words(term)}"


def undrilled(found: Standing, every: timedelta, now: datetime) -> str | None:
    """Why a drill is late, or the last one failed; None where all is well."""
    if found.drills and not found.drills[-1]["ok"]:
        return f"the last drill, of set {found.drills[-1]['set']}, failed"
    last = found.drills[-1]["time"] if found.drills else found.first_time or found.checked
    age = now - parse_time(last)
    if age <= every + timedelta(days=1):
        return None
    what = "no restore was ever drilled" if not found.drills else f"the last drill is {words(age)} old"
    return f"{what}, asked for every {words(every)}"


def drill_due(found: Standing, every: timedelta, now: datetime) -> str | None:
    """Why a drill is due, or None. Some hours before ``every`` is over: who asks once a night must not come too late."""
    if found.newest is None:
        return None
    if found.drills and not found.drills[-1]["ok"]:
        return f"the last drill, of set {found.drills[-1]['set']}, failed"
    last = found.drills[-1]["time"] if found.drills else found.first_time or found.checked
    age = now - parse_time(last)
    if age < every - grace(every):
        return None
    return f"the last drill is {words(age)} old" if found.drills else "no restore was ever drilled"


def copy_key(backup: str, repository: str) -> str:
    """Under which name the standing of a copy is kept; no backup can be called so."""
    return f"{backup}@{repository}"


def as_dict(found: Standing) -> dict[str, Any]:
    """JSON-able form, for the catalogue."""
    return asdict(found)


def from_dict(raw: Mapping[str, Any]) -> Standing | None:
    """Read it back; None for another version's."""
    try:
        return Standing(**raw)
    except TypeError:
        return None


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
