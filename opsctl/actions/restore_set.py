"""restore_set: a whole set in a new place, proven, and only then in view."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions import in_incident
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.restoring import (
    RECORD,
    bring,
    certificate,
    find_set,
    in_the_way,
    make_staging,
    plain,
    refuse_differences,
    refuse_own_places,
    refuse_small_disk,
    refuse_unvouched,
    settle,
    show,
    staged_name,
    staging,
)
from opsctl.errors import Interrupted, OpsError, SafetyRefusal, UsageError
from opsctl.model.part import AfterValidator, BeforeValidator, Field
from opsctl.proofs import shows
from opsctl.repositories.whole import write_whole
from opsctl.sources.interface import BroughtBack, Database

#: What agrees where a dump was restored and not loaded.
NOT_LOADED = "the size and the end of its dump; it was not loaded, so no table was compared"


def _pairs(value: Any) -> Any:
    """A playbook's inputs are lists: ``[portal-db=enagar_new]``."""
    if not isinstance(value, list | tuple):
        return value
    pairs = [str(one).partition("=") for one in value]
    if any(not source or not name for source, _, name in pairs):
        raise ValueError("each is SOURCE=DATABASE")
    if len({source for source, _, _ in pairs}) < len(pairs):
        raise ValueError("a source is named twice")
    return {source: name for source, _, name in pairs}


def _apart(value: Mapping[str, str]) -> Mapping[str, str]:
    if len(set(value.values())) < len(value):
        raise ValueError("two sources cannot be loaded into one database")
    return value


Databases = Annotated[dict[str, str], BeforeValidator(_pairs), AfterValidator(_apart)]


class RestoreSetParams(Params):
    """``into`` is an absolute path; ``databases`` maps a source to the name of the new database it is loaded into.

    ``server port user`` say where databases are loaded, where that is not the server they came from; ``server_cacert`` what
    that server's TLS is checked against, where it is not the source's: a file, or ``none``.
    """

    backup: str
    set: str
    into: Annotated[str, AfterValidator(plain)]
    sources: tuple[str, ...] = ()
    databases: Databases = Field(default_factory=dict)
    server: str | None = None
    port: str | None = None
    user: str | None = None
    server_cacert: Annotated[str | None, AfterValidator(certificate)] = None
    copy_in: str = ""
    step: str = ""

    def names(self, held: Collection[str]) -> tuple[str, ...]:
        """The sources to restore, of those that the set holds: a database is loaded from the restored dump."""
        return tuple(dict.fromkeys([*self.sources, *self.databases])) if self.sources else tuple(held)

    @property
    def place(self) -> Mapping[str, str] | None:
        """The server that databases are loaded into; None: where they came from."""
        found = {"server": self.server, "port": self.port, "user": self.user, "cacert": self.server_cacert}
        return {key: value for key, value in found.items() if value} or None


@dataclass(frozen=True)
class Loaded:
    """How one database stands: under its final name, under the name it is loaded under, and whether ours is proven.

    ``program``: a program of the user's own makes it, under its final name, and we see no more than its exit code.
    """

    final: bool
    staged: bool
    proven: bool
    program: bool = False


@dataclass(frozen=True)
class Seen:
    """``proven``: sources whose files lie proven in the staging place; ``shown``: the folder is in view and ours."""

    sources: tuple[str, ...]
    kinds: Mapping[str, str]
    staged: str
    proven: frozenset[str]
    shown: bool
    databases: Mapping[str, Loaded]
    differences: Mapping[str, Sequence[str]]
    shows: Mapping[str, str]
    signer: str | None


class RestoreSet(StateAction[RestoreSetParams, Seen]):
    """Restores every source of a set into a new folder, loads databases into new ones, compares every proof, and only
    when all of them agree brings the folder and the databases into view by renaming.

    with:
      backup     the name of a backup
      set        the id of the set
      into       the folder to make; it must not exist, or be empty
      sources    only these sources of the set (all, where left out)
      databases  {source: name}: load this source into a new database of that name; a source of kind `command` is fed to
                 its `restore:` program, which finds the name as `${target}`
      server, port, user  where the databases are loaded, if not where they came from
      server_cacert  the certificate that vouches for that server, if it is not the source's; none: it is not checked
      copy_in    the repository that holds a copy to restore from, instead of the backup's own

    While an incident is open, a folder or a database that is production by the configuration is refused (23) unless the run
    scanned it and two approved: `restore run` and `restore promote` do that.

    A killed restore leaves a folder `.NAME.opsctl-RUN` and databases with `_opsctl_` in their name, never something that
    looks finished. Reads take no lock, so that a hung check cannot hold an emergency up.
    """

    word = "restore_set"
    Params = RestoreSetParams

    def locks(self, params: RestoreSetParams) -> Sequence[str]:
        return (f"into-{params.into}",)

    def observe(self, params: RestoreSetParams, world: World) -> Seen:
        refuse_own_places(world, Path(params.into))
        view, _ = find_set(world, params.backup, params.set, params.copy_in)
        names = params.names(view.sources)
        for name in (*names, *params.databases):
            if name not in view.sources:
                raise UsageError(f"set {params.set} holds no source {name}", hint=f"it holds {', '.join(view.sources)}")
        if params.databases:
            refuse_unvouched(view)
        target, place = Path(params.into), staging(Path(params.into), world.run)
        shown = _is_ours(target, world.run)
        proven = frozenset(name for name in names if shown or _stands(view.sources[name], name, place, world))
        if not shown and in_the_way(target):
            raise SafetyRefusal(f"{target} exists and is not empty", hint="choose a new folder for --into")
        databases = {source: _database(world, source, name, view.sources[source], params)
                     for source, name in params.databases.items()}
        used = in_incident.places_in_use([] if shown else [params.into], world)
        used += in_incident.databases_in_use([(source, name) for source, name in params.databases.items() if not databases[source].final], world)
        in_incident.refuse_unscanned(params, names, used, world)
        if not shown:
            missing = [name for name in names if name not in proven]
            refuse_small_disk(target, sum(view.sources[name]["bytes"] for name in missing),
                              [place / name for name in missing])
        return Seen(
            sources=names,
            kinds={name: view.sources[name]["kind"] for name in names},
            staged=str(place),
            proven=proven,
            shown=shown,
            databases=databases,
            differences={name: _note(world, name).get("differences", []) for name in names},
            shows={name: _equal(name, view.sources[name], params, world) for name in names},
            signer=view.signer,
        )

    def plan(self, params: RestoreSetParams, seen: Seen) -> list[Change]:
        changes = [Change(f"files:{name}", f"restore {name} ({seen.kinds[name]}) into {seen.staged}/{name} and prove it")
                   for name in seen.sources if name not in seen.proven]
        restored = {change.key for change in changes}
        for source in params.databases:
            if not seen.databases[source].proven:
                after = tuple({f"files:{source}"} & restored)
                text = (f"feed {source} to its restore program for {params.databases[source]}, and prove what it is fed"
                        if seen.databases[source].program
                        else f"load {source} into a new database and prove it, table by table")
                changes.append(Change(f"load:{source}", text, after))
        before = tuple(change.key for change in changes)
        for source, name in params.databases.items():
            if not seen.databases[source].final and not seen.databases[source].program:
                changes.append(Change(f"name:{source}", f"name the database {name}", before))
        if not seen.shown:
            changes.append(Change("show", f"bring it into view as {params.into}", before))
        return changes

    def apply(self, params: RestoreSetParams, change: Change, world: World) -> None:
        word, _, name = change.key.partition(":")
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        place = staging(Path(params.into), world.run)
        if word == "files":
            _restore(view.sources[name], name, place, history, world)
        elif word == "load":
            refuse_unvouched(view)
            _load(view.sources[name], name, place, params, world)
        elif word == "name":
            database = _as_database(world, name, view.sources[name])
            staged = staged_name(name, params.databases[name], world.run)
            _write_note(world, f"{name}.database", {**_note(world, f"{name}.database"), "renamed": True})
            database.rename(staged, params.databases[name], server=params.place)
        else:
            record = {"set": params.set, "backup": params.backup, "run": world.run, "time": world.now.isoformat(),
                      "signed_by": view.signer, "set_time": view.record["time"],
                      "sources": {source: {"kind": view.sources[source]["kind"],
                                           "equal": _equal(source, view.sources[source], params, world)}
                                  for source in params.names(view.sources)},
                      "databases": dict(params.databases)}
            write_whole(place / RECORD, json.dumps(record, indent=1).encode() + b"\n")
            show(place, Path(params.into))

    def result(self, params: RestoreSetParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "backup": params.backup, "set": params.set, "into": params.into if seen.shown else None,
            "staged": None if seen.shown else seen.staged, "signed_by": seen.signer,
            "sources": {name: {"kind": seen.kinds[name], "proven": name in seen.proven,
                               "shows": seen.shows[name],
                               "differences": list(seen.differences.get(name, ()))} for name in seen.sources},
            "databases": {params.databases[source]: {"source": source, "in_view": found.final, "proven": found.proven,
                                                     "program": found.program}
                          for source, found in seen.databases.items()},
        }


def _equal(name: str, entry: Mapping[str, Any], params: RestoreSetParams, world: World) -> str:
    """In words, what was compared: of a dump that nobody loaded, no table."""
    if name not in params.databases and isinstance(world.source(name, entry), Database):
        return NOT_LOADED
    return shows(entry["proof"])


def _is_ours(target: Path, run: str) -> bool:
    try:
        return json.loads((target / RECORD).read_text())["run"] == run
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _note(world: World, name: str) -> Mapping[str, Any]:
    try:
        return json.loads((world.keep("restore") / f"{name}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _write_note(world: World, name: str, content: Mapping[str, Any]) -> None:
    write_whole(world.keep("restore") / f"{name}.json", json.dumps(content).encode())


def _stands(entry: Mapping[str, Any], name: str, place: Path, world: World) -> bool:
    """Whether an earlier try of this run proved these files, and they are still what was proven."""
    if not _note(world, name).get("proven") or not (place / name).is_dir():
        return False
    return not world.source(name, entry).restored_files(entry, place / name)


def _as_database(world: World, name: str, entry: Mapping[str, Any]) -> Database:
    source = world.source(name, entry)
    if not isinstance(source, Database):
        raise UsageError(f"{name} is of kind {entry['kind']} and is not loaded into a server",
                         hint="its files are restored as they are")
    return source


def _database(world: World, source: str, name: str, entry: Mapping[str, Any], params: RestoreSetParams) -> Loaded:
    server = params.place
    if _program(world, source, entry) is not None:
        note = _note(world, f"{source}.database")
        if note.get("begun") and not note.get("ended"):
            raise SafetyRefusal(f"the restore program of {source} was cut off at its work, and nobody knows what {name} holds",
                                hint=f"look at {name} and remove it; then restore anew, with another --into and name")
        return Loaded(final=bool(note.get("proven")), staged=False, proven=bool(note.get("proven")), program=True)
    database = _as_database(world, source, entry)
    note = _note(world, f"{source}.database")
    final = database.exists(name, server=server)
    staged = database.exists(staged_name(source, name, world.run), server=server)
    if not final:
        database.refuse_older(entry, server=server)
    # A rename takes the one name away and gives the other: where both are there, or none was begun, it is another's.
    if final and (staged or not note.get("renamed")):
        raise SafetyRefusal(f"there is a database {name} already", hint="choose a new name; nothing is ever restored over")
    return Loaded(final=final, staged=staged, proven=bool(note.get("proven")) and (final or staged))


def _restore(entry: Mapping[str, Any], name: str, place: Path, history: Any, world: World) -> None:
    target = place / name
    make_staging(place, anew=False)
    differences = bring(world.source(name, entry), entry, target, history, world)
    settle(world, target)
    _write_note(world, name, {"proven": not differences, "differences": [str(found) for found in differences],
                              "raw": [asdict(found) for found in differences]})
    refuse_differences(name, differences, f"what was restored lies in {target}")


def _program(world: World, name: str, entry: Mapping[str, Any]) -> BroughtBack | None:
    """The source where a program of the user's own brings it back; UsageError where that is not configured."""
    source = world.source(name, entry)
    if not isinstance(source, BroughtBack):
        return None
    if not source.brings_back:
        raise UsageError(f"{name} has no program that brings it back",
                         hint="add restore: to the source, or leave --database out: its dump is restored as files")
    return source


def _bring_back(source: BroughtBack, entry: Mapping[str, Any], name: str, folder: Path, target: str, world: World) -> None:
    note = f"{name}.database"
    _write_note(world, note, {"begun": True})
    try:
        differences = source.bring_back(entry, folder / name, target)
    except Interrupted:
        raise
    except OpsError as error:
        _write_note(world, note, {"begun": True, "ended": True, "error": error.message})
        raise
    _write_note(world, note, {"begun": True, "ended": True, "proven": not differences,
                              "differences": [str(found) for found in differences]})
    refuse_differences(name, differences, f"what was restored lies in {folder / name}")


def _load(entry: Mapping[str, Any], name: str, place: Path, params: RestoreSetParams, world: World) -> None:
    server = params.place
    program = _program(world, name, entry)
    if program is not None:
        folder = Path(params.into) if _is_ours(Path(params.into), world.run) else place
        _bring_back(program, entry, name, folder, params.databases[name], world)
        return
    database = _as_database(world, name, entry)
    staged = staged_name(name, params.databases[name], world.run)
    if database.exists(staged, server=server):
        database.drop(staged, server=server)
    folder = Path(params.into) if _is_ours(Path(params.into), world.run) else place
    database.load(folder / name / entry["paths"][0].lstrip("/"), entry, staged, server=server)
    differences = database.prove(entry, staged, server=server)
    _write_note(world, f"{name}.database", {"proven": not differences,
                                            "differences": [str(found) for found in differences]})
    _write_note(world, name, {**_note(world, name), "differences": [str(found) for found in differences]})
    refuse_differences(name, differences, f"what was loaded is in database {staged}")
