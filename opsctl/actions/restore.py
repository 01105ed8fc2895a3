"""restore: sources of a set in a clean room, with every proof compared, and nothing anywhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.removing import left_of, removed_of, take_out
from opsctl.actions.restoring import bring, find_set, load_in_room, plain, refuse_small_disk, refuse_unvouched, settle
from opsctl.actions.sound_copies import instead, refuse_damaged
from opsctl.errors import DamagedData, SafetyRefusal, UsageError
from opsctl.model.part import AfterValidator
from opsctl.model.sets import SetView
from opsctl.proofs import shows
from opsctl.sources.interface import Database, Difference


def rooms_folder(value: str) -> str:
    """A folder for clean rooms as parameters take it; empty: the configured one."""
    return plain(value) if value else value


class RestoreParams(Params):
    """``set`` is an id; ``sources`` all where empty; ``room`` the name of the clean room, the set's id where empty."""

    backup: str
    set: str
    sources: tuple[str, ...] = ()
    copy_in: str = ""
    room: str = ""
    place: Annotated[str, AfterValidator(rooms_folder)] = ""

    @property
    def room_name(self) -> str:
        return self.room or self.set

    def names(self, held: Collection[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.sources)) if self.sources else tuple(held)


@dataclass(frozen=True)
class Seen:
    """``files``: sources whose files are as their entries say; ``loaded``: databases that are as their proofs say."""

    room: str
    place: str
    sources: tuple[str, ...]
    kinds: Mapping[str, str]
    databases: frozenset[str]
    files: frozenset[str]
    loaded: frozenset[str]
    differences: Mapping[str, Sequence[str]]
    shows: Mapping[str, str]
    signer: str | None
    isolation: str = ""

    @property
    def proven(self) -> tuple[str, ...]:
        return tuple(name for name in self.sources if name in self.files and (name not in self.databases or name in self.loaded))


class Restore(StateAction[RestoreParams, Seen]):
    """Restores sources of a set into a clean room, a place without a way out, loads their databases into servers that run in
    it, and compares every proof of the manifest. Nothing comes into view: that is for `promote`, which takes no source that
    is not proven.

    with:
      backup   the name of a backup
      set      the id of the set
      sources  only these sources of the set (all, where left out)
      copy_in  the repository that holds a copy to restore from, instead of the backup's own
      room     the name of the clean room; the set's id where it is left out
      place    the folder below which it is made, instead of what `clean_room: {place: …}` says

    A set that is known to be damaged is refused (22), with the repository that has a copy without damage, and so is a server
    that is older than a dump's (20), before anything is restored. What differs from the manifest is shown as it differs (22).
    The room stays for the steps that follow, and for a resumed run; `opsctl restore clear ROOM` removes it.
    """

    word = "restore"
    Params = RestoreParams

    def locks(self, params: RestoreParams) -> Sequence[str]:
        return (f"room-{params.room_name}",)

    def observe(self, params: RestoreParams, world: World) -> Seen:
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        names = _known(params, view)
        refuse_damaged(view, history.name, world)
        refuse_unvouched(view)
        room = world.clean_room(params.room_name, params.place)
        databases = frozenset(name for name in names if isinstance(room.source(name, view.sources[name]), Database))
        if databases:
            room.refuse_a_way_out()
        for name in databases:
            room.refuse_older(name, view.sources[name])
        recorded: Mapping[str, Any] = {}
        if room.there:
            room.enter()
            recorded = room.record.get("sources", {})
        for name in names:
            if recorded.get(name, {}).get("set", view.id) != view.id:
                raise SafetyRefusal(f"the clean room {room.name} holds {name} of set {recorded[name]['set']}",
                                    hint=f"another room, or `opsctl restore clear {room.name}`")
        files = frozenset(name for name in names if recorded.get(name, {}).get("files")
                          and not world.source(name, view.sources[name]).restored_files(_left(name, view, world), room.files(name)))
        loaded = frozenset(name for name in databases & files if recorded[name].get("proven") and _stands(room, name, view))
        _refuse_small_disk(room, view, [name for name in names if name not in files], databases)
        return Seen(
            room=room.name, place=str(room.place), sources=names, kinds={name: view.sources[name]["kind"] for name in names},
            databases=databases, files=files, loaded=loaded,
            differences={name: recorded.get(name, {}).get("differences", []) for name in names},
            shows={name: shows(view.sources[name]["proof"]) for name in names}, signer=view.signer, isolation=room.says,
        )

    def plan(self, params: RestoreParams, seen: Seen) -> list[Change]:
        changes = [Change(f"files:{name}", f"restore {name} ({seen.kinds[name]}) into the clean room {seen.room} and compare it")
                   for name in seen.sources if name not in seen.files]
        restored = {change.key for change in changes}
        return changes + [
            Change(f"load:{name}", f"load {name} into a server in the clean room {seen.room} and prove it, table by table",
                   tuple({f"files:{name}"} & restored))
            for name in seen.sources if name in seen.databases and name not in seen.loaded]

    def apply(self, params: RestoreParams, change: Change, world: World) -> None:
        word, _, name = change.key.partition(":")
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        entry = view.sources[name]
        room = world.clean_room(params.room_name, params.place)
        room.enter(purpose="restore", backup=view.backup, set=view.id)
        note = {"set": view.id, "backup": view.backup, "kind": entry["kind"], "read_from": history.name, "proven": False}
        if word == "files":
            room.forget_server(name)
            room.note(name, note)
            try:
                differences = bring(world.source(name, entry), entry, room.files(name), history, world)
            except DamagedData as error:
                raise DamagedData(error.message, where=name, hint=instead(view, history.name, world), details=error.details) from error
            if not differences:
                take_out(room.files(name), removed_of(world, name, view.id))
            settle(world, room.files(name))
            database = isinstance(room.source(name, entry), Database)
            _judge(room, name, differences, {**note, "files": not differences, "proven": not differences and not database})
        else:
            refuse_unvouched(view)
            room.note(name, {**note, "files": True})
            # One that was cut off may have been loaded and only not written down.
            found = prove_in_room(room, name, entry)
            _judge(room, name, [] if found == [] else load_in_room(room, name, entry), {**note, "files": True, "proven": True})
            room.proven.add(name)

    def result(self, params: RestoreParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "backup": params.backup, "set": params.set, "room": seen.room, "place": seen.place, "signed_by": seen.signer, "isolation": seen.isolation,
            "promotable": len(seen.proven) == len(seen.sources),
            "sources": {name: {"kind": seen.kinds[name], "proven": name in seen.proven, "shows": seen.shows[name],
                               "differences": list(seen.differences[name])} for name in seen.sources},
        }


def _known(params: RestoreParams, view: SetView) -> tuple[str, ...]:
    names = params.names(view.sources)
    for name in names:
        if name not in view.sources:
            raise UsageError(f"set {params.set} holds no source {name}", hint=f"it holds {', '.join(view.sources)}")
    return names


def _left(name: str, view: SetView, world: World) -> Mapping[str, Any]:
    """The entry of a source without what was removed for this run."""
    return left_of(view.sources[name], removed_of(world, name, view.id))


def _stands(room: Any, name: str, view: SetView) -> bool:
    """Whether the database in the room is what the manifest says. What this process has proven, nobody else can have changed."""
    return name in room.proven or prove_in_room(room, name, view.sources[name]) == []


def prove_in_room(room: Any, name: str, entry: Mapping[str, Any]) -> list[Difference] | None:
    """How the loaded database of a source in a clean room differs from its entry; None where none is loaded."""
    from opsctl.sources.clean_room import DATABASE

    if not room.has_server(name):
        return None
    database = room.database(name, entry)
    with room.server(name, entry) as server:
        found: list[Difference] | None = database.prove(entry, DATABASE, server=server) if database.exists(DATABASE, server=server) else None
    return found


def _refuse_small_disk(room: Any, view: SetView, missing: Sequence[str], databases: Collection[str]) -> None:
    needed = sum(view.sources[name]["bytes"] * (3 if name in databases else 1) for name in missing)
    refuse_small_disk(room.place, needed, [room.files(name) for name in missing],
                      hint="free some space, or choose another folder: clean_room: {place: …}")


def _judge(room: Any, name: str, differences: Sequence[Difference], note: Mapping[str, Any]) -> None:
    """Write down how a source was found. DamagedData with what differs, which is never promoted."""
    shown = [str(found) for found in differences]
    room.note(name, {**note, "proven": note["proven"] and not shown, "differences": shown[:200]})
    if not shown:
        return
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    raise DamagedData(f"{name} is not what was backed up: {'; '.join(shown[:5])}{more}", where=name,
                      hint=f"it lies in the clean room {room.name} and is not promoted; try another set, and `opsctl verify --level data`",
                      details={"differences": shown[:200]})
