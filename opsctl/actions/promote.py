"""promote: one source of a set brought into production: restored beside it, proven there, and renamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from opsctl.actions.agreeing import PEOPLE, refuse_alone
from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.promoting import pieces
from opsctl.actions.promoting.exchange import Exchange, Missing, refuse_strange
from opsctl.actions.promoting.notes import PROMOTE, Notes
from opsctl.actions.promoting.piece import Brought
from opsctl.actions.promoting.proven import never_done, refuse_unproven
from opsctl.actions.restoring import SCRATCH, certificate, find_set, plain, refuse_unvouched
from opsctl.errors import SafetyRefusal
from opsctl.model.part import AfterValidator
from opsctl.model.sets import SetView


class PromoteParams(Params):
    """``into``: the folder, file or database that it becomes; empty: what ``service`` says in the configuration, or what it was.

    ``server port user server_cacert`` say where that database is, as for ``restore_set``; ``scratch`` where its dump lies until
    it is loaded.
    """

    backup: str
    set: str
    source: str
    service: str = ""
    into: str = ""
    replace: bool = False
    copy_in: str = ""
    server: str | None = None
    port: str | None = None
    user: str | None = None
    server_cacert: Annotated[str | None, AfterValidator(certificate)] = None
    scratch: Annotated[str, AfterValidator(plain)] = SCRATCH
    step: str = ""

    @property
    def place(self) -> Mapping[str, str] | None:
        """The server of the database; None: where it came from."""
        found = {"server": self.server, "port": self.port, "user": self.user, "cacert": self.server_cacert}
        return {key: value for key, value in found.items() if value} or None


@dataclass(frozen=True)
class PieceSeen:
    """One piece: what is missing of its exchange, whether it lies ``proven`` beside its place, and what is left to remove."""

    key: str
    wanted: Exchange
    proven: bool
    missing: Missing
    left_over: str | None


@dataclass(frozen=True)
class Seen:
    """All pieces of the source, in order."""

    pieces: tuple[PieceSeen, ...]
    signer: str | None


class Promote(StateAction[PromoteParams, Seen]):
    """Brings one source of a set into production: restores it beside what is there, proves it there, and renames it.

    with:
      backup   the name of a backup
      set      the id of the set
      source   the source of it that comes into production
      into     the folder, file or database that it becomes, if not the one that it was; for a source of one path
      service  the service that it is for, whose `into:` says the same
      replace  true: what is in production is kept beside it, under a dated name; otherwise data there is refused
      copy_in  the repository that holds a copy to restore from, instead of the backup's own
      server, port, user, server_cacert  where the database is, if not where it came from
      scratch  a folder for its dump until it is loaded; /var/tmp where it is left out

    The run must have proven the set in the clean room and scanned it by name (words `prove` and `scan`), and two people must
    have signed for it at a step `approve` before this one, whatever the playbook says; otherwise it is refused (23). A folder
    or file is restored as `.NAME.opsctl-RUN` beside its place, and both get their names in one step of the file system (two
    where it has none, written down before). What was replaced is kept as `NAME.before-20261220-1402`, with owner and modes;
    `rollback` puts it back. A database is loaded as `NAME_opsctl_…` into the same server and proven table by table; then
    nobody is let into the old one, who is in it is sent away, and both get their names in one transaction (MariaDB, which
    cannot rename a database: by moving all tables of each, written down before). What was replaced is kept as
    `NAME_before_20261220_1402`. Stop what uses the place before (word `stop`): who has a file of the old folder open goes on
    writing into the old folder.
    """

    word = "promote"
    Params = PromoteParams
    break_glass = False

    def locks(self, params: PromoteParams) -> Sequence[str]:
        return (f"promote-{params.source}",)

    def people(self, params: Mapping[str, Any], config: Any) -> int:
        return PEOPLE

    def unprepared(self, params: Mapping[str, Any], before: Sequence[Any], config: Any) -> str | None:
        return never_done(params["backup"], params["set"], params["source"], before, config)

    def observe(self, params: PromoteParams, world: World) -> Seen:
        refuse_unproven(params.backup, params.set, params.source, world)
        refuse_alone(params.step, world, f"{params.source} comes into production")
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        refuse_unvouched(view)
        found = pieces.brought(params, view, history, world)
        return Seen(tuple(_look(number, piece, params, view, world) for number, piece in enumerate(found)), view.signer)

    def plan(self, params: PromoteParams, seen: Seen) -> list[Change]:
        changes = [Change(f"bring:{one.key}", f"restore {one.key} as {one.wanted.source} and prove it")
                   for one in seen.pieces if one.missing is not Missing.NOTHING and not one.proven]
        brought = tuple(change.key for change in changes)
        for one in seen.pieces:
            if one.missing is not Missing.NOTHING:
                kept = f"; what is there is kept as {one.wanted.kept}" if one.wanted.old else ""
                changes.append(Change(f"rename:{one.key}", f"rename it to {one.wanted.place}{kept}", brought))
            elif one.left_over:
                changes.append(Change(f"tidy:{one.key}", f"remove {one.left_over}"))
        return changes

    def apply(self, params: PromoteParams, change: Change, world: World) -> None:
        word, _, key = change.key.partition(":")
        view, history = find_set(world, params.backup, params.set, params.copy_in)
        piece = next(one for one in pieces.brought(params, view, history, world) if one.key == key)
        notes = Notes(world.keep(PROMOTE), params.source)
        if word == "bring":
            piece.bring()
            notes.add(key, new=piece.look(piece.source))
            return
        if word == "rename":
            wanted = _wanted(piece, notes.read(key))
            if piece.missing(wanted) is not Missing.NOTHING:
                piece.swap(wanted)
                kept = f", and what was there is {wanted.kept}" if wanted.old is not None else ""
                world.tell(f"{piece.place} is in production{kept}; back again: opsctl restore rollback {world.run}")
        piece.tidy()

    def result(self, params: PromoteParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "backup": params.backup, "set": params.set, "source": params.source, "signed_by": seen.signer,
            "places": [{"place": one.wanted.place, "promoted": one.missing is Missing.NOTHING,
                        "kept": one.wanted.kept if one.wanted.old is not None else None} for one in seen.pieces],
        }


def _look(number: int, piece: Brought, params: PromoteParams, view: SetView, world: World) -> PieceSeen:
    notes = Notes(world.keep(PROMOTE), params.source)
    note = notes.read(piece.key)
    if not note:
        old = piece.look(piece.place)
        piece.refuse(old, params.replace)
        note = {"source": params.source, "number": number, "key": piece.key, "place": piece.place, "staged": piece.source,
                "old": old, "new": None, "kept": piece.free_name("before", pieces.stamp(world)), "mount": piece.mount(),
                "set": params.set, "backup": params.backup, "kind": view.sources[params.source]["kind"],
                "paths": list(view.sources[params.source]["paths"]), **piece.facts()}
        notes.write(piece.key, note)
    if note.get("rolled_back"):
        raise SafetyRefusal(f"run {note['rolled_back']} put back what this run replaced at {piece.place}",
                            hint="bring it into production anew, by another run", where=piece.place)
    if note["mount"] != (now := piece.mount()):
        raise SafetyRefusal(f"{piece.place} was on what is mounted at {note['mount']}, and is on {now} now",
                            hint=f"mount it again at {note['mount']}, then resume", where=piece.place)
    wanted = _wanted(piece, note)
    found = piece.found(wanted)
    if found.kept not in (None, wanted.old):  # the name was taken meanwhile
        notes.add(piece.key, kept=piece.free_name("before", pieces.stamp(world)))
        wanted = _wanted(piece, notes.read(piece.key))
        found = piece.found(wanted)
    if wanted.new is None or wanted.new not in (found.place, found.source):
        refuse_strange(wanted, found)
        piece.refuse(wanted.old, params.replace)
        return PieceSeen(piece.key, wanted, False, Missing.ALL, None)
    left = piece.missing(wanted)
    proven = left is not Missing.ALL or piece.is_proven()
    return PieceSeen(piece.key, wanted, proven, left, piece.left_over())


def _wanted(piece: Brought, note: Mapping[str, Any]) -> Exchange:
    return Exchange(place=piece.place, source=piece.source, kept=note["kept"], new=note["new"], old=note["old"])
