"""Where else a set lies that is damaged here: what to say of it, for whoever has to go on."""

from __future__ import annotations

from opsctl.actions.interface import World
from opsctl.errors import DamagedData, OpsError
from opsctl.model.sets import WHOLE, SetView


def refuse_damaged(view: SetView, repository: str, world: World) -> None:
    """DamagedData where a set is known to be damaged, or lacks snapshots, with the copies that have all of it as the hint."""
    known = [damage.what for damage in view.damage if damage.sure]
    if view.state in WHOLE and not known:
        return
    what = "; ".join(known or view.reasons) or view.state
    raise DamagedData(f"set {view.id} in {repository} is damaged: {what}; nothing was restored", where=f"{view.backup}/{view.id}",
                      hint=instead(view, repository, world), details={"damage": known, "copies": sound_copies(view, repository, world)})


def instead(view: SetView, repository: str, world: World) -> str:
    """The sentence for a hint: which copies have what is missing here, and how they are taken instead."""
    found = sound_copies(view, repository, world)
    if found:
        return f"{', '.join(found)} {'has' if len(found) == 1 else 'have'} the set with no damage known: --from {found[0]} (copy_in: {found[0]})"
    asked = _others(view, repository, world)
    if asked:
        return f"no undamaged copy answered in {', '.join(asked)}: `opsctl backup show {view.id}` says more; or choose another set"
    return "there are no copies of it: choose another set, or restore what is sound of it by `opsctl restore set`"


def sound_copies(view: SetView, repository: str, world: World) -> list[str]:
    """The other repositories in which the same set stands whole, and no verification found damage in it."""
    found = []
    for name in _others(view, repository, world):
        try:
            judgement = world.repository(name).look(world.clock()).judgement
        except OpsError as error:
            if error.code in (130, 143):
                raise
            continue
        found += [name for other in judgement.of(view.backup) if other.id == view.id and other.record == view.record
                  and other.signer == view.signer and other.state in WHOLE and not any(one.sure for one in other.damage)]
    return found


def _others(view: SetView, repository: str, world: World) -> list[str]:
    plan = world.config.backups.get(view.backup)
    names = [plan.repository, *plan.copies] if plan is not None else []
    return [name for name in dict.fromkeys(names) if name != repository]
