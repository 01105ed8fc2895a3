"""``opsctl kit``: what is needed to begin anew on a machine without a network, and the drill with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli import places
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError
from opsctl.model.moments import in_zone
from opsctl.model.quantities import counted, format_size

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan

app = typer.Typer(help="What is needed to begin anew on a machine without a network.", no_args_is_help=True)

Directory = Annotated[str, typer.Argument(metavar="DIR", help="the kit's folder, or where its medium is mounted")]


@app.command("build")
def build(
    context: typer.Context,
    directory: Directory,
    no_packages: Annotated[bool, typer.Option("--no-packages", help="leave the Debian packages of the programs out")] = False,
) -> Report:
    """Build an emergency kit: opsctl, programs, configuration, pages.

    DIR is made, or is an empty medium. No secret and no data goes into it. It is for machines with this Python, this release
    and this architecture; the last line says so.
    """
    from opsctl.cli.work import carry_out, open_site
    from opsctl.wiring import refuse_unsigned

    session = of(context)
    site = open_site(session)
    refuse_unsigned(site)
    inputs = {"into": os.path.abspath(directory), "packages": "no" if no_packages else "yes"}
    return carry_out(session, site, "kit-build", inputs, subject="kit", text=_write_built)


def _write_built(out: Out, tally: Tally, plan: BoundPlan) -> None:
    for one in tally.results:
        found = one.result
        if not found.get("into"):
            continue
        out.line(Mark(f"{found['into']}: {counted(found['files'], 'file')}, {format_size(found['bytes'])}, signed", Tone.GOOD))
        fit = found["for"]
        out.line(f"for {fit['system'] or 'this system'} on {fit['machine']} with Python {fit['python']}"
                 f"{'' if fit['packages'] else '; without packages: programs have to be there'}")
        out.line(f"print {found['into']}/print/*, keep the fingerprints in {found['into']}/keys/FINGERPRINTS elsewhere as well, then "
                 f"`opsctl kit check {found['into']}`")


@app.command("check")
def check(
    context: typer.Context,
    directory: Directory,
    max_age: Annotated[str, typer.Option("--max-age", metavar="DURATION", help="how old it may be")] = "90d",
    no_install: Annotated[bool, typer.Option("--no-install", help="only look; do not install from it")] = False,
    trust: places.Trust = None,
) -> Report:
    """A drill: is the kit whole, signed, up to date, does it install?

    It is installed into a throw-away folder, as root without any network. 22: a file is not what was signed; 12: somebody
    else signed; 21: something has changed since it was built.
    """
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.quantities import parse_duration

    session = of(context)
    try:
        parse_duration(max_age)
    except ValueError as error:
        raise UsageError(f"--max-age {max_age}: {error}", hint="such as 90d") from error
    site = open_site(session, trust=tuple(trust or ()))
    inputs = {"kit": os.path.abspath(directory), "age": max_age, "install": "no" if no_install else "yes"}
    return carry_out(session, site, "kit-check", inputs, subject="kit",
                     text=lambda out, tally, _: _write_checked(out, tally, site.config.organisation.tz))


def _write_checked(out: Out, tally: Tally, zone: tzinfo) -> None:
    for one in tally.results:
        found = one.result
        if not found:
            continue
        wrong = bool(one.errors)
        out.line(Mark(f"{found['kit']}: {counted(found['files'], 'file')}, of {in_zone(found['time'], zone)}, signed by {found['signed_by']}",
                      Tone.WARN if wrong else Tone.GOOD))
        if "installed" in found:
            out.line(Mark(f"opsctl {found['installed']} was installed from it without a network; {found['tried']}", Tone.GOOD))
            bad: Sequence[str] = [name for name, state in found["doctor"].items() if state == "wrong"]
            if bad:
                out.line(f"wrong on this machine, as it will be there until it is brought: {', '.join(bad)}")
