"""watch: services looked at again and again, from outside, until their time is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from opsctl.actions.interface import GateAction, Params, World
from opsctl.actions.prove import finding, tried
from opsctl.errors import ConfigError, DamagedData, OpsError
from opsctl.model.config_proofs import FilesProof, RowsProof
from opsctl.model.fields import meant
from opsctl.model.moments import local
from opsctl.model.part import Field
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

_Seconds = Annotated[int, Field(ge=0)]


class WatchParams(Params):
    """``seconds``: how long; ``every``: how often the proofs are repeated; ``stays``: after how long what was opened closes itself."""

    step: str
    services: tuple[str, ...]
    seconds: _Seconds
    every: _Seconds = 300
    stays: _Seconds = 0
    wave: str = ""


@value
class Seen:
    """``began`` and ``looked``: when the watch began and the proofs were last looked at before, None where that was never.

    ``proofs``: how many were looked at now, None where it was not time yet; ``wrong``: what was not as expected. ``stays``: nothing closes
    the wave by itself, since its own command opened it.
    """

    run: str
    began: datetime | None
    looked: datetime | None
    now: datetime
    zone: Any
    proofs: int | None = None
    wrong: tuple[OpsError, ...] = ()
    stays: bool = False


class Watch(GateAction[WatchParams, Seen]):
    """Waits until services have been right for their time, counted from when this step was first asked.

    with:
      services  names of services; of their proofs those that ask what runs (http, tcp, command) are repeated. What was
                restored as rows and files changes as soon as people work with it
      seconds   how long they are watched; 0: looked at once, now
      every     seconds after which the proofs are repeated; they are whenever the run is taken up again, and at the end
      wave      the wave that was opened, and
      stays     after how many seconds it closes itself, for the sentence that says so

    A proof that is not as expected ends the watch (22). At a terminal the run waits; without one it exits 4, and
    `opsctl resume RUN` goes on when the time is over.
    """

    word = "watch"
    Params = WatchParams

    def observe(self, params: WatchParams, world: World) -> Seen:
        moments = [parse_time(data["at"]) for _, data in world.entries(("watch.looked",)) if data["step"] == params.step]
        began, looked = (moments[0], moments[-1]) if moments else (None, None)
        wave = world.config.reopening.waves.get(params.wave) if params.wave else None
        seen = Seen(world.run, began, looked, world.clock(), world.config.organisation.tz, stays=wave is not None and not wave.hosts)
        if looked is not None and seen.now < min(looked + timedelta(seconds=params.every), _until(params, seen)):
            return seen
        found = [(service, tried(spec, world)) for service, spec in _proofs(params, world)]
        wrong = tuple(finding(service, one) for service, one in found if one.differences)
        return replace(seen, proofs=len(found), wrong=wrong)

    def waits_for(self, params: WatchParams, seen: Seen) -> str | None:
        if seen.wrong:
            told = "; ".join(one.message for one in seen.wrong)
            raise DamagedData(told, where=seen.wrong[0].where, hint="find out what it is; then open the wave once more",
                              details={"wrong": [one.as_dict() for one in seen.wrong]})
        if seen.now >= _until(params, seen):
            return None
        closes = local((seen.began or seen.now) + timedelta(seconds=params.stays), seen.zone)
        otherwise = f"nothing closes it by itself: `opsctl restore reopen --back {params.wave}` does" if seen.stays else (
            f"hosts close themselves at {closes} unless that was done")
        return (f"wave {params.wave} is open and watched until {local(_until(params, seen), seen.zone)}: then `opsctl resume {seen.run}` keeps it "
                f"open; {otherwise}")

    def ask(self, params: WatchParams, seen: Seen, world: World) -> None:
        if seen.proofs is not None:
            world.note("watch.looked", {"step": params.step, "wave": params.wave, "at": seen.now.isoformat(), "proofs": seen.proofs})

    def result(self, params: WatchParams, seen: Seen) -> Mapping[str, Any]:
        return {"wave": params.wave, "services": list(params.services), "began": seen.began.isoformat() if seen.began else None,
                "seconds": params.seconds, "proofs": seen.proofs}


def _until(params: WatchParams, seen: Seen) -> datetime:
    return (seen.began or seen.now) + timedelta(seconds=params.seconds)


def _proofs(params: WatchParams, world: World) -> Iterator[tuple[str, Any]]:
    """The proofs of the services that ask what runs. ConfigError for a service that is not there."""
    services = world.config.services
    for name in params.services:
        if name not in services:
            raise ConfigError(f"there is no service {name!r} in the configuration{meant(name, services)}")
        yield from ((name, spec) for spec in services[name].proofs if not isinstance(spec, RowsProof | FilesProof))
