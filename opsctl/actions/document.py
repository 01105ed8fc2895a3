"""document: a paper that somebody has to bring lies in the incident, whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.actions.opened import opened
from opsctl.errors import DamagedData
from opsctl.model.fields import Incident as Id
from opsctl.model.fields import Name
from opsctl.model.incident import ASKED, PAPERED
from opsctl.model.playbook import AnyTitle
from opsctl.model.values import value
from opsctl.repositories.papers import trouble


class DocumentParams(Params):
    """``kind``: what the paper is, in a word; ``say``: what it is and who brings it, in a sentence."""

    incident: Id
    kind: Name
    say: AnyTitle


@value
class Seen:
    """The newest paper of its kind, what is wrong with its file, and whether it was asked for before."""

    paper: Mapping[str, Any] | None
    trouble: str
    asked: bool


class Document(GateAction[DocumentParams, Seen]):
    """Waits until a paper lies in the incident: `opsctl incident paper ID KIND FILE`.

    with:
      incident  the incident; that of the playbook, where it has an input of that type
      kind      what the paper is, in a word: auditor-certificate, data-centre-acceptance
      say       what it is and who brings it, in a sentence

    The paper is copied into the incident's `papers/` with its SHA-256. Here its file is hashed again: one that is gone or was
    changed opens nothing (22). From when it was first waited for, the incident cannot be closed without it.
    """

    word = "document"
    Params = DocumentParams
    lasting = False

    def observe(self, params: DocumentParams, world: World) -> Seen:
        found = opened(params.incident, world)
        if found is None:  # the run that is only looked at would have opened it
            return Seen(None, "", True)
        papers = [one.data for one in found.of(PAPERED) if one.data["kind"] == params.kind]
        paper = papers[-1] if papers else None
        wrong = trouble(world.incidents.folder(params.incident) / "papers", paper["name"], paper["sha256"]) if paper else ""
        return Seen(paper, wrong, any(one.data["kind"] == params.kind for one in found.of(ASKED)))

    def waits_for(self, params: DocumentParams, seen: Seen) -> str | None:
        if seen.paper is None:
            return f"{params.say}: take it in with `{_how(params)}`"
        if seen.trouble:
            raise DamagedData(f"{seen.paper['name']} of incident {params.incident} {seen.trouble}", where=params.incident,
                              hint=f"find out who changed it; take the true one in with `{_how(params)}`")
        return None

    def ask(self, params: DocumentParams, seen: Seen, world: World) -> None:
        if not seen.asked:
            world.incidents.write(ASKED, {"incident": params.incident, "kind": params.kind, "text": str(params.say), "by": world.by}, run=world.run)

    def result(self, params: DocumentParams, seen: Seen) -> Mapping[str, Any]:
        return {"kind": params.kind, "paper": dict(seen.paper) if seen.paper else None, "say": str(params.say), "how": [_how(params)]}


def _how(params: DocumentParams) -> str:
    return f"opsctl incident paper {params.incident} {params.kind} FILE"
