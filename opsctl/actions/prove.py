"""prove: that a service is what it was, by its data in the clean room or in production, and as it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from opsctl.actions.interface import CheckAction, Params, World
from opsctl.actions.proving import Proven, in_production, in_room
from opsctl.actions.restoring import find_set
from opsctl.errors import DamagedData, OpsError, UsageError
from opsctl.model.config_proofs import CommandProof, FilesProof, HttpProof, RowsProof, TcpProof
from opsctl.model.part import Field
from opsctl.model.unknown import unknown
from opsctl.model.values import value
from opsctl.sources.interface import Difference

#: Seconds between two tries of a service that is just starting.
_PAUSE = 1.0
_NAMED = 5
_LISTED = 200


class ProveParams(Params):
    """``into``: where a source came into production, if not its own place: a folder, a file or a database."""

    service: str = ""
    where: Literal["room", "production"] = "room"
    backup: str = ""
    set: str = ""
    sources: tuple[str, ...] = ()
    room: str = ""
    place: str = ""
    into: dict[str, str] = Field(default_factory=dict)
    copy_in: str = ""


@value
class Seen:
    """What each proof came to, in order; ``without``: why nothing at all was there to prove."""

    proofs: tuple[Proven, ...]
    without: str = ""


class Prove(CheckAction[ProveParams, Seen]):
    """Proves that a service is what it was. What is not is shown as expected and found, and is 22.

    with:
      service  the name of a service; its `proofs` say what is looked at
      where    `room`: every source in the clean room, whatever its proofs: databases table by table, files by their content.
               `production`: all proofs of the service, where it is used
      backup, set  the set that data is held against
      sources  of it, those that the service `restores` where left out
      room     the name of the clean room; the set's id where it is left out
      place    the folder below which that was made, as for `restore`
      into     {source: place} where a source is in production, if that is not what the service says, or its own folder, file or
               database
      copy_in  the repository that holds a copy of the set, instead of the backup's own

    rows     rows and checksums of every table against the set's manifest, computed in the server that the database is in
    files    every file hashed again, chunk by chunk, against the ids of the chunks in the repository (nothing is read from there
             but what is known of the set); what is missing, is something else, or is there besides. What `opsctl restore remove`
             took out of this restoration is told as removed on purpose
    http     status and text of a page; a redirect to another server counts only where `redirects: anywhere` says so
    tcp      a port takes a call, and says `banner`
    command  exit code and output of a command of your own

    rows and files hold right after data came into production, and before anybody works with it again. http, tcp and
    command ask what runs, and so only production. With `within` they are tried again while a service starts.
    """

    word = "prove"
    Params = ProveParams

    def observe(self, params: ProveParams, world: World) -> Seen:
        service = _service(params, world)
        names = params.sources or (service.restores if service is not None else ())
        if params.where == "room":
            if not params.backup:
                raise UsageError("prove needs backup and set for what lies in a clean room")
            view, history = find_set(world, params.backup, params.set, params.copy_in)
            room = world.clean_room(params.room or params.set, params.place)
            if not room.there:
                raise UsageError(f"there is no clean room {room.name}", hint="`opsctl restore room` restores a set into one")
            room.enter()
            names = names or tuple(view.sources)
            return Seen(tuple(in_room(name, _entry(view, name), params.set, room, history.repository, world) for name in names))
        proofs = service.proofs if service is not None else ()
        if not proofs:
            return Seen((), f"{params.service or 'this'} has no proofs: in the configuration, and nothing says that it is right")
        return Seen(tuple(_all(proofs, names, params, world)))

    def findings(self, params: ProveParams, seen: Seen) -> Sequence[OpsError]:
        return [finding(params.service or f"{params.backup}/{one.of}", one, room=params.where == "room") for one in seen.proofs if one.differences]

    def result(self, params: ProveParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "service": params.service, "where": params.where, "backup": params.backup, "set": params.set if params.backup else "",
            "without": seen.without,
            "proofs": [{"kind": one.kind, "of": one.of, "shows": one.shows, "seconds": round(one.seconds, 3), "tries": one.tries,
                        "equal": not one.differences, "more": one.more, "removed": [each.as_json() for each in one.removed],
                        "differences": [{"where": each.where, "expected": _plain(each.expected), "found": _plain(each.found)}
                                        for each in one.differences[:_LISTED]]} for one in seen.proofs],
        }


def _service(params: ProveParams, world: World) -> Any:
    if not params.service:
        return None
    if params.service not in world.config.services:
        raise unknown("service", params.service, world.config.services)
    return world.config.services[params.service]


def _entry(view: Any, name: str) -> Mapping[str, Any]:
    if name not in view.sources:
        raise UsageError(f"set {view.id} holds no source {name}", hint=f"it holds {', '.join(view.sources)}")
    entry: Mapping[str, Any] = view.sources[name]
    return entry


def _all(proofs: Sequence[Any], names: Sequence[str], params: ProveParams, world: World) -> Iterator[Proven]:
    """Every proof of a service, one after another, where it is used."""
    for spec in proofs:
        if isinstance(spec, RowsProof | FilesProof):
            if not params.backup:
                raise UsageError(f"prove needs backup and set for the proof {spec.kind} of {params.service}")
            view, history = find_set(world, params.backup, params.set, params.copy_in)
            own = world.config.services[params.service].into
            for name in names:
                yield from in_production(spec.kind, name, _entry(view, name), params.set, params.into.get(name, own.get(name, "")), spec.limit.total_seconds(),
                                         history.repository, world)
        else:
            yield tried(spec, world)


def tried(spec: HttpProof | TcpProof | CommandProof, world: World) -> Proven:
    """One look at what runs, repeated while it starts."""
    begun = time.monotonic()
    until = begun + (spec.within.total_seconds() if spec.within else 0.0)
    tries = 0
    while True:
        tries += 1
        found = _look(spec, world)
        now = time.monotonic()
        if not found or now + _PAUSE > until:
            return Proven(spec.kind, _of(spec), _shows(spec), now - begun, tuple(found), tries=tries)
        for _ in range(10):
            world.shell.check()
            time.sleep(_PAUSE / 10)


def _look(spec: HttpProof | TcpProof | CommandProof, world: World) -> list[Difference]:
    if isinstance(spec, HttpProof):
        from opsctl.proofs import http

        return http.prove(http.Page(spec.url, spec.status, spec.contains, spec.headers, spec.cacert, spec.redirects == "anywhere",
                                    spec.timeout.total_seconds()), world.shell.check)
    if isinstance(spec, TcpProof):
        from opsctl.proofs import tcp

        return tcp.prove(spec.address, spec.port, banner=spec.banner, timeout=spec.timeout.total_seconds(), check=world.shell.check)
    from opsctl.proofs import command

    return command.prove(spec.argv, world.shell, expect=spec.expect, contains=spec.contains, limit=spec.limit.total_seconds())


def _of(spec: HttpProof | TcpProof | CommandProof) -> str:
    if isinstance(spec, HttpProof):
        return spec.url
    return f"{spec.address}, port {spec.port}" if isinstance(spec, TcpProof) else spec.argv[0]


def _shows(spec: HttpProof | TcpProof | CommandProof) -> str:
    if isinstance(spec, HttpProof):
        return f"status {spec.status}{f' and {spec.contains!r}' if spec.contains else ''}"
    if isinstance(spec, TcpProof):
        return f"it takes a call{f' and says {spec.banner!r}' if spec.banner else ''}"
    return f"exit code {spec.expect}{f' and {spec.contains!r}' if spec.contains else ''}"


def finding(where: str, one: Proven, *, room: bool = False) -> OpsError:
    number = len(one.differences) + one.more
    more = f" and {number - _NAMED:,} more" if number > _NAMED else ""
    return DamagedData(
        f"{one.kind} of {one.of} {'in the clean room ' if room else ''}not as expected: "
        f"{'; '.join(str(each) for each in one.differences[:_NAMED])}{more}",
        hint="nothing of it is promoted; try an older set, and `opsctl verify --level data`" if room
        else "opsctl explain prove; what was promoted can be put back: `opsctl restore rollback`",
        where=where,
        details={"kind": one.kind, "differences": [str(each) for each in one.differences[:_LISTED]], "more": max(0, number - _LISTED)},
    )


def _plain(found: Any) -> Any:
    return found if isinstance(found, str | int | float | None) else str(found)


