"""What a person is shown before they sign for a step of a plan."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from opsctl.cli import render
from opsctl.cli.report import Cell, Mark, Tone
from opsctl.errors import SafetyRefusal
from opsctl.model.moments import in_zone, local

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.plan import BoundPlan

#: Parts of the configuration that are told by name: a release of hundreds of hosts uses hundreds.
_NAMED = 12


def ask(session: Session, lines: Sequence[Cell], refuse: bool) -> None:
    """Show what would be signed, whatever the options are, and ask. SafetyRefusal where the answer is no."""
    render.make_out(sys.stderr, session.environ).lines(lines)
    if not session.dry_run and not session.confirm("sign that it must NOT be done?" if refuse else "sign this?"):
        raise SafetyRefusal("nothing was signed")


def shown(plan: BoundPlan, step: str, said: Mapping[str, Any], zone: tzinfo, removed: Sequence[str] = (), open_now: Sequence[str] = ()) -> list[Cell]:
    """Everything that a statement binds: in the first ten lines what is decided, then each step that it opens with all its parameters, and at
    the end, where the question comes, what is decided once more. ``removed``: what was left out; ``open_now``: incidents that are open.
    """
    opened = plan.behind(step)
    asked = dict(plan.step(step).items[0].params) if plan.step(step).items else {}
    what = str(asked.get("say") or plan.step(step).title)
    note = f", note: {said['note']}" if said["note"] else ""
    bound = plan.step(step).configured
    lines: list[Cell] = [
        Mark(f"what        {what}", Tone.STRONG),
        Mark(f"decision    {said['decision']}{note}", Tone.STRONG),
        f"as          {said['by']}, at {in_zone(said['time'], zone)}; it holds until {in_zone(said['expires'], zone)}",
        f"incident    {said['incident']}" if said["incident"] else _of_none(open_now),
        f"run         {plan.run}: {plan.title} (playbook {plan.playbook}), started by {plan.started_by} at {local(plan.now, zone)}",
        f"step        {step}: {plan.step(step).title}",
        *([Mark(f"without     {removed[0]}{f', and {len(removed) - 1} more, below' if len(removed) > 1 else ''}", Tone.WARN)] if removed else []),
        f"it opens    {_few([one.id for one in opened], 6) or 'nothing'}",
        f"repository  {said['repository'] or 'none'}",
        "",
        f"plan        SHA-256 {said['plan_sha256']}",
        *([f"it uses     {_few(list(bound))} in the configuration; whoever changes one of them voids it"] if bound else []),
        *(Mark(f"without     {one}", Tone.WARN) for one in removed[1:]),
    ]
    for one in opened:
        lines.append(Mark(f"  {one.id}: {one.title} ({one.uses})", Tone.STRONG))
        for item in one.items:
            told = ", ".join(f"{name}={_plainly(value)}" for name, value in item.params.items() if value not in (None, "", [], {}))
            lines.append(f"    {f'{item.item}: ' if item.item else ''}{told or 'without parameters'}")
    if opened:
        lines += ["", Mark(f"{said['by']} decides: {said['decision']}{note}: {what}", Tone.STRONG)]
    return lines


def _of_none(open_now: Sequence[str]) -> Cell:
    if not open_now:
        return "incident    none"
    return Mark(f"incident    none, although {', '.join(open_now)} {'is' if len(open_now) == 1 else 'are'} open: this is signed for none of them", Tone.WARN)


def _few(names: Sequence[str], most: int = _NAMED) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _plainly(value: Any) -> str:
    if isinstance(value, Mapping):
        return " / ".join(f"{key}: {one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
