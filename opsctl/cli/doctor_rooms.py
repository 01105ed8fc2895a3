"""Can a clean room be made here, and did a killed run leave one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.doctor import OK, WARNING, Check
from opsctl.errors import OpsError

if TYPE_CHECKING:
    from opsctl.wiring import Site

NAME = "clean room"


def check(site: Site) -> Sequence[Check]:
    """One is made in the folder for it, tried for a way out, and removed; those that are there and not in use are named."""
    from opsctl.shells.clean_room import CleanRoomShell

    if site.config.clean_room.host is not None:
        return [_on_host(site, site.config.clean_room.host), *_left(site)]
    from opsctl.wiring.rooms import parent

    place = parent(site)
    try:
        with tempfile.TemporaryDirectory(prefix="opsctl-doctor-", dir=place) as folder:
            shell = CleanRoomShell(Path(folder), site.config.clean_room.shown)
            try:
                shell.run(["true"])
            finally:
                shell.close()
    except OSError as error:
        return [Check(NAME, WARNING, f"none can be made in {place}: {error.strerror}", "another folder: clean_room: {place: …}")]
    except OpsError as error:
        if error.code in (130, 143):
            raise
        return [Check(NAME, WARNING, error.message, error.hint or "")]
    return _left(site) or [Check(NAME, OK, f"can be made in {place}, and there is no way out of it")]


def _left(site: Site) -> list[Check]:
    from opsctl.wiring.rooms import rooms

    left = [one for one in rooms(site) if not one.busy]
    if not left:
        return []
    named = ", ".join(f"{one.name} ({one.record.get('purpose', 'unknown')})" for one in left[:5])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    return [Check(NAME, WARNING, f"nobody works in {named}{more}", "what is not needed any more: opsctl restore clear ROOM")]


def _on_host(site: Site, host: str) -> Check:
    """Whether the host that is set aside for it is cut off now, as it has to be when something is restored."""
    from opsctl.wiring.room_host import look

    try:
        found = look(site, host)
    except OpsError as error:
        if error.code in (130, 143):
            raise
        return Check(NAME, WARNING, error.message, error.hint or "")
    if found.ways_out:
        return Check(NAME, WARNING, f"{host} is none now: {'; '.join(found.ways_out[:3])}", f"before anything is restored: opsctl isolate apply {host}")
    return Check(NAME, OK, found.says)
