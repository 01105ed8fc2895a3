"""Why a restic call failed, told from its exit code first, then its words, then a look into the store."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from opsctl.errors import Busy, DamagedData, OpsError, ProgramFailed, Refused, Unreachable
from opsctl.model.snapshots import Finding, LockInfo, Node, Snapshot
from opsctl.model.values import value
from opsctl.repositories.interface import Identity
from opsctl.repositories.restic_output import complaint, panicked
from opsctl.repositories.store import SHORTEST, Store, is_object_name
from opsctl.shells.interface import Result, Word

NO_LIMIT = 0.0  # seconds: for work that takes as long as there is data
NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_SILENT = re.compile(
    r"connection refused|no such host|i/o timeout|no route to host|network is unreachable|connection reset"
    r"|TLS handshake|context deadline exceeded|server closed|broken pipe|dial tcp|temporary failure in name",
    re.IGNORECASE,
)
#: How restic's sftp backend says that its ssh has failed or is gone.
_SSH = re.compile(
    r"unable to start the sftp session|ssh command exited|server unexpectedly closed connection|connection lost"
    r"|subprocess ssh: (?:Host key verification failed|ssh: connect to host|Connection to|client_loop|Timeout, server)",
    re.IGNORECASE,
)
_REJECTED = re.compile(
    r"\b401\b|unauthorized|access denied|permission denied \(publickey|forbidden|certificate", re.IGNORECASE
)
_DAMAGE = re.compile(
    r"ciphertext|invalid data returned|damaged|unmarshal|not found in (?:repository|index)|unexpected EOF"
    r"|too short|hash mismatch|wrong data|invalid header|header is larger|does not match|data corrupt"
    r"|unknown blob|ReadFull"
    r"|LoadRaw|decrypting|could not load|failed to load|Load\(<|repository contains errors",
    re.IGNORECASE,
)
_KINDS = {"keys": "key", "snapshots": "snapshot", "index": "index", "data": "pack"}


@value
class Place:
    """What is known of a repository before restic is asked."""

    name: str
    url: str
    store: Store | None
    pinned: Identity | None

    def __str__(self) -> str:
        return f"repository {self.name} ({self.url})"


class Caller(Protocol):
    """What a Restic offers to its helpers: one call against the pinned repository, the error of a bad one."""

    notes: list[str]

    @property
    def place(self) -> Place: ...

    def call(
        self,
        doing: str,
        words: Sequence[Word],
        *,
        accept: Collection[int] | None = (0,),
        sure: bool = True,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[bytes], None] | None = None,
        hidden: Collection[str] = (),
        cwd: str | None = None,
    ) -> Result: ...

    def make_sure(self) -> None: ...

    def planted_locks(self) -> list[Finding]: ...

    def failure(self, doing: str, result: Result) -> OpsError: ...


class Reader(Caller, Protocol):
    """A caller that also says what is in the repository."""

    def ls(self, snapshot_id: str, path: str | None = None) -> Iterator[Node]: ...

    def snapshots(self) -> list[Snapshot]: ...

    def junk(self) -> list[Finding]: ...


def failure(doing: str, result: Result, place: Place) -> OpsError:
    """The error to raise for a call of restic that ended badly. ``doing`` completes "restic could not …"."""
    if result.code == 10:
        return gone(place)
    if result.code == 12:
        return locked_out(place)
    text = complaint(result.stderr, result.stdout)
    if _SSH.search(result.errors):
        return _by_ssh(result.errors, place)
    if NO_SPACE.search(result.errors):
        return no_space(f"no space left for {place}", place.store.free() if place.store else None, None)
    if _SILENT.search(text):  # before damage: "Load(<data/…>) failed" is said of both
        return Unreachable(
            f"{place} does not answer: {text}", hint="is the store running, and the network up?"
        )
    if _REJECTED.search(text):
        return Refused(f"{place} does not let us in: {text}", hint="check the credentials of this repository")
    if panicked(result.stderr) or _DAMAGE.search(text):
        found = (
            suspicious(place.store, ("keys", "snapshots", "index", "locks"), place.pinned)
            if place.store
            else []
        )
        if found:
            return damage(found, place)
        return DamagedData(
            f"restic could not {doing}: something in {place} cannot be read ({text})",
            hint="run opsctl verify: it names what is damaged and what it reaches",
            details={"kind": "structure"},
        )
    if result.code < 0:
        return ProgramFailed(
            f"restic was ended by signal {-result.code} while it should {doing} ({place})",
            hint="did the machine run out of memory?",
        )
    return ProgramFailed(f"restic could not {doing} ({place}): {text}", details={"exit_code": result.code})


def _by_ssh(errors: str, place: Place) -> OpsError:
    """The connection by SSH did not come about or was lost. Our own look says why: what ssh said may be cut off, since
    restic ends without waiting for all of it.
    """
    if place.store is not None:
        try:
            place.store.config()
        except OpsError as error:
            return error
    said = [line.partition("subprocess ssh: ")[2] for line in errors.splitlines() if "subprocess ssh: " in line]
    why = next((line for line in reversed(said) if line.strip(" @")), "the connection was lost")
    return Unreachable(f"{place} does not answer: {why}", hint="is the server running, and the network up?")


def gone(place: Place) -> DamagedData:
    """There is no config where a repository should be."""
    details = {"kind": "config-missing", "object": "config"}
    if place.pinned is None:
        return DamagedData(
            f"there is no repository at {place.url} ({place.name})",
            details=details,
            hint="opsctl backup init makes new ones",
        )
    return DamagedData(
        f"{place} is gone: there is no config, and it was repository {place.pinned.id[:12]}",
        details=details,
        hint="is the disk mounted and the path right? otherwise treat it as an attack; nothing was made anew",
    )


def replaced(place: Place, found: str | None) -> DamagedData:
    """There is a repository, but not the one that was pinned."""
    assert place.pinned is not None
    what = (
        f"it is repository {found[:12]}"
        if found
        else "its config is another and our password does not open it"
    )
    return DamagedData(
        f"{place} is another one: expected repository {place.pinned.id[:12]}, but {what}",
        hint="was the path or server changed, or the repository made anew? the backups are not in here",
        details={
            "kind": "repository-replaced",
            "object": "config",
            "expected": place.pinned.id,
            "found": found,
        },
    )


def locked_out(place: Place) -> OpsError:
    """restic says "wrong password or no key found": which of the two?"""
    refused = Refused(
        f"the password does not open {place}", hint="is the password file the one of this repository?"
    )
    if place.store is None:
        return Refused(
            f"the password does not open {place}, or its key is gone",
            hint="is the password the one of this repository? if so, its key object was deleted",
        )
    keys = place.store.list("keys")
    wanted = place.pinned.key if place.pinned else None
    if not keys or (wanted is not None and wanted not in keys):
        return damage(
            [
                Finding(
                    "key-missing",
                    "its key was deleted from the store, so the right password opens nothing",
                    reaches_all=True,
                    object=f"keys/{wanted or ''}",
                    repair="put the key file back from another copy of the store, or use an escrowed key",
                )
            ],
            place,
        )
    broken = [each for each in suspicious(place.store, ("keys",), place.pinned) if each.kind == "key-damaged"]
    return damage(broken, place) if broken else refused


def no_space(message: str, free: int | None, needed: int | None) -> ProgramFailed:
    details = {name: value for name, value in (("needed", needed), ("free", free)) if value is not None}
    shown = ", ".join(f"{name} {value:,} bytes" for name, value in details.items())
    return ProgramFailed(
        f"{message} ({shown})" if shown else message,
        details=details,
        hint="free some space there; what was complete before is untouched",
    )


def busy(place: Place, locks: Sequence[LockInfo], now: float, waited: float) -> Busy:
    """Somebody else holds a lock."""
    if not locks:
        return Busy(f"{place} is locked by somebody else", details={"locks": []})
    shown = [
        f"process {lock.pid} of {lock.username} on {lock.hostname}"
        f" ({'exclusive, ' if lock.exclusive else ''}for {_span(now - lock.time.timestamp())})"
        for lock in locks
    ]
    facts = [
        {
            "pid": lock.pid,
            "host": lock.hostname,
            "user": lock.username,
            "exclusive": lock.exclusive,
            "since": lock.time.isoformat(),
            "age": round(now - lock.time.timestamp()),
            "id": lock.id,
        }
        for lock in locks
    ]
    more = f" after waiting {_span(waited)}" if waited >= 1 else ""
    return Busy(
        f"{place} is locked{more} by {', '.join(shown)}",
        details={"locks": facts},
        hint="wait for it (--wait); if that machine is certainly not at work: restic unlock",
    )


def damage(findings: Sequence[Finding], place: Place) -> DamagedData:
    """The first of several findings as the error; all of them in its details."""
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return DamagedData(
        f"{place}: {first.message}{more}",
        hint=first.repair,
        details={
            "kind": first.kind,
            "object": first.object,
            "objects": [{"kind": each.kind, "object": each.object} for each in findings],
        },
    )


def suspicious(store: Store, kinds: Sequence[str], pinned: Identity | None) -> list[Finding]:
    """Objects that cannot be what they pretend: wrong name, too short, content that is not their name."""
    found = []
    for kind in kinds:
        for name, size in sorted(store.list(kind).items()):
            if (finding := inspect(store, kind, name, size)) is not None:
                found.append(finding)
    config = store.config()
    if config is not None and len(config) < SHORTEST:
        found.append(config_damaged())
    elif config is not None and pinned is not None and pinned.config_sha256 is not None:
        if hashlib.sha256(config).hexdigest() != pinned.config_sha256:
            found.append(config_damaged())
    return found


def inspect(store: Store, kind: str, name: str, size: int) -> Finding | None:
    """What is wrong with one object, as far as it shows without the key."""
    if not is_object_name(name) or size < SHORTEST:
        return junk(kind, name, f"is no object of restic's ({size} bytes)")
    content = store.read(kind, name)
    if content is None:
        return None
    if hashlib.sha256(content).hexdigest() != name:
        return damaged_object(kind, name)
    if kind == "keys":
        try:
            described = json.loads(content)
            if not {"kdf", "salt", "data"} <= set(described):
                raise ValueError("not a key")
        except (ValueError, TypeError):
            return junk(kind, name, "is no key")
    return None


def junk(kind: str, name: str, why: str) -> Finding:
    where = f"{kind}/{_shown(name)}"
    return Finding(
        "junk-object",
        f"{where} was planted: it {why}",
        object=where,
        repair=f"who owns the store removes the file {where} there, after keeping a copy as evidence",
    )


def damaged_object(kind: str, name: str) -> Finding:
    """An object whose content is no longer what its name says."""
    word = _KINDS.get(kind, "lock")
    where = f"{kind}/{name}"
    repair = {
        "keys": "put the key file back from another copy of the store; an escrowed key opens it too",
        "index": "restic repair index builds it anew from the packs; nothing is lost",
        "snapshots": "put the file back from another copy of the store; its data is there until a prune",
    }.get(kind, f"who owns the store removes {where}")
    return Finding(
        f"{word}-damaged" if word != "lock" else "junk-object",
        f"{where} is damaged: its content is not what its name says",
        object=where,
        reaches_all=kind == "keys",
        sets=(name,) if kind == "snapshots" else (),
        repair=repair,
    )


def config_damaged() -> Finding:
    return Finding(
        "config-damaged",
        "config is damaged: its content is not what was recorded",
        object="config",
        reaches_all=True,
        repair="put the file config back from another copy of the store",
    )


def is_damage(errors: str) -> bool:
    """Whether restic complained of content, not of a file that went away."""
    return (
        "no such file" not in errors
        and "404" not in errors
        and (_DAMAGE.search(errors) is not None or panicked(errors.encode()))
    )


def cannot_lock(result: Result) -> bool:
    """Whether only the lock could not be written: a full or write-protected store can still be read."""
    text = complaint(result.stderr)
    return (
        "create lock" in text
        and re.search(r"no space left|quota exceeded|read-only file system|permission denied|403", text)
        is not None
    )


def _shown(name: str) -> str:
    """A file name of an attacker's choice, harmless."""
    return name if is_object_name(name) else ascii(name)[1:-1][:100]


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
