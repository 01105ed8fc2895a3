"""Findings of a scan that people accepted: who signed for which, in runs of a playbook of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from opsctl.actions.agreeing import PEOPLE, last_signed
from opsctl.actions.approve import ApproveParams, seen
from opsctl.actions.interface import World
from opsctl.scanning.interface import mark

PLAYBOOK = "accept-finding"


def written(finding: Mapping[str, Any]) -> str:
    """A finding as it stands in the plan that people sign: id, rule, SHA-256 of the content (or -), path."""
    return f"{finding['id']} {finding['rule']} {finding['sha256'] or '-'} {finding['path']}"


def read(text: str) -> str | None:
    """The id of a finding that was written so; None where its words do not make that id."""
    words = text.split(" ", 3)
    if len(words) < 4:
        return None
    ident, rule, sha256, path = words
    return ident if ident == mark(rule, path, "" if sha256 == "-" else sha256) else None


def accepted_of(backup: str, set_id: str, ids: Collection[str], world: World) -> tuple[dict[str, str], list[str]]:
    """Of these ids in this set those that enough people have signed for, with the run; and why others do not count."""
    found: dict[str, str] = {}
    refused: list[str] = []
    for other in world.runs_of(PLAYBOOK):
        inputs = other.inputs
        if (inputs.get("backup"), inputs.get("set")) != (backup, set_id):
            continue
        asked = {text: ident for text in map(str, inputs.get("findings", ())) if (ident := read(text)) in ids and ident is not None}
        if not asked:
            continue
        signed, why = _signed(asked, other)
        found |= dict.fromkeys(signed, other.run)
        if why:
            refused.append(f"run {other.run}: {why}")
    return found, refused


def _signed(asked: Mapping[str, str], other: Any) -> tuple[Collection[str], str]:
    """The ids that the people of a run have accepted, and why not the others."""
    if not str(other.inputs.get("reason") or "").strip():
        return (), "it says no reason"
    why = "nobody was asked"
    for step in other.steps("approve"):
        params = ApproveParams.model_validate(dict(step))
        found = seen(params, other, last_signed(params.step, other))
        missing = max(found.wanted.needed, PEOPLE) - len(found.standing.approved)
        # What they were shown is what they signed for.
        shown = {ident for text, ident in asked.items() if text in params.say}
        if not shown:
            why = "who signed was not shown what for"
        elif found.changed or found.standing.refused:
            return (), found.changed or f"{found.standing.refused[0].words} refused"
        elif found.asked and missing > 0:
            told = "; ".join((*found.standing.not_counted, *found.standing.forged))
            why = f"{missing} more would have to approve{f' ({told})' if told else ''}"
        elif found.asked:
            return shown, "" if len(shown) == len(asked) else "who signed was not shown all of it"
    return (), why
