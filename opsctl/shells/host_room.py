"""The shell of a clean room that is a host of its own: its commands run there, as root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.shells.interface import Result, Session, Word
from opsctl.shells.ssh import SshShell

# So that sudo has to allow one program, whatever runs in the room.
_AS_ROOT = ("sh", "-c", 'exec "$@"', "sh")


class HostRoomShell(SshShell):
    """The host is the room, and has no way out: whoever makes one sees to that."""

    def run(self, argv: Sequence[Word], **more: Any) -> Result:
        return super().run([*_AS_ROOT, *argv], **more)

    def open(self, argv: Sequence[Word], *, env: Mapping[str, str] | None = None) -> Session:
        return super().open([*_AS_ROOT, *argv], env=env)
