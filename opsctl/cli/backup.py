"""``opsctl backup``: make repositories, take sets, look at them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import copies, freezing, locked, looks, places
from opsctl.cli.canaries import canaries
from opsctl.cli.compare import compare
from opsctl.cli.prune import prune
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.rewind import rewind
from opsctl.cli.schedule import schedule
from opsctl.cli.session import of
from opsctl.errors import OpsError, SafetyRefusal, UsageError, worst

if TYPE_CHECKING:
    from opsctl.cli.work import Given
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

app = typer.Typer(help="Make repositories, take sets, copy and look at them.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="names of backups; all if none is given")]


@app.command("init")
def init(
    context: typer.Context,
    repositories: Annotated[list[str] | None, typer.Argument(
        metavar="REPOSITORY", help="names of repositories; all if none is given")] = None,
    trust: places.Trust = None,
) -> Report:
    """Make the repositories that do not exist yet, and pin their ids.

    Nothing else ever makes one: a known repository that is gone is damage, never a fresh start.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    if trust:
        _trust_for_good(site, trust, session)
    names = known(repositories, site.config.repositories, "repository")

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        for one in tally.results:
            if one.result and one.result["id"] is None:
                out.line(Mark(f"{one.item}: not made", Tone.BAD))
            elif one.result:
                made = any(change.startswith("create ") for change in one.changes)
                how = "made" if made else "was there, now pinned" if one.changes else "was there"
                out.line(f"{one.item}: {str(one.result['id'])[:8]} at {one.result['place']} ({how})")
        if tally.exit_code == 0:
            out.line("keep the repository passwords and this fingerprint in two safe places, away from this machine:")
            out.line(f"  {site.own_fingerprint or 'no signing key yet: opsctl doctor --offline says how to make one'}")
            out.line("and for the day on which it is gone: `opsctl keys escrow`, and `opsctl kit build DIR` on two media")

    return carry_out(session, site, "backup-init", {"repositories": names}, subject="init", text=text)


def _trust_for_good(site: Site, fingerprints: Sequence[str], session: Any) -> None:
    from opsctl.cli.work import check_fingerprint
    from opsctl.repositories.whole import write_whole

    for fingerprint in fingerprints:
        check_fingerprint(fingerprint)
    path = site.keys_directory / "trusted"
    old = path.read_text() if path.exists() else ""
    new = [found for found in fingerprints if found not in old.split()]
    if not new or session.dry_run:
        return
    for found in new:
        if not session.confirm(f"take sets signed by {found} for good from now on?"):
            raise SafetyRefusal("nothing was changed")
    write_whole(path, (old + "".join(f"{found} since {site.clock():%Y-%m-%d}\n" for found in new)).encode())
    site.journal.append("keys.trusted", {"fingerprints": new})


@app.command("run")
def run(
    context: typer.Context,
    names: Names = None,
    due: Annotated[bool, typer.Option("--due", help="only what is due; for cron and timers, every hour")] = False,
    force: Annotated[bool, typer.Option("--force", help="a new set even where none is due (the default without --due)")] = False,
    accept: Annotated[list[str] | None, typer.Option(
        "--accept", metavar="SOURCE", help="take this source as it is this once, though it lacks something")] = None,
    wait: places.Wait = None,
) -> Report:
    """Take a set of each backup: every source, proven and signed.

    The signed manifest comes last: a set without one is incomplete and is never counted. Then the set is copied to the
    backup's other repositories, if it has any. Exit 3: some source is missing something.
    """
    from opsctl.cli.ticks import ticking
    from opsctl.cli.work import carry_out, open_site
    from opsctl.wiring import refuse_unsigned

    session = of(context)
    site = open_site(session, wait=wait)
    chosen = known(names, site.config.backups, "backup")
    sources = {source for name in chosen for source in site.config.backups[name].sources}
    for source in accept or ():
        known([source], sources, "source")
    subject = chosen[0] if len(chosen) == 1 else "backup"
    inputs = {"backups": chosen, "when": "due" if due and not force else "always", "accept": list(accept or ()),
              "copied": [name for name in chosen if site.config.backups[name].copies],
              "locked": locked.locked(site.config, chosen)}

    def result(tally: Tally) -> Mapping[str, Any]:
        found = {one.item: {**one.result, "outcome": one.outcome, "because": one.because}
                 for one in tally.results if one.step == "backup"}
        for one in tally.results:
            if one.step == "copy":
                found[one.item]["copies"] = {**one.result.get("copies", {})}
        return {"backups": found}

    with ticking(site, session, due, chosen) as tick:
        if not session.dry_run:
            refuse_unsigned(site)
        report = carry_out(session, site, "backup", inputs, subject=subject, text=write_run, result=result)
        if not session.dry_run:
            remember(site, chosen)
        found = report.result.get("backups", {}) if isinstance(report.result, Mapping) else {}
        tick.outcomes = {name: one["outcome"] for name, one in found.items()}
        taken = any(one["outcome"] in ("changed", "ok") for one in found.values())
        if report.exit_code and taken:
            # A set that stands and a copy that failed: some of what was asked for succeeded.
            report = replace(report, exit_code=worst([report.exit_code, 0]))
        tick.code = report.code
    return report


def write_run(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each backup, one for each of its sources, and its copies."""
    from opsctl.model.due import words
    from opsctl.model.quantities import counted, format_size
    from opsctl.model.snapshots import parse_time

    for one in tally.results:
        found = one.result
        if one.step != "backup":
            continue
        if one.outcome == "changed":
            suspect = (found["signals"] or {}).get("verdict") == "suspect"
            out.line(Mark(f"{one.item}: set {found['set']} is whole and signed, in {found['repository']}"
                          f"{', and SUSPECT' if suspect else ''}", Tone.BAD if suspect else Tone.GOOD))
            for name, entry in found["sources"].items():
                out.line(f"  {name}: {counted(entry['files'], 'file')}, {format_size(entry['bytes'])}, "
                         f"{format_size(entry['data_added_packed'])} added, {entry['seconds']:.1f} s{only_bytes(entry)}")
        elif one.outcome == "ok":
            newest = found.get("newest_time")
            age = f"; the newest set is {words(plan.now - parse_time(newest))} old" if newest else ""
            out.line(f"{one.item}: nothing is due{age}")
        elif one.outcome == "skipped":
            out.line(Mark(f"{one.item}: left alone: {one.because}", Tone.QUIET))
        else:
            kept = ", ".join(found.get("sources", ())) if found else ""
            out.line(Mark(f"{one.item}: no whole set this time{f'; in the repository: {kept}' if kept else ''}", Tone.BAD))
    copies.write_copies(out, tally, plan)


def only_bytes(entry: Mapping[str, Any]) -> str:
    """What is said of a source whose rows no restore can prove."""
    from opsctl.proofs.content import WORDS

    return f"; {WORDS}" if WORDS in entry.get("shows", "") else ""


def remember(site: Site, backups: Sequence[str], *, ask: bool = False) -> list[OpsError]:
    """Look at the repositories of these backups once and keep how they stand, for ``status``; also what is wrong there."""
    from opsctl.actions.verify import read_term
    from opsctl.repositories.standing import as_dict, standing

    errors: list[OpsError] = []
    by_home: dict[str, list[str]] = {}
    for name in backups:
        by_home.setdefault(site.config.backups[name].repository, []).append(name)
    for home, names in by_home.items():
        try:
            holdings = looks.look(site, home, ask=ask)
        except OpsError as error:
            errors.append(error)
            continue
        term = read_term(site.config, home)
        held = locked.look_at_locks(site, home, holdings, errors)
        for name in names:
            site.catalogue.put_standing(name, as_dict(
                standing(name, home, holdings, term, site.clock(), locked=held)))
    return [*errors, *copies.remember_copies(site, backups, ask=ask)]


@app.command("list")
@places.from_anywhere
def list_(
    context: typer.Context,
    names: Names = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """The sets: where each is, and what is wrong with it.

    Works from any machine: with --repository and --password-file no configuration is needed.
    """
    from opsctl.cli import sets
    from opsctl.cli.work import open_site

    session = of(context)
    site = open_site(session, trust=trust, given=given)
    found = sets.gather(site, names)
    if not session.dry_run and given is None:
        for place, error in found.looked.items():
            looks.keep(site, place, error)
    if names and not session.dry_run and given is None:
        remember(site, [name for name in names if name in site.config.backups])
    return Report(result={"sets": [sets.as_json(site, held) for held in found.held]},
                  text=lambda out: sets.write_list(out, site, found), exit_code=found.code,
                  warnings=[*found.warnings, *site.said], errors=found.errors)


@app.command("show")
@places.from_anywhere
def show(
    context: typer.Context,
    set_id: Annotated[str, typer.Argument(metavar="SET", help="the id of a set; `newest` (or `latest`): of each backup")],
    path: Annotated[str | None, typer.Argument(
        metavar="PATH", help="with --files: only this file, or what is below this folder, by its path at home")] = None,
    files: Annotated[bool, typer.Option("--files", help="list the files in the set")] = False,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """One set: where it is, its sources, proofs, signer; or its files."""
    from opsctl.cli import set_files, sets
    from opsctl.cli.work import open_site
    from opsctl.model.unknown import unknown

    session = of(context)
    if path is not None and not files:
        raise UsageError(f"{path}: what of it?", hint=f"opsctl backup show {set_id} --files {path}")
    if path is not None and not path.startswith("/"):
        raise UsageError(f"{path} is not absolute", hint="give the path as it was when it was backed up, from /")
    site = open_site(session, trust=trust, given=given)
    found = sets.gather(site, None)
    chosen = found.newest() if set_id in places.NEWEST else [held for held in found.held if held.view.id == set_id]
    if not chosen and not found.errors:
        if set_id in places.NEWEST:
            raise SafetyRefusal("no backup has a whole set", hint="opsctl backup list")
        raise unknown("set", set_id, [held.view.id for held in found.held], hint="opsctl backup list")
    if not chosen:
        found.warnings.append(f"there is no set {set_id} in the repositories that answered")

    # The set was asked for, and who could not be asked may hold a copy of it that is not shown.
    code = worst([*([0] if chosen else []), *(error.code for error in found.errors)])
    if files and chosen:
        return Report(result={"sets": [held.view.id for held in chosen]}, errors=found.errors, exit_code=code,
                      listing=set_files.listing(site, chosen, os.path.normpath(path) if path is not None else None),
                      warnings=[*found.warnings, *site.said])

    def text(out: Out) -> None:
        for held in chosen:
            sets.write_set(out, site, held)

    described = [{**sets.as_json(site, held), "record": dict(held.view.record)} for held in chosen]
    return Report(result={"sets": described}, text=text, exit_code=code, errors=found.errors,
                  warnings=[*found.warnings, *site.said])


def known(names: Sequence[str] | None, known: Any, what: str) -> list[str]:
    from opsctl.model.unknown import unknown

    if not names:
        if not known:
            raise UsageError(f"the configuration holds no {what}", hint="opsctl init, or configs/README.md")
        return list(known)
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
    return list(dict.fromkeys(names))


app.command("copy")(copies.copy)
app.command("compare")(compare)
app.command("canaries")(canaries)
app.command("schedule")(schedule)
app.command("rewind")(rewind)
app.command("prune")(prune)
app.command("freeze")(freezing.freeze)
app.command("thaw")(freezing.thaw)

__all__ = ["app", "known", "remember"]
