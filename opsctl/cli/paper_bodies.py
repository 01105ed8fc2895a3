"""``opsctl paper bodies``: the bodies that the configuration holds, and many more from a list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import Waiting
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session


def bodies(session: Session, file: Path | None) -> Report:
    """List them, or take in those of a file that are not there yet."""
    from opsctl.cli.work import open_site
    from opsctl.engine.bodies_file import add_bodies
    from opsctl.engine.paper_numbers import read_bodies

    site = open_site(session)
    known = site.config.bodies
    if file is None:
        rows = [(name, one.name, one.name_hi or "", ", ".join(one.counters), ", ".join(one.series)) for name, one in known.items()]
        table = Table(("id", Column("name", flexible=True), Column("in Hindi", flexible=True), Column("counters", flexible=True), "series"), rows,
                      empty="the configuration holds no body: opsctl paper bodies FILE.csv")
        return Report(result={"bodies": [{"id": name, **one.model_dump(mode="json")} for name, one in known.items()]}, text=lambda out: out.table(table),
                      warnings=site.said)
    found, doubts = read_bodies(file, known)
    fresh = {name: one for name, one in found.items() if name not in known}
    directory = site.config.directory
    if directory is None:
        raise Waiting("there is no configuration directory to write to", hint="opsctl init")
    path = add_bodies(directory, fresh) if fresh and not session.dry_run else directory / "bodies.yaml"

    def text(out: Out) -> None:
        word = "would be added" if session.dry_run else "are added"
        out.line(Mark(f"{path}: {counted(len(fresh), 'body', 'bodies')} {word}, {len(found) - len(fresh)} were there", Tone.GOOD))
        if lacking := [name for name, one in found.items() if one.name_hi is None]:
            out.line(Mark(f"without a name in Hindi: {', '.join(lacking[:10])}{f' and {len(lacking) - 10} more' if len(lacking) > 10 else ''}", Tone.WARN))

    return Report(result={"file": str(path), "added": list(fresh), "kept": [name for name in found if name not in fresh]}, text=text,
                  warnings=[*doubts, *site.said])
