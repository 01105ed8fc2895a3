"""What both restores share: the staging place beside the target, the room it needs, and the rename into view."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.actions.interface import World
from opsctl.actions.into_view import move, move_over_empty
from opsctl.actions.not_kept import not_kept
from opsctl.errors import DamagedData, OpsError, ProgramFailed, SafetyRefusal
from opsctl.model.quantities import format_size
from opsctl.model.sets import FOREIGN, UNVOUCHED, WHOLE, SetView
from opsctl.model.unknown import unknown
from opsctl.repositories.history import History
from opsctl.repositories.private import remove_tree
from opsctl.sources.conversation import NOTHING
from opsctl.sources.interface import Difference, Source

#: The file that tells what a restored folder is, and of which run.
RECORD = "RESTORED.json"
#: Where what is only needed for a while lies.
SCRATCH = "/var/tmp"


def find_set(world: World, backup: str, set_id: str, copy: str = "") -> tuple[SetView, History]:
    """The set and the history of its repository, or of the one named by ``copy``. SafetyRefusal where it is not there or cannot be trusted to be whole.

    DamagedData where the repository itself says something else of it than our cache.
    """
    history = world.repository(copy or world.home(backup))
    judgement = history.look(world.clock()).judgement
    view = next((found for found in judgement.of(backup) if found.id == set_id), None)
    if view is None:
        raise unknown("set", set_id, [found.id for found in judgement.of(backup)], hint=f"opsctl backup list {backup}")
    if not view.record:
        raise SafetyRefusal(
            f"set {set_id} of {backup} is {view.state}: {'; '.join(view.reasons)}",
            hint=f"choose another one: opsctl backup list {backup}",
        )
    history.confirm(view)
    if view.state not in WHOLE:
        world.warn(f"set {set_id} is {view.state}: {'; '.join(view.reasons)}")
    if known := [damage.what for damage in view.damage if damage.sure]:
        world.warn(f"set {set_id} holds damage: {'; '.join(known)}; `opsctl backup show {set_id}` says more, and where there "
                   "are copies of it")
    return view, history


def refuse_unvouched(view: SetView) -> None:
    """SafetyRefusal for data that nobody here vouched for and that would be loaded: a dump is a program.

    Its statements have all the rights of the role that loads it, and a superuser's can run programs on the server.
    """
    if view.state not in UNVOUCHED:
        return
    alone = "restore it without --database: its files land where they can be looked at, and nothing of them is run"
    raise SafetyRefusal(
        f"set {view.id} is {view.state} ({'; '.join(view.reasons)}), and a dump that nobody vouched for is not loaded: "
        "it can do whatever the role may that loads it",
        hint=f"if you know this key: --trust {view.signer}; otherwise {alone}" if view.state == FOREIGN else alone,
        where=f"{view.backup}/{view.id}",
    )


def staging(target: Path, run: str) -> Path:
    """Where things are put before they are proven: beside the target, so that one rename brings them into view."""
    return target.parent / f".{short(target.name)}.opsctl-{run}"


def aside(target: Path, run: str) -> Path:
    """Where something goes that is in the way and shall be kept: a name that nothing has yet."""
    first = place = target.parent / f"{short(target.name)}.before-{run}"
    number = 1
    while os.path.lexists(place):
        number += 1
        place = first.with_name(f"{first.name}-{number}")
    return place


def plain(path: str) -> str:
    """A path as parameters take it; ValueError where it is relative or leads back (``..``)."""
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise ValueError(f"{path} is no absolute path without . and ..")
    return path


def refuse_own_places(world: World, target: Path) -> None:
    """SafetyRefusal for a target inside a repository or the state directory."""
    local = {spec.url for spec in world.config.repositories.values() if spec.url.startswith("/")}
    for own in (*sorted(local), str(world.config.state)):
        if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(own)):
            raise SafetyRefusal(f"{target} lies in {own}, which is opsctl's own", hint="choose another --into")


def make_staging(place: Path, *, anew: bool) -> None:
    """Make the staging folder, for us alone. SafetyRefusal where somebody else has put something in its place.

    ``anew``: what an earlier try left in it goes first.
    """
    if os.path.lexists(place):
        found = os.lstat(place)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise SafetyRefusal(f"{place} was not made by this run", hint="find out who made it, remove it, then resume")
        if anew:
            remove_tree(place)
    place.mkdir(mode=0o700, parents=True, exist_ok=not anew)


def bring(source: Source, entry: Mapping[str, Any], target: Path, history: History, world: World) -> list[Difference]:
    """Restore the files of one source into ``target``, anew; what differs from the entry. Raises as ``Repository.restore``.

    What its file system does not keep is told.
    """
    if target.exists():
        remove_tree(target)
    target.mkdir(mode=0o700)
    for sentence in not_kept(target.parent) if source.kind == "paths" else ():
        world.warn(sentence)
    history.repository.restore(entry["snapshot"], target, on_progress=world.progress)
    return source.restored_files(entry, target)


def load_in_room(room: Any, name: str, entry: Mapping[str, Any]) -> list[Difference]:
    """Load the restored dump of a source into its server in a clean room, anew, and compare its proof; what differs.

    The program that feeds the server runs in the room as well: a dump is a program.
    """
    from opsctl.sources.clean_room import DATABASE

    room.forget_server(name)
    database = room.database(name, entry)
    with room.server(name, entry) as server:
        database.load(room.files(name) / entry["paths"][0].lstrip("/"), entry, DATABASE, server=server)
        found: list[Difference] = database.prove(entry, DATABASE, server=server)
    return found


def settle(world: World, place: Path) -> None:
    """Bring what was restored to the disk, before anything says that it is proven."""
    world.shell.run(["sync", "--file-system", str(place)])


def short(name: str) -> str:
    """A file name that leaves room for a suffix: names have at most 255 bytes."""
    raw = os.fsencode(name)
    return name if len(raw) <= 150 else f"{os.fsdecode(raw[:120])}~{hashlib.sha256(raw).hexdigest()[:12]}"


def refuse_small_disk(
    target: Path, needed: int, leftovers: Iterable[Path] = (), *, hint: str = "free some space or choose another --into",
) -> None:
    """ProgramFailed where the file system of ``target`` has not ``needed`` bytes free.

    ``leftovers``: what an interrupted restore left there, which is removed before anything is written.
    """
    place = target
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    free = usage.free + sum(map(_occupied, leftovers))
    if needed > free and usage.total:  # there are file systems that do not say how large they are
        raise ProgramFailed(
            f"{place} has {format_size(free)} free and the restore needs {format_size(needed)}",
            hint=hint, where=str(target),
            details={"needed": needed, "free": free},
        )


def _occupied(place: Path) -> int:
    """Bytes on the disk that removing a folder gives back (hard links are counted once for each name)."""
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, names in os.walk(place) for name in names)


def show(staged: Path, target: Path, *, aside: Path | None = None) -> None:
    """Bring a proven thing into view by one rename; what is in the way goes ``aside`` first, where that is allowed.

    An empty directory may be in the way. SafetyRefusal for anything else, also for what appears at the last moment.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if aside is not None and os.path.lexists(target):
            move(target, aside)
        if stat.S_ISDIR(os.lstat(staged).st_mode):
            move_over_empty(staged, target)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.rmdir(target)
            move(staged, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise SafetyRefusal(f"{target} came into being while the restore ran", hint="move it away, then resume") from error
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_the_way(target: Path) -> bool:
    """Whether something is at ``target`` that a restore would cover: anything but an empty directory."""
    if not os.path.lexists(target):
        return False
    return target.is_symlink() or not target.is_dir() or any(target.iterdir())


def let_go(staged: Path, place: Path) -> int | None:
    """Make a rename out of the staging place possible for an ordinary user, where folders came back read-only.

    The mode that a folder has to get back afterwards, or None.
    """
    if not os.geteuid():
        return None
    parent = staged.parent
    while parent != place:
        os.chmod(parent, 0o700)
        parent = parent.parent
    mode = os.lstat(staged).st_mode
    if not stat.S_ISDIR(mode) or mode & stat.S_IWUSR:
        return None
    os.chmod(staged, stat.S_IMODE(mode) | stat.S_IWUSR)
    return stat.S_IMODE(mode)


def staged_name(source: str, database: str, run: str) -> str:
    """A name of this run's own for a database that is not proven yet; at most 63 bytes, as PostgreSQL has it."""
    mark = hashlib.sha256(f"{run}/{source}/{database}".encode()).hexdigest()[:12]
    return f"{database.encode()[:40].decode(errors='ignore')}_opsctl_{mark}"


def certificate(value: str | None) -> str | None:
    """The certificate of a server as parameters take it: an absolute path, or ``none``."""
    return plain(value) if value and value != NOTHING else value


def refuse_differences(name: str, differences: Sequence[Difference], where: str) -> None:
    """DamagedData, with each difference, where there are any; ``where`` says where the thing lies."""
    if not differences:
        return
    error: OpsError = DamagedData(
        f"{name} is not what was backed up: {'; '.join(str(found) for found in differences[:5])}"
        f"{f' and {len(differences) - 5} more' if len(differences) > 5 else ''}",
        hint=f"{where}, not in view; try an older set, and `opsctl verify --level data`", where=name,
        details={"differences": [str(found) for found in differences[:200]]},
    )
    raise error
