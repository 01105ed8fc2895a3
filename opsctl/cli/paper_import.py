"""``opsctl paper import``: a list of what was typed in from paper, whole or not at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.model.paper_cells import rupees
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session


def take_in(session: Session, incident: str, which: str, file: Path, body: str, *, by: str) -> Report:
    """Read it, write it down, say what it came to."""
    from opsctl.cli.paper_common import alone, store, the_incident, the_order
    from opsctl.cli.work import open_site, who
    from opsctl.engine.incidents import refuse_closed
    from opsctl.engine.paper_entries import read_entries
    from opsctl.model.config_bodies import services_known
    from opsctl.model.incident import ENTERED
    from opsctl.model.paper_orders import entered
    from opsctl.model.unknown import unknown

    site = open_site(session)
    found = the_incident(site, incident)
    order = the_order(found, which)
    if body and body not in site.config.bodies:
        raise unknown("body", body, site.config.bodies)
    services = tuple(dict.fromkeys([*services_known(site.config.paper, site.config.zones), *order.services]))
    sheet, rows = read_entries(file, site.config.bodies, site.config.paper, services, body=body)
    by_body = Counter(row.body for row in rows)
    total = sum(row.paise for row in rows)
    with alone(site, session, found, f"taking {file.name} in") as found:
        lists = entered(found, order.id)
        same = any(one["sha256"] == sheet.sha256 for one in lists)
        if not session.dry_run:
            kept = store(site, found, order)
            put = kept.keep(sheet.sha256, rows)
            if not same:
                said = {"incident": found.id, "order": order.id, "bodies": dict(by_body), "file": file.name, "sha256": sheet.sha256, "kept": put,
                        "rows": len(rows), "total": rupees(total), "by": by or who()}
                site.incidents.write(ENTERED, said, check=refuse_closed)
                with kept.index([*lists, said], {sheet.sha256: rows}):
                    pass

    def text(out: Out) -> None:
        word = "was entered before: nothing is added" if same else "would be entered" if session.dry_run else "entered"
        out.line(Mark(f"{file.name}: {counted(len(rows), 'receipt')} of {counted(len(by_body), 'body', 'bodies')}, {rupees(total)} rupees, {word}", Tone.GOOD))
        if len(by_body) <= 10:
            out.lines([f"  {name}: {number:,}" for name, number in sorted(by_body.items())])
        out.line(f"next: opsctl paper reconcile{f' {next(iter(by_body))}' if len(by_body) == 1 else ''}")

    return Report(result={"incident": found.id, "order": order.id, "file": str(file), "sha256": sheet.sha256, "rows": len(rows), "bodies": dict(by_body),
                          "total": rupees(total), "added": 0 if same else len(rows)}, text=text, warnings=[*sheet.doubts, *site.said])
