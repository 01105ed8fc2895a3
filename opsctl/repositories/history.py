"""The history of one repository: its snapshots, the signed records in it, and the ledger of what was there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from opsctl.errors import DamagedData, OpsError, ProgramFailed, SafetyRefusal, Unreachable, concerning
from opsctl.model.approvals import Member
from opsctl.model.choices import Choice
from opsctl.model.damage import Damage, open_damage, with_damage
from opsctl.model.freezes import Freeze
from opsctl.model.quantities import counted
from opsctl.model.record_shapes import mistake
from opsctl.model.records import (
    CHOICE,
    DRILL,
    FREEZE,
    INCIDENT,
    MANIFEST,
    NAMESPACES,
    PRUNE,
    ROTATION,
    VERIFICATION,
    Record,
    canonical,
    envelope,
    open_envelope,
)
from opsctl.model.rotation import Rotation, Trust, follow
from opsctl.model.sets import SKEW, WHOLE, Judgement, SetView, judge
from opsctl.model.snapshots import Finding, Snapshot, parse_time
from opsctl.model.values import value
from opsctl.repositories.attempts import Attempts
from opsctl.repositories.consents import Consents, Prune
from opsctl.repositories.interface import Identity, Repository
from opsctl.repositories.private import private_folder
from opsctl.repositories.rotations import Rotations
from opsctl.repositories.whole import write_whole

#: The tag that marks a snapshot as a record, by the record's format.
RECORD_TAGS = {MANIFEST: "manifest", VERIFICATION: "verification", DRILL: "drill", FREEZE: "freeze", PRUNE: "prune", CHOICE: "choice",
               ROTATION: "rotation", INCIDENT: "incident"}


class Signatures(Protocol):
    """Signing and checking; the checker tells which key signed, trust is decided here."""

    def sign(self, data: bytes, namespace: str) -> str: ...

    def check(self, data: bytes, signature: str, namespace: str) -> str: ...


class RecordCache(Protocol):
    """Records already read and checked. Their snapshot's id is the hash of their content, so they never change."""

    def get_records(self, repository_id: str) -> Mapping[str, Record]: ...

    def put_records(self, repository_id: str, found: Iterable[Record]) -> None: ...


@value
class Holdings:
    """What one look at a repository showed.

    ``verifications`` and ``drills``: the records of them that count, oldest first: signed by a trusted key, for this
    repository and not for another one that they were copied from, and not dated by a clock that ran ahead.
    ``damage``: what the verifications found and no later one found mended; each set has what of it reaches it.
    ``kept``: what controllers kept of incidents here, whoever signed it, oldest first.
    ``freezes``: those that nobody lifted; ``prunes``, and ``choices`` of a set to go back to, oldest first: those that people
    agreed to.
    """

    snapshots: tuple[Snapshot, ...]
    junk: tuple[Finding, ...]
    judgement: Judgement
    verifications: tuple[Mapping[str, Any], ...]
    drills: tuple[Mapping[str, Any], ...] = ()
    damage: tuple[Damage, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    prunes: tuple[Prune, ...] = ()
    choices: tuple[Choice, ...] = ()
    kept: tuple[Record, ...] = ()


class Ledger:
    """``repositories/NAME.json``: the pinned identity, every set that was seen good, and the prunes that people agreed to, in
    the state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        """The ledger, or None where this machine never saw the repository. DamagedData where the file is broken."""
        try:
            return json.loads(self.path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            raise DamagedData(
                f"the ledger {self.path} cannot be read: {error}",
                hint="move it away and run `opsctl status --refresh`; what it knew of deleted sets is then lost",
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the ledger between ``load`` and ``save``."""
        private_folder(self.path.parent)
        with open(self.path.with_suffix(".lock"), "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def save(self, content: Mapping[str, Any]) -> None:
        write_whole(self.path, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")


def is_of_all(error: OpsError) -> bool:
    """Whether a repository as a whole cannot be read, so that the error tells nothing of a single set in it."""
    return error.details.get("kind") in ("config-missing", "repository-replaced", "key-missing")


def _is_of_it(error: OpsError) -> bool:
    """Whether a record cannot be read because of what it is itself: damaged, or a snapshot of other files."""
    return isinstance(error, DamagedData) or "not found in snapshot" in error.message


def _record_path(snapshot: Snapshot) -> str:
    """Where in its snapshot a record lies: at the top where other files lie beside it, wherever they were put in from."""
    beside = [os.path.basename(path) for path in snapshot.paths]
    return snapshot.paths[0] if len(beside) == 1 else "/" + next(name for name in beside if name.startswith("opsctl-"))


class History:
    """One repository with its records and its ledger. Constructors store and nothing more."""

    def __init__(
        self,
        repository: Repository,
        *,
        ledger: Ledger,
        records: RecordCache,
        signatures: Signatures,
        trusted: Collection[str],
        copied: Collection[str] = (),
        removable: bool = False,
        people: Callable[[], Mapping[str, Member]] = dict,
    ) -> None:
        """``people``: those whose signatures count for a thaw and a prune."""
        self.repository = repository
        self.ledger = ledger
        self.cache = records
        self.signatures = signatures
        self.trusted = trusted
        #: The backups whose sets are copied to here from their own repositories.
        self.copied = copied
        self.removable = removable
        self.consents = Consents(people, signatures, trusted)
        #: Keys of a controller that follow others, as the last look found them shown.
        self.rotations: Sequence[Rotation] = ()
        self._rotations = Rotations(signatures, self.consents)
        self._given = frozenset(trusted)
        self._trust = Trust(self._given, {})
        self._identity: Identity | None = None
        self._seen: Holdings | None = None
        self._read_anew: dict[str, Record] = {}

    @property
    def name(self) -> str:
        return self.repository.name

    @property
    def attempts(self) -> Attempts:
        """Which sets could not be copied to here, and when that was last tried."""
        return Attempts(self.ledger.path.with_suffix(".tried"))

    def adopt(self, identity: Identity) -> None:
        """Pin a repository for good: from now on only this one will do."""
        with self.ledger.locked():
            known = self.ledger.load() or {"sets": []}
            self.ledger.save({**known, "id": identity.id, "chunker": identity.chunker, "key": identity.key,
                              "config_sha256": identity.config_sha256})
        self._begun.unlink(missing_ok=True)
        self._identity = identity
        self.repository.pin(identity)

    def create(self, *, chunker_from: Repository | None = None) -> None:
        """Make the repository. An attempt that was killed is known by a mark beside the ledger, until it is pinned."""
        url = self.repository.url.encode()
        try:
            begun = self._begun.read_bytes() == url
        except FileNotFoundError:
            begun = False
        write_whole(self._begun, url)
        try:
            self.repository.create(begun=begun, chunker_from=chunker_from)
        except SafetyRefusal:
            if not begun:
                self._begun.unlink(missing_ok=True)
            raise

    @property
    def _begun(self) -> Path:
        return self.ledger.path.with_suffix(".begun")

    def is_away(self) -> bool:
        """Whether this is a removable disk that is not here. Anywhere else, nothing where something was is damage."""
        if not self.removable:
            return False
        try:
            return self.repository.is_away()
        except Unreachable:
            return True

    def require_here(self) -> None:
        """Unreachable, with kind ``away``, where the removable disk is not here."""
        if self.pinned() is not None and self.is_away():
            raise Unreachable(f"the disk of {self.name} is not here: nothing is at {self.repository.url}",
                              hint="plug it in and mount it; one that is registered: opsctl media mount NAME", where=self.name, details={"kind": "away"})

    def pinned(self) -> Identity | None:
        """The pinned identity; pins the repository to it. None where the ledger knows of none."""
        if self._identity is None:
            known = self.ledger.load()
            if known:
                self._identity = Identity(known["id"], known["chunker"], known.get("config_sha256"),
                                          known.get("key"))
                self.repository.pin(self._identity)
        return self._identity

    def identity(self) -> Identity:
        """The pinned identity, or the repository's own where this machine has never pinned one (a bare machine)."""
        known = self.pinned()
        if known is None:
            try:
                with concerning(self.name):
                    known = self._identity = self.repository.identity()
            except DamagedData as error:
                if error.details.get("kind") != "config-missing":
                    raise
                raise SafetyRefusal(f"there is no repository at {self.repository.url} ({self.name}) yet",
                                    hint=f"opsctl backup init {self.name}", where=self.name,
                                    details={"kind": "not-made"}) from error
        return known

    def find(self) -> Identity | None:
        """The repository's identity, None where this machine never knew of one and there is none.

        DamagedData, with the number of sets it held, where a known one is gone or is another.
        """
        known = self.pinned()
        self.require_here()
        try:
            with concerning(self.name):
                found = self.repository.identity()
        except DamagedData as error:
            if known is None and error.details.get("kind") == "config-missing":
                return None
            raise self._with_sets(error) from error
        if known is not None and found.id != known.id:
            raise DamagedData(
                f"repository {self.name} is another one: {found.id[:12]} instead of {known.id[:12]}{self._held()}",
                hint="nothing was changed; find out who put it there", where=self.name,
            )
        return found

    def require_known(self) -> None:
        """SafetyRefusal where this machine has not pinned the repository: nothing is written into an unknown one."""
        if self.pinned() is None:
            raise SafetyRefusal(f"repository {self.name} is not known to this machine yet",
                                hint=f"`opsctl backup init {self.name}` pins the one that is there; it makes one only "
                                     "where there is none", where=self.name)

    def _held(self) -> str:
        return f"; it held {counted(len((self.ledger.load() or {}).get('sets', [])), 'set')}"

    def _with_sets(self, error: DamagedData) -> DamagedData:
        if error.details.get("kind") not in ("config-missing", "repository-replaced"):
            return error
        return DamagedData(error.message + self._held(), hint=error.hint, where=self.name,
                           details={**error.details, "sets": len((self.ledger.load() or {}).get("sets", []))})

    def look(self, now: datetime) -> Holdings:
        """Everything that is there now. DamagedData where a known repository holds none of its sets any more."""
        identity = self.identity()
        self.require_here()
        try:
            with concerning(self.name):
                snapshots = self.repository.snapshots()
        except DamagedData as error:
            raise self._with_sets(error) from error
        records = self._records(identity.id, snapshots)
        self.rotations = self._rotations.read(records.values(), identity.id)
        self._trust = follow(self._given, self.rotations)
        self.trusted = self._trust.keys
        self.consents.trust(self.trusted)
        records = {name: self._in_its_time(record) for name, record in records.items()}
        kept = self.ledger.load() or {}
        ledger = kept.get("sets", [])
        marked = {found.id for found in snapshots if RECORD_TAGS[FREEZE] in found.tags}
        agreements = self.consents.read(records.values(), marked, identity.id, kept.get("prunes", {}))
        forgotten = agreements.forgotten
        ids = {snapshot.id for snapshot in snapshots}
        held = [entry for entry in ledger if entry["manifest"] not in forgotten and not entry.get("pruned")]
        if held and not any(entry["manifest"] in ids for entry in held):
            raise DamagedData(
                f"every set of repository {self.name} is gone: it held {counted(len(held), 'set')}",
                hint="do not write to it; find out who deleted them. Until someone prunes, `restic recover` brings them back",
                where=self.name, details={"sets": len(held)},
            )
        judgement = judge(repository_id=identity.id, snapshots=snapshots, records=records, trusted=self.trusted,
                          ledger=ledger, now=now, copied=self.copied, forgotten=forgotten, claimed=agreements.claimed)
        verifications = self._counted(VERIFICATION, records.values(), identity.id, now)
        damage = open_damage(verifications)
        judgement = replace(judgement, sets=with_damage(judgement.sets, damage),
                            findings=(*judgement.findings, *agreements.findings))
        holdings = Holdings(tuple(snapshots), tuple(self.repository.junk()), judgement, verifications,
                            self._counted(DRILL, records.values(), identity.id, now), damage,
                            agreements.freezes, agreements.prunes, agreements.choices,
                            _kept(records.values(), identity.id))
        self._remember(holdings)
        self._seen = holdings
        return holdings

    def seen(self, now: datetime) -> Holdings:
        """The last look of this process, where there was one: enough for what stood there before its own work.

        A look reads every snapshot that is new, and each source of a set adds one.
        """
        return self._seen or self.look(now)

    def confirm(self, view: SetView) -> None:
        """Hold a set against its manifest in the repository. DamagedData where our cache has told something else.

        Whoever can write to the state directory can write into the cache, so nothing is restored by its word alone.
        """
        snapshot = next((found for found in self._seen.snapshots if found.id == view.manifest), None) if self._seen else None
        if snapshot is None:
            raise DamagedData(f"the manifest of set {view.id} is not in {self.name}", where=self.name)
        if snapshot.id not in self._read_anew:
            self._read(snapshot)
        found = self._in_its_time(self._read_anew[snapshot.id])
        if found.signer != view.signer or found.record != view.record:
            if found.problem is not None:
                raise DamagedData(f"the manifest of set {view.id} in {self.name} cannot be used: {found.problem}", where=self.name,
                                  hint="opsctl verify names what is damaged; is there a copy (--from)?")
            raise DamagedData(
                f"the catalogue of this machine and the signed manifest of set {view.id} say different things",
                hint="somebody changed the catalogue: remove catalogue.sqlite in the state directory, and look again",
                where=self.name,
            )

    def write(
        self, record: Mapping[str, Any], *, tags: Sequence[str], filename: str, host: str, beside: Path | None = None
    ) -> str:
        """Sign a record, store it (with all that is in the folder ``beside``), and return its snapshot's id."""
        return self.write_made(record["format"], lambda: record, tags=tags, filename=filename, host=host, beside=beside)

    def write_made(
        self, kind: str, make: Callable[[], Mapping[str, Any]], *, tags: Sequence[str], filename: str, host: str, beside: Path | None = None
    ) -> str:
        """As ``write``, a record of format ``kind`` that is made while the repository is being opened for it; ``make`` may look into it."""
        mark = RECORD_TAGS[kind]
        contents = []

        def signed() -> bytes:
            record = make()
            contents.append(envelope(record, self.signatures.sign(canonical(record), NAMESPACES[kind])))
            return contents[-1]

        summary = self.repository.backup_bytes(signed, filename=filename, tags=("opsctl", mark, *tags), host=host, beside=beside)
        if summary.snapshot is None:
            raise DamagedData(f"the {mark} was not stored in {self.name}", where=self.name)
        identity = self.identity()
        self.cache.put_records(identity.id, [self._checked(summary.snapshot, contents[-1])])
        return summary.snapshot

    def _in_its_time(self, record: Record) -> Record:
        """A record whose signer had been followed by another key when it was dated is one of a stranger."""
        if record.signer is None or record.format == ROTATION or "time" not in record.record:
            return record
        late = self._trust.retired(record.signer, parse_time(record.record["time"]))
        return replace(record, signer=f"{record.signer} (retired before)") if late else record

    def _counted(
        self, kind: str, records: Iterable[Record], repository_id: str, now: datetime
    ) -> tuple[Mapping[str, Any], ...]:
        found = [record.record for record in records if record.format == kind and record.signer in self.trusted]
        counted = [(parse_time(record["time"]), record) for record in found if record["repository"] == repository_id]
        return tuple(record for time, record in sorted(counted, key=lambda one: one[0]) if time <= now + SKEW)

    def _records(self, repository_id: str, snapshots: Sequence[Snapshot]) -> dict[str, Record]:
        marked = [found for found in snapshots if set(found.tags) & set(RECORD_TAGS.values())]
        known = {name: record for name, record in self.cache.get_records(repository_id).items()
                 if mistake(record.record) is None}
        unknown = [found for found in marked if found.id not in known]
        if unknown:
            with ThreadPoolExecutor(min(4, len(unknown))) as pool:
                fresh = list(pool.map(self._read, unknown))
            self.cache.put_records(repository_id, [record for record in fresh if record.signer])
            known.update({record.snapshot: record for record in fresh})
        return {found.id: known[found.id] for found in marked}

    def _read(self, snapshot: Snapshot) -> Record:
        try:
            found = self._checked(snapshot.id, self.repository.read(snapshot.id, _record_path(snapshot)))
        except (DamagedData, ProgramFailed, IndexError, StopIteration) as error:
            if isinstance(error, OpsError) and (is_of_all(error) or not _is_of_it(error)):
                raise
            found = Record(snapshot.id, problem=f"its record cannot be read: {error}")
        self._read_anew[snapshot.id] = found
        return found

    def _checked(self, snapshot_id: str, content: bytes) -> Record:
        try:
            record, signature = open_envelope(content)
        except (ValueError, RecursionError) as error:
            return Record(snapshot_id, problem=f"its record is not whole: {error}")
        if wrong := mistake(record):
            return Record(snapshot_id, problem=f"its record cannot be used: {wrong}")
        try:
            signer = self.signatures.check(canonical(record), signature, NAMESPACES[record["format"]])
        except (OpsError, ValueError, RecursionError) as error:
            return Record(snapshot_id, record, problem=f"its signature does not hold: {error}")
        return Record(snapshot_id, record, signer=signer)

    def _remember(self, holdings: Holdings) -> None:
        """Write sets that are good and new to us into the ledger."""
        known = self.ledger.load()
        if known is None:
            return
        listed = {(entry["backup"], entry["set"]) for entry in known["sets"]}
        if (all((view.backup, view.id) in listed for view in holdings.judgement.sets if view.state in WHOLE)
                and not _pruned_since(known["sets"], holdings) and {one.record for one in holdings.prunes} <= {*known.get("prunes", ())}):
            return
        try:
            with self.ledger.locked():
                self._bring_up_to_date(holdings)
        except (OSError, ProgramFailed) as error:
            # Looking goes on without a disk to write on; the next look catches up.
            self.repository.notes.append(f"the ledger of {self.name} could not be written, so a deletion of its newest "
                                         f"sets would not be noticed: {error}")

    def _bring_up_to_date(self, holdings: Holdings) -> None:
        known = self.ledger.load() or {"sets": []}
        listed = {(entry["backup"], entry["set"]) for entry in known["sets"]}
        new = [view for view in holdings.judgement.sets if view.state in WHOLE and (view.backup, view.id) not in listed]
        for view in new:
            known["sets"].append({
                "backup": view.backup, "set": view.id, "manifest": view.manifest, "time": view.record["time"],
                "journal": view.record.get("journal"),
                "snapshots": {name: {"id": entry["snapshot"], "tree": entry["tree"]}
                              for name, entry in view.sources.items()},
            })
        for entry, record in _pruned_since(known["sets"], holdings):
            entry["pruned"] = record
        if holdings.prunes:
            known["prunes"] = {**known.get("prunes", {}), **{one.record: list(one.people) for one in holdings.prunes}}
        self.ledger.save(known)


def _kept(records: Iterable[Record], repository_id: str) -> tuple[Record, ...]:
    found = [one for one in records if one.format == INCIDENT and one.signer is not None and one.record["repository"] == repository_id]
    return tuple(sorted(found, key=lambda one: parse_time(one.record["time"])))


def _pruned_since(entries: Iterable[dict[str, Any]], holdings: Holdings) -> list[tuple[dict[str, Any], str]]:
    """What is gone by a prune that people agreed to and the ledger does not know of yet, with the prune's record.

    Kept in the ledger, it stays explained when one of these people is no longer under ``people``.
    """
    there = {snapshot.id for snapshot in holdings.snapshots}
    record_of = {name: prune.record for prune in holdings.prunes for name in prune.ids}
    return [(entry, record_of[entry["manifest"]]) for entry in entries
            if not entry.get("pruned") and entry["manifest"] in record_of and entry["manifest"] not in there]
