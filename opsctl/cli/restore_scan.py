"""``opsctl restore scan``: search restored files for what an attacker leaves behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan


def scan(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="the folder, such as one that a set was restored into")],
    source: Annotated[list[str] | None, typer.Option("--source", metavar="SOURCE", help="only this source of it")] = None,
) -> Report:
    """Search a folder for what an attacker leaves behind.

    Ransom notes, encrypted files, web shells, jobs and keys that bring an attacker back: `opsctl explain scan`.
    """
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    site = open_site(session)
    inputs = {"folder": os.path.abspath(folder), "sources": list(source or ())}
    return carry_out(session, site, "scan", inputs, subject="scan", text=write)


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What was read, and what was accepted; the findings themselves stand below as errors."""
    from opsctl.actions.scan import described

    for one in tally.results:
        if not one.result:
            continue
        found = one.result
        accepted = [each for each in (*found["findings"], *found["not_scanned"]) if each["accepted"]]
        bad = len(found["findings"]) + len(found["not_scanned"]) + found["more"] - len(accepted)
        out.line(Mark(f"{described(found)}{'' if bad else ': nothing found'}", Tone.WARN if bad else Tone.GOOD))
        if found["others"]:
            out.line(Mark(f"  {found['others']:,} links, pipes, sockets or devices have no content of their own", Tone.QUIET))
        for each in accepted:
            out.line(Mark(f"  {each['path']}: finding {each['id']}, accepted in run {each['accepted']}", Tone.QUIET))
