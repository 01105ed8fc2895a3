"""``opsctl backup canaries``: the files that nobody has to touch, and planting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan


def canaries(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="SOURCE", help="names of sources; all that have any if none is given")] = None,
    write: Annotated[bool, typer.Option("--write", help="plant those that are not there")] = False,
) -> Report:
    """Files that nobody has to touch: show them, or plant them.

    A set in which one changed or went is suspect by that alone. Nothing that is there is overwritten.
    """
    from opsctl.cli.backup import known
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.canaries import content
    from opsctl.model.config import PathsSource
    from opsctl.sources.canaries import stands

    session = of(context)
    site = open_site(session)
    have = {name: spec.canaries for name, spec in site.config.sources.items() if isinstance(spec, PathsSource) and spec.canaries}
    if not have:
        raise SafetyRefusal("no source has canaries", hint="canaries: [/srv/portal/uploads/0000-register.docx] under a source of files")
    chosen = known(names, have, "source with canaries")
    found = {name: {path: stands(path, content(name, path)) for path in have[name]} for name in chosen}
    absent = [path for one in found.values() for path, how in one.items() if how == "absent"]
    if not write:
        def text(out: Out) -> None:
            tones = {"there": Tone.GOOD, "absent": Tone.WARN, "other": Tone.BAD}
            out.table(Table(("source", Column("canary", flexible=True), "stands"),
                            [(name, path, Mark(how, tones[how])) for name, one in found.items() for path, how in one.items()]))
            if absent:
                out.line("plant them: opsctl backup canaries --write")

        return Report(result={"sources": found}, text=text, warnings=site.said)
    if absent and not session.dry_run and not session.confirm(f"plant {', '.join(absent)}?"):
        raise SafetyRefusal("nothing was changed")
    return carry_out(session, site, "canaries", {"sources": chosen}, subject="canaries", text=_write)


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    for one in tally.results:
        for path, how in one.result.get("canaries", {}).items():
            out.line(Mark(f"{one.item}: {path}: {how}", Tone.GOOD if how == "there" else Tone.BAD))
