"""What a configuration calls production: the folders, files and databases of its sources, and what its services are brought back into."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from opsctl.model.config_restores import DATABASES


def place_in_use(target: str, config: Any, real: Callable[[str], str] = os.path.normpath) -> str | None:
    """The folder or file of production that ``target`` is, lies in, or holds; None where it is none.

    ``real`` follows links. A source on another host is not on this machine; what a service says under ``into`` is.
    """
    there = real(target)
    for place in _places(config):
        used = real(place)
        if _inside(there, used) or _inside(used, there):
            return place
    return None


def database_in_use(source: str, name: str, config: Any) -> bool:
    """Whether a database of this name is one of production, whatever server it would be loaded into.

    What a program of the user's own makes of a name nobody here can tell, so that it counts as well.
    """
    spec = config.sources.get(source)
    if spec is not None and spec.kind == "command":
        return True
    names = {one.database for one in config.sources.values() if one.kind in DATABASES}
    names |= {into for service in config.services.values() for into in service.into.values() if not into.startswith("/")}
    return name in names


def _places(config: Any) -> list[str]:
    found: list[str] = []
    for spec in config.sources.values():
        if spec.host is None:
            found += {"paths": lambda one: one.paths, "sqlite": lambda one: (one.path,)}.get(spec.kind, lambda _: ())(spec)
    return found + [into for service in config.services.values() for into in service.into.values() if into.startswith("/")]


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
