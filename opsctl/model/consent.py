"""What several people signed, in the form in which a record carries it to every machine that has to believe it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from opsctl.errors import SafetyRefusal
from opsctl.model.approvals import Member, Signed, Wanted, weigh, well_asked
from opsctl.model.statements import plan_digest
from opsctl.model.values import value

#: What deletes, or lets others delete, takes no fewer, whatever a playbook says.
FEWEST = 2
Fits = Callable[[Mapping[str, Any]], bool]


@value
class Consent:
    """The plan that was signed, what a gate in it asked, and the signatures with the keys that made them."""

    plan: Mapping[str, Any]
    asked: Mapping[str, Any]
    signed: tuple[Signed, ...]


def agreed(consent: Consent, word: str, fits: Fits, known: Mapping[str, Member], *, repository_id: str, at: datetime) -> tuple[str, ...]:
    """Who approved, by exactly this plan, a step that uses ``word`` with parameters that fit. Raises SafetyRefusal.

    ``at``: when it was done, as its record says; ``known``: who may sign here.
    """
    try:
        return _agreed(consent, word, fits, known, repository_id, at)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SafetyRefusal("what was signed is no plan that this version can read") from error


def _agreed(consent: Consent, word: str, fits: Fits, known: Mapping[str, Member], repository_id: str, at: datetime) -> tuple[str, ...]:
    plan, asked = consent.plan, consent.asked
    if not well_asked(asked) or plan_digest(plan) != asked["plan_sha256"] or plan["run"] != asked["run"]:
        raise SafetyRefusal("people signed another plan")
    if asked["repository"] not in ("", repository_id):
        raise SafetyRefusal("people signed for another repository")
    steps = {step["id"]: step for step in plan["steps"]}
    gate = steps[asked["step"]]
    if gate["uses"] != "approve":
        raise SafetyRefusal("people signed a step that asks for no approval")
    acting = [step for step in plan["steps"] if step["uses"] == word and any(fits(item["params"]) for item in step["items"])]
    if not any(asked["step"] in before(plan["steps"], step["id"]) for step in acting):
        raise SafetyRefusal(f"the plan that people signed does not {word} this behind their approval")
    params = gate["items"][0]["params"]
    wanted = Wanted(asked, timedelta(seconds=asked["term"]), max(FEWEST, params["people"]), params["role"], params["not_starter"],
                    plan["started_by"] if plan["started_by"] in known else None)
    standing = weigh(consent.signed, wanted, known, at)
    if standing.refused:
        raise SafetyRefusal(f"{', '.join(voice.words for voice in standing.refused)} refused")
    if len(standing.approved) < wanted.needed:
        names = ", ".join(voice.words for voice in standing.approved) or "nobody"
        not_counted = [*standing.not_counted, *standing.forged]
        more = f" (not counted: {'; '.join(not_counted)})" if not_counted else ""
        raise SafetyRefusal(f"it takes the approval of {wanted.needed} people, and {names} approved{more}")
    return tuple(voice.by for voice in standing.approved)


def before(steps: Sequence[Mapping[str, Any]], step: str) -> set[str]:
    """The ids of all steps that come before one, directly or by way of others."""
    after = {one["id"]: one["after"] for one in steps}
    found: set[str] = set()
    todo = [*after[step]]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += after[one]
    return found
