"""What a report is filled from: an incident, its clocks, what the journal says was done for it, and the configuration."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from opsctl.engine.journal import Journal
from opsctl.errors import OpsError
from opsctl.model.clocks import clocks
from opsctl.model.incident import CLOSED, OPENED, Incident
from opsctl.model.unknown import unknown
from opsctl.plain_file import read_plain
from opsctl.protocols.cert_in import protocol
from opsctl.reports.document import Deed, Facts, Reporter

_NO_END = ("waiting", "skipped", "planned", "unknown")


def facts(found: Incident, config: Any, journals: Iterable[Journal], folder: Path, now: datetime, person: str = "") -> Facts:
    """``folder``: the incident's reports. UsageError where there is no such person; whatever else cannot be read is left out."""
    hosts = {name: host.address for name, host in config.hosts.items() if host.zone in found.zones}
    services = [service for zone in found.zones if zone in config.zones for service in config.zones[zone].public_services]
    return Facts(
        found, clocks(found, protocol().duties, now, protected=config.organisation.protected_system), _reporter(found, config, person),
        _in_charge(_reporter(found, config, "")), hosts, tuple(dict.fromkeys(services)), tuple(_deeds(found, journals)), now, _sent(found, folder))


def _reporter(found: Incident, config: Any, person: str) -> Reporter:
    people = config.people
    if person and person not in people:
        raise unknown("person", person, people)
    spec = people.get(person) or people.get(found.in_charge) or next((one for one in people.values() if one.name == found.in_charge), None)
    if spec is None:
        return Reporter(found.in_charge, config.organisation.name)
    return Reporter(", ".join([spec.name, *spec.roles]), config.organisation.name, spec.phone, spec.email)


def _in_charge(reporter: Reporter) -> str:
    return ", ".join(one for one in (reporter.name, reporter.phone, reporter.email) if one)


def _deeds(found: Incident, journals: Iterable[Journal]) -> Iterable[Deed]:
    """What was carried out for this incident, or brought back while it was open: how each step ended last."""
    ended: dict[tuple[str, str, str], Deed] = {}
    for journal in journals:
        mine: set[str] = set()
        words: dict[tuple[str, str], str] = {}
        during = False
        with contextlib.suppress(OpsError):
            for entry in journal.read(types=(OPENED, CLOSED, "run.bound", "step.begin", "step.end"), on_damage=lambda _: None):
                run, data = str(entry.run), entry.data
                if entry.type in (OPENED, CLOSED):
                    during = entry.type == OPENED if data.get("incident") == found.id else during
                elif entry.type == "run.bound" and _concerns(found, data, during or _between(found, entry.time)):
                    mine.add(run)
                elif run in mine and entry.type == "step.begin":
                    words[run, data["step"]] = str(data["uses"])
                elif run in mine and entry.type == "step.end" and data["outcome"] not in _NO_END:
                    told = data.get("result", {})
                    if word := words.get((run, data["step"])) or _looked(told):
                        item = str(told.get("host") or data["item"] or "")
                        ended[run, data["step"], item] = Deed(entry.time, word, run, str(data["step"]), item, str(data["outcome"]), str(data["because"]), told)
    return sorted(ended.values(), key=lambda one: one.at)


def _looked(told: Mapping[str, Any]) -> str:
    """The word of a step that changed nothing: of a gate that people opened, or of one that looked at how a host stands."""
    if "approved" in told and "needed" in told:
        return "approve"
    return {"isolated": "isolate", "open": "release"}.get(str(told.get("stand", {}).get("standing")), "")


def _concerns(found: Incident, data: Mapping[str, Any], during: bool) -> bool:
    """By the incident that a run names, and where it names none by its time; ``during``: the incident was open then."""
    incident = data["inputs"].get("incident")
    return incident == found.id if incident else during


def _between(found: Incident, at: datetime) -> bool:
    return at >= found.opened and (found.closed is None or at <= found.closed)


def _sent(found: Incident, folder: Path) -> dict[str, Mapping[str, Any]]:
    """The drafts that were recorded as sent, the last of each report."""
    last: dict[str, Mapping[str, Any]] = {}
    for one in found.met:
        if one.report:
            with contextlib.suppress(OSError, ValueError):
                last[one.report] = json.loads(read_plain(folder / f"{one.report}-{one.draft}.json"))
    return last
