"""choose: the set that was chosen stands whole, signed and without known damage where it is to be read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.interface import CheckAction, Params, World
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
    """The set as it stands now; ``elsewhere``: other repositories, and how it stands there."""

    view: SetView
    repository: str
    elsewhere: tuple[tuple[str, str], ...] = ()
    lacking: tuple[str, ...] = ()


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
        bad = refusal(view) is not None or lacking
        return Seen(view, history.name, tuple(_elsewhere(params, history.name, world)) if bad else (), lacking)

    def findings(self, params: ChooseParams, seen: Seen) -> Sequence[OpsError]:
        why = refusal(seen.view) or (f"it does not hold {', '.join(seen.lacking)}" if seen.lacking else None)
        if why is None:
            return []
        good = [name for name, how in seen.elsewhere if how == ""]
        told = "; ".join(f"{name}: {how}" for name, how in seen.elsewhere if how)
        hint = (f"{good[0]} holds it whole: the same command with --from {good[0]}" if good
                else f"take another set: opsctl restore plan{f'; elsewhere: {told}' if told else ''}")
        return [DamagedData(f"set {params.set} of {params.backup} cannot be restored from {seen.repository}: {why}",
                            where=f"{params.backup}/{params.set}", hint=hint)]

    def result(self, params: ChooseParams, seen: Seen) -> Mapping[str, Any]:
        return {"backup": params.backup, "set": params.set, "read_from": seen.repository, "state": seen.view.word,
                "time": seen.view.time.isoformat() if seen.view.time else None, "signer": seen.view.signer,
                "verdict": seen.view.verdict, "signals": dict(seen.view.signals)}


def _elsewhere(params: ChooseParams, here: str, world: World) -> list[tuple[str, str]]:
    """Where else the set may be, and what is wrong with it there; empty where nothing is."""
    plan = world.config.backups.get(params.backup)
    found = []
    for name in (plan.repository, *plan.copies) if plan is not None else ():
        if name == here:
            continue
        try:
            sets = world.repository(name).look(world.clock()).judgement.of(params.backup)
        except OpsError as error:
            if error.code in (130, 143):
                raise
            found.append((name, error.message))
            continue
        view = next((one for one in sets if one.id == params.set), None)
        found.append((name, "not there" if view is None else refusal(view) or ""))
    return found
