"""``opsctl playbooks``: list, show, check, sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opsctl.cli.playbooks_sign import sign
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import ConfigError, OpsError

app = typer.Typer(help="The playbooks themselves: list, show, check, sign.", no_args_is_help=True)
app.command("sign")(sign)


def _config(session: Session) -> Any:
    """The configuration, or None where there is none: packaged playbooks can be read without one."""
    from opsctl.cli.work import load

    try:
        return load(session)
    except ConfigError:
        if session.config is not None:
            raise
        return None


@app.command("list")
def list_(context: typer.Context) -> Report:
    """Every playbook by name: the packaged ones and the site's own.

    The site's own lie in `playbooks` beside the configuration.
    """
    from opsctl.engine.playbooks import paths, read

    found: list[tuple[str, str, str, str | None, tuple[str, ...]]] = []
    for name, path in sorted(paths(_config(of(context))).items()):
        try:
            playbook = read(path)
            found.append((name, str(playbook.title), str(path), None, playbook.incident_types))
        except ConfigError as error:
            found.append((name, "", str(path), error.message, ()))

    def text(out: Out) -> None:
        out.heading("When something has happened")
        out.table(Table(("playbook", "title", Column("types of incident", flexible=True)),
                        [(name, title, ", ".join(types)) for name, title, _, _, types in found if types]))
        out.heading("What commands carry out, and the site's own")
        out.table(Table(("playbook", Column("title", flexible=True)),
                        [(name, Mark(error, Tone.BAD) if error else title) for name, title, _, error, types in found if not types]))

    return Report(result={"playbooks": [{"name": name, "title": title, "file": path, "error": error, "incident_types": list(types)}
                                        for name, title, path, error, types in found]}, text=text)


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PLAYBOOK", help="name of a playbook, or its file")],
    pdf: Annotated[Path | None, typer.Option("--pdf", metavar="FILE", help="write it as a runbook for the wall")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="the same as a page")] = None,
    language: Annotated[str, typer.Option("--lang", metavar="LANG", help="en or hi")] = "en",
) -> Report:
    """One playbook: its inputs, and its steps in order.

    As a runbook it has each step with what people do there, the command that says it is done, and a box to tick.
    """
    from opsctl.engine.playbooks import find

    session = of(context)
    playbook = find(name, _config(session))
    if pdf is not None or html is not None:
        from opsctl.cli.runbooks import write

        return write(session, playbook, pdf=pdf, html=html, language=language)

    def text(out: Out) -> None:
        out.heading(f"{playbook.name}: {playbook.title}")
        out.table(Table(("input", "type", "default", Column("help", flexible=True)), [
            (key, one.type, "needed" if one.required else str(one.default), one.help)
            for key, one in playbook.inputs.items()], empty="no inputs"))
        out.table(Table(("step", "uses", "after", Column("title", flexible=True)), [
            (step.id, step.uses, ", ".join(playbook.graph[step.id]), str(step.title or "")) for step in playbook.steps]))
        needed = " ".join(f"--set {key}=…" for key, one in playbook.inputs.items() if one.required)
        out.line(f"run it with: opsctl run {playbook.name} {needed}")

    return Report(result={"playbook": playbook.model_dump(mode="json", by_alias=True)}, text=text)


@app.command("check")
def check(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="PLAYBOOK", help="names or files; all if none is given")] = None,
) -> Report:
    """Say every mistake in playbooks, with file and line (exit 10).

    One of your own that was changed since it was signed, or is signed by fewer than the configuration wants, is 23.
    """
    from opsctl.engine.playbooks import check as checked

    session = of(context)
    config = _config(session)
    found: list[tuple[str, Path, OpsError | None]] = list(checked(config, tuple(names or ())))
    if config is not None:
        found = [(name, path, error or _unsigned(session, path)) for name, path, error in found]
    errors = [error for _, _, error in found if error]

    def text(out: Out) -> None:
        for name, path, error in found:
            word = "ok" if error is None else "has mistakes" if isinstance(error, ConfigError) else "is not signed as it has to be"
            out.line(Mark(f"{name}: {word} ({path})", Tone.BAD if error else Tone.GOOD))

    return Report(result={"playbooks": [{"name": name, "file": str(path), "ok": error is None}
                                        for name, path, error in found]}, text=text, errors=errors,
                  exit_code=10 if any(isinstance(error, ConfigError) for error in errors) else None)


def _unsigned(session: Session, path: Path) -> OpsError | None:
    """Why a playbook would not be run for want of signatures."""
    from opsctl.cli.work import open_site
    from opsctl.engine.playbooks import packaged
    from opsctl.wiring.playbooks import refuse_unsigned_playbook

    if path.parent == packaged():
        return None
    try:
        refuse_unsigned_playbook(open_site(session), path)
    except OpsError as error:
        return error
    return None
