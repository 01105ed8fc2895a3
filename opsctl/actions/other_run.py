"""other_run: a run of another playbook, such as a restoration, has ended as wanted since the incident was opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.actions.person import Said, weigh
from opsctl.errors import Refused
from opsctl.model.fields import Incident as Id
from opsctl.model.fields import Name
from opsctl.model.part import BeforeValidator, Field, Strict
from opsctl.model.playbook import AnyTitle
from opsctl.model.values import value


def _listed(given: Any) -> Any:
    return (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else given


class OtherRunParams(Params):
    """``playbook``: one of these; ``inputs``: what it has to have been bound to, as far as it is said; ``say``: what a person has to start."""

    step: str
    incident: Id
    playbook: Annotated[tuple[Name, ...], BeforeValidator(_listed), Strict(False), Field(min_length=1)]
    say: AnyTitle
    inputs: dict[str, Any] = Field(default_factory=dict)
    role: str | None = None


@value
class Seen:
    """Runs that were begun for it: ``done`` those that ended as wanted, ``others`` in words how the rest stand; and what people said instead."""

    done: tuple[str, ...]
    others: tuple[str, ...]
    said: Said


class OtherRun(GateAction[OtherRunParams, Seen]):
    """Waits until another run has ended as wanted: `opsctl restore run`, `opsctl restore reopen pilot`, `opsctl verify --level drill`.

    with:
      playbook  the playbook that it is a run of (`opsctl runs` shows it), or several, one of which will do
      inputs    what it has to have been started with: {wave: pilot}
      say       what a person has to start, in a sentence
      incident  the incident; that of the playbook, where it has an input of that type
      role      the role that it needs to say that it was done in another way; anyone in `people`, where it is left out

    Only runs count that were begun after the incident was opened, and not for another incident; while several are open, not those
    either that could have said for which one and did not. It starts nothing: whoever is
    at it starts that run, looks at it, and takes this one up again. Where it was done without opsctl, a person says so with
    their signature: `opsctl done RUN STEP --by NAME --note HOW`.
    """

    word = "other_run"
    Params = OtherRunParams
    lasting = False
    acted = True

    def observe(self, params: OtherRunParams, world: World) -> Seen:
        found = world.incidents.all().get(params.incident) if world.dry else world.incidents.get(params.incident)
        done, others = [], []
        several = len(world.incidents.open_ones()) > 1
        for one in world.other_runs(params.playbook, found) if found is not None else ():
            if one.inputs.get("incident") not in (None, "", params.incident):
                continue
            if any(not _fits(one.inputs.get(name), wanted) for name, wanted in params.inputs.items()):
                continue
            if several and one.inputs.get("incident") == "":
                others.append(f"{one.run} was begun for no incident, while several are open: --incident {params.incident}")
            elif one.ended and one.exit_code == 0:
                done.append(one.run)
            else:
                others.append(f"{one.run} {f'ended with {one.exit_code}' if one.ended else 'has not ended'}")
        return Seen(tuple(done), tuple(others), weigh(world.records(params.step), world, step=params.step, role=params.role))

    def waits_for(self, params: OtherRunParams, seen: Seen) -> str | None:
        if seen.done or seen.said.said:
            return None
        if seen.said.forged:
            raise Refused(f"what the journal says of step {params.step} was signed by nobody who may: {'; '.join(seen.said.forged)}",
                          hint="find out who wrote that", where=params.step)
        others = f" ({'; '.join(seen.others)})" if seen.others else ""
        not_counted = f" (not counted: {'; '.join(seen.said.refused)})" if seen.said.refused else ""
        return (f"{params.say}{others}; this goes on when that run has ended well, or somebody says that it was done in another way: "
                f"`{_how(params, seen)}`{not_counted}")

    def result(self, params: OtherRunParams, seen: Seen) -> Mapping[str, Any]:
        return {"runs": list(seen.done), "said": [{"by": by, "note": note} for by, note in seen.said.said], "others": list(seen.others),
                "say": str(params.say), "how": [f"or, done in another way: {_how(params, seen)}"]}


def _how(params: OtherRunParams, seen: Seen) -> str:
    return f"opsctl done {seen.said.run} {params.step} --by NAME --note HOW"


def _fits(given: Any, wanted: Any) -> bool:
    """A list has to hold all that is wanted; a text has to be it."""
    if isinstance(given, list | tuple):
        return set(map(str, wanted if isinstance(wanted, list | tuple) else [wanted])) <= set(map(str, given))
    return str(given) == str(wanted)
