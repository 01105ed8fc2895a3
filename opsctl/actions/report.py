"""report: drafted from what is known by now, for a named person to send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from opsctl.actions.interface import EventAction, Params, World
from opsctl.model.fields import Incident as Id
from opsctl.model.fields import meant
from opsctl.model.part import AfterValidator
from opsctl.model.values import value
from opsctl.reports.kinds import KINDS


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"there is no report {text!r}{meant(text, KINDS)}")
    return text


class ReportParams(Params):
    """``report``: which, as ``opsctl report draft`` takes it; ``person``: who reports, by their name under ``people``."""

    incident: Id
    report: Annotated[str, AfterValidator(_kind)]
    person: str = ""


@value
class Seen:
    """How many drafts of it there are."""

    drafts: int


class ReportAction(EventAction[ReportParams, Seen]):
    """Drafts a report beside the incident, in the organisation's languages, as `opsctl report draft` does. opsctl sends none.

    with:
      incident  the incident; that of the playbook, where it has an input of that type
      report    cert-in, supplementary, police, dpdp-board, dpdp-person, nciipc, nic-cert, closing
      person    who reports: a name under `people`; who is in charge, where it is left out

    What is not known says so, and nothing holds a draft up: what could not be made of it (a PDF, say) is a warning. Older drafts
    are kept. A step `met` after it waits until the report was sent.
    """

    word = "report"
    Params = ReportParams

    def observe(self, params: ReportParams, world: World) -> Seen:
        found = world.incidents.all().get(params.incident)
        return Seen(world.reports.last(found, params.report)[0] if found is not None else 0)

    def happen(self, params: ReportParams, world: World) -> Mapping[str, Any]:
        made = world.reports.draft(params.report, params.incident, by=world.by, person=params.person, run=world.run)
        for problem in made.problems:
            world.warn(f"report {params.report}: {problem.message}")
        return {"report": params.report, "files": [str(path) for path in made.paths]}
