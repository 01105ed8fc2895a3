"""``opsctl restore reopen``: people let in again in waves, each watched before the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import for_incident
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import OpsError, SafetyRefusal, UsageError
from opsctl.model.config_reopening import Wave, hosts_of, needed, watched
from opsctl.model.quantities import format_duration

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep
    from opsctl.wiring import Site, World

_STANDS = {"open": Tone.GOOD, "timed": Tone.WARN, "shut": Tone.QUIET, "closed itself": Tone.BAD}


def reopen(
    context: typer.Context,
    wave: Annotated[str | None, typer.Argument(metavar="WAVE", help="internal, pilot, all-bodies or public; without one how they stand")] = None,
    back: Annotated[bool, typer.Option("--back", help="take it back: nobody is let in with it any more, and their connections end")] = False,
    incident: Annotated[str, typer.Option("--incident", metavar="ID", help="the incident that the hosts are cut off for")] = "",
) -> Report:
    """Let people in again, one wave after another.

    A wave is let in for a time that the hosts' own kernels end. It is watched, and then kept open: without a terminal
    the run exits 4, and `opsctl resume RUN` goes on when its watch is over. What nobody keeps open closes itself.
    """
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.unknown import unknown

    session = of(context)
    site = open_site(session)
    waves = site.config.reopening.waves
    if not waves:
        raise SafetyRefusal("there are no waves in the configuration", hint="reopening: says who is let in again, and in which order")
    if wave is None:
        if back:
            raise UsageError("--back is about one wave", hint=f"opsctl restore reopen --back {list(waves)[-1]}")
        return _shown(site, incident)
    if wave not in waves:
        raise unknown("wave", wave, waves)
    spec = waves[wave]
    if spec.open is not None and not incident:  # what a host is cut off for is named by whoever opens it
        incident = for_incident.meant(site, "")
    inputs: dict[str, Any] = {"wave": wave, "places": places_of(wave, spec, site), "allow": list(spec.allow), "incident": incident}
    if back:
        return carry_out(session, site, "reopen-back", inputs, subject=f"back-{wave}", text=_write, told=_told)
    people = needed(wave, spec)
    inputs |= {"watch": _seconds(spec.watch), "stays": _seconds(spec.watch + spec.stays), "every": _seconds(spec.every),
               "services": watched(spec, site.config.services)}
    if people:
        who = f"{', '.join(spec.allow)} at {', '.join(inputs['places'])}" if spec.open is None else "by its own command"
        inputs |= {"people": people, "role": spec.role or "", "say": f"wave {wave} is let in, {who}"}
    return carry_out(session, site, "reopen-approved" if people else "reopen", inputs, subject=f"reopen-{wave}", text=_write, told=_told, once=True,
                     stands=lambda: _is_timed(site, wave, incident))


def places_of(name: str, wave: Wave, site: Site) -> list[str]:
    """Where a wave comes in: its hosts, or its own name where a command lets it in."""
    return [name] if wave.open is not None else hosts_of(wave, site.config.hosts)


def _seconds(span: Any) -> int:
    return round(span.total_seconds())


def _told(step: BoundStep, result: StepResult) -> Mark | None:
    if result.outcome == "waiting":
        return Mark(result.because, Tone.WARN)
    return None


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    words = {"open": "open for good", "timed": "open for a time", "shut": "shut", "closed itself": "closed itself"}
    last: dict[str, Any] = {}
    for one in tally.results:
        if one.result.get("stands"):
            last[one.result["host"]] = one.result
    for host, found in last.items():
        left = f", {found['left']:.0f} s left" if found["left"] else ""
        out.line(Mark(f"wave {found['wave']} at {host}: {words[found['stands']]}{left}", _STANDS[found["stands"]]))


def _to_look(site: Site) -> World:
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import World

    return World(site, BoundPlan("look", "reopen", "", site.clock(), "", {}, ()))


def _is_timed(site: Site, name: str, incident: str) -> bool:
    """Whether a wave is let in for its time somewhere; what cannot be seen the run that is begun then says itself."""
    from opsctl.actions.reopening import WaveParams, door

    wave, world = site.config.reopening.waves[name], _to_look(site)
    try:
        return any(door(WaveParams(host=place, wave=name, allow=wave.allow, incident=incident), world).look().stands == "timed"
                   for place in places_of(name, wave, site))
    except OpsError:
        return False


def _shown(site: Site, incident: str) -> Report:
    """How each wave stands at each of its places, looked at now."""
    from opsctl.actions.reopening import WaveParams, door

    world = _to_look(site)
    found: list[Mapping[str, Any]] = []
    errors: list[OpsError] = []
    for name, wave in site.config.reopening.waves.items():
        for place in places_of(name, wave, site):
            params = WaveParams(host=place, wave=name, allow=wave.allow, incident=incident)
            try:
                seen = door(params, world).look()
                found.append({"wave": name, "at": place, "stands": seen.stands, "left": seen.left, "allow": list(wave.allow), "watch": _seconds(wave.watch)})
            except OpsError as error:
                errors.append(error)
                found.append({"wave": name, "at": place, "stands": None, "left": None, "allow": list(wave.allow), "watch": _seconds(wave.watch)})

    def text(out: Out) -> None:
        out.table(Table(("wave", "at", "stands", Column("let in", flexible=True), "watched for"), [
            (one["wave"], "its command" if one["at"] == one["wave"] else one["at"],
             Mark("cannot be seen", Tone.BAD) if one["stands"] is None else
             Mark(one["stands"] + (f", {one['left']:.0f} s left" if one["left"] else ""), _STANDS[one["stands"]]),
             ", ".join(one["allow"]), format_duration(site.config.reopening.waves[one["wave"]].watch)) for one in found]))

    return Report(result={"waves": found}, text=text, errors=errors, warnings=site.said)


