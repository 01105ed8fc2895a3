"""``opsctl paper reconcile``: what was entered against what was given out, body by body, and how each finding was settled."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import UsageError
from opsctl.model.paper_cells import harmless, plain, rupees
from opsctl.model.paper_work import BY_WORD, DOUBLE, GAP, LOST, MEANINGS, Finding, Reconciled
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.incident import Incident
    from opsctl.model.paper_orders import PaperOrder
    from opsctl.wiring import Site

_LINES = 40  # findings on the screen; the CSV has all


def reconcile(
    session: Session, incident: str, which: str, body: str, settle: Sequence[str], listed: Path | None, note: str, done: bool, into: Path | None,
    *, by: str,
) -> Report:
    """Hold them against each other; with ``settle`` or ``done`` write that down as well."""
    from opsctl.cli.paper_common import alone, the_incident, the_order
    from opsctl.cli.work import open_site, who
    from opsctl.model.incident import RECONCILED, SETTLED
    from opsctl.model.incident_ends import concerning, reconciled
    from opsctl.model.unknown import unknown

    site = open_site(session)
    found = the_incident(site, incident, change=bool(settle or listed or done))
    if settle and not note.strip():
        raise UsageError("settling takes a note", hint="--note: what became of these receipts, and how you know")
    with alone(site, session, found, "reconciling") as found:
        order = the_order(found, which)
        every = _every(found, order)
        if body and body not in every:
            raise unknown("body", body, every, hint=f"nothing was ordered of, given to or entered for it under order {order.id}")
        results = _results(site, found, order, [body] if body else every)
        said = {note: _settled(results, settle, alone=bool(body))} if settle else {}
        said |= _listed(results, listed) if listed is not None else {}
        for words, fresh in said.items() if not session.dry_run else ():
            site.incidents.write(SETTLED, {"incident": found.id, "order": order.id, "note": words, "by": by or who(), "findings": [
                {"body": whose, "finding": finding} for whose, finding in fresh]})
            results = _noted(results, frozenset(fresh), f"{words} ({by or who()})")
        found = site.incidents.get(found.id)
        ready = [one for one in results if not one.open and (order.id, one.body) not in reconciled(found)]
        if done and ready and not session.dry_run:
            seen = concerning(found)
            site.incidents.write(RECONCILED, {"incident": found.id, "order": order.id, "note": note, "by": by or who(), "bodies": [
                {"body": one.body, "gaps": one.counted(GAP, LOST), "doubles": one.counted(DOUBLE), "findings": len(one.findings), "rows": one.entered,
                 "total": rupees(sum(each.paise for each in one.sums)), "seen": seen[order.id, one.body]} for one in ready]})
            found = site.incidents.get(found.id)
        place = into or site.incidents.folder(found.id) / "offline" / order.id
        paths = [] if session.dry_run else _write_csv(place, results, f"-{body}" if body else "")
    recorded = {name for each, name in reconciled(found) if each == order.id}
    left = [one for one in results if one.open]

    def text(out: Out) -> None:
        _write(out, order, results, recorded)
        if paths:
            out.line(f"in {' and '.join(str(path) for path in paths)}")
        if left:
            first = left[0].open[0]
            out.line(f"settle each, once somebody knows: opsctl paper reconcile {left[0].body} --settle {first.id} --note TEXT")
        elif any(one.body not in recorded for one in results):
            out.line("nothing is open; once the balances are agreed with finance: opsctl paper reconcile --done --note TEXT")
        else:
            rest = len(every) - len(recorded)
            out.line(Mark(f"order {order.id}: {counted(len(recorded), 'body', 'bodies')} reconciled, {rest} not yet" if rest else
                          f"all bodies of order {order.id} are reconciled", Tone.GOOD))

    return Report(result={"incident": found.id, "order": order.id, "bodies": [_as_json(one, recorded) for one in results], "files": [str(one) for one in paths],
                          "open": sum(len(one.open) for one in results)}, text=text, exit_code=3 if left else 0, warnings=[*site.said])


def _every(found: Incident, order: PaperOrder) -> list[str]:
    """The bodies that an order concerns in any way."""
    from opsctl.model.incident_ends import on_paper

    return sorted({*order.bodies, *on_paper(found).get(order.id, ())})


def _results(site: Site, found: Incident, order: PaperOrder, bodies: Sequence[str]) -> list[Reconciled]:
    from opsctl.cli.paper_common import store
    from opsctl.model.paper_orders import entered, given, lasts, notes
    from opsctl.model.paper_ranges import Range
    from opsctl.model.paper_work import Window
    from opsctl.model.paper_work import reconcile as compare

    zone = site.config.organisation.tz
    today = site.clock().astimezone(zone).date()
    until = min(order.until, today) if order.until else today
    window = Window(order.since.astimezone(zone).date().isoformat(), max(until, order.since.astimezone(zone).date() - timedelta(days=1)).isoformat())
    everybody, last, settled = given(found), lasts(found, order.id), notes(found, order.id)
    own: dict[str, list[Range]] = {}
    for one in everybody:
        if one.order == order.id:
            own.setdefault(one.body, []).append(one)
    with store(site, found, order).index(entered(found, order.id)) as index:
        return [compare(body, index.of(body), sorted(own.get(body, []), key=lambda one: (one.series, one.first)), everybody, last.get(body, {}), window,
                        settled.get(body, {})) for body in bodies]


def _settled(results: Sequence[Reconciled], wanted: Sequence[str], *, alone: bool) -> list[tuple[str, str]]:
    """Body and id of each finding that is settled. UsageError for one that is not open, or may not be settled for all at once."""
    from opsctl.model.unknown import unknown

    fresh = []
    for word in wanted:
        if not alone and word not in BY_WORD:
            raise UsageError(f"{word} is settled for one body", hint=f"opsctl paper reconcile BODY --settle {word}; only {' and '.join(BY_WORD)} for all at once")
        matching = [(one.body, finding.id) for one in results for finding in one.open if word == finding.id or (word in BY_WORD and word == finding.kind)]
        if not matching:
            raise unknown("open finding", word, [finding.id for one in results for finding in one.open])
        fresh += matching
    return list(dict.fromkeys(fresh))


def _listed(results: Sequence[Reconciled], file: Path) -> dict[str, list[tuple[str, str]]]:
    """What a list settles, by its notes; what stands there as it was settled before is passed over."""
    from opsctl.engine.paper_numbers import read_settlements

    known = {(one.body, finding.id): finding.note for one in results for finding in one.findings}
    by_note: dict[str, list[tuple[str, str]]] = {}
    for body, finding, note in read_settlements(file, {one.body: [each.id for each in one.findings] for one in results}):
        if known[body, finding] != note:
            by_note.setdefault(note, []).append((body, finding))
    return by_note


def _noted(results: Sequence[Reconciled], fresh: frozenset[tuple[str, str]], note: str) -> list[Reconciled]:
    return [replace(one, findings=tuple(replace(each, note=note) if (one.body, each.id) in fresh else each for each in one.findings)) for one in results]


def _write(out: Out, order: PaperOrder, results: Sequence[Reconciled], recorded: set[str]) -> None:
    shown = [one for one in results if one.open] if len(results) > _LINES else list(results)
    out.table(Table(
        ("body", "state", Column("given", right=True), Column("entered", right=True), Column("gaps", right=True), Column("doubles", right=True),
         Column("open", right=True), Column("rupees", right=True)),
        [(one.body, *_state(one, recorded), f"{one.given:,}", f"{one.entered:,}", f"{one.counted(GAP, LOST):,}", f"{one.counted(DOUBLE):,}",
          str(len(one.open)), rupees(sum(each.paise for each in one.sums))) for one in shown[:_LINES]], empty="nothing is open"))
    if len(results) > len(shown[:_LINES]):
        out.line(Mark(f"… of {counted(len(results), 'body', 'bodies')} altogether; sums.csv and findings.csv have all", Tone.QUIET))
    if len(results) == 1:
        for sums in results[0].sums:
            more = f"; {sums.double_count} more, {rupees(sums.double_paise)}, entered twice" if sums.double_count else ""
            out.line(f"{sums.service or 'no service named'}: {counted(sums.count, 'receipt')}, {rupees(sums.paise)} rupees{more}")
        if results[0].again:
            out.line(f"{counted(results[0].again, 'receipt')} of the lost window entered again")
    lines = [(one, finding) for one in results for finding in one.open]
    for one, finding in lines[:_LINES]:
        out.line(Mark(f"{one.body} {finding.id}: {finding.text}" + (f", {rupees(finding.paise)} rupees" if finding.paise else ""),
                      Tone.WARN if finding.kind in BY_WORD else Tone.BAD))
    if len(lines) > _LINES:
        kinds = Counter(finding.kind for _, finding in lines)
        out.line(Mark(f"… {len(lines) - _LINES:,} more; altogether {', '.join(f'{number:,} {kind}' for kind, number in kinds.most_common())}", Tone.QUIET))
    for kind in dict.fromkeys(finding.kind for _, finding in lines):
        out.line(Mark(f"{kind}: {MEANINGS[kind]}", Tone.QUIET))
    if len(results) == 1:
        for finding in results[0].findings:
            if finding.note:
                out.line(Mark(f"{finding.id}: settled: {finding.note}", Tone.GOOD))


def _state(one: Reconciled, recorded: set[str]) -> tuple[Mark]:
    if one.open:
        return (Mark("open", Tone.BAD),)
    return (Mark("reconciled", Tone.GOOD) if one.body in recorded else Mark("nothing open", Tone.GOOD),)


def _write_csv(folder: Path, results: Sequence[Reconciled], which: str) -> list[Path]:
    """``findings.csv`` and ``sums.csv``, of one body with its name; nothing in them is taken for a formula. Amounts are plain decimals."""
    from opsctl.repositories.whole import write_whole

    findings = [[one.body, finding.id, finding.kind, finding.text, finding.count, plain(finding.paise), finding.note]
                for one in results for finding in one.findings]
    sums = [[one.body, each.service, each.count, plain(each.paise), each.double_count, plain(each.double_paise)] for one in results for each in one.sums]
    made = []
    for name, head, rows in ((f"findings{which}.csv", ("body", "finding", "kind", "text", "receipts", "rupees", "settled"), findings),
                             (f"sums{which}.csv", ("body", "service", "receipts", "rupees", "entered twice", "rupees entered twice"), sums)):
        content = io.StringIO()
        writer = csv.writer(content)
        writer.writerow(head)
        writer.writerows([harmless(cell) for cell in row] for row in rows)
        write_whole(folder / name, b"\xef\xbb\xbf" + content.getvalue().encode())  # the mark lets spreadsheet programs see that it is UTF-8
        made.append(folder / name)
    return made


def _as_json(one: Reconciled, recorded: set[str]) -> Mapping[str, Any]:
    return {"body": one.body, "reconciled": one.body in recorded, "given": one.given, "entered": one.entered, "lost_window_entered": one.again,
            "gaps": one.counted(GAP, LOST), "doubles": one.counted(DOUBLE), "findings": [_finding(each) for each in one.findings],
            "sums": [{"service": each.service, "receipts": each.count, "rupees": plain(each.paise), "double_receipts": each.double_count,
                      "double_rupees": plain(each.double_paise)} for each in one.sums]}


def _finding(one: Finding) -> Mapping[str, Any]:
    return {"id": one.id, "kind": one.kind, "text": one.text, "receipts": one.count, "rupees": plain(one.paise), "settled": one.note}
