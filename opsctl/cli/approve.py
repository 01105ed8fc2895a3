"""``opsctl approve``: what a step opens, shown in full and signed, here or from a file on another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import break_glass
from opsctl.cli.report import Cell, Mark, Out, Report, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import OpsError, SafetyRefusal, UsageError, Waiting

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
) -> Report:
    """Show what a step opens, and sign it with your SSH key.

    Without --by it only says how the step stands.
    """
    from opsctl.cli.work import open_site

    session = of(context)
    if run is None or step is None:
        raise UsageError("which RUN and STEP?", hint="opsctl runs shows those that wait")
    site = open_site(session)
    break_glass.follow(session, site, run)
    gate = _gate(site, run, step)
    if by is None:
        return _stands(session, gate)
    return _sign_here(session, gate, by, key, refuse, note)


class _Gate:
    """One step of a run that waits for approval, and how it stands."""

    def __init__(self, site: Site, plan: BoundPlan, world: World, params: ApproveParams, seen: Seen) -> None:
        self.site = site
        self.plan = plan
        self.world = world
        self.params = params
        self.seen = seen


def _gate(site: Site, run: str, step: str) -> _Gate:
    """UsageError where the step is none that is approved, SafetyRefusal where nothing was asked yet or the plan was changed."""
    from opsctl.actions.approve import ApproveParams, seen
    from opsctl.model.unknown import unknown
    from opsctl.wiring import World, load_plan

    plan = load_plan(site, run)
    gates = {one.id: one for one in plan.steps if one.uses == "approve"}
    if step not in gates:
        raise unknown("step to approve", step, gates, hint=None if gates else f"run {run} has none; opsctl show {run}")
    params = ApproveParams.model_validate(dict(gates[step].items[0].params))
    world = World(site, plan)
    found = seen(params, world)
    if found.changed:
        raise SafetyRefusal(f"{found.changed}, so nobody can approve it", where=step, hint="find out who changed it, and begin a new run")
    if not found.asked:
        raise SafetyRefusal(f"run {run} does not ask for approval of {step} yet", where=step, hint=f"opsctl show {run}")
    return _Gate(site, plan, world, params, found)


def _sign_here(session: Session, gate: _Gate, by: str, key: Path | None, refuse: bool, note: str) -> Report:
    from opsctl.actions.approve import checked
    from opsctl.cli.signing import sign_as
    from opsctl.model.approvals import APPROVE, NAMESPACE, REFUSE, already, statement, voice_of
    from opsctl.model.statements import signed_bytes

    site, wanted, known = gate.site, gate.seen.wanted, gate.world.members()
    now = site.clock()
    said = statement(wanted.asked, by=by, decision=REFUSE if refuse else APPROVE, note=_text(note), now=now)
    _ask(session, shown(gate.plan, gate.params.step, said), refuse)
    signature, _ = sign_as(site, by, key, signed_bytes(said), NAMESPACE)
    record = {"step": gate.params.step, "item": None, "statement": said, "signature": signature}
    voice = voice_of(checked(record, gate.world), wanted, known, now)
    if not refuse and (why := already(voice, gate.seen.standing.approved)):
        raise SafetyRefusal(why, where=gate.params.step, hint=f"it takes {wanted.needed} people: another one signs")
    if not session.dry_run:
        site.journal.append("approve.signed", record, run=gate.plan.run)
    return _told(gate, [f"{by} {'refused' if refuse else 'approved'} {gate.params.step}"],
                 len(gate.seen.standing.approved) + (not refuse), {"statement": said, "signature": signature})


def _text(note: str) -> str:
    """What a terminal gave as a note, with bytes that are no UTF-8 written out: only text can be signed."""
    return note.encode("utf-8", "backslashreplace").decode()


def _ask(session: Session, lines: Sequence[Cell], refuse: bool) -> None:
    """Show what would be signed, and ask. SafetyRefusal where the answer is no."""
    import sys

    from opsctl.cli import render

    render.make_out(sys.stderr, session.environ).lines(lines)
    if not session.confirm("sign that it must NOT be done?" if refuse else "sign this?"):
        raise SafetyRefusal("nothing was signed")


def shown(plan: BoundPlan, step: str, said: Mapping[str, Any]) -> list[Cell]:
    """Everything that a statement binds, for the eyes of who signs it."""
    opened = list(opens(plan, step))
    lines: list[Cell] = [
        f"run         {plan.run}: {plan.title} (playbook {plan.playbook}), started by {plan.started_by} at {plan.now.isoformat()}",
        f"step        {step}: {plan.step(step).title}",
        *(f"            {text}" for item in plan.step(step).items[:1] if (text := str(item.params.get("say") or ""))),
        f"incident    {said['incident'] or 'none'}",
        f"repository  {said['repository'] or 'none'}",
        f"plan        SHA-256 {said['plan_sha256']}",
        f"it opens    {'nothing' if not opened else f'{len(opened)} steps'}",
    ]
    for one in opened:
        lines.append(Mark(f"  {one.id}: {one.title} ({one.uses})", Tone.STRONG))
        for item in one.items:
            told = ", ".join(f"{name}={_plainly(value)}" for name, value in item.params.items() if value not in (None, "", [], {}))
            lines.append(f"    {f'{item.item}: ' if item.item else ''}{told or 'without parameters'}")
    note = f", note: {said['note']}" if said["note"] else ""
    return [*lines, f"decision    {said['decision']}{note}",
            f"as          {said['by']}, at {said['time']}; it holds until {said['expires']}"]


def opens(plan: BoundPlan, step: str) -> Iterator[Any]:
    """The steps that come after one, directly or by way of others, in the plan's order."""
    behind = {step}
    grown = True
    while grown:
        more = {one.id for one in plan.steps if one.id not in behind and behind.intersection(one.after)}
        behind |= more
        grown = bool(more)
    return (one for one in plan.steps if one.id in behind and one.id != step)


def _plainly(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _stands(session: Session, gate: _Gate) -> Report:
    """How it stands: 4 while somebody is missing, 23 where somebody refused."""
    from opsctl.actions.registry import action

    said = gate.seen.standing
    lines = [*(f"approved by {voice.words} at {voice.time}, until {voice.expires}{f': {voice.note}' if voice.note else ''}" for voice in said.approved),
             *(f"refused by {voice.words} at {voice.time}{f': {voice.note}' if voice.note else ''}" for voice in said.refused),
             *(f"does not count: {why}" for why in (*said.not_counted, *said.forged))]
    errors: list[OpsError] = []
    try:
        waits: str | None = action("approve").waits_for(gate.params, gate.seen)  # type: ignore[attr-defined]
        if waits:
            errors.append(Waiting(waits, where=gate.params.step))
    except OpsError as error:
        errors.append(error)
    return _told(gate, lines, len(said.approved), {}, errors)


def _told(gate: _Gate, lines: Sequence[Cell], have: int, more: Mapping[str, Any], errors: Sequence[OpsError] = ()) -> Report:
    needed = gate.seen.wanted.needed
    stands = f"{have} of {needed} approved"

    def text(out: Out) -> None:
        out.lines(lines)
        out.line(f"{stands}; go on with: opsctl resume {gate.plan.run}" if have >= needed and not errors else stands)

    return Report(result={"step": gate.params.step, "approved": have, "needed": needed, **more}, text=text, run=gate.plan.run,
                  errors=errors, warnings=gate.site.said)
