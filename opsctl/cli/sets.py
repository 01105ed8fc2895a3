"""The sets of all repositories, one entry each with the places that it is in: what ``backup list`` and ``show`` tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opsctl.cli import places
from opsctl.cli.report import Cell, Column, Mark, Out, Table, Tone
from opsctl.errors import OpsError, worst
from opsctl.model.quantities import counted
from opsctl.model.signals import SUSPECT, reasons

if TYPE_CHECKING:
    from opsctl.model.sets import SetView
    from opsctl.repositories.history import Holdings
    from opsctl.wiring import Site

#: The ids that we give to sets; those of others may hold anything.
_OURS = re.compile(r"[0-9]{8}-[0-9]{4}-[0-9a-f]{4}")
_TONES = {"good": Tone.GOOD, "copy": Tone.GOOD, "incomplete": Tone.WARN, "foreign": Tone.WARN, "future": Tone.WARN,
          "pruned": Tone.QUIET}

_VERDICTS = {"clean": Tone.GOOD, "suspect": Tone.BAD, "unknown": Tone.QUIET}


@dataclass(frozen=True)
class Place:
    """A set as it stands in one repository."""

    repository: str
    view: SetView


@dataclass(frozen=True)
class Held:
    """One set and every place that it is in. The first is the one that it is judged by: its own repository, if it is there."""

    places: tuple[Place, ...]

    @property
    def view(self) -> SetView:
        return self.places[0].view

    @property
    def whole(self) -> str | None:
        """``good`` where it stands whole in its own repository, ``copy`` where only elsewhere, None where nowhere."""
        states = {place.view.state for place in self.places}
        return next((state for state in ("good", "copy") if state in states), None)


@dataclass
class Found:
    """What the repositories answered. ``asked`` and ``answered``: how many of them; ``looked``: what was wrong with each."""

    held: list[Held] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[OpsError] = field(default_factory=list)
    looked: dict[str, OpsError | None] = field(default_factory=dict)
    holdings: dict[str, Holdings] = field(default_factory=dict)
    asked: int = 0
    answered: int = 0

    @property
    def code(self) -> int:
        return worst([*([0] if self.answered else []), *(error.code for error in self.errors)])

    def newest(self) -> list[Held]:
        """The newest good set of each backup; a copy where there are only copies."""
        found: dict[str, Held] = {}
        for held in self.held:  # oldest first
            if held.whole and (held.whole == "good" or held.view.backup not in found
                               or found[held.view.backup].whole == "copy"):
                found[held.view.backup] = held
        return list(found.values())


def gather(site: Site, names: Sequence[str] | None, only: Sequence[str] = ()) -> Found:
    """The sets of these backups, in their own repositories and in those of their copies; all sets without names.

    ``only``: in these repositories and in no other.
    """
    homes = [places.home(site, name) for name in names or ()]
    copies = [place for name in names or () if name in site.config.backups for place in site.config.backups[name].copies]
    found = Found()
    seen: list[Place] = []
    for home in dict.fromkeys(only or ([*homes, *copies] if names else site.config.repositories)):
        found.asked += 1
        try:
            holdings = places.look(site, home)
        except OpsError as error:
            error.where = error.where or home
            found.looked[home] = error
            if error.details.get("kind") in ("not-made", "away") and home not in homes:
                found.warnings.append(f"{error.message}: {error.hint}")
            else:
                found.errors.append(error)
            continue
        found.answered += 1
        found.looked[home] = None
        found.holdings[home] = holdings
        seen += [Place(home, view) for view in holdings.judgement.sets if not names or view.backup in names]
        found.warnings += [finding.message for finding in (*holdings.junk, *holdings.judgement.findings) if not finding.sets]
    found.held = _grouped(site, seen)
    return found


def _grouped(site: Site, seen: Sequence[Place]) -> list[Held]:
    """One entry a set. What somebody else signed under the id of a set of ours is an entry of its own."""
    named: dict[tuple[str, str], list[list[Place]]] = {}
    for place in sorted(seen, key=lambda one: (not one.view.record, one.view.state == "foreign")):
        groups = named.setdefault((place.view.backup, place.view.id), [])
        # What has no manifest (any more) belongs to the set that one tells of; those that are trusted come first.
        same = next((group for group in groups if not place.view.record or _is_same(group[0].view, place.view)), None)
        if same is None:
            groups.append([place])
        else:
            same.append(place)
    held = [Held(tuple(sorted(group, key=lambda one: _first(site, one)))) for groups in named.values() for group in groups]
    return sorted(held, key=lambda one: one.view.time.timestamp() if one.view.time else 0.0)


def _is_same(one: SetView, other: SetView) -> bool:
    return one.signer == other.signer and one.record == other.record


def _first(site: Site, place: Place) -> tuple[bool, bool, str]:
    plan = site.config.backups.get(place.view.backup)
    return (plan is None or place.repository != plan.repository, place.view.word not in ("good", "copy"), place.repository)


def as_json(site: Site, held: Held) -> dict[str, Any]:
    """A set for ``--json``, with its copies: how each stands where."""
    first, *others = held.places
    return {**places.describe(first.view), "reasons": list(_reasons(site, first.view)), "repository": first.repository,
            "copies": [{"repository": place.repository, **{key: value for key, value in places.describe(place.view).items()
                                                           if key in ("state", "reasons", "manifest", "snapshots", "damage")}}
                       for place in others]}


def write_list(out: Out, site: Site, found: Found) -> None:
    """The table of ``backup list``; nothing where none can be shown since somebody did not answer."""
    from opsctl.cli.work import local_time
    from opsctl.model.quantities import format_size

    if found.errors and not found.held:
        return  # that there are no sets is not known
    rows = []
    for held in found.held:
        view = held.view
        row: list[Cell] = [view.backup, view.id, local_time(site, view.time), _word(view), changes(view.verdict) if view.record else "", where(held),
                           format_size(view.bytes) if view.record else "", format_size(view.added) if view.record else "",
                           "; ".join(_remarks(site, held))]
        rows.append(row if found.asked > 1 else [*row[:5], *row[6:]])
    columns: list[Column | str] = ["backup", "set", "time", "state", "changes", Column("in", flexible=True), Column("size", right=True),
               Column("added", right=True), Column("remark", flexible=True)]
    out.table(Table(columns if found.asked > 1 else [*columns[:5], *columns[6:]], rows, empty="no sets"))


def write_set(out: Out, site: Site, held: Held) -> None:
    """The page of ``backup show``."""
    from opsctl.cli.work import local_time
    from opsctl.model.quantities import format_size
    from opsctl.proofs import shows

    view = held.view
    out.heading(f"{view.backup} {view.id}")
    bare = site.config.directory is None
    out.facts({"state": _word(view), "in": where(held) if not bare else site.history(held.places[0].repository).repository.url,
               "time": local_time(site, view.time),
               "signed by": view.signer or "nobody", "taken by": str(view.record.get("host", "")),
               "run": str(view.record.get("run", ""))})
    out.lines([Mark(remark, Tone.WARN) for remark in _remarks(site, held)])
    out.table(Table(
        ("source", "kind", "snapshot", Column("files", right=True), Column("size", right=True),
         Column("proof", flexible=True)),
        [(name, entry["kind"], entry["snapshot"][:8], str(entry["files"]), format_size(entry["bytes"]),
          shows(entry["proof"])) for name, entry in view.sources.items()],
        empty="no manifest, so nothing is known of its sources",
    ))
    for name, entry in view.sources.items():
        out.lines([Mark(f"{name}: accepted although {message}", Tone.WARN) for message in entry.get("accepted", ())])
    for name, seen in view.signals.get("sources", {}).items():
        _write_signals(out, name, seen)


def changes(verdict: str) -> Mark:
    """What the changes of a set look like, in one word."""
    return Mark(verdict, _VERDICTS[verdict])


def _write_signals(out: Out, name: str, seen: Mapping[str, Any]) -> None:
    """What changed in a source since the set before, and what that looks like."""
    numbers, verdict = seen["numbers"], seen["verdict"]
    counts = ", ".join(f"{numbers[what]:,} {what}" for what in ("changed", "added", "removed") if what in numbers)
    renamed = sum(numbers.get("renamed", {}).values())
    counts += f", {renamed:,} renamed" if renamed else ""
    out.line(Mark(f"{name}: changes are {verdict}{f'; files: {counts}' if counts else ''}", _VERDICTS[verdict]))
    out.lines([Mark(f"  {text}", _VERDICTS[verdict]) for text in (*seen["reasons"], *seen["notes"])])
    out.lines([f"  {one['path']}: {one['why']}" for one in seen["examples"]])


def _word(view: SetView) -> Mark:
    return Mark(view.word, _TONES.get(view.word, Tone.BAD))


def where(held: Held) -> str:
    """``main, offline, far (damaged)``."""
    first, *others = held.places
    named = [place.repository if place.view.word in ("good", "copy") else f"{place.repository} ({place.view.word})"
             for place in others]
    return ", ".join([first.repository, *named])


def _remarks(site: Site, held: Held) -> list[str]:
    from opsctl.cli.work import local_time

    view = held.view
    remarks = list(_reasons(site, view))
    if view.verdict == SUSPECT:
        remarks.append(f"SUSPECT: {'; '.join(reasons(view.signals))}")
    if view.taken_until:
        remarks.append(f"captured until {local_time(site, view.taken_until)}")
    for place in held.places:
        where = f"{place.repository}: " if len(held.places) > 1 else ""
        if place is not held.places[0]:
            unfinished = place.view.state == "incomplete" and not place.view.record
            remarks += [f"{where}{reason}" for reason in (["the copy is not finished"] if unfinished else place.view.reasons)]
        known = [damage for damage in place.view.damage if damage.sure]
        if known:
            more = f" and {len(known) - 3} more" if len(known) > 3 else ""
            remarks.append(f"{where}{', '.join(damage.what for damage in known[:3])}{more}: found on "
                           f"{local_time(site, min(damage.found for damage in known))} by `verify --level {known[0].level}`")
        elif place.view.damage:
            remarks.append(f"{where}may need what was found damaged before it was taken: "
                           f"`opsctl verify {place.repository} --level data --share {place.view.damage[0].share}` says")
    return remarks


def _reasons(site: Site, view: SetView) -> Sequence[str]:
    """Why a set is as it is; of an incomplete one also what failed, as far as this machine knows."""
    if view.state != "incomplete" or view.record:
        return view.reasons
    failed = _failures(site, view)
    if failed:
        return tuple(f"no manifest: {message}" for message in failed)
    plan = site.config.backups.get(view.backup)
    lacking = [name for name in plan.sources if name not in view.snapshots] if plan else []
    return (*view.reasons, *([f"not in it: {', '.join(lacking)}"] if lacking else []))


def _failure(error: Mapping[str, Any]) -> str:
    message, where = str(error["message"]), str(error["where"])
    named = message if where in message else f"{where}: {message}"
    return named if len(named) <= 160 else f"{named[:160].rstrip()}…"


def _failures(site: Site, view: SetView) -> list[str]:
    """What went wrong in the run that made a set, where that was a run of this machine."""
    from opsctl.engine.runs import Runs

    if _OURS.fullmatch(view.id) is None:
        return []
    date, _, token = view.id.rpartition("-")
    runs = Runs(site.place, site.journal, site.locks)
    found: list[str] = []
    for path in sorted(runs.directory.glob(f"{date}-*-{token}/plan.json")):
        word, ended = runs.standing(path.parent.name), runs.result(path.parent.name)
        if ended is None:
            found.append("its run is at work" if word == "running" else
                         f"its run was interrupted; `opsctl resume {path.parent.name}` goes on")
            continue
        errors = [error for error in ended.get("errors", ()) if str(error.get("where", "")).startswith(f"{view.backup}/")]
        found += [_failure(error) for error in errors[:3]]
        if len(errors) > 3:
            found.append(f"and {counted(len(errors) - 3, 'more failure')}")
    return found
