"""``opsctl paper order``: the order drafted, and what a person does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import UsageError
from opsctl.model.moments import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from opsctl.cli.session import Session

_SHOWN = 60  # lines of the first page on the screen


def give_order(session: Session, incident: str, since: str | None, said: Mapping[str, Any], extend: Sequence[str], *, by: str) -> Report:
    """Draft the order, or say that it stands as it is."""
    from opsctl.actions.paper_order import PaperOrderParams, give, stands, wanted
    from opsctl.cli.paper_common import alone, the_incident
    from opsctl.cli.work import local_time, open_site, who
    from opsctl.model.paper_orders import orders

    site = open_site(session)
    found = the_incident(site, incident)
    known = orders(found)
    before = known.get(said["order"] or next(reversed(known), ""))
    begins = before.since if before is not None and since is None else _when(since or session.ask(
        "from when on, with the time zone: 2026-12-21T10:00+05:30", option="--since"))
    params = PaperOrderParams(incident=found.id, since=begins.isoformat(), extend=dict(_pair(one) for one in extend), **said)
    with alone(site, session, found, "the order") as found:
        order = wanted(found, params, site.config)
        same = stands(found, order)
        made, errors = ([], []) if same or session.dry_run else give(found, order, site.incidents, site.config, site.clock(), by=by or who())
    version = order.version - 1 if same else order.version
    folder = site.incidents.folder(found.id) / "offline" / order.id
    blanks = [*([] if order.number else ["its number (--number)"]),
              *(f"due dates of {one} (--extend {one}=DAY)" for one in order.services if one not in order.extend),
              *([] if order.until else ["the last day (--until)"])]

    def text(out: Out) -> None:
        state = "stands as it is" if same else "would be drafted" if session.dry_run else "is drafted"
        out.line(Mark(f"order {order.id} of {found.id}, version {version}, {state}: {', '.join(order.services)} on paper from "
                      f"{local_time(site, order.since)}, {len(order.bodies)} bodies", Tone.GOOD))
        if made:
            page = (folder / f"order-{version}.en.txt").read_text().partition("\f")[0].splitlines()
            out.lines(page[:_SHOWN])
            out.line()
            out.line(f"in {folder}: {', '.join(one['name'] for one in made)}")
        if blanks:
            out.line(Mark(f"left blank: {', '.join(blanks)}", Tone.WARN))
        out.line("next: have it signed and sent; opsctl paper receipts BODY SERIES FIRST-LAST gives numbers out")

    return Report(result={"incident": found.id, "order": order.id, "version": version, "number": order.number, "services": list(order.services),
                          "bodies": list(order.bodies), "since": order.since.isoformat(), "until": order.until.isoformat() if order.until else None,
                          "extend": dict(order.extend), "files": [str(folder / one["name"]) for one in made], "blanks": blanks, "same": same},
                  text=text, errors=errors, exit_code=3 if errors else 0, warnings=[*site.said])


def _when(text: str) -> datetime:
    """A moment, which may lie ahead: an order begins when it says."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"--since {text} is no moment", hint="write it as 2026-12-21T10:00+05:30") from error
    if found.tzinfo is None:
        raise UsageError(f"--since {text} has no time zone", hint=f"{text.strip()}+05:30 is in IST")
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise UsageError(f"--since {text} lies in the year {found.year}", hint="write it as 2026-12-21T10:00+05:30")
    return found


def _pair(text: str) -> tuple[str, str]:
    name, sign, day = text.partition("=")
    if not sign or not name or not day:
        raise UsageError(f"--extend {text} is no SERVICE=DAY", hint="--extend property-tax=15/01/2027")
    return name, day
