"""keep_incident: what this machine knows of an incident, put into a repository and signed, so that another controller can go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.errors import Refused
from opsctl.model.fields import Incident
from opsctl.model.incident_kept import Hashed, pack
from opsctl.model.quantities import counted
from opsctl.model.records import INCIDENT
from opsctl.model.values import value


class KeepIncidentParams(Params):
    """``what``: the ``entries`` alone, or ``all``: the files of its folder with them."""

    repository: str
    incident: Incident
    what: Literal["entries", "all"] = "all"


@value
class Seen:
    """``lacking``: the entries that are not in the repository, behind the one of hash ``previous``; ``files``: those of the folder
    as it is, ``stored``: as the repository has them, both by path with their SHA-256."""

    entries: int
    lacking: tuple[Hashed, ...]
    previous: str
    files: Mapping[str, str]
    left_out: Mapping[str, str]
    stored: Mapping[str, str]


class KeepIncident(StateAction[KeepIncidentParams, Seen]):
    """Keeps an incident in a repository: its entries in the journal, and the files of its folder.

    with:
      repository  the name of a repository in the configuration
      incident    the incident
      what        `entries`, which is quick, or `all`: evidence, papers and reports with them

    What is not there yet goes as one record, signed by this controller. `opsctl incident take-over` on another controller goes on
    from it. An append-only store takes it, and nothing that prunes ever removes it.
    """

    word = "keep_incident"
    Params = KeepIncidentParams

    def locks(self, params: KeepIncidentParams) -> Sequence[str]:
        return (f"incident {params.incident} in {params.repository}",)

    def observe(self, params: KeepIncidentParams, world: World) -> Seen:
        history = world.repository(params.repository)
        history.require_here()
        found = [one.record for one in history.look(world.clock()).kept
                 if one.record["incident"] == params.incident and one.signer in history.trusted]
        there = {entry["hash"] for record in found for entry in record["entries"]}
        lines: list[Hashed] = world.incidents.lines(params.incident)
        lacking = tuple(line for line in lines if line.hash not in there)
        before = lines[: lines.index(lacking[0])] if lacking else []
        files, left_out = world.incidents.content(params.incident).files() if params.what == "all" else ({}, {})
        stored: Mapping[str, str] = next((record["files"] for record in reversed(found) if "files" in record), {})
        return Seen(len(lines), lacking, before[-1].hash if before else "", files, left_out, stored)

    def plan(self, params: KeepIncidentParams, seen: Seen) -> list[Change]:
        parts = [counted(len(seen.lacking), "entry", "entries")] if seen.lacking else []
        if params.what == "all" and seen.files != seen.stored:
            parts.append(counted(len(seen.files), "file"))
        return [Change("keep", f"keep {' and '.join(parts)} of incident {params.incident} in {params.repository}")] if parts else []

    def apply(self, params: KeepIncidentParams, change: Change, world: World) -> None:
        if world.config.directory is None:
            raise Refused("without a configuration there is no key to sign with", hint="opsctl init")
        history = world.repository(params.repository)
        seen = self.observe(params, world)
        record: dict[str, Any] = {
            "format": INCIDENT, "repository": history.identity().id, "run": world.run, "time": world.clock().isoformat(), "host": world.host,
            "by": world.by, "incident": params.incident, "previous": seen.previous, "entries": [pack(line) for line in seen.lacking],
        }
        tags, name = (f"incident={params.incident}",), f"opsctl-incident-{world.run}.json"
        if params.what != "all" or seen.files == seen.stored:
            history.write(record, tags=tags, filename=name, host=world.host)
            return
        for file, why in seen.left_out.items():
            world.warn(f"{file} of incident {params.incident} is not kept in {params.repository}: {why}")
        with world.scratch() as place:
            world.incidents.content(params.incident).lay_out(seen.files, place)
            history.write({**record, "files": dict(seen.files), "left_out": dict(seen.left_out)}, tags=tags, filename=name, host=world.host,
                          beside=place)

    def result(self, params: KeepIncidentParams, seen: Seen) -> Mapping[str, Any]:
        return {"repository": params.repository, "incident": params.incident, "entries": seen.entries - len(seen.lacking), "files": len(seen.stored)}
