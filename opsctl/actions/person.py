"""person: something that a person does or decides, and says so with their signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.errors import DamagedData, Refused
from opsctl.model.playbook import AnyTitle
from opsctl.model.statements import NAMESPACE, signed_bytes
from opsctl.model.values import value


class PersonParams(Params):
    """``say`` is what the person is asked to do; ``role`` who may say that it is done (anyone configured, if None).

    ``closes``: an incident that they close by it.
    """

    step: str
    say: AnyTitle
    role: str | None = None
    closes: str = ""


@value
class Said:
    """What persons have said of one step: (person, note) where the signature holds and the person may say so.

    ``refused``: why others do not count, though they are who they say. ``forged``: records that nobody under
    ``people`` has signed like this. ``closed``: the incident that the step closes is closed.
    """

    run: str
    step: str
    said: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()
    forged: tuple[str, ...] = ()
    closed: bool = False

    def counts(self) -> bool:
        """Whether somebody has said it, or it shows. Refused (12) where only records say so that nobody has signed."""
        if self.closed:
            return True
        if self.forged and not self.said:
            raise Refused(
                f"what the journal says of step {self.step} was signed by nobody who may: {'; '.join(self.forged)}",
                hint=f"find out who wrote that; then whoever has done it says so: `opsctl done {self.run} {self.step} --by NAME`",
                where=self.step,
            )
        return bool(self.said)


class Person(GateAction[PersonParams, Said]):
    """Waits until a person has done something and said so: `opsctl done RUN STEP --by NAME`.

    with:
      say     what the person is asked to do: a text, or one for each of en, hi
      role    the role that they need (people.NAME.roles); anyone in `people`, where it is left out
      closes  the incident that is closed by it: once it is, by `opsctl incident close`, nobody has to say so

    What counts is a statement signed with the SSH key that stands under `people` in the configuration. A record that was
    changed, or signed by nobody there, is refused (12).
    """

    word = "person"
    Params = PersonParams

    def observe(self, params: PersonParams, world: World) -> Said:
        found = weigh(world.records(params.step), world, step=params.step, role=params.role)
        incident = world.incidents.all().get(params.closes) if params.closes else None
        return replace(found, closed=incident is not None and incident.closed is not None)

    def waits_for(self, params: PersonParams, seen: Said) -> str | None:
        if seen.counts():
            return None
        who = f"someone with the role {params.role}" if params.role else "a person"
        not_counted = f" (not counted: {'; '.join(seen.refused)})" if seen.refused else ""
        how = "" if params.closes else f": {who} says so with `opsctl done {seen.run} {params.step} --by NAME`"
        return f"{params.say}{how}{not_counted}"

    def result(self, params: PersonParams, seen: Said) -> Mapping[str, Any]:
        return {"said": [{"by": by, "note": note} for by, note in seen.said],
                "not_counted": [*seen.refused, *seen.forged], "say": str(params.say),
                "how": [f"opsctl incident close {params.closes} --note CRITERIA" if params.closes else
                        f"opsctl done {seen.run} {params.step} --by NAME --note WHAT"]}


def weigh(records: Iterable[Mapping[str, Any]], world: World, *, step: str, role: str | None = None) -> Said:
    """Hold statements out of the journal against the keys under ``people``. ProgramFailed where nothing can be checked."""
    said: list[tuple[str, str]] = []
    refused: list[str] = []
    forged: list[str] = []
    for record in records:
        statement = record["statement"]
        by = str(statement.get("by"))
        if problem := _forged(record, world):
            forged.append(f"{by}: {problem}")
        elif role and role not in world.config.people[by].roles:
            refused.append(f"{by} has not the role {role}")
        elif (statement["plan_sha256"], statement["run"], statement["step"]) != (world.plan_digest(), world.run, step):
            refused.append(f"{by}: signed for another plan")
        else:
            said.append((by, statement["note"]))
    return Said(world.run, step, tuple(said), tuple(refused), tuple(forged))


def _forged(record: Mapping[str, Any], world: World) -> str | None:
    statement = record["statement"]
    person = world.config.people.get(statement.get("by"))
    if person is None or person.ssh_key is None:
        return "nobody of that name has a key under `people`"
    try:
        signer = world.signatures.check(signed_bytes(statement), record["signature"], NAMESPACE)
    except DamagedData as error:
        return error.message
    return None if signer == world.fingerprint(person.ssh_key) else f"signed by {signer}, which is not their key"
