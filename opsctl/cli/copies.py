"""``opsctl backup copy``, and how the copies of a backup stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import locked, looks, places
from opsctl.cli.drill_times import drilled
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import OpsError, Overdue
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.repositories.history import History, Holdings
    from opsctl.repositories.standing import Standing
    from opsctl.wiring import Site


def copy(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="names of backups; all if none is given")] = None,
    to: Annotated[list[str] | None, typer.Option(
        "--to", metavar="REPOSITORY", help="only to this repository; may be given again")] = None,
    due: Annotated[bool, typer.Option("--due", help="only what is due; an absent removable disk is no failure")] = False,
    wait: places.Wait = None,
) -> Report:
    """Copy sets to the backup's other repositories.

    `backup run` does it by itself; this is for a disk that was just plugged in, and for catching up.
    """
    from opsctl.cli.backup import known, remember
    from opsctl.cli.work import carry_out, open_site
    from opsctl.errors import UsageError

    session = of(context)
    site = open_site(session, wait=wait)
    for name in names or ():
        if name in site.config.repositories and name not in site.config.backups:
            raise UsageError(f"{name} is a repository; NAME is a backup", hint=f"opsctl backup copy --to {name}")
    chosen = known(names, site.config.backups, "backup")
    copied = [name for name in chosen if site.config.backups[name].copies]
    if to:
        known(to, site.config.repositories, "repository")
        copied = [name for name in copied if set(to) & set(site.config.backups[name].copies)] if not names else copied
    if not copied:
        raise UsageError(f"{', '.join(chosen)}: no copies are configured",
                         hint="copies: [REPOSITORY] under the backup; see configs/README.md")
    inputs = {"backups": copied, "to": list(to or ()), "when": "due" if due else "always",
              "locked": [name for name in locked.locked(site.config, copied, home=False) if not to or name in to]}
    subject = copied[0] if len(copied) == 1 else "copy"

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"backups": {one.item: {**one.result, "outcome": one.outcome, "because": one.because}
                            for one in tally.results}}

    report = carry_out(session, site, "backup-copy", inputs, subject=subject, text=write_copies, result=result)
    if not session.dry_run:
        remember(site, copied)
    return report


def write_copies(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each copy of each backup."""
    for one in (one for one in tally.results if one.step == "copy"):
        if not one.result:
            tone = Tone.QUIET if one.outcome == "skipped" else Tone.BAD
            out.line(Mark(f"{one.item}: not copied: {one.because}", tone))
        for name, found in one.result.get("copies", {}).items():
            if found["state"] == "current":
                out.line(Mark(f"{one.item}: {name} holds {counted(found['sets'], 'set')}, the newest {found['newest']}", Tone.GOOD))
            elif found["state"] == "away":
                out.line(Mark(f"{one.item}: {name} is away", Tone.QUIET))
            elif found["state"] == "resting":
                out.line(Mark(f"{one.item}: {name} is copied to as often as its own `every` says; "
                              f"`opsctl backup copy --to {name}` does it now", Tone.QUIET))
            elif found["state"] == "paused":
                for lacking, why in found["paused"].items():
                    out.line(Mark(f"{one.item}: {name} lacks {lacking}, whose data is damaged: {why}; tried again once a day, "
                                  f"`opsctl backup copy --to {name}` does it now", Tone.BAD))
            elif found["state"] == "unknown":
                out.line(Mark(f"{one.item}: {name} was not reached", Tone.BAD))
            else:
                out.line(Mark(f"{one.item}: {name} lacks {', '.join(found['missing'])}", Tone.BAD))


def remember_copies(site: Site, backups: Sequence[str], *, ask: bool = False) -> list[OpsError]:
    """Look at the copies of these backups once and keep how they stand, for ``status``. Away disks are left out."""
    from opsctl.actions.verify import read_term
    from opsctl.repositories.standing import as_dict, copy_key, standing

    errors: list[OpsError] = []
    by_place: dict[str, list[str]] = {}
    for name in backups:
        for place in site.config.backups[name].copies:
            by_place.setdefault(place, []).append(name)
    for place, names in by_place.items():
        history = site.history(place)
        try:
            if history.is_away():
                continue
            holdings = looks.look(site, place, ask=ask)
        except OpsError as error:
            if error.details.get("kind") != "not-made":
                errors.append(error)
            continue
        term = read_term(site.config, place)
        held = locked.look_at_locks(site, place, holdings, errors)
        for name in names:
            found = standing(name, place, holdings, term, site.clock(), copy=True, locked=held)
            found = replace(found, lacking=_lacking(site, name, history, holdings))
            site.catalogue.put_standing(copy_key(name, place), as_dict(found))
    return errors


def _lacking(site: Site, backup: str, history: History, holdings: Holdings) -> list[str]:
    """The sets that could not be copied because their data is damaged, while they are still there to be copied."""
    tried = set(history.attempts.of(backup))
    if not tried:
        return []
    tried -= {view.id for view in holdings.judgement.of(backup) if view.state == "copy"}
    try:
        home = site.history(site.config.backups[backup].repository).seen(site.clock())
    except OpsError:
        return sorted(tried)
    return sorted(tried & {view.id for view in home.judgement.of(backup) if view.state == "good"})


class Copies:
    """How the copies of one backup stood at the last look."""

    def __init__(self, site: Site, backup: str, kept: Mapping[str, Mapping[str, Any]]) -> None:
        self.site = site
        self.backup = backup
        self.kept = kept
        self.wrong = looks.wrong(site)

    def as_json(self) -> dict[str, Any]:
        """By repository: newest set, its time, how many, whether late and why, whether it is here, and what it survives."""
        found = {}
        for name, standing in self._standings():
            late = self._late(name, standing)
            found[name] = {"newest": standing.newest if standing else None,
                           "newest_time": standing.newest_time if standing else None,
                           "sets": _whole(standing), "late": late is not None, "because": late,
                           "damage": standing.damage if standing else 0, "survives": self.survives(name, standing),
                           "away": self._is_away(name), "last_seen": standing.checked if standing else None,
                           "next_due": self._next_due(name, standing),
                           "drills": list(standing.drills) if standing else [],
                           "locked": standing.locked if standing else None}
        return found

    def late(self) -> list[Overdue]:
        """An error for each copy that is older than it may become."""
        return [Overdue(f"the copy of {self.backup} in {name}: {why}", where=f"{self.backup}/{name}")
                for name, standing in self._standings() if (why := self._late(name, standing))]

    def summary(self) -> str:
        """``2 of 3``: copies that are as new as asked for, of those that are configured."""
        every = [self._late(name, standing) for name, standing in self._standings()]
        return f"{sum(late is None for late in every)} of {len(every)}" if every else "none"

    def lines(self) -> list[Mark]:
        """A line for each copy: where, how new, and what it would survive."""
        from opsctl.cli.work import local_time
        from opsctl.model.snapshots import parse_time

        lines = []
        for name, standing in self._standings():
            newest = parse_time(standing.newest_time) if standing and standing.newest_time else None
            late = self._late(name, standing)
            hurt = standing.states.get("damaged", 0) if standing else 0
            stands = (f"{counted(_whole(standing), 'whole set' if hurt else 'set')}{f' and {hurt} damaged' if hurt else ''}, "
                      f"the newest {local_time(self.site, newest)}" if newest else "no set yet")
            if self._is_away(name):
                seen, due = (parse_time(moment) if moment else None for moment in (
                    standing.checked if standing else None, self._next_due(name, standing)))
                stands += f"; its disk is away, last seen {local_time(self.site, seen)}"
                stands += f", the next copy is due {local_time(self.site, due)}" if due else ""
            lines.append(Mark(f"{self.backup} in {name}: {stands}{f' ({late})' if late else ''}{self._outlives(name, standing)}",
                              Tone.BAD if late else Tone.QUIET))
            if standing is not None and standing.drills:
                lines.append(drilled(self.site, self.backup, f"{self.backup} in {name}", standing.drills))
        return [*lines, *self._own_lock()]

    def _own_lock(self) -> list[Mark]:
        """A line for the backup's own repository, where its store locks what is in it."""
        from opsctl.repositories.standing import from_dict

        home, raw = self.site.config.backups[self.backup].repository, self.kept.get(self.backup)
        if self.site.config.repositories[home].object_lock is None:
            return []
        return [Mark(f"{self.backup} in {home}, its own{self._outlives(home, from_dict(raw) if raw else None)}", Tone.QUIET)]

    def _outlives(self, name: str, standing: Standing | None) -> str:
        survives = self.survives(name, standing)
        weak = "; ".join(standing.locked["weak"]) if standing and standing.locked else ""
        return (f"; survives a stolen controller: {survives}" if survives else "; a stolen controller can delete it") + (
            f" ({weak})" if weak else "")

    def survives(self, name: str, standing: Standing | None) -> str | None:
        """Why the copy could outlive an attacker who owns this machine, and until when; None where it could not.

        By the configuration, and where a store locks what is in it by the locks that were seen at the last look.
        """
        spec = self.site.config.repositories[name]
        if spec.object_lock is not None:
            return locked.words(self.site, standing.locked if standing else None)
        if spec.removable:
            return "while its disk lies unplugged"
        if spec.append_only:
            return "its store refuses deletion (append_only)"
        return None

    def _is_away(self, name: str) -> bool:
        """Whether nothing is where a removable disk is mounted; where only a server could tell, False."""
        from opsctl.repositories.store import LocalStore, store_for

        spec = self.site.config.repositories[name]
        store = store_for(spec.url) if spec.removable else None
        try:
            return isinstance(store, LocalStore) and store.config() is None and store.is_empty()
        except OpsError:
            return False

    def _next_due(self, name: str, standing: Standing | None) -> str | None:
        from opsctl.model.snapshots import parse_time

        if standing is None or standing.newest_time is None:
            return None
        every = self.site.config.repositories[name].every or self.site.config.backups[self.backup].every
        return (parse_time(standing.newest_time) + every).isoformat()

    def _standings(self) -> list[tuple[str, Standing | None]]:
        from opsctl.repositories.standing import as_of, copy_key, from_dict

        found = []
        for name in self.site.config.backups[self.backup].copies:
            raw = self.kept.get(copy_key(self.backup, name))
            standing = from_dict(raw) if raw else None
            found.append((name, as_of(standing, self.site.clock()) if standing else None))
        return found

    def _late(self, name: str, standing: Standing | None) -> str | None:
        from opsctl.model.due import overdue
        from opsctl.model.snapshots import parse_time

        if (wrong := self.wrong.get(name)) and wrong.late:
            return wrong.words(self.site)
        if standing is None or standing.newest_time is None:
            return "never copied, as far as this machine knows"
        if standing.damage:
            return f"{counted(standing.damage, 'damage')} found by verification and not seen mended since"
        if standing.lacking:
            return f"{', '.join(standing.lacking)} could not be copied: the data is damaged; `opsctl verify` says more"
        plan, spec = self.site.config.backups[self.backup], self.site.config.repositories[name]
        if plan.verify.drill is not None and standing.drills and not standing.drills[-1]["ok"]:
            return f"the last drill, of set {standing.drills[-1]['set']}, failed"
        return overdue(parse_time(standing.newest_time), spec.every or plan.every, self.site.clock())


def _whole(standing: Standing | None) -> int:
    return sum(standing.states.get(state, 0) for state in ("good", "copy")) if standing else 0
