"""choose: the set that was chosen stands whole, signed and without known damage where it is to be read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import CheckAction, Params, World
from opsctl.actions.sound_copies import instead
from opsctl.errors import DamagedData, OpsError
from opsctl.model.sets import SetView
from opsctl.model.stages import refusal
from opsctl.model.unknown import unknown
from opsctl.model.values import value


class ChooseParams(Params):
    """``copy_in``: the repository that holds a copy to read from, instead of the backup's own."""

    backup: str
    set: str
    sources: tuple[str, ...] = ()
    copy_in: str = ""


@value
class Seen:
    """The set as it stands now; ``lacking``: sources that are not in it; ``instead``: what to do where it cannot be used."""

    view: SetView
    repository: str
    lacking: tuple[str, ...] = ()
    instead: str = ""


class Choose(CheckAction[ChooseParams, Seen]):
    """Holds the set that was chosen against its signed manifest: everything in it is there, and nothing of it is known to be damaged.

    with:
      backup   the name of a backup
      set      the id of the set
      sources  those that are to come back; all where left out
      copy_in  the repository that holds a copy to read from, instead of the backup's own

    A set that cannot be restored from there is 22, with the repositories that hold it as well. Its change signals are
    told, for those who approve what comes next.
    """

    word = "choose"
    Params = ChooseParams

    def observe(self, params: ChooseParams, world: World) -> Seen:
        home = world.home(params.backup)
        history = world.repository(params.copy_in or home)
        judgement = history.look(world.clock()).judgement
        view = next((one for one in judgement.of(params.backup) if one.id == params.set), None)
        if view is None:
            raise unknown("set", params.set, [one.id for one in judgement.of(params.backup)], hint=f"opsctl backup list {params.backup}")
        if view.record:
            history.confirm(view)
        lacking = tuple(name for name in params.sources if name not in view.sources)
        return Seen(view, history.name, lacking, instead(view, history.name, world) if refusal(view) is not None else "")

    def findings(self, params: ChooseParams, seen: Seen) -> Sequence[OpsError]:
        why = refusal(seen.view) or (f"it does not hold {', '.join(seen.lacking)}" if seen.lacking else None)
        if why is None:
            return []
        return [DamagedData(f"set {params.set} of {params.backup} cannot be restored from {seen.repository}: {why}",
                            where=f"{params.backup}/{params.set}", hint=seen.instead or "opsctl restore plan")]

    def result(self, params: ChooseParams, seen: Seen) -> Mapping[str, Any]:
        return {"backup": params.backup, "set": params.set, "read_from": seen.repository, "state": seen.view.word,
                "time": seen.view.time.isoformat() if seen.view.time else None, "signer": seen.view.signer,
                "verdict": seen.view.verdict, "signals": dict(seen.view.signals)}
