"""How the runs stand that were begun since an incident was opened, as the journal has it: bound to what, ended with which exit code."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsctl.model.incident import OPENED, Incident
from opsctl.model.values import value


@value
class RunEnd:
    """A run. ``ended``: whether nobody has to say anything any more; ``exit_code`` is None where it came to no end."""

    run: str
    playbook: str
    inputs: Mapping[str, Any]
    ended: bool = False
    exit_code: int | None = None


def run_ends(journal: Any, playbooks: Collection[str], incident: Incident) -> Sequence[RunEnd]:
    """The runs of these playbooks since then, in the order in which they were bound. Raises what journals raise.

    What came first is what stands first in the journal, whatever clocks said; of an incident whose opening is in none of
    its lines (it lies in a spool) the time has to do.
    """
    found: dict[str, RunEnd] = {}
    early: set[str] = set()
    seen = False
    for entry in journal.read(types=(OPENED, "run.bound", "run.resumed", "run.waiting", "run.end")):
        if entry.type == OPENED:
            if entry.data["incident"] == incident.id:
                found, seen = {}, True
        elif entry.type == "run.bound":
            if entry.data["playbook"] in playbooks and entry.run is not None:
                found[entry.run] = RunEnd(entry.run, entry.data["playbook"], entry.data["inputs"])
                early |= {entry.run} if entry.time < incident.opened else set()
        elif entry.run in found:
            code = entry.data.get("exit_code") if entry.type == "run.end" else None
            found[entry.run] = replace(found[entry.run], ended=entry.type == "run.end", exit_code=code)
    return [one for one in found.values() if seen or one.run not in early]
