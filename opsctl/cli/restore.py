"""``opsctl restore``: get data back, into a new place, proven before it is in view."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import choosing, places, points, production, restore_stages, rooms
from opsctl.cli.reopen import reopen
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.restore_remove import remove
from opsctl.cli.restore_scan import accept, scan
from opsctl.cli.session import Session, of
from opsctl.errors import UsageError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.work import Given
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.model.sets import Judgement, SetView
    from opsctl.wiring import Site

app = typer.Typer(help="Get data back, into a new place, proven before it is in view.", no_args_is_help=True)

app.command("room")(rooms.room)
app.command("rooms")(rooms.rooms)
app.command("clear")(rooms.clear)

Into = Annotated[str, typer.Option("--into", metavar="DIR", help="where it lands")]


@app.command("files")
@places.from_anywhere
def files(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="absolute paths, as they were when they were backed up; `backup show SET --files` lists them")],
    into: Annotated[str | None, typer.Option("--into", metavar="DIR", help="where it lands")] = None,
    set_id: places.SetId = None,
    copy_in: places.From = None,
    replace: Annotated[bool, typer.Option("--replace", help="keep what is in the way as NAME.before-RUN")] = False,
    in_place: Annotated[bool, typer.Option(
        "--in-place", help="put back in its own place what differs; what is strange there is moved aside")] = False,
    keep: Annotated[list[str] | None, typer.Option("--keep", metavar="PATH", help="with --in-place: leave this as it is")] = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Restore files or folders into DIR, never over what is there.

    Each lands under its own name.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session, trust=trust, given=given)
    view = choose(session, site, backup, set_id, copy_in)
    for path in paths:
        if not path.startswith("/"):
            raise UsageError(f"{path} is not absolute", hint="give the path as it was when it was backed up, from /")
    paths = [os.path.normpath(path) for path in paths]
    if "/" in paths:
        raise UsageError("/ has no name to land under", hint="restore what is below it, or the whole set")
    if in_place == (into is not None) or (in_place and replace) or (keep and not in_place):
        raise UsageError("either --into DIR, perhaps with --replace, or --in-place, perhaps with --keep",
                         hint="--in-place changes folders where they are, file by file; opsctl explain restore_in_place")
    if into is None:
        asked = {"backup": backup, "set": view.id, "paths": paths, "keep": [os.path.abspath(one) for one in keep or ()], "copy_in": copy_in or ""}
        return carry_out(session, site, "restore-in-place", asked, subject=backup, text=write_in_place)
    target = os.path.abspath(into)
    landings = [os.path.join(target, os.path.basename(path)) for path in paths]
    _announce(session, site, view, [f"{path} → {place}" for path, place in zip(paths, landings, strict=True)])
    inputs = {"backup": backup, "set": view.id, "paths": paths, "into": target,
              "replace": "yes" if replace else "no", "copy_in": copy_in or ""}

    return carry_out(session, site, "restore-files", inputs, subject=backup, text=write_files)


def write_files(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """A line for each path that is in view."""
    for one in tally.results:
        for found in one.result.get("paths", ()):
            if found["in_view"]:
                out.line(Mark(f"{found['target']}: {counted(found['files'], 'file')}, verified", Tone.GOOD))


def write_in_place(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """Of each folder how it is now, and where that lies which was in it before."""
    for one in tally.results:
        if found := one.result:
            left = len(found["differing"]) + len(found["strange"])
            out.line(Mark(f"{found['path']}: {'as in the set' if not left else f'{left} paths are not as in the set'}, by content",
                          Tone.BAD if left else Tone.GOOD))
            if found["kept"]:
                out.line(f"  left as they are: {', '.join(found['kept'][:5])}{', …' if len(found['kept']) > 5 else ''}")
            if found["quarantine"]:
                out.line(f"  what was there instead, and what is strange: {found['quarantine']}")


@app.command("set")
@places.from_anywhere
def set_(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    into: Into,
    set_id: places.SetId = None,
    copy_in: places.From = None,
    database: Annotated[list[str] | None, typer.Option(
        "--database", metavar="SOURCE=NAME", help="load this source into a new database of that name, and prove it")] = None,
    source: Annotated[list[str] | None, typer.Option("--source", metavar="SOURCE", help="only this source")] = None,
    server: Annotated[str | None, typer.Option(
        "--server", metavar="ADDRESS", help="server for the databases, if not the one they came from (address or socket folder)")] = None,
    port: Annotated[str | None, typer.Option("--port", metavar="PORT", help="its port")] = None,
    role: Annotated[str | None, typer.Option("--role", metavar="ROLE", help="role to load the databases as")] = None,
    server_cacert: Annotated[str | None, typer.Option(
        "--server-cacert", metavar="FILE", help="certificate that vouches for that server, if it is not the source's; `none`: it is not "
        "checked, and may be anybody's")] = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Restore a whole set into a new folder, and prove it.

    Only what is proven comes into view.

    On a machine that has nothing: --repository URL --password-file FILE --trust FINGERPRINT.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session, trust=trust, given=given)
    view = choose(session, site, backup, set_id, copy_in)
    names = _sources(view, source or (), database or ())
    target = os.path.abspath(into)
    lands = [f"{name} → {target}/{name}" for name in names]
    lands += [f"{pair.partition('=')[0]} → database {pair.partition('=')[2]}" for pair in database or ()]
    _announce(session, site, view, lands)
    inputs = {"backup": backup, "set": view.id, "into": target, "sources": list(source or ()),
              "databases": list(database or ()), "server": server or "", "port": port or "", "user": role or "",
              "server_cacert": _certificate(server_cacert, server), "copy_in": copy_in or ""}

    return carry_out(session, site, "restore-set", inputs, subject=backup, text=write_set)


app.command("scan")(scan)
app.command("accept")(accept)
app.command("remove")(remove)


def _certificate(file: str | None, server: str | None) -> str:
    from opsctl.sources.conversation import NOTHING

    if file is None:
        return ""
    if server is None:
        raise UsageError("--server-cacert is about the server that --server names",
                         hint="what a source's own server is checked against stands in the configuration: cacert:")
    if file == NOTHING:
        return file
    if not os.path.isfile(file):
        raise UsageError(f"--server-cacert {file}: there is no such file", hint=f"a file, or {NOTHING}")
    return os.path.abspath(file)


def write_set(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """How each source and database came back, and where they are."""
    for one in tally.results:
        _write_restored(out, one.result)


def _sources(view: SetView, source: Sequence[str], database: Sequence[str]) -> list[str]:
    """What is restored: the sources asked for, those of the databases with them."""
    for pair in database:
        name, equals, new = pair.partition("=")
        if not (name and equals and new):
            raise UsageError(f"--database {pair}: not SOURCE=NAME", hint="such as --database portal-db=enagar_restored")
    loaded = [pair.partition("=")[0] for pair in database]
    for name in (*source, *loaded):
        if name not in view.sources:
            raise UsageError(f"set {view.id} holds no source {name}", hint=f"it holds {', '.join(view.sources)}")
    if len(set(loaded)) < len(loaded) or len({pair.partition("=")[2] for pair in database}) < len(database):
        raise UsageError("--database: two sources cannot be loaded into one database, nor one into two",
                         hint="give each source a name of its own")
    return list(dict.fromkeys([*source, *loaded])) if source else list(view.sources)


@app.command("controller")
@places.from_anywhere
def controller(
    context: typer.Context,
    into: Into,
    backup: Annotated[str | None, typer.Argument(
        metavar="BACKUP", help="name of a backup; the newest set that carries them, if not given")] = None,
    set_id: places.SetId = None,
    copy_in: places.From = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Restore the configuration and journal that a set carries.

    For a new machine: --repository URL --password-file FILE --trust FINGERPRINT. Both are held against the signed manifest.
    What is secret is in no set: which files have to be brought is said.
    """
    from opsctl.cli.restore_controller import restore

    return restore(of(context), into, backup, set_id, copy_in, given, trust)


def choose(session: Session, site: Site, backup: str, set_id: str | None, copy_in: str | None) -> SetView:
    """The set that a restore is of; what was found damaged in it, and what looks like an attack, is said."""
    from opsctl.model.unknown import unknown

    if copy_in is not None and copy_in not in site.config.repositories:
        raise unknown("repository", copy_in, site.config.repositories)
    judgement = places.look(site, copy_in or places.home(site, backup)).judgement
    view = places.choose(site, judgement, backup, set_id)
    if view.damage and not (session.quiet or session.json):
        _warn_of_damage(view, judgement)
    if not (session.quiet or session.json):
        _warn_of_attack(site, view, judgement)
    return view


def _warn_of_damage(view: SetView, judgement: Judgement) -> None:
    """Before anything starts: what was found in the set, and which one is the newest without."""
    from opsctl.cli import render

    sound = [other.id for other in judgement.of(view.backup) if other.state in ("good", "copy") and not other.damage]
    how = "holds" if view.word != view.state else "may hold"
    instead = f"; the newest without is {sound[-1]} (--set)" if sound else "; so has every other set"
    render.complain(render.shown(f"set {view.id} {how} damage: {'; '.join(one.what for one in view.damage[:3])}{instead}"))


def _warn_of_attack(site: Site, view: SetView, judgement: Judgement) -> None:
    """Before anything starts: that an attack may be in the set, and which one is the newest clean one."""
    from opsctl.cli import render
    from opsctl.model import points, stages
    from opsctl.wiring.looked import said_of

    looked = said_of(site, view.backup)
    weighed = points.weigh([points.Candidate(one.id, one.time, one.taken_until if one.record else None, stages.refusal(one), one.signals,
                                             looked.get(one.id)) for one in judgement.of(view.backup)])
    refused = next((one.refused for one in weighed if one.set.id == view.id and one.set.trouble is None and not one.unknown), None)
    if refused is None:
        return
    clean = points.clean_point(weighed)
    whose = f", {words}" if clean and (words := clean.words(site.config.organisation.tz)) else ""
    instead = f"the newest clean one is {clean.set.id} (--set){whose}" if clean else f"none is clean: opsctl restore points {view.backup}"
    render.complain(render.shown(f"set {view.id} may hold an attack ({refused}); {instead}"))


def _announce(session: Session, site: Site, view: SetView, landings: Sequence[str]) -> None:
    """Before anything starts: which set, whose signature, where each thing lands, and as whom."""
    if session.quiet or session.json:
        return
    from opsctl.cli import render
    from opsctl.cli.work import local_time, who

    signer = view.signer or "nobody"
    lines = [f"set {view.id} of {view.backup}, {local_time(site, view.time)}, {view.word}, signed by {signer}"]
    lines += [f"  {landing}" for landing in landings]
    if os.geteuid():
        lines.append(f"  files will belong to {who()}: only root can give them their owners back")
    else:
        lines.append("  as root: owners, groups and modes come back as they were")
    for line in lines:
        render.complain(render.shown(line))


def _write_restored(out: Out, found: Any) -> None:
    from opsctl.actions.restore_set import NOT_LOADED

    if not found:
        return
    for name, source in found["sources"].items():
        if source["proven"] and source["shows"] == NOT_LOADED:
            out.line(Mark(f"{name}: restored; compared: {source['shows']} (--database {name}=NAME does both)", Tone.WARN))
        elif source["proven"]:
            out.line(Mark(f"{name}: as it was backed up; shown by {source['shows']}", Tone.GOOD))
            if source["kind"] == "command" and name not in [one["source"] for one in found["databases"].values()]:
                out.line(f"  it lies as a dump in {found['into'] or found['staged']}/{name}; no program has loaded it")
        for text in source["differences"][:20]:
            out.line(Mark(f"{name}: {text}", Tone.BAD))
    for name, database in found["databases"].items():
        if database["in_view"]:
            shown = found["sources"][database["source"]]["shows"]
            if database["program"]:
                out.line(Mark(f"{name}: its restore program took what was backed up and ended well; shown by {shown}", Tone.GOOD))
                continue
            out.line(Mark(f"database {name}: as it was backed up; shown by {shown}", Tone.GOOD))
    if found["into"]:
        out.line(f"in view: {found['into']}")
    else:
        out.line(Mark(f"not in view; what was restored lies in {found['staged']}", Tone.WARN))


app.command("points")(points.points)
app.command("looked")(choosing.looked)
app.command("choose")(choosing.choose)
app.command("plan")(restore_stages.plan)
app.command("run")(restore_stages.run)
app.command("status")(restore_stages.status)
app.command("promote")(production.promote)
app.command("rollback")(production.rollback)
app.command("kept")(production.kept)
app.command("reopen")(reopen)
