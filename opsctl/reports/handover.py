"""The first page of what is handed over of an incident: what it was, what lies where, and how it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from opsctl.model.due import words
from opsctl.model.incident import Incident
from opsctl.model.moments import in_zone

_PLACES = {
    "incident/reports/": "drafts of the reports, and in sent/ what was sent",
    "incident/evidence/": "evidence: a sealed bag (BagIt) for each host and time, with its custody",
    "incident/certificates/": "certificates for electronic records, to be signed",
    "incident/papers/": "documents that were taken in: certificates, acceptances, the review",
    "incident/offline/": "work on paper: orders, receipts, what was reconciled",
    "incident/": "incident.yaml, which is all of the incident on one page",
    "journal/": "its entries in the journal, and the hashes of all lines of that time, so that none can be taken out",
    "runs/": "what was done meanwhile: each run with its plan, its steps and how it ended; restorations, proofs and waves too",
    "signatures/": "what people approved, said and decided, each with their signature",
}


def page(found: Incident, seen: Any, files: Mapping[str, str], now: datetime, *, zone: tzinfo, organisation: str, key: str,
         left_out: Mapping[str, str], by: str) -> bytes:
    """``files``: the SHA-256 of each by its path; ``key``: the fingerprint of the key that signs the list of them."""
    from opsctl.reports.page import page as made

    def at(moment: datetime) -> str:
        return f"{moment.astimezone(zone):%d %b %Y %H:%M %Z}"

    names = sorted(files)
    place_of = {name: next(place for place in (*_PLACES, "") if name.startswith(place)) for name in names}
    return made(
        "handover.html", title=f"Incident {found.id}: {found.title}", language="en", drill=found.drill,
        facts=[("organisation", organisation), ("first noticed", f"{at(found.noticed)} by {found.first.by}: {found.first.signal}"),
               ("in charge", found.in_charge), ("types", ", ".join(found.types) or "none"), ("zones", ", ".join(found.zones) or "none"),
               ("opened", f"{at(found.opened)} by {found.opened_by}"), ("closed", at(found.closed) if found.closed else "it is still open"),
               ("packed", f"{at(now)} by {by}")],
        places=[(place, what, sum(one == place for one in place_of.values())) for place, what in _PLACES.items() if place in place_of.values()],
        sent=[(one.duty, at(one.at), one.by, one.channel, one.reference or "–") for one in found.met],
        decided=sorted(found.decisions.items()),
        signed=[(said.get("by", "?"), purpose.partition("@")[0], f"{said.get('run', said.get('incident', ''))} {said.get('step', said.get('duty', ''))}",
                 said.get("decision") or said.get("note") or said.get("reason") or "", f"signatures/{name}.{purpose.partition('@')[0]}.json")
                for name, purpose, said, _ in seen.signed],
        runs=[(one.run, one.playbook, at(one.began), one.by, "ended" if one.ended else "not ended", "" if one.exit_code is None else one.exit_code,
               ", ".join(f"{key}={value}" for key, value in one.inputs.items() if value and isinstance(value, str | int))) for one in seen.runs.values()],
        restored=[(one.service, one.set, one.backup, one.outcome, _span(one.after, one.rto, "RTO"), _span(one.loss, one.rpo, "RPO"), run.run)
                  for run in seen.runs.values() for one in run.services],
        timeline=[(at(one.at), in_zone(one.text, zone), one.by) for one in found.timeline],
        files=[(name, files[name]) for name in names], left_out=sorted(left_out.items()), damage=[str(one) for one in seen.damage], key=key)


def _span(took: timedelta | None, target: timedelta | None, name: str) -> str:
    known = words(took) if took is not None else "–"
    return f"{known} ({name} {words(target)})" if target is not None else known
