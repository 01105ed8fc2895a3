"""met: a duty of the incident was done, and that is recorded, or it was decided that it does not apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.actions.opened import opened
from opsctl.model.clocks import Clock, clocks
from opsctl.model.fields import Incident as Id
from opsctl.model.fields import Name
from opsctl.model.moments import local
from opsctl.model.playbook import AnyTitle
from opsctl.model.values import value
from opsctl.protocols.cert_in import protocol
from opsctl.reports.kinds import KINDS

ORDERS = "certin-order-compliance"
"""The duty that stands for all orders of CERT-In, each of which has a clock of its own."""

_REPORTED = frozenset(duty for kind in KINDS.values() for duty in kind.duties)


class MetParams(Params):
    """``duty``: its id (``opsctl incident show``); ``say``: what a person has to do, in a sentence."""

    incident: Id
    duty: Name
    say: AnyTitle


@value
class Seen:
    """The clocks of the duty that have started, and those of them that are still open. ``coming``: the incident is not there yet."""

    clocks: tuple[Clock, ...]
    zone: tzinfo
    coming: bool = False

    @property
    def left(self) -> Sequence[Clock]:
        return [one for one in self.clocks if not one.ended]


class MetAction(GateAction[MetParams, Seen]):
    """Waits until a duty is done and recorded: `opsctl report sent` or `opsctl incident met`; or decided: `opsctl incident decide`.

    with:
      incident  the incident; that of the playbook, where it has an input of that type
      duty      the id of the duty, as `opsctl incident show` has it; certin-order-compliance waits for every order
      say       what a person has to do, in a sentence

    What ends a duty is a recorded submission, or a signed decision that it does not apply; nothing else does. A duty whose
    clock has not started, or that is not in force yet, holds nothing up.
    """

    word = "met"
    Params = MetParams
    lasting = False

    def observe(self, params: MetParams, world: World) -> Seen:
        incident = opened(params.incident, world)
        if incident is None:  # the run that is only looked at would have opened it
            return Seen((), world.config.organisation.tz, coming=True)
        found = clocks(incident, protocol().duties, world.clock(), protected=world.config.organisation.protected_system)
        ours = [one for one in found if one.duty == params.duty or (params.duty == ORDERS and one.duty.startswith("order "))]
        return Seen(tuple(ours), world.config.organisation.tz)

    def waits_for(self, params: MetParams, seen: Seen) -> str | None:
        if not seen.left and not seen.coming:
            return None
        sent, decide = _how(params, seen)
        return f"{_say(params, seen)}: record it with `{sent}`, or that it does not apply with `{decide}`"

    def result(self, params: MetParams, seen: Seen) -> Mapping[str, Any]:
        return {"duty": params.duty, "clocks": [{"duty": one.duty, "state": one.state, "due": one.due.isoformat() if one.due else None}
                                                for one in seen.clocks], "say": _say(params, seen), "how": _listed(*_how(params, seen))}


def _say(params: MetParams, seen: Seen) -> str:
    """What has to be done, and until when."""
    told = ", ".join(f"{one.duty}{_due(one, seen.zone)}" for one in seen.left)
    return f"{params.say} ({told})" if told else str(params.say)


def _how(params: MetParams, seen: Seen) -> tuple[str, str]:
    """The commands that record that it was done, and that it does not apply."""
    duty = seen.left[0].duty if seen.left else params.duty
    named = f"'{duty}'" if " " in duty else duty
    sent = (f"opsctl report sent {duty} --incident {params.incident} --channel HOW --by WHO" if duty in _REPORTED
            else f"opsctl incident met {params.incident} {named} --channel HOW --by WHO")
    return sent, f"opsctl incident decide {params.incident} {named} --reason WHY --by NAME"


def _listed(sent: str, decide: str) -> list[str]:
    return [sent, f"or, where it does not apply: {decide}"]


def _due(one: Clock, zone: tzinfo) -> str:
    if one.due is None:
        return ""
    return f", {'overdue since' if one.state == 'overdue' else 'due'} {local(one.due, zone)}"
