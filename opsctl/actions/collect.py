"""collect: what a host shows of an attack, fetched in the order in which it fades, into a bag of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from opsctl import __version__
from opsctl.actions.collecting import Limits, ask, entered
from opsctl.actions.interface import EventAction, Params, World
from opsctl.errors import OpsError, SafetyRefusal, Unreachable
from opsctl.model.evidence import FORMAT, Ended, Outcome, counts, troubles
from opsctl.model.evidence_items import VOLATILE, Asked
from opsctl.model.fields import Incident, shown
from opsctl.model.incident import COLLECTED
from opsctl.model.quantities import counted
from opsctl.model.values import value
from opsctl.vault import Half, Vault

HERE = "localhost"
"""What this machine is called where no host of the configuration is."""
_ITEM = 2 << 30
_BAG = 20 << 30


class CollectParams(Params):
    """``host``: a configured one; empty, or ``localhost``: this machine. ``what``: ``volatile``."""

    incident: Incident
    host: str = ""
    what: str = "volatile"


@value
class Seen:
    """The bags of this host that lie there."""

    bags: tuple[str, ...]


class Collect(EventAction[CollectParams, Seen]):
    """Collects the evidence of a host into a bag: hashed, with a custody record for each item.

    with:
      incident  the incident that it is for
      host      the host; this machine, where it is left out
      what      `volatile`: what a restart or an hour takes away

    Each item ends as `collected`, `missing` (no such program or file on the host), `empty` or `failed`, with the reason, and the
    others are collected all the same. Nothing is written on the host.
    """

    word = "collect"
    Params = CollectParams

    def locks(self, params: CollectParams) -> Sequence[str]:
        return (f"evidence-{params.incident}-{params.host or 'here'}",)

    def observe(self, params: CollectParams, world: World) -> Seen:
        return Seen(tuple(one.name for one in vault(world, params.incident).bags()))

    def happen(self, params: CollectParams, world: World) -> Mapping[str, Any]:
        known = world.incidents.all().get(params.incident)
        if known is not None and known.closed is not None:
            raise SafetyRefusal(f"incident {params.incident} is closed", hint="open another one: opsctl incident open")
        here = params.host in ("", HERE) and params.host not in world.config.hosts
        host = world.host if here else params.host
        shelf = vault(world, params.incident)
        halves = shelf.halves(host)
        for name in halves:
            world.warn(f"{name} is a half bag: collecting was cut off there, and it is no evidence that anything is whole")
        half = shelf.begin(host)
        shell = world.shell_on(None if here else host)
        shell, note = entered(shell)
        if note:
            world.warn(f"{host}: {note}")
        half.begin({"format": FORMAT, "incident": params.incident, "host": host, "profile": params.what, "run": world.run,
                    "begun": world.clock().isoformat(), "by": world.by, "note": note, "drill": bool(known and known.drill)})
        try:
            _collect(half, VOLATILE, shell, host, world)
            if not any(one["outcome"] == Outcome.COLLECTED for one in half.items):
                half.abandon()
                raise Unreachable(f"nothing could be collected from {host}: {half.items[0]['because'] if half.items else 'no answer'}", where=host)
            info = [("Source-Organization", world.config.organisation.name), ("External-Identifier", f"{params.incident}/{half.name}"),
                    ("Internal-Sender-Identifier", host), ("Bagging-Date", f"{world.clock():%Y-%m-%d}"), ("Bag-Software-Agent", f"opsctl {__version__}"),
                    *([("Internal-Sender-Description", "DRILL")] if known and known.drill else [])]
            tally = counts(half.items)
            digest = half.close(info, {"ended": world.clock().isoformat(), "counts": tally})
        except OpsError as error:
            error.hint = error.hint or f"what came until then is in {half.folder}, a half bag"
            raise
        world.incidents.write(COLLECTED, {"incident": params.incident, "by": world.by, "host": host, "profile": params.what, "bag": half.name,
                                          "counts": tally, "manifest_sha256": digest}, run=world.run)
        bad = troubles(half.items)
        if bad:
            world.warn(f"{host}: {counted(len(bad), 'item')} not as it should be: "
                       + "; ".join(f"{one['name']}: {one['because']}" for one in bad[:5]) + (" …" if len(bad) > 5 else ""))
        return {"host": host, "bag": half.name, "counts": tally, "manifest_sha256": digest, "halves": halves,
                "troubles": [{"name": one["name"], "outcome": one["outcome"], "because": one["because"]} for one in bad[:200]]}


def vault(world: World, incident: str) -> Vault:
    """The evidence of an incident."""
    return Vault(world.incidents.folder(incident) / "evidence")


def _collect(half: Half, wanted: Sequence[Asked], shell: Any, host: str, world: World) -> None:
    lost = ""
    for number, one in enumerate(wanted, 1):
        at = world.clock()
        into = half.arriving(f"{number:03d}-{one.key}.txt")
        argv: Sequence[str] = one.tries[0]
        if lost:
            ended = Ended(Outcome.FAILED, lost)
        else:
            try:
                ended, argv = ask(shell, one, into, Limits(_ITEM, lambda: _BAG, time.monotonic() + 3600))
            except Unreachable as error:
                ended = Ended(Outcome.FAILED, shown(error.message, 300), into.size, into.sha256, cut=bool(into.size))
                lost = f"the connection was lost before: {shown(error.message, 200)}"
        file = into.path.relative_to(half.folder / "data").as_posix() if ended.size else ""
        half.record(_record(half, number, one, ended, host, at, argv, file, world))


def _record(half: Half, number: int, one: Asked, ended: Ended, host: str, at: datetime, argv: Sequence[str], file: str, world: World) -> dict[str, Any]:
    """The custody record of one item: the fields of ``evidence_record`` (protocol.yaml), and how it ended."""
    return {
        "evidence_id": f"{half.name}/{number:03d}", "name": one.key, "description": one.about, "source_host": host,
        "source_make_model_serial": "", "collected_at": at.isoformat(), "collected_by": world.by,
        "method_and_tool": shown(" ".join(argv), 500) + f" (opsctl {__version__})", "size_bytes": ended.size, "sha256": ended.sha256,
        "other_hashes": {}, "stored_at": f"{world.host}:{half.folder.with_name(half.name)}", "transfers": [],
        "outcome": ended.outcome, "because": ended.because, "cut": ended.cut, "changed_while_read": ended.changed, "file": file,
        "personal_data": one.personal,
    }
