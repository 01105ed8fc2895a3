"""``opsctl init doctor demo explain``: the first commands that a person types."""

from __future__ import annotations

import inspect
import os
from typing import Annotated, Any

import typer

from opsctl.cli import render
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import ConfigError, OpsError, UsageError
from opsctl.model.safe_text import shown


def init(
    context: typer.Context,
    organisation: Annotated[str | None, typer.Option(metavar="NAME", help="name of the organisation")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="such as Asia/Kolkata")] = None,
    repository: Annotated[str | None, typer.Option(metavar="URL", help="where backups are kept: a path, or rest:https://…, s3:https://…, sftp:…")] = None,
    repository_user: Annotated[str | None, typer.Option(metavar="NAME", help="user at the REST server")] = None,
    repository_secret_file: Annotated[str | None, typer.Option(
        metavar="FILE", help="file that holds that user's password (mode 0600)")] = None,
    access_key_file: Annotated[str | None, typer.Option(
        metavar="FILE", help="S3: file that holds the access key's id (mode 0600)")] = None,
    secret_key_file: Annotated[str | None, typer.Option(
        metavar="FILE", help="S3: file that holds the access key's secret (mode 0600)")] = None,
    host_key: Annotated[str | None, typer.Option(metavar="KEY", help="SFTP: the server's public host key, from its console")] = None,
    ssh_key_file: Annotated[str | None, typer.Option(
        metavar="FILE", help="SFTP: file that holds the private key to log in with (mode 0600)")] = None,
    cacert: Annotated[str | None, typer.Option(metavar="FILE", help="certificate of the REST server or S3 store")] = None,
    password_file: Annotated[str | None, typer.Option(
        metavar="FILE", help="file that holds the repository's password; a random one is made otherwise")] = None,
    database: Annotated[str | None, typer.Option(metavar="NAME", help="database to back up, or none")] = None,
    database_kind: Annotated[str | None, typer.Option(
        metavar="KIND", help="postgresql (the default with --database) or mariadb")] = None,
    server: Annotated[str | None, typer.Option(metavar="ADDRESS", help="its server: address or socket folder, or none")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="its port")] = None,
    user: Annotated[str | None, typer.Option(metavar="ROLE", help="role to connect as")] = None,
    database_password_file: Annotated[str | None, typer.Option(
        metavar="FILE", help="file that holds that role's password (mode 0600), or none")] = None,
    folder: Annotated[str | None, typer.Option(metavar="DIR", help="folder to back up, or none")] = None,
    state: Annotated[str | None, typer.Option(metavar="DIR", help="where the journal and the ledgers are kept")] = None,
) -> Report:
    """Write a first configuration by asking a few questions; every answer can be given as an option.

    At a terminal it looks around first and proposes what it finds: databases, folders, disks. Before it writes it shows
    the whole and asks. The database is tried at once, and what is missing is said. A relative path is taken from the folder that one is in.
    Nothing that is there is overwritten.
    """
    from opsctl.cli import init as first
    from opsctl.cli import init_around
    from opsctl.cli.init_database import looker
    from opsctl.cli.init_questions import InitAnswers
    from opsctl.shells.local import LocalShell

    session = of(context)
    answers = InitAnswers(
        organisation=organisation, timezone=timezone, repository=repository, repository_user=repository_user,
        repository_secret_file=repository_secret_file, access_key_file=access_key_file,
        secret_key_file=secret_key_file, host_key=host_key, ssh_key_file=ssh_key_file, cacert=cacert, password_file=password_file, database=database, database_kind=database_kind,
        server=server, port=port, user=user, database_password_file=database_password_file, folder=folder, state=state,
    )
    directory = first.init_directory(session.config, session.environ, os.geteuid())
    if session.dry_run:
        return Report(result={"directory": directory}, text=lambda out: out.line(f"would write {directory}/opsctl.yaml"))

    def say(line: str) -> None:
        if session.interactive or not (session.json or session.quiet):
            render.complain(shown(f"  {line}"))

    shell = LocalShell()
    # Proposals are for people: a script that takes defaults must not get other ones from one machine to the next.
    around = init_around.look(shell, os.geteuid()) if session.interactive and not session.yes else None
    made = first.init(answers, directory=directory, ask=session.ask, say=say, hidden=session.hidden, shell=shell,
                      environ=session.environ, euid=os.geteuid(), look=looker(shell), around=around)

    def text(out: Out) -> None:
        for file in made.files:
            out.line(f"wrote {file}")
        for file in made.kept:
            out.line(f"was there: {file}")
        out.lines([Mark(one, Tone.STRONG) for one in made.remember])
        out.line("now:")
        out.lines([f"  {one}" for one in made.next])

    return Report(result={"directory": directory, "files": list(made.files), "kept": list(made.kept),
                          "fingerprint": made.fingerprint, "password_file": made.password_file,
                          "next": list(made.next)}, text=text, warnings=list(made.notes))


def doctor(
    context: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="install what is missing (as root); otherwise say the line that does")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="ask nothing beyond this machine")] = False,
    purpose: Annotated[str, typer.Option("--for", metavar="PURPOSE", help="use, demo or test")] = "use",
) -> Report:
    """Look for what is missing or wrong on this machine; exit 3 when something is.

    Programs, keys, secrets, the clock, space, every repository, source and host, the schedule, notices, and what is
    overdue. What is called append-only is proven by trying. Without --fix it changes nothing.
    """
    from opsctl import programs
    from opsctl.cli import doctor as first
    from opsctl.cli.signals import working
    from opsctl.cli.work import open_site

    session = of(context)
    if purpose not in programs.PURPOSES:
        raise UsageError(f"--for {purpose}: not a purpose", hint=f"one of {', '.join(programs.PURPOSES)}")
    broken: list[OpsError] = []
    warnings: list[str] = []
    site = None
    try:
        site = open_site(session)
        warnings += [*site.said, *site.config.warnings]
    except ConfigError as error:
        if error.problems:
            broken.append(error)
        else:
            warnings.append(error.message)  # a machine without one yet
    said: list[str] = []

    def say(line: str) -> None:
        # At once, since installing takes a minute, and unbroken, since it may be a line to copy.
        said.append(line)
        if not session.json:
            render.complain(shown(line))

    checks = first.run_doctor(fix=fix and not session.dry_run, purpose=purpose, say=say, config=site and site.config)
    with working(session):
        checks += _examined(session, site, broken, offline)
    tones = {first.OK: Tone.GOOD, first.WARNING: Tone.WARN, first.WRONG: Tone.BAD, first.UNCHECKED: Tone.QUIET}

    def text(out: Out) -> None:
        out.table(Table(("check", "", Column("seen", flexible=True), Column("hint", flexible=True)), [
            (one.name, Mark(one.state, tones[one.state]), one.detail, one.hint) for one in checks]))
        counted = {state: sum(one.state == state for one in checks) for state in tones}
        out.line(Mark(", ".join(f"{number} {state}" for state, number in counted.items() if number),
                      Tone.BAD if counted[first.WRONG] else Tone.GOOD))

    return Report(result={"checks": [one.as_dict() for one in checks], "said": said}, text=text,
                  exit_code=broken[0].code if broken else first.exit_code(checks), errors=broken, warnings=warnings)


def _examined(session: Session, site: Any, broken: list[OpsError], offline: bool) -> list[Any]:
    """What the configuration allows to look at, or what can be looked at where there is none that can be read."""
    from opsctl.cli import doctor_examine
    from opsctl.engine.configuration import find_config_dir
    from opsctl.wiring import this_machine

    if site is not None:
        return doctor_examine.examine(site, session.environ, offline=offline)
    directory = find_config_dir(session.config, session.environ, os.geteuid()) if broken else None
    return doctor_examine.without_configuration(directory, this_machine())


def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="leave the lab for playing")] = False,
    directory: Annotated[str | None, typer.Option("--dir", metavar="DIR", help="where to build it; a new temporary folder otherwise")] = None,
    scale: Annotated[float, typer.Option("--scale", metavar="FACTOR", help="1 is the full volume; smaller is quicker")] = 1.0,
    kills: Annotated[int, typer.Option("--kill", metavar="NUMBER", min=0, help="kill so many of its commands on the way (kill -9), and go on")] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="which ones are killed, and when")] = 0,
) -> Report:
    """The whole story in a throw-away portal: from the backups before the attack to the incident closed, and a lost controller.

    It touches nothing but its own folder and takes some minutes.
    """
    from opsctl.demo.story import tell

    return tell(of(context), keep=keep, directory=directory, scale=scale, kills=kills, seed=seed)


def explain(
    context: typer.Context,
    word: Annotated[str | None, typer.Argument(metavar="WORD", help="an action, or exit-codes")] = None,
) -> Report:
    """The page of an action that playbooks can use, or the exit codes."""
    if word in ("exit-codes", "exit_codes"):
        return _exit_codes()
    from opsctl.actions.registry import action, words
    from opsctl.model.judging import json_schema
    from opsctl.model.unknown import unknown

    if word is None:
        pages = {name: _first_line(action(name)) for name in words()}

        def text(out: Out) -> None:
            out.table(Table(("word", "kind", Column("what it does", flexible=True)),
                            [(name, str(action(name).kind), line) for name, line in pages.items()]))
            out.line("also: opsctl explain exit-codes")

        return Report(result={"words": pages}, text=text)
    if word not in (known := words()):
        raise unknown("action", word, known, hint="opsctl explain lists them")
    found = action(word)
    page = inspect.cleandoc(type(found).__doc__ or "")

    def text_one(out: Out) -> None:
        out.heading(f"{word} ({found.kind})")
        out.lines(page.splitlines())

    return Report(result={"word": word, "kind": str(found.kind), "page": page,
                          "parameters": json_schema(found.Params)}, text=text_one)


def _first_line(found: Any) -> str:
    return inspect.cleandoc(type(found).__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _exit_codes() -> Report:
    from opsctl.cli.exit_codes import EXIT_CODES, SEVERAL

    def text(out: Out) -> None:
        out.table(Table((Column("code", right=True), Column("meaning", flexible=True)), EXIT_CODES))
        out.line(SEVERAL)

    return Report(result={"exit_codes": dict(EXIT_CODES)}, text=text)
