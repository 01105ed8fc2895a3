"""``opsctl backup schedule``: what lets a timer or cron ask every hour what is due."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import UsageError, Waiting

if TYPE_CHECKING:
    from opsctl.actions.schedule import ScheduleParams
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site


def schedule(
    context: typer.Context,
    systemd: Annotated[bool, typer.Option("--systemd", help="a service and a timer (the default where systemd runs)")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="a line for cron, with a log and its rotation")] = False,
    write: Annotated[bool, typer.Option("--write", help="install it, whole or not at all; otherwise it is shown")] = False,
    into: Annotated[str | None, typer.Option(
        "--into", metavar="DIR", help="install below DIR instead of / and start nothing; for images and tests")] = None,
) -> Report:
    """Show or install what asks every hour which backups are due.

    It also reads a share of the data back every night, and drills the restores that `verify: {drill: …}` asks for. The
    repository says what is due, so a machine that was off catches up. The minute comes from the host's name.
    """
    from opsctl.actions.schedule import wanted
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.schedule import cron as cron_pieces
    from opsctl.model.schedule import crontab, minute
    from opsctl.model.schedule import systemd as systemd_pieces

    session = of(context)
    if systemd and cron:
        raise UsageError("--systemd and --cron: one of them")
    site = open_site(session)
    params = _params(session, site, "cron" if cron or not (systemd or _systemd_runs()) else "systemd", into)
    wish = wanted(params, site.config, socket.gethostname())
    warnings = [*_doubts(site), *site.said]
    now = {} if write or into else _as_it_is(session, site)
    by_hand = params.kind == "cron" and os.geteuid() != 0 and not into
    if by_hand:
        lines = crontab(wish)
        if write:
            raise Waiting("only root may write to /etc/cron.d", hint=f"put this in with `crontab -e`: {lines[0]}",
                          details={"lines": list(lines)})
        return Report(result={"kind": "cron", "crontab": list(lines), "minute": minute(wish.host), **now},
                      warnings=warnings, text=lambda out: _show_lines(out, lines, now))
    if not write:
        pieces = systemd_pieces(wish) if params.kind == "systemd" else cron_pieces(wish)
        files = {f"{params.into}{piece.path}": piece.text for piece in pieces if piece.text is not None}
        return Report(result={"kind": params.kind, "files": files, "minute": minute(wish.host), **now},
                      warnings=warnings, text=lambda out: _show(out, files, now, params))

    def result(tally: Tally) -> Mapping[str, Any]:
        return tally.results[0].result if tally.results else {}

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        _say(out, tally, params)

    inputs = {"kind": params.kind, "program": list(params.program), "account": params.account, "units": params.units,
              "folders": list(params.folders), "into": params.into}
    report = carry_out(session, site, "schedule", inputs, subject="schedule", text=text, result=result)
    return Report(result=report.result, text=report.text, exit_code=report.exit_code, run=report.run,
                  errors=report.errors, warnings=list(dict.fromkeys([*warnings, *report.warnings])))


def program(typed: str, executable: str) -> tuple[str, ...]:
    """The argv that starts this very opsctl again from anywhere, given ``sys.argv[0]`` and ``sys.executable``.

    A link that was called stays a link: an upgrade moves what it points to.
    """
    if Path(typed).name == "opsctl":
        found = shutil.which(typed)
        if found:
            return (os.path.abspath(found),)
    beside = Path(executable).with_name("opsctl")
    if os.access(beside, os.X_OK):
        return (str(beside),)
    code = Path(__file__).resolve().parents[2]
    return ("/usr/bin/env", f"PYTHONPATH={code}", executable, "-P", "-m", "opsctl")


def _params(session: Session, site: Site, kind: str, into: str | None) -> ScheduleParams:
    from opsctl.actions.schedule import ScheduleParams

    root = os.geteuid() == 0 or into is not None
    home = session.environ.get("XDG_CONFIG_HOME") or os.path.join(session.environ.get("HOME", "/"), ".config")
    restic = shutil.which("restic")
    return ScheduleParams.model_validate({
        "kind": kind, "program": program(sys.argv[0], sys.executable), "account": _account(site),
        "units": "" if root else f"{home}/systemd/user", "into": os.path.abspath(into) if into else "",
        "folders": (os.path.dirname(restic),) if restic else (),
    })


def _account(site: Site) -> str:
    """Who runs it: the account that the state directory belongs to, root where there is none yet."""
    try:
        return pwd.getpwuid(site.state.stat().st_uid).pw_name
    except (OSError, KeyError):
        return "root" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir()


def _doubts(site: Site) -> list[str]:
    from opsctl.model.schedule import sights

    _, variables = sights(site.config.model_dump())
    return [f"a timer does not have the variable {name}, which holds a secret: use a file instead (…_file)"
            for name in variables]


def _as_it_is(session: Session, site: Site) -> dict[str, str]:
    """What is installed on this machine before anything is written, in the words of doctor."""
    from opsctl.cli import doctor_schedule

    found = doctor_schedule.check(site.config, site.clock(), session.environ)
    return {"now": found.detail} if found else {}


def _show_lines(out: Out, lines: Sequence[str], now: Mapping[str, str]) -> None:
    out.lines([Mark("for `crontab -e`:", Tone.QUIET), *lines])
    _say_nothing_done(out, now, "put it in with `crontab -e`")


def _say_nothing_done(out: Out, now: Mapping[str, str], how: str) -> None:
    out.line()
    out.line(Mark(f"nothing was installed: {how}", Tone.STRONG))
    if now:
        out.line(Mark(f"on this machine now: {now['now']}", Tone.QUIET))


def _show(out: Out, files: Mapping[str, str], now: Mapping[str, str], params: ScheduleParams) -> None:
    into = f"--into {shlex.quote(params.into)} " if params.into else ""
    for path, text in files.items():
        out.heading(path)
        out.lines(text.splitlines())
    _say_nothing_done(out, now, f"`opsctl backup schedule --{params.kind} {into}--write` puts it there")


def _say(out: Out, tally: Tally, params: ScheduleParams) -> None:
    if not tally.results or tally.results[0].outcome not in ("ok", "changed"):
        return
    one = tally.results[0]
    found = one.result
    for change in one.changes:
        out.line(change)
    out.line(Mark(f"{'as wanted already' if one.outcome == 'ok' else 'installed'}: every hour at minute "
                  f"{found['minute']:02} opsctl asks what is due", Tone.GOOD))
    if not found["started"]:
        out.line("nothing was started: it begins with the next start of the machine" if not params.into else
                 f"nothing was started: this is below {params.into}")
    if params.units:
        out.line("so that it also runs while you are not logged in: loginctl enable-linger")
    if params.kind == "cron" and shutil.which("cron") is None and shutil.which("crond") is None:
        out.line(Mark("no cron is installed here", Tone.WARN))
