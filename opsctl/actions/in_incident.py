"""What a restore may not bring into production while an incident is open: what its run has not scanned, and two have not signed for."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from opsctl.actions.agreeing import refuse_alone
from opsctl.actions.interface import World
from opsctl.actions.promoting.proven import SCANNED, refuse_unproven
from opsctl.errors import SafetyRefusal
from opsctl.model.production import database_in_use, place_in_use


class Asked(Protocol):
    """What a restore was asked for."""

    @property
    def backup(self) -> str: ...

    @property
    def set(self) -> str: ...

    @property
    def step(self) -> str: ...


def places_in_use(targets: Iterable[str], world: World) -> list[str]:
    """Of the places that something lands in those that are production, links followed."""
    return [one for one in targets if place_in_use(one, world.config, os.path.realpath) is not None]


def databases_in_use(databases: Iterable[tuple[str, str]], world: World) -> list[str]:
    """Of (source, name) the names that are production."""
    return [name for source, name in databases if database_in_use(source, name, world.config)]


def refuse_unscanned(asked: Asked, sources: Collection[str], places: Sequence[str], world: World) -> None:
    """SafetyRefusal for places of production while an incident is open, unless this run scanned the sources by name and two
    approved before this step."""
    if not places or not (incidents := world.open_incidents()):
        return
    what = f"{', '.join(places)} is put back in its place while incident {', '.join(incidents)} is open"
    try:
        for source in sources:
            refuse_unproven(asked.backup, asked.set, source, world, (SCANNED,))
        refuse_alone(asked.step, world, what)
    except SafetyRefusal as error:
        raise SafetyRefusal(
            f"{', '.join(places)} is production, and while incident {', '.join(incidents)} is open nothing comes there that was not scanned "
            f"and approved by two: {error.message}", where=places[0],
            hint=f"opsctl restore run, or opsctl restore promote {asked.backup} {next(iter(sources), 'SOURCE')} --set {asked.set}, scans it and asks them; a playbook "
            "of your own needs the steps `restore`, `scan` (with sources) and `approve` before this one") from error
