"""``opsctl restore points``: to which sets of a backup one can go back, and which is the newest clean one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import places, sets
from opsctl.cli.report import Cell, Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import OpsError, Partial, SafetyRefusal, worst
from opsctl.model import points as model
from opsctl.model.choices import standing
from opsctl.model.points import Candidate, Looked, Point
from opsctl.model.signals import FORMAT, UNKNOWN
from opsctl.model.snapshots import Progress, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from opsctl.cli.work import Given
    from opsctl.wiring import Site

Before = Annotated[str | None, typer.Option(
    "--before", metavar="TIME", help="when the data first went bad: only sets from before it come into question")]
From = Annotated[list[str] | None, typer.Option("--from", metavar="NAME", help="only what is in this repository; may be given again")]
Known = Annotated[bool, typer.Option("--known", help="only what is known already: compute no signals of old sets, which takes time")]


@places.from_anywhere
def points(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    before: Before = None,
    copy_in: From = None,
    known: Known = False,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """To which set to go back: the newest clean one.

    Each set with what its changes look like, whether it was read back, its last drill, and where it is. Signals that
    no manifest holds are computed from the repository and kept. Exit 3 where there is no clean set.
    """
    from opsctl.cli.journal import moment_of
    from opsctl.cli.work import local_time, open_site

    session = of(context)
    site = open_site(session, trust=trust, given=given)
    for name in copy_in or ():
        if name not in site.config.repositories:
            from opsctl.model.unknown import unknown

            raise unknown("repository", name, site.config.repositories)
    bound = moment_of(before, site.clock(), site.config.organisation.tz, "--before") if before else None
    found = sets.gather(site, [backup], only=copy_in or ())
    held = [one for one in found.held if one.view.state != "foreign"]
    if not held and not found.errors:
        raise SafetyRefusal(f"there is no set of {backup}", hint="opsctl backup list")
    signals = _signals(session, site, backup, found, compute=not known)
    from opsctl.wiring.looked import said_of

    looked = said_of(site, backup)
    weighed = model.weigh([_candidate(one, signals, looked) for one in held], bound)
    chosen = model.clean_point(weighed)
    decided = standing((choice for one in found.holdings.values() for choice in one.choices), backup)
    sentence = _sentence(site, backup, weighed, chosen, bound)
    rows = [_row(site, found, one, point) for one, point in zip(held, weighed, strict=True)]
    errors: list[OpsError] = list(found.errors)
    if chosen is None and held:
        errors.append(Partial(sentence, where=backup, hint=_hint(backup, weighed)))

    def text(out: Out) -> None:
        out.table(Table(("set", "time", "changes", "read back", "drill", Column("in", flexible=True), Column("remark", flexible=True)), rows))
        if chosen is not None:
            out.line(Mark(sentence, Tone.GOOD))
        if decided is not None:
            out.line(f"{' and '.join(decided.people)} chose {decided.set}, {local_time(site, decided.time)}{f': {decided.why}' if decided.why else ''}")

    result = {"backup": backup, "before": bound, "clean": chosen.set.id if chosen else None, "because": sentence,
              "chosen": {"set": decided.set, "people": list(decided.people), "time": decided.time, "why": decided.why} if decided else None,
              "points": [_as_json(site, found, one, point) for one, point in zip(held, weighed, strict=True)]}
    return Report(result=result, text=text, errors=errors, warnings=[*found.warnings, *site.said],
                  exit_code=worst([*([0] if chosen else []), *(error.code for error in errors)]))


class _Bench:
    """What signals are computed with where there is no run."""

    def __init__(self, site: Site) -> None:
        self.source = site.source

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="opsctl-signals-") as made:
            yield Path(made)


def _signals(session: Session, site: Site, backup: str, found: sets.Found, *, compute: bool) -> dict[str, Mapping[str, Any]]:
    """The signals of each set, by id; of those that are whole somewhere and were signed with none, computed oldest first, and kept."""
    from opsctl.actions import signalling
    from opsctl.cli.progress import display
    from opsctl.cli.signals import working

    known: dict[str, Mapping[str, Any]] = {}
    todo: list[tuple[str, Any]] = []
    for held in found.held:
        place = next((one for one in held.places if one.view.state in ("good", "copy")), None)
        if place is None:
            known[held.view.id] = held.view.signals
            continue
        kept = site.catalogue.signals(site.history(place.repository).identity().id).get(str(place.view.manifest), {})
        known[held.view.id] = kept if kept.get("format") == FORMAT else place.view.signals
        if kept.get("format") != FORMAT and place.view.verdict == UNKNOWN:
            todo.append((place.repository, place.view))
    if not compute or not todo:
        return known
    with working(session), display(session) as tell:
        wanted = [signalling.Old(view, signalling.before(found.holdings[repository].judgement.of(backup), view), site.history(repository).repository)
                  for repository, view in todo]
        tell(Progress("looking at what changed", files_done=0, files_total=len(todo), unit="set"))
        for number, made in enumerate(signalling.of_sets(wanted, _Bench(site), dict(known))):
            repository, view = todo[number]
            known[view.id] = made
            if not session.dry_run:
                site.catalogue.put_signals(site.history(repository).identity().id, str(view.manifest), made)
            tell(Progress("looking at what changed", files_done=number + 1, files_total=len(todo), unit="set"))
    return known


def _candidate(held: sets.Held, signals: Mapping[str, Mapping[str, Any]], looked: Mapping[str, Looked]) -> Candidate:
    view = held.view
    whole = [place for place in held.places if place.view.word in ("good", "copy")]
    trouble = None if whole else f"{view.word}{f': {view.reasons[0]}' if view.reasons else ''}"
    return Candidate(view.id, view.time, view.taken_until if view.record else None, trouble, signals.get(view.id, {}), looked.get(view.id))


def _sentence(site: Site, backup: str, weighed: Sequence[Point], chosen: Point | None, bound: datetime | None) -> str:
    from opsctl.cli.work import local_time

    until = f" before {local_time(site, bound)}" if bound else ""
    after = model.newer(weighed, chosen)
    # Of many it is those next to the clean one that say where it began.
    why = "; ".join(f"{point.set.id} {_is(point)}" for point in after[:3])
    why += f"; and {len(after) - 3} more" if len(after) > 3 else ""
    if chosen is not None:
        return (f"the newest clean set of {backup}{until}: {chosen.set.id}, {local_time(site, chosen.set.time)}{_trusting(site, chosen)}"
                + (f"; none newer, since {why}" if why else "; it is the newest there is"))
    return f"no set of {backup}{until} is clean: {why}"


def _trusting(site: Site, point: Point) -> str:
    """On whose word it is clean, as it follows something; empty where on nobody's."""
    words = point.words(site.config.organisation.tz)
    return f", {words}" if words else ""


def _is(point: Point) -> str:
    refused = str(point.refused)
    return refused if refused.startswith(("holds", "already")) else f"is {refused}"


def _hint(backup: str, weighed: Sequence[Point]) -> str:
    best = model.next_best(weighed)
    if best is None:
        return "is there another copy (--from)? Media that were away, out of reach of what happened?"
    return f"nothing is known against {best.set.id}; drill and scan it before anything of it is used"


def _row(site: Site, found: sets.Found, held: sets.Held, point: Point) -> list[Cell]:
    from opsctl.cli.work import local_time

    read, drill = _read_back(site, found, held), _drill(found, held)
    how = "" if drill is None else Mark("proven" if drill["ok"] else "FAILED", Tone.GOOD if drill["ok"] else Tone.BAD)
    return [held.view.id, local_time(site, held.view.time), sets.changes(point.set.verdict), "" if read is None else "yes" if read else "not since",
            how, sets.where(held), _remark(site, point)]


def _remark(site: Site, point: Point) -> str:
    looked = point.set.looked
    rests = "; ".join(f"after set {one.id}, {one.looked.words(site.config.organisation.tz)}" for one in point.relies if one.looked and one.id != point.set.id)
    said = f"{looked.word}, {looked.words(site.config.organisation.tz)}{f': {looked.note}' if looked.note else ''}" if looked else ""
    notes = [f"{name}: {note}" for name, entry in point.set.signals.get("sources", {}).items() for note in entry["notes"]] if not point.refused else []
    return "; ".join(filter(None, (point.refused, said, rests, *notes)))


def _read_back(site: Site, found: sets.Found, held: sets.Held) -> bool | None:
    """Whether all data of its repository was read back after it was taken; None where nothing asks for that."""
    from opsctl.actions.verify import read_term
    from opsctl.repositories.standing import read_since

    place = held.places[0]
    if place.repository not in found.holdings or held.view.time is None:
        return None
    since = read_since(found.holdings[place.repository].verifications, read_term(site.config, place.repository))
    return since is not None and since >= held.view.time


def _drill(found: sets.Found, held: sets.Held) -> Mapping[str, Any] | None:
    """The last drill of a set, wherever it was read."""
    drills = [record for place in held.places if place.repository in found.holdings for record in found.holdings[place.repository].drills
              if record["backup"] == held.view.backup and record["set"] == held.view.id]
    return max(drills, key=lambda record: parse_time(record["time"]), default=None)


def _as_json(site: Site, found: sets.Found, held: sets.Held, point: Point) -> dict[str, Any]:
    drill, looked = _drill(found, held), point.set.looked
    return {
        "set": held.view.id, "time": held.view.time, "state": held.view.word, "verdict": point.set.verdict, "refused": point.refused,
        "signals": dict(point.set.signals), "read_back": _read_back(site, found, held),
        "drill": {"time": drill["time"], "ok": drill["ok"]} if drill else None,
        "looked": {"word": looked.word, "by": looked.by, "time": looked.time, "note": looked.note, "needs": looked.needs} if looked else None,
        "relies_on": [one.id for one in point.relies],
        "places": [{"repository": place.repository, "state": place.view.word} for place in held.places],
    }
