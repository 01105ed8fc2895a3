"""Whether a set was proven and scanned by this run, before it may come into production."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from opsctl.actions.interface import Outcome, World
from opsctl.errors import SafetyRefusal

#: What is looked at in production, afterwards, proves nothing of what is about to come there.
ROOM = "room"
#: The words whose steps have to have found nothing, and what they are for a person.
SCANNED = "scan"
CHECKS = {"prove": "proven in the clean room", SCANNED: "scanned"}


def refuse_unproven(backup: str, set_id: str, source: str, world: World, words: Collection[str] = tuple(CHECKS)) -> None:
    """SafetyRefusal unless steps of this run proved and scanned the source of this very set, and the newest look was good.

    ``words``: those of the checks that it takes.
    """
    for word, done in CHECKS.items():
        if word not in words:
            continue
        of_set = [(step, outcome) for step, params, outcome in world.outcomes(word) if _of_set(word, params, backup, set_id, source, world.config)]
        if not of_set:
            raise SafetyRefusal(f"{source} of set {set_id} was not {done} by this run, and does not come into production",
                                hint="`opsctl restore run` and `opsctl restore promote` do it first", where=source)
        for step, outcome in of_set:
            if outcome not in (Outcome.OK, Outcome.PLANNED):
                raise SafetyRefusal(f"step {step} says that {source} of set {set_id} is not {done}",
                                    hint="`opsctl show RUN` tells what was found; nothing comes into production before it is settled",
                                    where=source)


def never_done(backup: str, set_id: str, source: str, steps: Sequence[Any], config: Any) -> str | None:
    """Which of the checks none of these steps of a bound plan is; None where all are among them."""
    for word, done in CHECKS.items():
        if not any(one.uses == word and _of_set(word, item.params, backup, set_id, source, config) for one in steps for item in one.items):
            return f"{source} of set {set_id} was not {done} by a step before it"
    return None


def _of_set(word: str, params: Mapping[str, Any], backup: str, set_id: str, source: str, config: Any) -> bool:
    return (params.get("backup") == backup and params.get("set") == set_id and params.get("where", ROOM) == ROOM
            and _covers(word, params, source, config))


def _covers(word: str, params: Mapping[str, Any], source: str, config: Any) -> bool:
    service = config.services.get(params.get("service") or "")
    named = params.get("sources") or (service.restores if service is not None else ())
    if word == "scan":  # of what it was not told by name it takes what it finds, and in another folder that is something else
        return source in named and not params.get("folder")
    return not named or source in named
