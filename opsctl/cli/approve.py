"""``opsctl approve``: what a step opens, shown in full and signed by those who may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import approve_text, break_glass
from opsctl.cli.report import Cell, Out, Report
from opsctl.cli.session import Session, of
from opsctl.errors import OpsError, SafetyRefusal, UsageError, Waiting
from opsctl.model.moments import in_zone

if TYPE_CHECKING:
    from opsctl.actions.approve import ApproveParams, Seen
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site, World


def approve(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="id of a run")] = None,
    step: Annotated[str | None, typer.Argument(metavar="STEP", help="id of the step that waits for approval")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="sign, as this one of `people`")] = None,
    key: Annotated[Path | None, typer.Option(
        "--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="sign that it must not be done")] = False,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="why; it is signed with the rest")] = "",
    out: Annotated[Path | None, typer.Option(
        "--out", metavar="FILE", help="write the request, to be carried to another machine and signed there")] = None,
    file: Annotated[Path | None, typer.Option(
        "--file", metavar="FILE", help="such a request: with --by sign it, without record who signed")] = None,
) -> Report:
    """Show what a step of a run opens, and sign it with your SSH key.

    Without --by it says how the step stands. A request in a file is signed on any machine with opsctl and ssh-keygen,
    without a configuration; what it shows is held against what is signed.
    """
    session = of(context)
    if file is not None:
        return _carried(session, file, by, key, refuse, note, [run, step, out])
    if run is None or step is None:
        raise UsageError("which RUN and STEP?", hint="opsctl runs shows those that wait")
    from opsctl.cli.work import open_site

    site = open_site(session)
    break_glass.follow(session, site, run)
    gate = Gate.of(site, run, step)
    if out is not None:
        from opsctl.cli import approve_file

        if by is not None:
            raise UsageError("--out writes the request; sign it with --file", hint=f"opsctl approve --file {out} --by {by}")
        return approve_file.write(session, gate, out)
    return _stands(gate) if by is None else _sign(session, gate, by, key, refuse, note)


def _carried(session: Session, file: Path, by: str | None, key: Path | None, refuse: bool, note: str, more: Sequence[Any]) -> Report:
    from opsctl.cli import approve_file
    from opsctl.cli.work import open_site

    if any(one is not None for one in more):
        raise UsageError("--file says which run and step it is", hint="opsctl approve --file FILE [--by NAME]")
    if by is not None:
        return approve_file.sign(session, file, by, key, refuse, note)
    content, plan = approve_file.read(file)
    site = open_site(session)
    break_glass.follow(session, site, plan.run)
    return approve_file.record(session, site, Gate.of(site, plan.run, content["request"]["step"]), content)


class Gate:
    """One step of a run that waits for approval, and how it stands."""

    def __init__(self, site: Site, plan: BoundPlan, world: World, params: ApproveParams, seen: Seen) -> None:
        self.site = site
        self.plan = plan
        self.world = world
        self.params = params
        self.seen = seen

    @classmethod
    def of(cls, site: Site, run: str, step: str) -> Gate:
        """UsageError where the step is none that is approved, SafetyRefusal where nothing was asked yet or what was asked changed."""
        from opsctl.actions.approve import ApproveParams, refuse_changed, seen
        from opsctl.model.unknown import unknown
        from opsctl.wiring import World, load_plan

        plan = load_plan(site, run)
        gates = {one.id: one for one in plan.steps if one.uses == "approve" and one.items}
        if step not in gates:
            raise unknown("step to approve", step, gates, hint=None if gates else f"run {run} has none; opsctl show {run}")
        params = ApproveParams.model_validate(dict(gates[step].items[0].params))
        world = World(site, plan)
        found = seen(params, world)
        refuse_changed(params, found)
        if not found.asked:
            raise SafetyRefusal(f"run {run} does not ask for approval of {step} yet", where=step, hint=f"opsctl show {run}")
        if plan.config_digest and plan.config_digest != site.config.digest and not plan.step(step).configured:
            site.notes.append(f"the configuration is not the one that {run} was bound with: what its plan names is what the new one says")
        return cls(site, plan, world, params, found)

    def take(self, said: Mapping[str, Any], signature: str, *, write: bool) -> bool:
        """Write down one signature that counts; False where it was before. Refused and SafetyRefusal say what is wrong with it."""
        from opsctl.actions.approve import checked, seen
        from opsctl.model.approvals import APPROVE, REFUSE, already, voice_of

        record = {"step": self.params.step, "item": None, "statement": dict(said), "signature": signature}
        entries = self.world.entries(("approve.signed",))
        if any((data["statement"], data["signature"]) == (record["statement"], signature) for _, data in entries):
            return False
        voice = voice_of(checked(record, self.world), self.seen.wanted, self.world.members(), self.site.clock())
        if said["decision"] == APPROVE and (why := already(voice, self.seen.standing.approved)):
            raise SafetyRefusal(why, where=self.params.step, hint=f"it takes {self.seen.wanted.needed} people: another one signs")
        if write:
            self.site.journal.append("approve.signed", record, run=self.plan.run)
            self.seen = seen(self.params, self.world)
            standing = self.seen.standing
            if voice.by not in [one.by for one in (standing.refused if said["decision"] == REFUSE else standing.approved)]:
                raise SafetyRefusal(f"{voice.by}: something else that they signed is not older than this, of {said['time']}, and still stands", where=self.params.step,
                                    hint="is this machine's clock right, or the other one's? sign again when that time is over")
        return True


def _sign(session: Session, gate: Gate, by: str, key: Path | None, refuse: bool, note: str) -> Report:
    from opsctl.cli.signing import sign_as
    from opsctl.model.approvals import APPROVE, NAMESPACE, REFUSE, statement
    from opsctl.model.statements import signed_bytes, speakable
    from opsctl.model.unknown import unknown

    if by not in (known := gate.world.members()):  # before anybody reads what they cannot sign
        raise unknown("person", by, known)
    said = statement(gate.seen.wanted.asked, by=by, decision=REFUSE if refuse else APPROVE, note=speakable(note), now=gate.site.clock())
    approve_text.ask(session, approve_text.shown(gate.plan, gate.params.step, said, gate.site.config.organisation.tz, gate.seen.removed,
                                               [one.id for one in gate.site.incidents.open_ones()]), refuse)
    signature, _ = sign_as(gate.site, by, key, signed_bytes(said), NAMESPACE)
    if not gate.take(said, signature, write=not session.dry_run):
        raise SafetyRefusal(f"{by}: has signed this already, and one person counts once", where=gate.params.step)
    return told(gate, [f"{by} {'refused' if refuse else 'approved'} {gate.params.step}"], {"statement": said, "signature": signature})


def _stands(gate: Gate) -> Report:
    """How it stands: 4 while somebody is missing, 23 where somebody refused."""
    from opsctl.actions.approve import Approve
    from opsctl.model.approvals import may

    standing = gate.seen.standing
    zone = gate.site.config.organisation.tz
    lines = [*(f"{word} by {voice.words} at {in_zone(voice.time, zone)}{until}{f': {voice.note}' if voice.note else ''}"
               for word, voices in (("approved", standing.approved), ("refused", standing.refused)) for voice in voices
               for until in (f", until {in_zone(voice.expires, zone)}" if word == "approved" else "",)),
             *(f"does not count: {in_zone(why, zone)}" for why in (*standing.not_counted, *standing.forged)),
             f"may approve: {', '.join(may(gate.seen.wanted, gate.world.members())) or 'nobody'}"]
    errors: list[OpsError] = []
    try:
        if waits := Approve().waits_for(gate.params, gate.seen):
            errors.append(Waiting(in_zone(waits, zone), where=gate.params.step))
    except OpsError as error:
        errors.append(error)
    return told(gate, lines, {}, errors)


def told(gate: Gate, lines: Sequence[Cell], more: Mapping[str, Any], errors: Sequence[OpsError] = ()) -> Report:
    """How many have approved by now, and how to go on."""
    standing, needed = gate.seen.standing, gate.seen.wanted.needed
    have = len(standing.approved)

    def text(out: Out) -> None:
        out.lines(lines)
        ready = have >= needed and not standing.refused
        out.line(f"{have} of {needed} approved{f'; go on with: opsctl resume {gate.plan.run}' if ready else ''}")

    return Report(result={"step": gate.params.step, "approved": [voice.by for voice in standing.approved],
                          "refused": [voice.by for voice in standing.refused], "needed": needed, **more},
                  text=text, run=gate.plan.run, errors=errors, warnings=gate.site.said)
