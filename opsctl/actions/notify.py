"""notify: the people of the configuration are told something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import EventAction, Params, World
from opsctl.errors import Unreachable
from opsctl.model.fields import Incident as Id
from opsctl.model.incident import NOTED
from opsctl.model.playbook import AnyTitle
from opsctl.model.values import value


class NotifyParams(Params):
    """``say``: what they are told, in a sentence."""

    incident: Id
    say: AnyTitle


@value
class Seen:
    """To whom it would go, without what may be secret."""

    addresses: Sequence[str]


class Notify(EventAction[NotifyParams, Seen]):
    """Tells those whom the configuration names (`notify: urls:`) once, in each of the organisation's languages.

    with:
      incident  the incident; that of the playbook, where it has an input of that type
      say       what they are told, in a sentence

    Who took it stands in the incident's timeline. Where nobody took it the step has failed (13) and is tried again on a resume; a
    playbook has it with `may_fail: true`, so that a notice holds nothing up. Where nobody is configured it warns.
    """

    word = "notify"
    Params = NotifyParams

    def observe(self, params: NotifyParams, world: World) -> Seen:
        return Seen(world.notified())

    def happen(self, params: NotifyParams, world: World) -> Mapping[str, Any]:
        found = world.incidents.get(params.incident)
        languages = [one for one in world.config.organisation.languages if one in ("en", "hi")] or ["en"]
        said = list(dict.fromkeys(params.say.text(one) for one in languages))
        drill = "DRILL: " if found.drill else ""
        took = world.send(f"{drill}incident {found.id}: {found.title}", "\n".join([*said, "", f"in charge: {found.in_charge}", f"opsctl incident show {found.id}"]))
        if not took:
            world.warn("nobody was told, since `notify: urls:` names nobody: telephone")
            return {"sent": {}}
        good = [address for address, well in took.items() if well]
        if not good:
            raise Unreachable(f"nobody took the notice: {', '.join(took)}", hint="telephone; and look at `notify:` in the configuration")
        for address in took.keys() - good:
            world.warn(f"a notice to {address} was not taken")
        world.incidents.write(NOTED, {"incident": found.id, "text": f"told {', '.join(good)}: {params.say}", "by": world.by}, run=world.run)
        return {"sent": took}
