"""other_run: a run of another playbook, such as a restoration, has ended as wanted since the incident was opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.actions.opened import opened
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
    """``playbook``: one of these; ``inputs``: what it has to have been bound to, as far as it is said; ``say``: what a person has to start.

    ``lifted``: and no host is cut off for the incident any more; ``zone``: nor any of that zone, for whatever it was cut off.
    """

    step: str
    incident: Id
    playbook: Annotated[tuple[Name, ...], BeforeValidator(_listed), Strict(False), Field(min_length=1)]
    say: AnyTitle
    inputs: dict[str, Any] = Field(default_factory=dict)
    role: str | None = None
    lifted: bool = False
    zone: str = ""


@value
class Seen:
    """Runs of it: ``done`` those for the incident that ended as wanted, ``others`` in words how the rest stand; and what people said instead.

    ``cut_off``: hosts that should not be any more.
    """

    done: tuple[str, ...]
    others: tuple[str, ...]
    said: Said
    cut_off: tuple[str, ...] = ()


class OtherRun(GateAction[OtherRunParams, Seen]):
    """Waits until another run has ended as wanted: `opsctl restore run`, `opsctl restore reopen pilot`, `opsctl verify --level drill`.

    with:
      playbook  the playbook that it is a run of (`opsctl runs` shows it), or several, one of which will do
      inputs    what it has to have been started with: {wave: pilot}
      say       what a person has to start, in a sentence
      incident  the incident; that of the playbook, where it has an input of that type
      lifted    true: and no host is cut off for the incident any more
      zone      with lifted: nor any host of this zone, for whatever it was cut off
      role      the role that it needs to say that it was done in another way; anyone in `people`, where it is left out

    Only runs count that were begun after the incident was opened, and for it: their input `incident` names it (--incident ID, or the
    only one that was open). It starts nothing: whoever is at it starts that run, looks at it, and takes this one up again. Where it
    was done without opsctl, or by a run of no incident, a person says so with their signature: `opsctl done RUN STEP --by NAME --note HOW`.
    """

    word = "other_run"
    Params = OtherRunParams
    lasting = False
    acted = True

    def observe(self, params: OtherRunParams, world: World) -> Seen:
        found = opened(params.incident, world)
        done, others = [], []
        for one in world.other_runs(params.playbook, found) if found is not None else ():
            if one.inputs.get("incident") not in (None, "", params.incident):
                continue
            if any(not _fits(one.inputs.get(name), wanted) for name, wanted in params.inputs.items()):
                continue
            if not one.inputs.get("incident"):
                others.append(f"{one.run} was begun for no incident")
            elif one.ended and one.exit_code == 0:
                done.append(one.run)
            else:
                others.append(f"{one.run} {f'ended with {one.exit_code}' if one.ended else 'has not ended'}")
        return Seen(tuple(done), tuple(others), weigh(world.records(params.step), world, step=params.step, role=params.role),
                    _cut_off(params, world) if params.lifted else ())

    def waits_for(self, params: OtherRunParams, seen: Seen) -> str | None:
        if (seen.done and not seen.cut_off) or seen.said.said:
            return None
        if seen.said.forged:
            raise Refused(f"what the journal says of step {params.step} was signed by nobody who may: {'; '.join(seen.said.forged)}",
                          hint="find out who wrote that", where=params.step)
        stands = [*seen.others, *([f"still cut off: {', '.join(seen.cut_off)}"] if seen.cut_off else [])]
        others = f" ({'; '.join(stands)})" if stands else ""
        not_counted = f" (not counted: {'; '.join(seen.said.refused)})" if seen.said.refused else ""
        return (f"{params.say}{others}; this goes on when that run has ended well, or somebody says that it was done in another way: "
                f"`{_how(params, seen)}`{not_counted}")

    def result(self, params: OtherRunParams, seen: Seen) -> Mapping[str, Any]:
        return {"runs": list(seen.done), "said": [{"by": by, "note": note} for by, note in seen.said.said], "others": list(seen.others),
                "cut_off": list(seen.cut_off), "say": str(params.say), "how": [f"or, done in another way: {_how(params, seen)}"]}


def _cut_off(params: OtherRunParams, world: World) -> tuple[str, ...]:
    """Hosts that are cut off by what is written down here, for the incident or in the zone; also those whose entry cannot be read."""
    zone = {name for name, host in world.config.hosts.items() if params.zone and host.zone == params.zone}
    found = {one.host for one in world.isolated.all() if one.order.mark.incident == params.incident or one.host in zone}
    return tuple(sorted(found | (zone & set(world.isolated.unreadable()))))


def _how(params: OtherRunParams, seen: Seen) -> str:
    return f"opsctl done {seen.said.run} {params.step} --by NAME --note HOW"


def _fits(given: Any, wanted: Any) -> bool:
    """A list has to hold all that is wanted; a text has to be it."""
    if isinstance(given, list | tuple):
        return set(map(str, wanted if isinstance(wanted, list | tuple) else [wanted])) <= set(map(str, given))
    return str(given) == str(wanted)
