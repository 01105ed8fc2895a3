"""collect: what a host shows of an attack, fetched in the order in which it fades, into a bag of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from opsctl import __version__
from opsctl.actions.collecting import Entered, enter
from opsctl.actions.filling import Filling
from opsctl.actions.interface import EventAction, Params, World
from opsctl.errors import ConfigError, OpsError, Partial, SafetyRefusal, Unreachable
from opsctl.model.config_evidence import BUILT_IN
from opsctl.model.evidence import FORMAT, Outcome, counts, troubles
from opsctl.model.evidence_profile import wanted
from opsctl.model.fields import Incident, Line, meant
from opsctl.model.incident import COLLECTED
from opsctl.model.part import Strict
from opsctl.model.quantities import counted, parse_duration
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value
from opsctl.vault import Half, Vault

HERE = "localhost"
"""What this machine is called where no host of the configuration is."""


class CollectParams(Params):
    """``host``: a configured one; empty, or ``localhost``: this machine. ``what``: a profile. ``window`` is a duration, ``since`` RFC 3339."""

    incident: Incident
    host: str = ""
    what: str = "volatile"
    window: str = ""
    since: str = ""
    files: Annotated[tuple[Line, ...], Strict(False)] = ()


@value
class Seen:
    """The bags that lie there."""

    bags: tuple[str, ...]


class Collect(EventAction[CollectParams, Seen]):
    """Collects the evidence of a host into a bag: hashed, with a custody record for each item.

    with:
      incident  the incident that it is for
      host      the host; this machine, where it is left out
      what      `volatile`: what a restart or an hour takes away; `full`: logs and the verification of packages as well; or one
                of `evidence: profiles:`
      window    how far back logs are taken, such as `7d`; `evidence: window:` where it is left out
      since     in place of it: the moment from which on, with its time zone
      files     files, folders and patterns besides, whole and whenever they were written to

    Each item ends as `collected`, `missing` (no such program or file on the host), `empty` or `failed`, with the reason, and the
    others are collected all the same. Nothing is written on the host. The bag is `incidents/ID/evidence/HOST-N`; it is called so
    only when it is whole, and `HOST-N.half` until then.
    """

    word = "collect"
    Params = CollectParams

    def locks(self, params: CollectParams) -> Sequence[str]:
        return (f"evidence-{params.incident}-{params.host or HERE}",)

    def observe(self, params: CollectParams, world: World) -> Seen:
        return Seen(tuple(one.name for one in vault(world, params.incident).bags()))

    def happen(self, params: CollectParams, world: World) -> Mapping[str, Any]:
        known = world.incidents.all().get(params.incident)
        if known is not None and known.closed is not None:
            raise SafetyRefusal(f"incident {params.incident} is closed", hint="open another one: opsctl incident open")
        since = _since(params, world)
        spec = world.config.evidence
        if params.what not in (*BUILT_IN, *spec.profiles):
            raise ConfigError(f"there is no profile {params.what!r} of evidence{meant(params.what, (*BUILT_IN, *spec.profiles))}")
        here = params.host in ("", HERE) and params.host not in world.config.hosts
        host = world.host if here else params.host
        if not here and host in world.config.hosts and world.config.hosts[host].os != "linux":
            raise Partial(f"{host} is not logged into ({world.config.hosts[host].os})", where=host, hint="a person has to save what it shows")
        shelf = vault(world, params.incident)
        halves = shelf.halves(host)
        for name in halves:
            world.warn(f"{name} is a half bag: collecting was cut off there, and nothing vouches that it is whole")
        entered = enter(world.shell_on(None if here else host), world.clock)
        if entered.note:
            world.warn(f"{host}: {entered.note}")
        drill = known is not None and known.drill
        half = shelf.begin(host, [one.data["bag"] for one in known.of(COLLECTED)] if known is not None else ())
        half.begin({"format": FORMAT, "incident": params.incident, "host": host, "profile": params.what, "run": world.run, "drill": drill,
                    "begun": world.clock().isoformat(), "since": since.isoformat(), "by": world.by, "note": entered.note,
                    "device": dict(entered.device), "clock_off_seconds": entered.clock_off})
        Filling(half, entered, spec, world, host=host, since=since).everything(wanted(params.what, spec, since, params.files))
        tally, digest = _close(half, host, params.incident, world, drill)
        world.incidents.write(COLLECTED, {"incident": params.incident, "by": world.by, "host": host, "profile": params.what, "bag": half.name,
                                          "counts": tally, "manifest_sha256": digest}, run=world.run)
        bad = troubles(half.items)
        if bad:
            world.warn(f"{host}: {counted(len(bad), 'thing')} failed, cut off or changed: "
                       + "; ".join(f"{one['description']}: {one['because']}" for one in bad[:5]) + (" …" if len(bad) > 5 else ""))
        return {"host": host, "bag": half.name, "counts": tally, "manifest_sha256": digest, "halves": halves,
                "bytes": sum(one["size_bytes"] for one in half.items), "clock_off_seconds": entered.clock_off,
                "troubles": [{"name": one["description"], "outcome": one["outcome"], "because": one["because"]} for one in bad[:200]]}


def vault(world: World, incident: str) -> Vault:
    """The evidence of an incident."""
    return Vault(world.incidents.folder(incident) / "evidence")


def _since(params: CollectParams, world: World) -> datetime:
    try:
        if params.since:
            return parse_time(params.since)
        return world.now - (parse_duration(params.window) if params.window else world.config.evidence.window)
    except ValueError as error:
        raise ConfigError(f"the window of the evidence is none: {error}") from error


def _close(half: Half, host: str, incident: str, world: World, drill: bool) -> tuple[dict[str, int], str]:
    """The counts, and the SHA-256 of the tag manifest. Unreachable where nothing came; a bag that cannot be closed stays half."""
    if not any(one["outcome"] == Outcome.COLLECTED for one in half.items):
        half.abandon()
        raise Unreachable(f"nothing could be collected from {host}: {half.items[0]['because']}", where=host)
    tally = counts(half.items)
    info = [("Source-Organization", world.config.organisation.name), ("External-Identifier", f"{incident}/{half.name}"),
            ("Internal-Sender-Identifier", host), ("Bagging-Date", f"{world.clock():%Y-%m-%d}"), ("Bag-Software-Agent", f"opsctl {__version__}"),
            *([("Internal-Sender-Description", "DRILL")] if drill else [])]
    try:
        return tally, half.close(info, {"ended": world.clock().isoformat(), "counts": tally})
    except OpsError as error:
        error.hint = error.hint or f"what came is in {half.folder}, a half bag"
        raise


__all__ = ["HERE", "Collect", "CollectParams", "Entered", "vault"]
