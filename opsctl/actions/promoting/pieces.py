"""Which pieces a source comes into production in, and what they are called there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opsctl.actions.interface import World
from opsctl.actions.promoting.databases import BroughtDatabase, Named
from opsctl.actions.promoting.files import BroughtFiles, Files
from opsctl.actions.promoting.host_files import BroughtHostFiles, HostFiles
from opsctl.actions.promoting.piece import Brought, Piece
from opsctl.actions.promoting.site import BroughtBySite, Placed
from opsctl.actions.promoting.sqlite import BroughtSqlite, SqliteFile
from opsctl.actions.removing import removed_of
from opsctl.actions.restoring import plain
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model.sets import SetView, origin_of
from opsctl.proofs.files import Count
from opsctl.repositories.history import History
from opsctl.sources.interface import Database


class Asked(Protocol):
    """What a promotion was asked for, as far as pieces are concerned."""

    @property
    def source(self) -> str: ...

    @property
    def into(self) -> str: ...

    @property
    def service(self) -> str: ...

    @property
    def place(self) -> Mapping[str, str] | None: ...

    @property
    def scratch(self) -> str: ...


def brought(asked: Asked, view: SetView, history: History, world: World) -> list[Brought]:
    """The pieces of the source in this set, in order. UsageError where the set or the source has no such thing."""
    entry = view.sources.get(asked.source)
    if entry is None:
        raise UsageError(f"set {view.id} holds no source {asked.source}", hint=f"it holds {', '.join(view.sources)}")
    spec = world.config.sources.get(asked.source)
    if spec is not None and spec.promotion is not None:
        return [BroughtBySite(asked.source, spec.promotion, entry=entry, set_id=view.id, history=history, world=world,
                              scratch=asked.scratch)]
    if entry["kind"] == "paths":
        return _paths(asked, view.id, entry, history, world)
    source = world.source(asked.source, entry)
    if isinstance(source, Database):
        return [_database(asked, source, entry, history, world)]
    if entry["kind"] == "sqlite":
        return [_sqlite(asked, source, entry, history, world)]
    raise UsageError(f"{asked.source} is of kind {entry['kind']}, which is not renamed into production",
                     hint="promotion: {promoted: …, promote: …, rollback: …} of the source names commands of your own")


def placed(note: Mapping[str, Any], world: World) -> Piece:
    """The piece that a note tells of."""
    if note.get("by_site"):
        spec = world.config.sources.get(note["source"])
        if spec is None or spec.promotion is None:
            raise UsageError(f"{note['source']} came into production by a command, and the configuration names none to take it back",
                             hint="promotion: {rollback: …} of the source")
        return Placed(note["source"], spec.promotion, note["set"], world)
    if note.get("on_host"):
        return HostFiles(note["place"], note["on_host"], world)
    if note["kind"] == "paths":
        return Files(note["place"])
    if note["kind"] == "sqlite":
        return SqliteFile(note["place"], note["kept"])
    database = world.source(note["source"], {"kind": note["kind"], "paths": note["paths"]})
    return Named(note["place"], database.beside() if note.get("on_its_host") else database, note["server"])


def stamp(world: World) -> str:
    """When this run began, as it stands in a name: ``20261220-1402``, in the organisation's time zone."""
    return f"{world.now.astimezone(world.config.organisation.tz):%Y%m%d-%H%M}"


def _paths(asked: Asked, set_id: str, entry: Mapping[str, Any], history: History, world: World) -> list[Brought]:
    roots = outermost(entry["paths"])
    into = _into(asked, world)
    if into and len(roots) > 1:
        raise UsageError(f"{asked.source} has {len(roots)} paths, and only one can become {into}",
                         hint=f"leave it out, and they become {', '.join(roots)} again")
    place = {root: plain(into) if into else root for root in roots}
    removed = removed_of(world, asked.source, set_id)
    spec = world.config.sources.get(asked.source)
    if spec is not None and spec.host is not None and not into:
        if len(roots) > 1:
            raise UsageError(f"{asked.source} has {len(roots)} paths, and only one comes into production on {spec.host}",
                             hint="make a source of each; or give the source commands of your own (promotion:)")
        return [BroughtHostFiles(roots[0], spec.host, there=world.source(asked.source, entry).there, snapshot=entry["snapshot"],
                                 expected=_expected(roots[0], roots, entry, history), history=history, world=world, removed=removed)]
    return [BroughtFiles(place[root], inside=root, snapshot=entry["snapshot"], expected=_expected(root, roots, entry, history),
                         repository=history.repository, world=world,
                         removed=[one for one in removed if one.path.startswith(f"{root.rstrip('/')}/")]) for root in roots]


def _sqlite(asked: Asked, source: Any, entry: Mapping[str, Any], history: History, world: World) -> Brought:
    own, origin = origin_of(entry)
    into = _into(asked, world)
    _refuse_elsewhere(asked.source, into, world)
    return BroughtSqlite(plain(into or origin), inside=own, snapshot=entry["snapshot"], expected=Count(1, entry["bytes"]),
                         repository=history.repository, world=world, proof=lambda place: source.restored_files(entry, place))


def _refuse_elsewhere(name: str, into: str, world: World) -> None:
    """SafetyRefusal for files of another host, unless they become something on this machine."""
    spec = world.config.sources.get(name)
    if spec is not None and spec.host is not None and not into:
        raise SafetyRefusal(f"{name} is on {spec.host}, and nothing is renamed on another host",
                            hint="give the source commands of your own (promotion:), or say where it goes on this machine (into:)")


def _database(asked: Asked, source: Database, entry: Mapping[str, Any], history: History, world: World) -> Brought:
    spec = world.config.sources.get(asked.source)
    name = _into(asked, world) or (spec.database if spec is not None else entry["proof"].get("database", ""))
    if not name:
        raise UsageError(f"nothing says what database {asked.source} was", hint="name the one that it becomes (into:)")
    there = spec is not None and spec.host is not None and "server" not in (asked.place or {})
    return BroughtDatabase(name, source.beside() if there else source, asked.place, name=asked.source, entry=entry, history=history,
                           world=world, scratch=asked.scratch, on_its_host=there)


def _into(asked: Asked, world: World) -> str:
    service = world.config.services.get(asked.service)
    return asked.into or (service.into.get(asked.source, "") if service is not None else "")


def outermost(paths: Sequence[str]) -> list[str]:
    """Those that lie in no other one of them: the others come with these."""
    normal = [os.path.normpath(path) for path in paths]
    return [path for path in dict.fromkeys(normal) if not any(path != other and path.startswith(other.rstrip("/") + "/")
                                                             for other in normal)]


def _expected(root: str, roots: Sequence[str], entry: Mapping[str, Any], history: History) -> Count:
    """What the set holds below a path: the proof itself where it is the only one, else as the repository lists it."""
    if len(roots) == 1:
        return Count(entry["proof"]["files"], entry["proof"]["bytes"])
    sizes = [node.size for node in history.repository.ls(entry["snapshot"], root) if node.type == "file"]
    return Count(len(sizes), sum(sizes))
