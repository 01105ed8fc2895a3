"""seal: the bags of an incident signed, so that any later change shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.actions.collect import vault
from opsctl.actions.interface import EventAction, Params, World
from opsctl.errors import DamagedData
from opsctl.model.evidence import numbered
from opsctl.model.fields import Incident
from opsctl.model.incident import COLLECTED, SEALED
from opsctl.model.values import value


class SealParams(Params):
    """``host``: only its bags."""

    incident: Incident
    host: str = ""


@value
class Seen:
    """The bags that are whole and not sealed."""

    open: tuple[str, ...]


class Seal(EventAction[SealParams, Seen]):
    """Seals every whole bag of an incident that is not sealed: reads it, and signs its tag manifest.

    with:
      incident  the incident
      host      only the bags of this host; of every host, where it is left out

    A bag that is not as it was collected is not sealed (22). Half bags, and those of which the journal does not know that this
    controller collected them, are named and never sealed. The signature is one of
    `ssh-keygen -Y`, namespace `evidence@opsctl`, by this controller's key.
    """

    word = "seal"
    Params = SealParams

    def locks(self, params: SealParams) -> Sequence[str]:
        return (f"seal-{params.incident}",)

    def observe(self, params: SealParams, world: World) -> Seen:
        return Seen(tuple(one.name for one in vault(world, params.incident).bags()
                          if not one.half and not one.sealed and (not params.host or numbered(one.name, params.host))))

    def happen(self, params: SealParams, world: World) -> Mapping[str, Any]:
        shelf = vault(world, params.incident)
        lines = world.incidents.lines(params.incident)
        recorded = {line.data["bag"]: line.data["manifest_sha256"] for line in lines if line.type == COLLECTED}
        sealed = []
        for name in self.observe(params, world).open:
            digest = shelf.bag(name).digest()
            if lines and name not in recorded:
                world.warn(f"{name} is not sealed: the journal does not know that it was collected; collect from that host again")
                continue
            if recorded.get(name, digest) != digest:
                raise DamagedData(f"{name} is not sealed: its tag manifest is not the one that was collected", where=name)
            digest = shelf.seal(name, world.signatures.sign)
            key = world.fingerprint((world.keys_directory / "controller.pub").read_text())
            world.incidents.write(SEALED, {"incident": params.incident, "by": world.by, "bag": name, "manifest_sha256": digest, "key": key}, run=world.run)
            sealed.append(name)
        halves = [one.name for one in shelf.bags() if one.half]
        for name in halves:
            world.warn(f"{name} is a half bag and is not sealed")
        return {"sealed": sealed, "halves": halves}
