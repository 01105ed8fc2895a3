"""A host cut off by the machine that forwards for it, without entering it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opsctl.isolation.forwarder import Forwarder, Look
from opsctl.isolation.interface import Driver
from opsctl.model import nft_gateway
from opsctl.model.isolation import Cut, Order, Stand, Standing
from opsctl.model.nft_gate import Gate
from opsctl.model.nft_gateway import Member, Wish


class Gateway(Driver):
    """``addresses`` are the configured ones, prefixes too, the first the one that it is known by; ``at``: who cuts it off;
    ``ports``: those that it serves, as far as is known.

    What passes between hosts of one segment never comes to a gateway: it is always said to be partial there. At the door
    of the backup store (``nft_gateway.DOOR``) everything has to come in by it.
    """

    name = "gateway"
    enforced = "gateway"

    def __init__(self, host: str, *, addresses: tuple[str, ...], at: Forwarder, ports: tuple[int, ...] = ()) -> None:
        self.host = host
        self.ports = ports
        self.own = tuple(map(nft_gateway.member, addresses))
        self.at = at
        self._seen: Look | None = None

    def known(self, addresses: Sequence[str]) -> None:
        """More addresses that the host was seen to have; what is loaded from now on holds them as well."""
        more = [each for address in addresses if (each := nft_gateway.member(address)) not in self.own]
        self.own = (*self.own, *more)
        self._seen = None

    def observe(self) -> Stand:
        look = self._seen = self.at.look(self.own)
        gate, mine = look.gate, look.gate.of(self.own)
        facts = replace(look.facts, serves=self.ports)
        connections = None if look.old is None else len(look.old)
        if not mine:
            return Stand("open", facts=facts, persisted=False, connections=connections, raw=_raw(look, mine))
        stands, left = standing(gate, mine)
        said = gate.written(self.own)
        return Stand(
            stands, left=left, partial=tuple(self._partial(look, mine)), connections=connections, digest=said.digest if said else None,
            mark=said.mark if said else None, seal=gate.seal(self.own), persisted=False, facts=facts, raw=_raw(look, mine),
        )

    def load(self, order: Order, stand: Stand) -> None:
        look = self._seen or self.at.look(self.own)
        self.at.load((self.host, Wish(order, stand.facts, look.members), look))

    def confirm(self) -> None:
        self.at.arm((self.host, self.own, None))

    def extend(self, seconds: float) -> None:
        self.at.arm((self.host, self.own, seconds))

    def snapshot(self) -> bytes:
        look = self.at.snapshot(self.own)
        lines = ["== known by", *map(str, look.members), f"== connections at {self.at.name}", *(flow.line for flow in look.flows)]
        return "".join(f"{line}\n" for line in lines).encode()

    def cut(self, order: Order) -> Cut:
        return self.at.cut(self.own)

    def release(self) -> None:
        self.at.release(self.own)

    def close(self) -> None:
        self.at.close()

    def _partial(self, look: Look, mine: list[Member]) -> list[str]:
        gateway = self.at.name
        by_hardware = any(each.kind == "mac" for each in mine)
        found = [f"{each}, which is new, is not cut off" for each in look.members if each not in mine and not by_hardware]
        found += [f"{each} has lifted itself" for each in mine if each not in look.gate.held]
        if altered := look.gate.altered:
            found.append(f"somebody altered our rules at {gateway} ({', '.join(altered)}): opsctl isolate apply {self.host}")
        groups = {note.group for each in mine for note in look.gate.notes[each]}
        if not self.ports and any('"l4proto"' in line for group in groups for line in look.gate.rules.get(f"to_{group}", ())):
            found.append("it may call out, and what others began with it goes on: no ports: say which it serves")
        if look.flowtables:
            found.append(f"{gateway} hands connections on by a flowtable ({', '.join(look.flowtables)}), past all rules")
        if self.at.table == nft_gateway.GATE:
            found.append(f"hosts of its own segment still reach it: that does not pass {gateway}")
        if not by_hardware:
            why = "others have the same hardware address" if look.shared else f"{gateway} does not see its hardware address"
            # Without it only addresses tell who sends.
            found.append(f"only {', '.join(look.facts.addresses) or 'its prefix'}: {why}, so addresses that are not known pass")
        elif self.at.table == nft_gateway.GATE and look.forwards6 and not any(each.kind in ("6", "net6") for each in mine):
            found.append(f"{gateway} knows no IPv6 address of it: nothing that it sends passes there, and datagrams that are sent to it do")
        return found


def standing(gate: Gate, mine: list[Member]) -> tuple[Standing, float | None]:
    """By the elements that are there: permanent, for a time, or gone, which lifts, as rules do that somebody changed."""
    if gate.altered or any(each not in gate.held for each in mine):
        return "lifted", None
    seconds = [left for each in mine if (left := gate.held[each]) is not None]
    return ("armed", min(seconds)) if seconds else ("isolated", None)


def _raw(look: Look, mine: list[Member]) -> str:
    elements: list[dict[str, Any]] = [
        {"member": str(each), "held": each in look.gate.held, "left": look.gate.held.get(each),
         "orders": [note.group for note in look.gate.notes.get(each, ())]} for each in mine]
    return json.dumps(elements)


__all__ = ["Gateway", "standing"]
