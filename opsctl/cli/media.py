"""``opsctl media``: disks and tapes that are carried away, and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.media import Custody, whereabouts
from opsctl.model.moments import in_zone
from opsctl.model.quantities import counted, format_size, parse_duration

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.media import Medium as MediumEntry
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

app = typer.Typer(help="Disks that are carried away: who has them, and what was on them when they left.", no_args_is_help=True)

Medium = Annotated[str, typer.Argument(metavar="NAME", help="name of a registered medium")]


@app.command("register")
def register(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="what it is to be called")],
    repository: Annotated[str, typer.Option(
        "--repository", metavar="REPOSITORY", help="one of those that lie on it; the others are found by themselves")],
) -> Report:
    """Register a mounted disk, by its file system's UUID.

    Every `removable` repository of the configuration that lies on the same file system belongs to it. Where the disk carries
    a list that one of our keys has sealed, that is taken in as well.
    """
    from opsctl.cli.media_register import register as carry_out

    return carry_out(of(context), name, repository)


@app.command("list")
def list_media(context: typer.Context) -> Report:
    """The media: where each is, with whom, and until when.

    Exit 5 where one was to be back, or came back changed.
    """
    from opsctl.cli.media_list import show

    return show(of(context))


@app.command("out")
def out(
    context: typer.Context,
    name: Medium,
    holder: Annotated[str | None, typer.Option("--to", metavar="WHO", help="who carries it away")] = None,
    place: Annotated[str | None, typer.Option("--place", metavar="TEXT", help="where it will lie")] = None,
    back: Annotated[str, typer.Option("--back", metavar="DURATION", help="to be back in so long: 9d")] = "",
) -> Report:
    """Seal a disk, let go of it, and write down who has it.

    Everything on it is read and its hashes are sealed, here and on the disk, so that it can be told afterwards whether it
    is what it was. A tape was read back when it was written: of it only the custody is written down.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    kind = site.media.get(name).kind
    due = (site.clock() + parse_duration(back)).replace(microsecond=0).isoformat() if back else ""
    inputs = {"medium": name, "holder": holder or session.ask("who carries it away?", option="--to"),
              "place": place or session.ask("where will it lie?", option="--place"), "back": due}

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        _write(out, tally, plan, site.config.organisation.tz)

    return carry_out(session, site, "media-out" if kind == "disk" else "tape-out", inputs, subject=name, text=text, result=_result)


@app.command("in")
def take_in(
    context: typer.Context,
    name: Medium,
    holder: Annotated[str | None, typer.Option("--from", metavar="WHO", help="who brought it")] = None,
) -> Report:
    """Take a disk or tape back in, held against what it left with.

    A disk is mounted for reading only, and everything on it is read. What is changed, missing or new is named (22).
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    kind = site.media.get(name).kind
    inputs = {"medium": name, "holder": holder or session.ask("who brought it?", option="--from")}
    return carry_out(session, site, "media-in" if kind == "disk" else "tape-in", inputs, subject=name, text=_write, result=_result)


@app.command("copy")
def copy(
    context: typer.Context,
    name: Medium,
    wait: Annotated[str, typer.Option("--wait", metavar="DURATION", help="wait so long until it is plugged in")] = "",
) -> Report:
    """Copy to a disk as soon as it is plugged in: mount, copy, let go."""
    from opsctl.cli.backup import remember
    from opsctl.cli.work import carry_out, open_site
    from opsctl.shells.mounting import mounted_at

    session = of(context)
    site = open_site(session)
    entry = _disk(site, name)
    backups = [backup for backup, plan in site.config.backups.items() if set(plan.copies) & set(entry.repositories)]
    if not backups:
        raise UsageError(f"no backup has a copy in {', '.join(entry.repositories)}", hint="copies: under the backup; see configs/README.md")
    to = [one for one in entry.repositories if any(one in site.config.backups[backup].copies for backup in backups)]
    inputs = {"medium": name, "backups": backups, "to": to, "wait": int(parse_duration(wait).total_seconds()) if wait else 0}

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        from opsctl.cli.copies import write_copies

        write_copies(out, tally, plan)
        _write(out, tally, plan)

    done = carry_out(session, site, "media-copy", inputs, subject=name, text=text, result=_result)
    if session.dry_run or mounted_at(site.shell, str(entry.mount)) is None:
        return done
    remember(site, backups)  # while it is here
    gone = carry_out(session, site, "media-unmount", {"medium": name}, subject=name, text=_write, result=_result)
    return _both(done, gone)


@app.command("mount")
def mount(
    context: typer.Context,
    name: Medium,
    write: Annotated[bool, typer.Option("--write", help="also for writing; a restore needs to read only")] = False,
) -> Report:
    """Mount a disk in its place, for reading only unless said."""
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    _disk(site, name)
    return carry_out(session, site, "media-mount", {"medium": name, "mode": "write" if write else "read"}, subject=name,
                     text=_write, result=_result)


@app.command("unmount")
def unmount(context: typer.Context, name: Medium) -> Report:
    """Write everything to a disk and let go of it."""
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    _disk(site, name)
    return carry_out(session, site, "media-unmount", {"medium": name}, subject=name, text=_write, result=_result)


@app.command("write")
def write(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="what the tape is to be called")],
    library: Annotated[str, typer.Option("--library", metavar="LIBRARY", help="a library of the configuration")],
    barcode: Annotated[str, typer.Option("--barcode", metavar="TEXT", help="the tape's barcode")],
    repository: Annotated[str, typer.Option("--repository", metavar="REPOSITORY", help="what is written; encrypted as it is")],
) -> Report:
    """Write a repository to a tape, read it back and compare.

    By the site's own program (`libraries:` in the configuration). What was on the tape before is gone.
    """
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model import fields
    from opsctl.model.unknown import unknown

    session = of(context)
    try:
        fields.name(name)
    except ValueError as error:
        raise UsageError(f"{fields.shown(name)}: {error}") from error
    site = open_site(session)
    for what, word, known in (("library", library, site.config.libraries), ("repository", repository, site.config.repositories)):
        if word not in known:
            raise unknown(what, word, known)
    if not session.dry_run and not session.confirm(f"write {repository} to the tape {barcode} of {library}? What is on it will be gone"):
        raise SafetyRefusal("nothing was written")
    inputs = {"medium": name, "library": library, "barcode": barcode, "repository": repository}
    return carry_out(session, site, "media-write", inputs, subject=name, text=_write, result=_result)


@app.command("read")
def read(
    context: typer.Context,
    name: Medium,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="a new folder for the repository that is on it")],
) -> Report:
    """Read a tape into a new folder, every file compared.

    The folder is the repository as it was written: `restore set BACKUP --repository DIR --password-file FILE` reads it.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    if site.media.get(name).kind != "tape":
        raise UsageError(f"{name} is a disk", hint=f"opsctl media mount {name}")
    inputs = {"medium": name, "into": str(into.absolute())}
    return carry_out(session, site, "media-read", inputs, subject=name, text=_write, result=_result)


def _both(first: Report, second: Report) -> Report:
    """Two runs as one report: what went wrong first counts."""

    def text(out: Out) -> None:
        for one in (first, second):
            if one.text is not None:
                one.text(out)

    return replace(first, text=text, exit_code=first.code or second.code, errors=[*first.errors, *second.errors],
                   warnings=list(dict.fromkeys([*first.warnings, *second.warnings])),
                   result={**dict(first.result), "unmounted": second.exit_code == 0})


def _disk(site: Site, name: str) -> MediumEntry:
    """A registered disk; refused before anything is asked where it is a tape, or unknown."""
    entry: MediumEntry = site.media.get(name)
    if entry.kind != "disk":
        raise UsageError(f"{name} is a tape", hint=f"opsctl media read {name} --into DIR")
    return entry


def _result(tally: Tally) -> Mapping[str, Any]:
    return {"steps": {one.step if one.item is None else f"{one.step} {one.item}": {**one.result, "outcome": one.outcome, "because": one.because}
                      for one in tally.results}}


def _write(out: Out, tally: Tally, plan: BoundPlan, zone: tzinfo | None = None) -> None:
    for one in tally.results:
        if one.outcome not in ("ok", "changed"):
            continue
        found = one.result
        if one.step == "mount":
            out.line(Mark(f"{found['medium']} is mounted at {found['mount']}, {'for writing' if found['writable'] else 'for reading only'}", Tone.GOOD))
        elif one.step == "seal" and found["sealed"]:
            out.line(Mark(f"{found['medium']}: {counted(found['sealed']['files'], 'file')} ({format_size(found['sealed']['bytes'])}) sealed, "
                          f"list {found['sealed']['digest'][:12]}", Tone.GOOD))
        elif one.step == "check":
            out.line(Mark(f"{found['medium']}: all {counted(found['files'], 'file')} are what they were when it left", Tone.GOOD))
        elif one.step == "write":
            out.line(Mark(f"{found['medium']} ({found['barcode']}) holds {found['repository']}: {counted(found['sealed']['files'], 'file')} "
                          f"({format_size(found['sealed']['bytes'])}), read back and compared", Tone.GOOD))
        elif one.step == "read":
            where = f"; the repository is in {found['into']}" if found["into"] else ""
            out.line(Mark(f"{found['medium']}: all {counted(found['files'], 'file')} are what was written{where}", Tone.GOOD))
        elif one.step == "unmount":
            out.line(Mark(f"{found['medium']} can be unplugged", Tone.GOOD))
        elif one.step == "custody":
            held = whereabouts(Custody(found["where"], "", "", None, found["holder"], found["place"]))
            until = f", until {in_zone(found['back'], zone)}" if found["back"] else ""
            out.line(Mark(f"{found['medium']} is {held}{until}", Tone.GOOD))
