"""decide: to which set of a backup one goes back, by the word of two people, written into its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.consenting import with_consent
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import DamagedData, Refused
from opsctl.model.choices import Choice, standing
from opsctl.model.consent import FEWEST
from opsctl.model.records import CHOICE
from opsctl.model.stages import refusal
from opsctl.model.unknown import unknown
from opsctl.model.values import value


class DecideParams(Params):
    """``before``: the first bad time (RFC 3339), empty where none is named; ``repository``: where it is written down."""

    backup: str
    set: str
    repository: str
    before: str = ""
    why: str = ""


@value
class Seen:
    """The newest choice of the backup, and why the set cannot be restored from here; None where it can."""

    choice: Choice | None
    refused: str | None


class Decide(StateAction[DecideParams, Seen]):
    """Writes down which set of a backup people decided to go back to, with their signatures.

    with:
      backup      the name of a backup
      set         the id of the set
      repository  the repository that it is read from, into which the decision is written
      before      the first bad time, if one is known
      why         the reason, in a sentence

    The record carries the plan and the signatures of two people behind an `approve` step, and every machine checks them
    again. A set that cannot be restored from there is refused (22).
    """

    word = "decide"
    Params = DecideParams

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        return FEWEST

    def observe(self, params: DecideParams, world: World) -> Seen:
        history = world.repository(params.repository)
        history.require_here()
        holdings = history.look(world.clock())
        views = holdings.judgement.of(params.backup)
        view = next((one for one in views if one.id == params.set), None)
        if view is None:
            raise unknown("set", params.set, [one.id for one in views], hint=f"opsctl restore points {params.backup}")
        return Seen(standing(holdings.choices, params.backup), refusal(view))

    def plan(self, params: DecideParams, seen: Seen) -> list[Change]:
        if seen.choice is not None and seen.choice.set == params.set:
            return []
        if seen.refused is not None:
            raise DamagedData(f"set {params.set} of {params.backup} cannot be restored from {params.repository}: {seen.refused}",
                              hint=f"opsctl restore points {params.backup} shows the others", where=params.backup)
        return [Change("decide", f"write into {params.repository} that set {params.set} of {params.backup} is gone back to")]

    def apply(self, params: DecideParams, change: Change, world: World) -> None:
        if world.config.directory is None:
            raise Refused("without a configuration there is no key to sign with", hint="opsctl init")
        history = world.repository(params.repository)
        record: dict[str, Any] = {
            "format": CHOICE, "repository": history.identity().id, "run": world.run, "time": world.clock().isoformat(),
            "host": world.host, "by": world.by, "backup": params.backup, "set": params.set, "why": params.why,
            **({"before": params.before} if params.before else {}),
        }
        history.write(with_consent(record, history, world), tags=(f"backup={params.backup}",),
                      filename=f"opsctl-choice-{world.run}.json", host=world.host)

    def missing(self, params: DecideParams, seen: Seen, changes: Sequence[Change]) -> str:
        return f"set {params.set} is not the choice for {params.backup} after the record was written"

    def result(self, params: DecideParams, seen: Seen) -> Mapping[str, Any]:
        choice = seen.choice
        return {"backup": params.backup, "set": choice.set if choice else None, "people": list(choice.people) if choice else [],
                "repository": params.repository}
