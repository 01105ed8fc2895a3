"""The clean rooms of a site: where they are made, and those that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.wiring.site import Site


def clean_room(site: Site, name: str, run: str, place: str = "") -> Any:
    """The clean room of that name (``sources.clean_room.Room``), which ``enter`` makes; below ``place``, else where the configuration says."""
    from opsctl.sources.clean_room import Room
    from opsctl.wiring.sources import remembered

    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,126}", name) is None:
        raise UsageError(f"{name!r} is no name for a clean room", hint="letters, digits and hyphens")
    if site.config.clean_room.host is not None:
        return on_host(site, name, run, place)
    return Room(name, parent(site, place), about={"state": str(site.state), "run": run}, shown=site.config.clean_room.shown,
                driver=lambda source, entry, shell: remembered(source, entry, shell))


def on_host(site: Site, name: str, run: str, place: str = "") -> Any:
    """A clean room on the host that the configuration sets aside for it (``sources.host_room.HostRoom``)."""
    from opsctl.shells.host_room import HostRoomShell
    from opsctl.sources.host_room import HostRoom
    from opsctl.wiring.room_host import look, still
    from opsctl.wiring.sources import remembered

    spec = site.config.clean_room
    host = str(spec.host)
    return HostRoom(name, parent(site, place), about={"state": str(site.state), "run": run}, host=host, below=spec.on_host,
                    shell=HostRoomShell(site.on_host(host, "ssh-isolation").connection), driver=lambda source, entry, shell: remembered(source, entry, shell),
                    look=lambda: look(site, host), still=lambda: still(site, host))


def rooms(site: Site, place: str = "") -> list[Any]:
    """The clean rooms that are there (``sources.clean_room.Left``), of this state directory."""
    from opsctl.sources.clean_room import rooms_below

    return rooms_below(parent(site, place), str(site.state))


def parent(site: Site, place: str = "") -> Path:
    return Path(place or site.config.clean_room.place)
