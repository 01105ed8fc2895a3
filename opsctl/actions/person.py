"""person: something that a person does or decides, and says so with their signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.errors import OpsError
from opsctl.model.statements import NAMESPACE, signed_bytes


class PersonParams(Params):
    """``say`` is what the person is asked to do; ``role`` who may say that it is done (anyone configured, if None)."""

    step: str
    say: str
    role: str | None = None


@dataclass(frozen=True)
class Seen:
    """Statements about this step whose signatures hold, as (person, note); and why others do not count."""

    said: tuple[tuple[str, str], ...]
    refused: tuple[str, ...]
    run: str


class Person(GateAction[PersonParams, Seen]):
    """Waits until a person has done something and said so: `opsctl done RUN STEP --by NAME`.

    with:
      say   what the person is asked to do
      role  the role that they need (people.NAME.roles); anyone in `people`, where it is left out

    What counts is a statement signed with the SSH key that stands under `people` in the configuration.
    """

    word = "person"
    Params = PersonParams

    def observe(self, params: PersonParams, world: World) -> Seen:
        said: list[tuple[str, str]] = []
        refused: list[str] = []
        for record in world.records(params.step):
            statement, by = record["statement"], record["statement"]["by"]
            person = world.config.people.get(by)
            try:
                signer = world.signatures.check(signed_bytes(statement), record["signature"], NAMESPACE)
            except OpsError as error:
                refused.append(f"{by}: {error.message}")
                continue
            if person is None or person.ssh_key is None or signer != world.fingerprint(person.ssh_key):
                refused.append(f"{by}: signed by {signer}, which is not their key")
            elif params.role and params.role not in person.roles:
                refused.append(f"{by} has not the role {params.role}")
            elif statement["plan_sha256"] != world.plan_digest() or statement["run"] != world.run:
                refused.append(f"{by}: signed for another plan")
            else:
                said.append((by, statement["note"]))
        return Seen(tuple(said), tuple(refused), world.run)

    def waits_for(self, params: PersonParams, seen: Seen) -> str | None:
        if seen.said:
            return None
        who = f"someone with the role {params.role}" if params.role else "a person"
        not_counted = f" (not counted: {'; '.join(seen.refused)})" if seen.refused else ""
        return f"{params.say}: {who} says so with `opsctl done {seen.run} {params.step} --by NAME`{not_counted}"

    def result(self, params: PersonParams, seen: Seen) -> Mapping[str, Any]:
        said: Sequence[tuple[str, str]] = seen.said
        return {"said": [{"by": by, "note": note} for by, note in said], "not_counted": list(seen.refused)}
