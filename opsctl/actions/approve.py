"""approve: what comes next is done only when enough people have signed for it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.actions.removing import removed_of
from opsctl.errors import DamagedData, Refused, SafetyRefusal
from opsctl.model.approvals import NAMESPACE, Signed, Standing, Wanted, able, request, weigh
from opsctl.model.part import Field
from opsctl.model.quantities import counted
from opsctl.model.statements import signed_bytes
from opsctl.model.values import value

#: What to do where something is not what people were asked about.
CHANGED = "find out who changed it; put it back as it was, or begin a new run"


class ApproveParams(Params):
    """``say``: what is approved, in a sentence; ``role``: who may (anyone under ``people``, if None); ``people``: how many."""

    step: str
    say: str = ""
    role: str | None = None
    people: Annotated[int, Field(ge=1, le=20)] = 2
    not_starter: bool = False


@value
class Seen:
    """How the signatures of a step stand, what is wanted, whether that was asked yet, and how many could sign.

    ``changed``: why what was asked cannot be approved any more; ``removed``: what was left out of this run's data on purpose.
    """

    run: str
    wanted: Wanted
    standing: Standing
    asked: bool
    able: int
    changed: str = ""
    removed: tuple[str, ...] = ()


class Approve(GateAction[ApproveParams, Seen]):
    """Waits until several people have approved what comes next: `opsctl approve RUN STEP --by NAME`.

    with:
      say          what is approved, in a sentence
      role         the role that they need (people.NAME.roles); anyone in `people`, where it is left out
      people       how many different people have to approve; 2, where it is left out
      not_starter  true: who started the run does not count. Where that is nobody under `people`, it takes one more

    Each signs with the SSH key that stands under `people`: the run, the step, the whole plan with a digest of each part of the
    configuration that the steps behind it use (services, sources, hosts, waves), the incident, the id of the
    repository, a number of this run alone, and until when it holds (approvals: holds_for; a day). A changed plan, a changed
    part, another run, an old signature, a key that is not theirs count for nothing, and it is said which.

    A person counts once, and so does a key. Who has the role counts for themselves. Who has it only as the deputy
    (deputy_of) of somebody counts in their place, so that the two of them, or two deputies of one, count as one.

    Anyone who could approve can refuse: the gate is closed (23) until they approve after all.
    """

    word = "approve"
    Params = ApproveParams
    lasting = False

    def observe(self, params: ApproveParams, world: World) -> Seen:
        return seen(params, world)

    def waits_for(self, params: ApproveParams, seen: Seen) -> str | None:
        standing, wanted = seen.standing, seen.wanted
        refuse_changed(params, seen)
        if standing.refused:
            raise SafetyRefusal("; ".join(f"{voice.words} refused{f': {voice.note}' if voice.note else ''}" for voice in standing.refused),
                                where=params.step, hint=f"who refused can still approve: opsctl approve {seen.run} {params.step} --by NAME")
        missing = wanted.needed - len(standing.approved)
        if missing <= 0:
            return None
        if standing.forged:
            raise Refused(f"what the journal says of step {params.step} was signed by nobody who may: {'; '.join(standing.forged)}",
                          hint=f"find out who wrote that; who approves does so by `opsctl approve {seen.run} {params.step} --by NAME`",
                          where=params.step)
        return _waits(params, seen, missing)

    def ask(self, params: ApproveParams, seen: Seen, world: World) -> None:
        if not seen.asked:
            world.accept_people()
            world.note("approve.asked", {"step": params.step, "request": dict(seen.wanted.asked)})

    def result(self, params: ApproveParams, seen: Seen) -> Mapping[str, Any]:
        told = {word: [{"by": one.by, "for": one.seat, "note": one.note, "expires": one.expires} for one in voices]
                for word, voices in (("approved", seen.standing.approved), ("refused", seen.standing.refused))}
        return {**told, "needed": seen.wanted.needed, "not_counted": [*seen.standing.not_counted, *seen.standing.forged]}


def seen(params: ApproveParams, world: World, at: datetime | None = None) -> Seen:
    """Hold what the journal has of a step against the people who may, now or as it was ``at`` a moment.

    ProgramFailed where nothing can be checked.
    """
    entries = world.entries(("run.bound", "approve.asked", "approve.signed"))
    digest = world.plan_digest()
    # With --break-glass it is asked anew where the journal that has the first request cannot be read.
    asked = next((data["request"] for kind, data in reversed(entries) if kind == "approve.asked" and data["step"] == params.step), None)
    bound = next((data["plan"] for kind, data in entries if kind == "run.bound"), digest)
    repository = world.repository_id()
    known = world.members()
    holds_for = world.config.approvals.holds_for
    wanted = Wanted(
        asked or request(run=world.run, step=params.step, plan_sha256=digest, incident=world.incident,
                         repository=repository, nonce=secrets.token_hex(16), now=world.clock(), term=holds_for),
        holds_for, params.people, params.role or None, params.not_starter, world.by if world.by in known else None)
    records = [checked(data, world) for kind, data in entries if kind == "approve.signed" and data["step"] == params.step]
    changed = ""
    if {digest, bound} != {wanted.asked["plan_sha256"]}:
        changed = f"the plan of run {world.run} was changed since it was bound"
    elif parts := world.changed_parts(params.step):
        changed = f"{', '.join(parts)} in the configuration changed since run {world.run} was bound"
    elif repository and wanted.asked["repository"] not in ("", repository):
        changed = f"the repository of run {world.run} is another one than when approval was asked for"
    return Seen(world.run, wanted, weigh(records, wanted, known, at or world.clock()), asked is not None, able(wanted, known), changed,
                tuple(one.words for one in removed_of(world)))


def refuse_changed(params: ApproveParams, seen: Seen) -> None:
    """SafetyRefusal where it is no longer what was asked for."""
    if seen.changed:
        raise SafetyRefusal(f"{seen.changed}, so nobody can approve it", where=params.step,
                            hint=CHANGED)


def checked(record: Mapping[str, Any], world: World) -> Signed:
    """A signature with the key that made it."""
    try:
        return Signed(record["statement"], world.signatures.check(signed_bytes(record["statement"]), record["signature"], NAMESPACE))
    except DamagedData as error:
        return Signed(record["statement"], None, error.message)


def _waits(params: ApproveParams, seen: Seen, missing: int) -> str:
    wanted, standing = seen.wanted, seen.standing
    have = f"{', '.join(voice.words for voice in standing.approved)} approved; " if standing.approved else ""
    who = f"{counted(missing, 'more person' if standing.approved else 'person', 'more people' if standing.approved else 'people')}"
    role = f" with the role {params.role}" if params.role else ""
    starter = ", who did not start the run" if params.not_starter else ""
    few = "" if seen.able >= wanted.needed else (f" (under `people` only {seen.able} could, by role and key)")
    not_counted = f" (not counted: {'; '.join(standing.not_counted)})" if standing.not_counted else ""
    without = f", without {'; '.join(seen.removed)}" if seen.removed else ""
    said = f"{params.say}{without}: " if params.say else ""
    return (f"{said}{have}{who}{role}{starter} {'has' if missing == 1 else 'have'} to approve, by "
            f"`opsctl approve {seen.run} {params.step} --by NAME`{few}{not_counted}")
