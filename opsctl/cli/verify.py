"""``opsctl verify``: read backups back and say what is damaged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import for_incident, places
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError
from opsctl.model.quantities import counted, format_size

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.cli.work import Given
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site


class Level(StrEnum):
    """How deep to look."""

    quick = "quick"
    data = "data"
    drill = "drill"


@places.from_anywhere
def verify(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(
        metavar="NAME", help="backups or repositories; every repository if none is given")] = None,
    level: Annotated[Level, typer.Option("--level", help="quick: structure, ledger, chain, signatures; data: reads packs back; drill: restores a set and proves it")] = Level.quick,
    share: Annotated[str, typer.Option(
        "--share", metavar="n/M", help="which share of the packs to read: next (what is due), all, or n/M")] = "next",
    set_id: Annotated[str | None, typer.Option(
        "--set", metavar="ID", help="drill: this set, or `newest`; any whole one, by chance, if not given")] = None,
    copy_in: places.From = None,
    scratch: Annotated[str | None, typer.Option(
        "--scratch", metavar="DIR", help="drill: where there is room for the set; what clean_room: says if not given")] = None,
    due: Annotated[bool, typer.Option("--due", help="drill: only what `verify: {drill: …}` asks for by now; for timers")] = False,
    incident: for_incident.Named = "",
    wait: places.Wait = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Find every damage by name: flipped bytes, lost packs, deleted, planted or rewritten snapshots.

    Exit 22 where anything is wrong. opsctl never repairs a repository by itself; it says which repair would be safe.
    `--level drill` restores a whole set into a clean room, loads its databases into servers that run in it, compares
    every proof, measures, and throws it all away.

    Works from any machine: with --repository, --password-file and --trust no configuration is needed, and nothing is
    recorded, for want of a key to sign with.
    """
    from opsctl.cli.backup import remember
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    _check_share(share)
    site = open_site(session, wait=wait, trust=trust, given=given)
    if level is Level.drill:
        return _drill(session, site, names, set_id, copy_in, scratch, due, incident)
    if given and names:
        raise UsageError("--repository is verified whole: give no NAME with it")
    if set_id or copy_in or scratch or due or incident:
        raise UsageError("--set, --from, --scratch, --incident and --due are for --level drill", hint="opsctl verify --level drill BACKUP")
    repositories = _repositories(names, site.config)
    if not names:  # a disk that is away on purpose is no failure, unless it was asked for
        away = [name for name in repositories if site.history(name).is_away()]
        site.notes += [f"{name} was left out: its disk is not here" for name in away]
        repositories = [name for name in repositories if name not in away]
    subject = repositories[0] if len(repositories) == 1 else "verify"
    inputs = {"repositories": repositories, "level": level.value, "shares": share}
    report = carry_out(session, site, "verify", inputs, subject=subject, text=write)
    if not session.dry_run:
        remember(site, [name for name, plan in site.config.backups.items()
                        if {plan.repository, *plan.copies} & set(repositories)])
    return report


def _drill(
    session: Session, site: Site, names: Sequence[str] | None, set_id: str | None, copy_in: str | None, scratch: str | None,
    due: bool, incident: str,
) -> Report:
    from opsctl.cli.backup import known, remember
    from opsctl.cli.work import carry_out

    if site.config.directory is None and not names:
        raise UsageError("--level drill with --repository needs the name of a backup", hint="opsctl backup list --repository …")
    backups = list(names or ()) if site.config.directory is None else known(names, site.config.backups, "backup")
    if copy_in is not None:
        known([copy_in], site.config.repositories, "repository")
    if due:
        backups = _asking(site, backups, named=bool(names), copy_in=copy_in)
        if not backups:
            return Report(result={"backups": {}}, text=lambda out: out.line("no backup here asks for drills"), warnings=site.said)
    set_id = "newest" if set_id in places.NEWEST else set_id
    if set_id not in (None, "newest") and len(backups) > 1:
        raise UsageError("--set ID is of one backup: name it", hint=f"one of {', '.join(backups)}")
    inputs = {"backups": backups, "set": set_id or "chance", "copy_in": copy_in or "",
              "scratch": os.path.abspath(scratch) if scratch else "", "when": "due" if due else "always",
              "incident": "" if due and not incident else for_incident.meant(site, incident)}
    report = carry_out(session, site, "drill", inputs, subject=backups[0] if len(backups) == 1 else "drill",
                       text=write_drill)
    if not session.dry_run:
        remember(site, [name for name in backups if name in site.config.backups])
    return report


def _asking(site: Site, backups: Sequence[str], *, named: bool, copy_in: str | None) -> list[str]:
    """The backups that ask for drills; those whose disk is away on purpose wait until it is back."""
    plans = site.config.backups
    asking = [name for name in backups if name in plans and plans[name].verify.drill is not None]
    if named and len(asking) < len(backups):
        silent = [name for name in backups if name not in asking]
        raise UsageError(f"{', '.join(silent)}: no drills are asked for, so none is ever due",
                         hint="verify: {drill: 30d} under the backup, or the same without --due")
    away = [name for name in asking if site.history(copy_in or site.home(name)).is_away()]
    site.notes += [f"{name} was left out: its disk is not here" for name in away]
    return [name for name in asking if name not in away]


def write_drill(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each drilled set, and one for each of its sources."""
    from opsctl.model.quantities import format_size

    for one in tally.results:
        found = one.result
        if one.step == "drill" and not found and one.outcome in ("ok", "skipped"):
            out.line(f"{one.item}: {'no drill is due' if one.outcome == 'ok' else f'left alone: {one.because}'}")
        if one.step != "drill" or not found:
            continue
        tone = Tone.GOOD if found["ok"] else Tone.BAD
        how = "restored and proven" if found["ok"] else "NOT proven"
        aim = found["target"]
        over = found["ok"] and aim is not None and found["seconds"] > aim["seconds"]
        against = "" if aim is None else f", longer than the {aim['shown']}" if over else f" ({aim['shown']})"
        out.line(Mark(f"{one.item}: set {found['set']} from {found['read_from']}: {how} in {found['seconds']:.1f} s{against}",
                      Tone.WARN if over else tone))
        if found["error"]:
            out.line(f"  {found['error']}")
        for name, source in found["sources"].items():
            loaded = f", loaded and compared in {source['load_seconds']:.1f} s" if source["load_seconds"] is not None else ""
            equal = source["error"] or "; ".join(source["differences"][:3]) or f"equal by {source['equal']}"
            out.line(f"  {name}: {format_size(source['bytes'])} restored in {source['restore_seconds']:.1f} s{loaded}; {equal}")


def _check_share(share: str) -> None:
    if share in ("next", "all"):
        return
    n, slash, m = share.partition("/")
    if not (slash and n.isdecimal() and m.isdecimal() and 1 <= int(n) <= int(m) <= 256):
        raise UsageError(f"--share {share}: not a share", hint="next, all, or n/M such as 3/10, M up to 256")


def _repositories(names: Sequence[str] | None, config: Any) -> list[str]:
    from opsctl.model.unknown import unknown

    if not names:
        return list(config.repositories)
    found = []
    for name in names:
        if name in config.backups:
            found.append(config.backups[name].repository)
        elif name in config.repositories:
            found.append(name)
        else:
            raise unknown("backup or repository", name, [*config.backups, *config.repositories])
    return list(dict.fromkeys(found))


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each repository, and the files that damage reaches."""
    for one in tally.results:
        if one.step != "verify" or not one.result:
            continue
        found = one.result
        sets = ", ".join(f"{count} {state}" for state, count in found["sets"].items()) or "none"
        read = f", read back: share {', '.join(found['shares'])}" if found["shares"] else ""
        if one.outcome == "ok":
            out.line(Mark(f"{one.item}: nothing wrong (sets: {sets}{read})", Tone.GOOD))
        elif not found["findings"]:
            out.line(Mark(f"{one.item}: nothing new wrong; damage that was found before was not read again "
                          f"(sets: {sets}{read})", Tone.BAD))
        else:
            out.line(Mark(f"{one.item}: {counted(found['findings'], 'thing')} found damaged (sets: {sets}{read})", Tone.BAD))
        rest = found["unreferenced"]
        if rest["packs"]:
            read = f", {rest['read']} of them in this share and read back" if rest["read"] else ", none of them in this share"
            out.line(Mark(f"    {counted(rest['packs'], 'pack')} ({format_size(rest['bytes'])}) that no index names{read}: left by a "
                          f"run that was killed; harmless, no set needs them", Tone.QUIET))
        if found["only_bytes"]:
            out.line(Mark(f"    {', '.join(found['only_bytes'])}: bytes proven, rows not", Tone.QUIET))
        for error in one.errors:
            files = error.details.get("files") or ()
            for path in files[:10]:
                out.line(f"    {path}")
            if len(files) > 10:
                more = len(files) - 10 + error.details.get("more_files", 0)
                out.line(f"    … and {more} more (--json lists them)")
