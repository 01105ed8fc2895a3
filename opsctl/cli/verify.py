"""``opsctl verify``: read backups back and say what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import places
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan


class Level(StrEnum):
    """How deep to look."""

    quick = "quick"
    data = "data"


def verify(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(
        metavar="NAME", help="backups or repositories; every repository if none is given")] = None,
    level: Annotated[Level, typer.Option("--level", help="quick: structure, ledger, chain, signatures; data: reads packs back")] = Level.quick,
    share: Annotated[str, typer.Option(
        "--share", metavar="n/M", help="which share of the packs to read: next (what is due), all, or n/M")] = "next",
    wait: places.Wait = None,
) -> Report:
    """Find every damage by name: flipped bytes, lost packs, deleted, planted or rewritten snapshots.

    Exit 22 where anything is wrong. opsctl never repairs a repository by itself; it says which repair would be safe.
    """
    from opsctl.cli.backup import remember
    from opsctl.cli.work import carry_out, open_site

    session = of(context)
    _check_share(share)
    site = open_site(session, wait=wait)
    repositories = _repositories(names, site.config)
    subject = repositories[0] if len(repositories) == 1 else "verify"
    inputs = {"repositories": repositories, "level": level.value, "shares": share}
    report = carry_out(session, site, "verify", inputs, subject=subject, text=_write)
    if not session.dry_run:
        remember(site, [name for name, plan in site.config.backups.items() if plan.repository in repositories])
    return report


def _check_share(share: str) -> None:
    if share in ("next", "all"):
        return
    n, slash, m = share.partition("/")
    if not (slash and n.isdigit() and m.isdigit() and 1 <= int(n) <= int(m)):
        raise UsageError(f"--share {share}: not a share", hint="next, all, or n/M such as 3/10")


def _repositories(names: Sequence[str] | None, config: Any) -> list[str]:
    if not names:
        return list(config.repositories)
    found = []
    for name in names:
        if name in config.backups:
            found.append(config.backups[name].repository)
        elif name in config.repositories:
            found.append(name)
        else:
            known = ", ".join([*config.backups, *config.repositories])
            raise UsageError(f"there is no backup or repository {name!r}", hint=f"there are: {known}")
    return list(dict.fromkeys(found))


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    for one in tally.results:
        if one.step != "verify" or not one.result:
            continue
        found = one.result
        sets = ", ".join(f"{count} {state}" for state, count in found["sets"].items()) or "none"
        read = f", read back: share {', '.join(found['shares'])}" if found["shares"] else ""
        if one.outcome == "ok":
            out.line(Mark(f"{one.item}: nothing wrong (sets: {sets}{read})", Tone.GOOD))
        else:
            out.line(Mark(f"{one.item}: {found['findings']} found damaged (sets: {sets}{read})", Tone.BAD))
        for error in one.errors:
            files = error.details.get("files") or ()
            for path in files[:10]:
                out.line(f"    {path}")
            if len(files) > 10:
                more = len(files) - 10 + error.details.get("more_files", 0)
                out.line(f"    … and {more} more files (--json lists them)")
