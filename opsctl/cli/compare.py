"""``opsctl backup compare``: a spot check of the files against the newest set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli import places
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan


def compare(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    source: Annotated[str | None, typer.Option("--source", metavar="SOURCE", help="only this source of it")] = None,
    sample: Annotated[int, typer.Option("--sample", metavar="N", help="files of each source, chosen by chance, 1 to 1000")] = 100,
    most: Annotated[str, typer.Option("--most", metavar="SIZE", help="most that is read of each source")] = "1GiB",
    wait: places.Wait = None,
) -> Report:
    """Compare files that look unchanged with the newest set.

    Exit 22 where a file has the size and time that the set knows and other content: a failing disk, or a hidden change.
    """
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.quantities import parse_size

    session = of(context)
    if not 1 <= sample <= 1000:
        raise UsageError(f"--sample {sample}: from 1 to 1000")
    try:
        size = parse_size(most)
    except ValueError as error:
        raise UsageError(f"--most {most}: {error}") from error
    if not size:
        raise UsageError(f"--most {most}: nothing would be read")
    site = open_site(session, wait=wait)
    known([backup], site.config.backups, "backup")
    if source is not None:
        known([source], site.config.backups[backup].sources, "source")
    inputs = {"backup": backup, "source": source or "", "sample": str(sample), "most": str(size)}
    return carry_out(session, site, "compare", inputs, subject=backup, text=_write)


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    from opsctl.actions.compare import describe

    for one in tally.results:
        for name, found in one.result.get("sources", {}).items():
            tone = Tone.BAD if found["different"] else Tone.GOOD if found["files"] else Tone.WARN
            out.line(Mark(f"{name}: {describe(found)} with set {one.result['set']}", tone))
            for path in found["different"]:
                out.line(Mark(f"    {path}: same size and time, other content", Tone.BAD))
        if one.result.get("others"):
            out.line(Mark(f"{', '.join(one.result['others'])}: not files, not compared", Tone.QUIET))
