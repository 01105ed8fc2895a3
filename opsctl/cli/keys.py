"""``opsctl keys``: who signs, which keys open the repositories, and how to get in when the password is lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import places
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import OpsError, Refused, UsageError

if TYPE_CHECKING:
    from opsctl.cli.work import Given
    from opsctl.engine.runs import Tally
    from opsctl.model.escrow import Share
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

app = typer.Typer(help="Who signs, which keys open the repositories, and the way in when a password is lost.", no_args_is_help=True)

Repositories = Annotated[list[str] | None, typer.Argument(metavar="REPOSITORY", help="names of repositories; all that are here if none is given")]


@app.command("list")
def list_(context: typer.Context) -> Report:
    """List the controller's keys, and those of each repository."""
    from opsctl.cli.work import open_site

    site = open_site(of(context))
    own = site.own_fingerprint
    controller = [("signs", own or "none")] + [("trusted", one) for one in sorted(site.trusted - {own})]
    found: dict[str, list[dict[str, Any]]] = {}
    errors: list[OpsError] = []
    for name in site.config.repositories:
        history = site.history(name)
        try:
            if history.is_away():
                site.notes.append(f"{name} is away, and was not asked")
                continue
            found[name] = [{"key": key.id, "user": key.user, "host": key.host, "created": key.created, "ours": key.current}
                           for key in history.repository.keys()]
        except OpsError as error:
            error.where = error.where or name
            errors.append(error)

    def text(out: Out) -> None:
        out.table(Table(("controller", Column("fingerprint", flexible=True)), controller))
        out.table(Table(("repository", "key", "user", "host", "created", ""), [
            (name, one["key"], one["user"], one["host"], one["created"], "opens now" if one["ours"] else _escrowed(one["user"]))
            for name, keys in found.items() for one in keys], empty="no repository answered"))

    return Report(result={"signs": own, "trusted": sorted(site.trusted), "repositories": found}, text=text, errors=errors,
                  warnings=site.said)


def _escrowed(user: str) -> str:
    word, _, number = user.partition("-")
    return f"in escrow, set {number}" if word == "escrow" and number.isdigit() else ""


@app.command("rotate")
def rotate(
    context: typer.Context,
    repositories: Repositories = None,
    lost: Annotated[str | None, typer.Option(
        "--lost", metavar="FINGERPRINT", help="the old key is gone (its fingerprint stands in the kit): two people sign instead")] = None,
) -> Report:
    """Let a new key sign; the old one vouches for it, or two people.

    Sets of the old key stay good, up to now: also on other machines, which find the rotation in each repository.
    """
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, check_fingerprint, open_site

    session = of(context)
    site = open_site(session)
    old = site.own_fingerprint
    private = site.keys_directory / "controller"
    if lost is None and (old is None or not private.exists()):
        raise Refused(f"there is no signing key at {private}, which could vouch for another", where=str(private),
                      hint="--lost SHA256:… names the old one, and two people sign")
    if lost is not None:
        check_fingerprint(lost)
        old = lost
    chosen = known(repositories, site.config.repositories, "repository")
    if not repositories:
        away = [name for name in chosen if site.history(name).is_away()]
        site.notes += [f"{name} is away and does not know yet; when it is here: opsctl keys tell {name}" for name in away]
        chosen = [name for name in chosen if name not in away]
    if session.dry_run:
        return Report(result={"old": old}, text=lambda out: out.line(f"would make a key that follows {old}, and tell {', '.join(chosen)}"),
                      warnings=site.said)
    inputs = {"repositories": chosen, "old": str(old), "new": site.next_key()}
    return carry_out(session, site, "keys-rotate-agreed" if lost is not None else "keys-rotate", inputs, subject="keys", text=_write_rotated)


@app.command("tell")
def tell(context: typer.Context, repositories: Annotated[list[str], typer.Argument(metavar="REPOSITORY", help="names of repositories")]) -> Report:
    """Write the last rotation into repositories that were away then."""
    import json

    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    said = [json.loads(path.read_text()) for path in (site.keys_directory / "rotations").glob("*.json")]
    ours = [one for one in said if one["statement"]["new"] == site.own_fingerprint and one.get("by_old")]
    if not ours:
        raise UsageError("no rotation to the key that signs now is kept here", hint="opsctl keys rotate; one that people signed is told by a new run")
    inputs = {"repositories": known(repositories, site.config.repositories, "repository"),
              "old": ours[-1]["statement"]["old"], "new": ours[-1]["statement"]["new"]}
    return carry_out(session, site, "keys-rotate", inputs, subject="keys", text=_write_rotated)


def _write_rotated(out: Out, tally: Tally, plan: BoundPlan) -> None:
    for one in tally.results:
        found = one.result
        if found.get("new") != found.get("signs") or not found.get("new"):
            continue
        out.line(Mark(f"{found['new']} signs from now on; it follows {found['old']}, as {', '.join(found['told']) or 'no repository'} tells",
                      Tone.GOOD))
        out.line(f"the old private key, where it was here, lies as keys/controller-before-{plan.run}: destroy it when you need it no more. "
                 "Write the new fingerprint down where the old one stands, and build a new kit")


@app.command("escrow")
def escrow(
    context: typer.Context,
    repositories: Repositories = None,
    shares: Annotated[int, typer.Option("--shares", metavar="N", help="how many shares are made")] = 5,
    need: Annotated[int, typer.Option("--need", metavar="M", help="how many of them open the repositories")] = 3,
    into: Annotated[str | None, typer.Option(
        "--into", metavar="DIR", help="folder for pages to print; without it they are shown one by one")] = None,
) -> Report:
    """Add a second key, whose password is split into shares on paper.

    Each share is given to another person, who keeps it in a sealed envelope. Nothing but the shares holds the password.
    """
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.escrow import IDENTIFIERS

    session = of(context)
    if not 2 <= need <= shares <= 16:
        raise UsageError(f"--need {need} of --shares {shares}: that cannot be split",
                         hint="at least 2 have to be needed, and at most 16 made")
    site = open_site(session)
    chosen = known(repositories, site.config.repositories, "repository")
    if not repositories:
        away = [name for name in chosen if site.history(name).is_away()]
        site.notes += [f"{name} is away; its key is added when it is here: opsctl keys escrow {name}" for name in away]
        chosen = [name for name in chosen if name not in away]
    number = secrets.randbelow(IDENTIFIERS)
    if into is None and not session.dry_run:
        session.typed("the shares are shown one by one, and are nowhere else; is nobody looking over your shoulder? Enter goes on",
                      hint="ask again at a terminal, or have them written to print: --into DIR")
    target = Path(os.path.abspath(into)) if into is not None else site.runtime / f"escrow-{number}"
    inputs = {"repositories": chosen, "set": number, "shares": shares, "need": need, "into": str(target)}
    try:
        report = carry_out(session, site, "keys-escrow", inputs, subject="escrow", text=_write_escrow)
        if into is None and not report.exit_code and not session.dry_run:
            _show(session, target, shares)
    finally:
        if into is None:
            shutil.rmtree(target, ignore_errors=True)
    return report


def _write_escrow(out: Out, tally: Tally, plan: BoundPlan) -> None:
    for one in tally.results:
        found = one.result
        if not found.get("into"):
            continue
        out.line(Mark(f"set {found['set']}: any {found['need']} of {found['shares']} shares open {', '.join(found['repositories'])}; tried",
                      Tone.GOOD))
        if Path(found["into"]).name != f"escrow-{found['set']}":
            out.line(Mark(f"print {found['into']}/share-*.html, one for each person, then remove {found['into']}", Tone.WARN))


def _show(session: Session, folder: Path, shares: int) -> None:
    from opsctl.actions.escrow import share_file
    from opsctl.cli import render

    for number in range(1, shares + 1):
        render.complain(f"\n{share_file(folder, number).read_text('utf-8')}")
        with contextlib.suppress(EOFError):
            session.typed(f"share {number} of {shares} is written down? Enter clears the screen")
        render.complain("\033[2J\033[H")


@app.command("recover")
@places.from_anywhere
def recover(
    context: typer.Context,
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="files with a share each; without them shares are typed")] = None,
    into: Annotated[str | None, typer.Option("--into", metavar="FILE", help="password file to write (mode 0600)")] = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Join shares, write the password, and prove that it opens.

    With --repository URL, or a configuration, each repository is tried; --password-file is not needed.
    """
    session = of(context)
    if into is None:
        raise UsageError("--into FILE: where shall the password go?", hint="such as /root/password; it is made with mode 0600")
    if os.path.lexists(into):
        raise UsageError(f"--into {into}: something is there already", hint="a new file")
    from opsctl.model.escrow import join, password_of
    from opsctl.model.secrets import SecretText

    shares = _from_files(files) if files else _typed(session)
    password = SecretText(password_of(join(shares)))
    opened, errors, warnings = _tried(session, given, into, password, shares[0].set)
    if not opened and errors:
        raise errors[0]

    def text(out: Out) -> None:
        out.line(Mark(f"the password of set {shares[0].set} is in {into}", Tone.GOOD))
        out.lines([Mark(f"it opens {name}", Tone.GOOD) for name in opened])
        if not opened:
            out.line(Mark("no repository was tried: --repository URL does", Tone.WARN))

    return Report(result={"set": shares[0].set, "into": into, "opens": opened}, text=text, warnings=[*warnings, *(one.message for one in errors)])


def _from_files(files: Sequence[str]) -> list[Share]:
    from opsctl.actions.escrow import words_of
    from opsctl.model.escrow import read_share, refuse_others

    found: list[Share] = []
    for name in files:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name} cannot be read: {error}", hint="the share-N.txt, or a file with the words of one share") from error
        found.append(read_share(words_of(text), name))
        refuse_others(found)
    return found


def _typed(session: Session) -> list[Share]:
    """Shares from the terminal, until there are enough; a wrong one is asked for again."""
    from opsctl.cli import render
    from opsctl.model.escrow import read_share, refuse_others

    found: list[Share] = []
    while not found or len(found) < found[0].need:
        wanted = f" of {found[0].need}" if found else ""
        words = session.typed(f"share {len(found) + 1}{wanted}, its 20 words")
        try:
            share = read_share(words, f"what was typed as share {len(found) + 1}")
            refuse_others([*found, share])
        except Refused as error:
            render.complain(f"{error.message}\n")
            continue
        found.append(share)
    return found


def _tried(session: Session, given: Given | None, into: str, password: Any, number: int) -> tuple[list[str], list[OpsError], list[str]]:
    """Write the file, and try it at each repository that is named or configured. Nothing is left where it opens none."""
    from dataclasses import replace

    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{password.reveal()}\n")
    opened: list[str] = []
    errors: list[OpsError] = []
    try:
        site = _site(session, replace(given, password_file=os.path.abspath(into)) if given else None)
        for name in site.config.repositories if site is not None else ():
            history = site.history(name)  # type: ignore[union-attr]
            if history.is_away():
                continue
            try:
                if history.repository.opens_with(password):
                    opened.append(name)
                else:
                    errors.append(Refused(f"the password of set {number} does not open {name}", where=name,
                                          hint="`opsctl keys list` names the sets that do"))
            except OpsError as error:
                errors.append(error)
        if site is not None and site.config.directory is not None:
            with contextlib.suppress(OpsError):
                site.journal.append("keys.recovered", {"set": number, "opens": opened})
    except BaseException:
        os.unlink(into)
        raise
    if errors and not opened:
        os.unlink(into)
    return opened, errors, list(site.said) if site is not None else []


def _site(session: Session, given: Given | None) -> Site | None:
    from opsctl.cli.work import open_site
    from opsctl.errors import ConfigError

    try:
        return open_site(session, given=given)
    except ConfigError as error:
        if given is not None or error.problems:
            raise
        return None
