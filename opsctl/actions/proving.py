"""The proofs of restored data: where a source lies, and what it is held against there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from opsctl.actions.interface import World
from opsctl.actions.promoting.host_files import HostFiles
from opsctl.actions.promoting.pieces import outermost
from opsctl.actions.removing import Removed, left_of, removed_of
from opsctl.model.quantities import counted, format_duration
from opsctl.model.values import value
from opsctl.proofs import files, hashes, shows
from opsctl.proofs.content import of_file
from opsctl.proofs.files import Count
from opsctl.repositories.interface import Repository
from opsctl.sources.interface import Database, Difference

#: Seconds for what has no limit of its own.
LIMIT = 6 * 3600.0
_TURN = 0.2


@value
class Proven:
    """One proof: of what, what it shows where nothing differs, how long it took. ``more``: differences that are not listed;
    ``removed``: what is missing on purpose, and therefore no difference.
    """

    kind: str
    of: str
    shows: str
    seconds: float
    differences: tuple[Difference, ...]
    more: int = 0
    tries: int = 1
    removed: tuple[Removed, ...] = ()


def in_room(name: str, entry: Mapping[str, Any], set_id: str, room: Any, repository: Repository, world: World) -> Proven:
    """A source in the clean room by all that its kind knows: the loaded database, otherwise the content of its files."""
    source = room.source(name, entry)
    begun = time.monotonic()
    if isinstance(source, Database):
        def rows() -> list[Difference]:
            from opsctl.sources.clean_room import DATABASE

            with room.server(name, entry) as server:
                return list(room.database(name, entry).prove(entry, DATABASE, server=server))

        found = _listed(bounded(LIMIT, rows, world), LIMIT, name)
        return Proven("rows", name, shows(entry["proof"]), time.monotonic() - begun, tuple(found))

    removed = removed_of(world, name, set_id)

    def files() -> hashes.Hashed:
        own = source.restored_files(left_of(entry, removed), room.files(name))
        hashed = hashes.compare(repository, entry["snapshot"], room.files(name), check=world.shell.check, on_progress=world.progress)
        return hashes.Hashed(hashed.files, (*own, *_meant(hashed.differences, room.files(name), removed)), hashed.more)

    return _hashed(name, bounded(LIMIT, files, world), LIMIT, begun, removed)


def in_production(
    kind: str, name: str, entry: Mapping[str, Any], set_id: str, into: str, limit: float, repository: Repository, world: World
) -> Iterator[Proven]:
    """A source where it is used: nothing where it is not of the sort that this proof is about.

    ``into``: the folder, file or database, if not its own.
    """
    source, begun = world.source(name, entry), time.monotonic()
    host = getattr(world.config.sources.get(name), "host", None)
    if (kind == "rows") != (isinstance(source, Database) or entry["kind"] == "sqlite"):
        return
    if entry["kind"] == "command":
        world.warn(f"{name} is a dump of a program of your own: what was made of it is proven by a command of your own, and by nothing else")
        return
    if isinstance(source, Database):
        database = into or str(getattr(world.config.sources.get(name), "database", name))
        there = source.beside() if host is not None else source
        found = _listed(bounded(limit, lambda: there.prove(entry, database), world), limit, name)
        yield Proven("rows", name, shows(entry["proof"]), time.monotonic() - begun, tuple(found))
        return
    if host is not None and not into and kind == "files":
        removed = removed_of(world, name, set_id)
        yield _hashed(name, bounded(limit, lambda: _on_host(entry, host, source.there, removed, repository, world), world), limit, begun, removed)
        return
    if host is not None and not into:
        away = Difference(name, "files of this machine", f"files of {host}, which are not read from here: prove them by a command")
        yield Proven(kind, name, "", 0.0, (away,))
        return
    if kind == "rows":
        found = _listed(bounded(limit, lambda: source.tables_in(entry, Path(into) if into else None), world), limit, name)
        yield Proven("rows", name, shows(entry["proof"]), time.monotonic() - begun, tuple(found))
        return
    removed = removed_of(world, name, set_id)
    yield _hashed(name, bounded(limit, lambda: _in_place(entry, into, removed, repository, world), world), limit, begun, removed)


def _meant(differences: Sequence[Difference], place: Path, removed: Sequence[Removed], below: str = "") -> list[Difference]:
    """What differs though it was not removed on purpose, and what is there again though it was."""
    gone = {hashes.told(one.path.removeprefix(below)) for one in removed if not os.path.lexists(f"{place}{one.path.removeprefix(below)}")}
    again = [Difference(one.path.removeprefix(below), f"nothing: run {one.run} removed it on purpose", "a file") for one in removed
             if hashes.told(one.path.removeprefix(below)) not in gone]
    return [*(one for one in differences if one.where not in gone), *again]


def _on_host(
    entry: Mapping[str, Any], host: str, there: Any, removed: Sequence[Removed], repository: Repository, world: World
) -> hashes.Hashed:
    """The paths of a source on its host: hashed again there by restic, and counted, since that does not see what is there besides."""
    compared = repository.on(there).compare_files(entry["snapshot"], Path("/"))
    gone = {hashes.told(one.path) for one in removed}
    wrong = [Difference(path, "its content as in the set", "other content, or missing") for path in compared.different if path not in gone]
    found = [HostFiles(root, host, world).counted(root) for root in outermost(entry["paths"])]
    wrong += files.compare(left_of(entry, removed)["proof"], Count(sum(one.files for one in found), sum(one.bytes for one in found)))
    return hashes.Hashed(compared.equal, tuple(wrong), compared.more)


def _in_place(entry: Mapping[str, Any], into: str, removed: Sequence[Removed], repository: Repository, world: World) -> hashes.Hashed:
    """The paths of a source where they are used; ``into`` is what the only one of them became."""
    files, more = 0, 0
    differences: list[Difference] = []
    for root in outermost(entry["paths"]):
        place = Path(into or root)
        if _is_folder(repository, entry["snapshot"], root):
            found = hashes.compare(repository, entry["snapshot"], place, below=root, check=world.shell.check, on_progress=world.progress)
            files, more = files + found.files, more + found.more
            root = root.rstrip("/")
            below = [one for one in removed if one.path.startswith(f"{root}/")]
            differences += [Difference(each.where if each.where == str(place) else f"{place}{each.where}", each.expected, each.found)
                            for each in _meant(found.differences, place, below, root)]
        elif wrong := _one_file(repository, entry["snapshot"], root, place, world):
            differences.append(wrong)
        else:
            files += 1
    return hashes.Hashed(files, tuple(differences), more)


def _is_folder(repository: Repository, snapshot: str, root: str) -> bool:
    return next((node.type for node in repository.ls(snapshot, root) if node.path == root), "dir") == "dir"


def _one_file(repository: Repository, snapshot: str, path: str, place: Path, world: World) -> Difference | None:
    with world.scratch() as scratch:
        repository.dump_to(snapshot, path, scratch / "file")
        wanted = of_file(scratch / "file", world.shell.check)
    try:
        found = of_file(place, world.shell.check)
    except OSError as error:
        return Difference(str(place), "a file", os.strerror(error.errno) if error.errno else str(error))
    if (found.bytes, found.sha256) == (wanted.bytes, wanted.sha256):
        return None
    return Difference(f"{place}, bytes and SHA-256", f"{wanted.bytes:,}, {wanted.sha256}", f"{found.bytes:,}, {found.sha256}")


def _hashed(name: str, found: hashes.Hashed | None, limit: float, begun: float, removed: Sequence[Removed]) -> Proven:
    seconds = time.monotonic() - begun
    if found is None:
        return Proven("files", name, "", seconds, tuple(_listed(None, limit, name)))
    what = f"the content of {found.files:,} file{'' if found.files == 1 else 's'}, hashed again"
    if removed:
        what += f"; {counted(len(removed), 'file')} removed on purpose"
    return Proven("files", name, what, seconds, found.differences, found.more, removed=tuple(removed))


def _listed(found: Sequence[Difference] | None, limit: float, name: str) -> Sequence[Difference]:
    """``None``: it was not done in time."""
    if found is not None:
        return found
    return [Difference(name, f"compared within {format_duration(timedelta(seconds=limit))}", "not done by then")]


def bounded(seconds: float, work: Callable[[], Any], world: World) -> Any:
    """What ``work`` gives; None where it takes longer, and it goes on until what it waits for is gone. Raises what it raises."""
    came: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            came.append((work(), None))
        except BaseException as error:  # raised again below, whatever it is
            came.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until:
        thread.join(min(_TURN, max(0.0, until - time.monotonic())))
        world.shell.check()
    if not came:
        return None
    result, error = came[0]
    if error is not None:
        raise error
    return result
